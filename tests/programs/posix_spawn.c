/* posix_spawn with file actions and attributes; the child is this program again. */
#include "check.h"
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc == 2) {
        char text[32];
        ssize_t count = read(0, text, sizeof text);
        CHECK(count == 5 && memcmp(text, "hello", 5) == 0);
        sigset_t mask;
        CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGUSR1));
        CHECK(getpgrp() == getpid());
        CHECK(write(1, "child\n", 6) == 6);
        return 21;
    }
    int in[2], out[2];
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawnattr_init(&attributes) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, in[0], 0) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, out[1], 1) == 0);
    CHECK(posix_spawn_file_actions_addopen(&actions, 9, "/dev/null", O_RDWR, 0) == 0);
    CHECK(posix_spawn_file_actions_addclose(&actions, 9) == 0);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    CHECK(posix_spawnattr_setsigmask(&attributes, &mask) == 0);
    CHECK(posix_spawnattr_setflags(&attributes,
                                   POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP) == 0);

    char *args[] = {argv[0], "child", NULL};
    pid_t child;
    CHECK(posix_spawn(&child, "/proc/self/exe", &actions, &attributes, args, environ) == 0);
    CHECK(write(in[1], "hello", 5) == 5);
    char text[16];
    CHECK(read(out[0], text, sizeof text) == 6 && memcmp(text, "child\n", 6) == 0);
    reap(child, 21);
    CHECK(posix_spawn(&child, "/nonexistent", NULL, NULL, args, environ) == ENOENT);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return success();
}
