/*
 * Job control on a terminal of its own: sessions, foreground groups, ^C, ^Z, SIGTTOU, SIGHUP.
 * @link util
 */
#include "check.h"
#include <pty.h>
#include <termios.h>

static volatile sig_atomic_t caught;

static void on_signal(int signal_number)
{
    caught = signal_number;
}

static int session(int terminal)
{
    int status, go[2];
    CHECK(setsid() == getpid());
    CHECK(ioctl(terminal, TIOCSCTTY, 0) == 0);
    CHECK(tcgetpgrp(terminal) == getpgrp() && tcgetsid(terminal) == getpid());
    CHECK(open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0);
    CHECK(signal(SIGTTOU, SIG_IGN) != SIG_ERR); /* a shell moves groups from the background */
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0); /* it waits for sigsuspend */
    CHECK(signal(SIGHUP, on_signal) != SIG_ERR);
    CHECK(pipe(go) == 0);
    pid_t job = fork();
    CHECK(job >= 0);
    if (job == 0) {
        CHECK(setpgid(0, 0) == 0);
        CHECK(signal(SIGTTOU, SIG_DFL) != SIG_ERR);
        await(go[0]);
        struct termios modes;
        CHECK(tcgetattr(terminal, &modes) == 0);
        CHECK(tcsetattr(terminal, TCSANOW, &modes) == 0); /* from the background: SIGTTOU */
        for (;;)
            pause();
    }
    CHECK(setpgid(job, job) == 0 || errno == EACCES);
    tell(go[1]);
    CHECK(waitpid(job, &status, WUNTRACED) == job);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
    CHECK(tcsetpgrp(terminal, job) == 0 && kill(-job, SIGCONT) == 0);
    /* The terminal's user types ^Z, then ^C. */
    CHECK(write(1, "z", 1) == 1);
    CHECK(waitpid(job, &status, WUNTRACED) == job);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
    CHECK(kill(-job, SIGCONT) == 0);
    CHECK(write(1, "c", 1) == 1);
    CHECK(waitpid(job, &status, WUNTRACED) == job);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    CHECK(tcsetpgrp(terminal, getpgrp()) == 0);
    CHECK(write(1, "h", 1) == 1); /* the user closes the terminal */
    while (caught != SIGHUP)
        CHECK_FAILS(sigsuspend(&old), EINTR);
    return 5;
}

int main(void)
{
    int master, terminal, ends[2];
    if (openpty(&master, &terminal, NULL, NULL, NULL) == -1)
        SKIP("no pseudo-terminals");
    CHECK(pipe(ends) == 0);
    pid_t leader = fork();
    CHECK(leader >= 0);
    if (leader == 0) {
        close(master);
        CHECK(dup2(ends[1], 1) == 1);
        _exit(session(terminal));
    }
    close(terminal);
    close(ends[1]);
    char key;
    CHECK(read(ends[0], &key, 1) == 1 && key == 'z' && write(master, "\x1a", 1) == 1);
    CHECK(read(ends[0], &key, 1) == 1 && key == 'c' && write(master, "\x03", 1) == 1);
    CHECK(read(ends[0], &key, 1) == 1 && key == 'h');
    close(master);
    reap(leader, 5);
    return success();
}
