/* Scripts with #!: this program as the interpreter, with an argument, and a script of a script. */
#include "check.h"

static void make(const char *path, const char *interpreter)
{
    char text[PATH_MAX + 64];
    int length = snprintf(text, sizeof text, "#!%s\nanything\n", interpreter);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    CHECK(fd >= 0);
    CHECK(write(fd, text, (size_t)length) == length);
    close(fd);
}

static void run(const char *path, int status)
{
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl(path, path, "last", NULL);
        _exit(99);
    }
    reap(child, status);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        for (int i = 1; i < argc; i++)
            printf("[%s]", argv[i]);
        printf("\n");
        fflush(stdout);
        _exit(argc);
    }
    char self[PATH_MAX], with_argument[PATH_MAX + 16], directory[PATH_MAX], path[PATH_MAX + 16];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK(length > 0);
    self[length] = 0;
    make("plain", self);
    run("./plain", 3); /* program, script, "last" */
    snprintf(with_argument, sizeof with_argument, "%s  one two ", self);
    make("argument", with_argument);
    run("./argument", 4); /* the rest of the line is one argument */
    CHECK(getcwd(directory, sizeof directory));
    snprintf(path, sizeof path, "%s/argument", directory);
    make("nested", path);
    run("./nested", 5);
    make("shell", "/bin/sh");
    int fd = open("shell", O_WRONLY | O_APPEND | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "\n", 1) == 1 && ftruncate(fd, 0) == 0);
    CHECK(write(fd, "#!/bin/sh -e\nexit 33\n", 21) == 21);
    close(fd);
    run("./shell", 33);
    return success();
}
