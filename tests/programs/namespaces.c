/*
 * Namespaces of its own: process 1 of a new pid namespace, whose children have other ids inside
 * than outside; a host name; threads and their ids in there.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>
#include <sched.h>

static void *thread(void *ret_tid)
{
    *(long *)ret_tid = syscall(SYS_gettid);
    return NULL;
}

int main(void)
{
    uid_t user = getuid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS) == -1)
        SKIP("no namespaces for this user");
    (void)user;
    pid_t first = fork();
    CHECK(first > 0 || (first == 0 && getpid() == 1));
    if (first == 0) {
        CHECK(getppid() == 0);
        pid_t child = fork();
        CHECK(child == 0 || child == 2);
        if (child == 0) {
            CHECK(getpid() == 2 && getppid() == 1);
            for (;;)
                pause();
        }
        long tid = 0;
        pthread_t other;
        CHECK(pthread_create(&other, NULL, thread, &tid) == 0);
        CHECK(pthread_join(other, NULL) == 0);
        CHECK(tid == 3);
        CHECK(kill(2, SIGTERM) == 0);
        reap_killed(2, SIGTERM);
        CHECK(sethostname("inside", 6) == 0 || errno == EPERM);
        siginfo_t info;
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
        CHECK(raise(SIGUSR1) == 0);
        CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == 1);
        if (fork() == 0) /* left behind: killed with its namespace */
            for (;;)
                pause();
        _exit(11);
    }
    reap(first, 11);
    printf("first %d\n", first);
    return success();
}
