/* Executes `site` in itself and in children of every kind, which must all succeed. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

__attribute__((noinline)) int site(int n)
{
    __asm__ volatile("" ::: "memory");
    return n + 1;
}

static void check(pid_t pid, int expected)
{
    int status;

    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) != expected) {
        printf("child: %x\n", status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    char *const again[] = {argv[0], "child", NULL};
    int n = argc > 1 ? atoi(argv[1]) : 10;
    pid_t pid;

    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return site(41);
    for (int i = 0; i < n; i++) {
        site(i);
        pid = fork();
        if (pid == 0)
            _exit(site(6));
        check(pid, 7);
        pid = vfork();
        if (pid == 0) {
            site(1); /* in the parent's memory */
            execv(argv[0], again);
            _exit(99);
        }
        check(pid, 42);
        if (posix_spawn(&pid, argv[0], NULL, NULL, again, environ))
            return 1;
        check(pid, 42);
    }
    printf("fine\n");
    if (argc > 2) {
        char *const last[] = {argv[0], "child", NULL};

        fflush(stdout);
        execv(argv[0], last);
    }
    return 0;
}
