/* Signals sent to a child right when it execs: killed, stopped and continued, ignored ones. */
#include "check.h"

static pid_t start(const char *program, const char *mode)
{
    pid_t child = vfork(); /* comes back the moment the child has its new image */
    CHECK(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", program, mode, NULL);
        _exit(99);
    }
    return child;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "wait") == 0)
        for (;;)
            pause();
    if (argc == 2)
        return 7;
    static const int fatal[] = {SIGTERM, SIGKILL, SIGINT};
    for (int i = 0; i < 30; i++) {
        pid_t child = start(argv[0], "wait");
        CHECK(kill(child, fatal[i % 3]) == 0);
        reap_killed(child, fatal[i % 3]);
    }
    for (int i = 0; i < 10; i++) {
        pid_t child = start(argv[0], "leave");
        int status;
        CHECK(kill(child, SIGWINCH) == 0 && kill(child, SIGCHLD) == 0);
        CHECK(kill(child, SIGSTOP) == 0);
        CHECK(waitpid(child, &status, WUNTRACED) == child);
        if (!WIFSTOPPED(status)) /* it was faster */
            continue;
        CHECK(kill(child, SIGCONT) == 0);
        reap(child, 7);
    }
    return success();
}
