/* Resource limits: asked, set, inherited, met (files, size of files with SIGXFSZ). */
#include "check.h"
#include <sys/resource.h>

static volatile sig_atomic_t exceeded;

static void on_limit(int signal_number)
{
    exceeded = signal_number;
}

int main(void)
{
    struct rlimit limit, old;
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        CHECK(getrlimit(i, &limit) == 0);
        printf("%d %ld %ld\n", i, (long)limit.rlim_cur, (long)limit.rlim_max);
    }
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    limit = (struct rlimit){20, old.rlim_max};
    CHECK(prlimit(0, RLIMIT_NOFILE, &limit, &old) == 0);
    int fd, last = -1;
    while ((fd = dup(0)) >= 0)
        last = fd;
    CHECK(errno == EMFILE && last == 19);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 20);
        _exit(0);
    }
    reap(child, 0);
    close(last);
    CHECK(signal(SIGXFSZ, on_limit) != SIG_ERR);
    limit = (struct rlimit){1000, RLIM_INFINITY};
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    limit.rlim_max = old.rlim_max;
    int file = open("file", O_RDWR | O_CREAT, 0600);
    CHECK(file >= 0 && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    static char block[2000];
    ssize_t count = write(file, block, sizeof block);
    CHECK(count == 1000);
    CHECK_FAILS(write(file, block, 1), EFBIG);
    CHECK(exceeded == SIGXFSZ);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0); /* before stdout grows past it */
    CHECK(unlink("file") == 0);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > 0);
    printf("maxrss %ld faults %ld\n", usage.ru_maxrss, usage.ru_minflt);
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    errno = 0;
    int nice_value = getpriority(PRIO_PROCESS, 0);
    CHECK(errno == 0);
    CHECK(setpriority(PRIO_PROCESS, 0, nice_value + 1) == 0);
    CHECK(getpriority(PRIO_PROCESS, 0) == nice_value + 1);
    return success();
}
