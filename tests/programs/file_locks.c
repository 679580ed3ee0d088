/* Locks on files: flock, record locks, open-file locks; two processes wait for each other in turn. */
#include "check.h"
#include <sys/file.h>

enum { FLOCK, RECORD, OPEN_FILE };

static void lock(int fd, int how, int kind, off_t at)
{
    if (how == FLOCK) {
        CHECK(flock(fd, kind == F_UNLCK ? LOCK_UN : LOCK_EX) == 0);
        return;
    }
    struct flock range = {.l_type = (short)kind, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    CHECK(fcntl(fd, how == RECORD ? F_SETLKW : F_OFD_SETLKW, &range) == 0);
}

static void turns(int how)
{
    int first = open("first", O_RDWR | O_CREAT, 0600);
    int second = open("second", O_RDWR | O_CREAT, 0600), ready[2], go[2];
    CHECK(first >= 0 && second >= 0 && pipe(ready) == 0 && pipe(go) == 0);
    int *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(counter != MAP_FAILED);
    lock(first, how, F_WRLCK, 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        first = open("first", O_RDWR); /* own open files: flock and OFD locks belong to them */
        second = open("second", O_RDWR);
        CHECK(first >= 0 && second >= 0);
        lock(second, how, F_WRLCK, 0);
        tell(ready[1]);
        for (int i = 0; i < 20; i++) {
            lock(first, how, F_WRLCK, 0); /* waits until the parent lets go of the first */
            ++*counter;
            lock(second, how, F_UNLCK, 0);
            lock(first, how, F_UNLCK, 0);
            await(go[0]);
            lock(second, how, F_WRLCK, 0);
            tell(ready[1]);
        }
        _exit(0);
    }
    for (int i = 0; i < 20; i++) {
        await(ready[0]);
        lock(first, how, F_UNLCK, 0);
        lock(second, how, F_WRLCK, 0); /* waits until the child has counted */
        CHECK(*counter == i + 1);
        lock(first, how, F_WRLCK, 0);
        lock(second, how, F_UNLCK, 0);
        tell(go[1]);
    }
    await(ready[0]);
    reap(child, 0);
    close(first);
    close(second);
    close(ready[0]);
    close(ready[1]);
    close(go[0]);
    close(go[1]);
}

int main(void)
{
    turns(FLOCK);
    turns(RECORD);
    turns(OPEN_FILE);
    int fd = open("first", O_RDWR), other = open("first", O_RDWR);
    CHECK(fd >= 0 && other >= 0);
    CHECK(flock(fd, LOCK_SH) == 0 && flock(other, LOCK_SH | LOCK_NB) == 0);
    CHECK_FAILS(flock(fd, LOCK_EX | LOCK_NB), EAGAIN);
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 5};
    CHECK(fcntl(fd, F_SETLK, &range) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(fcntl(fd, F_GETLK, &range) == 0);
        CHECK(range.l_type == F_WRLCK && range.l_pid == getppid() && range.l_start == 5);
        range.l_type = F_WRLCK;
        CHECK_FAILS(fcntl(fd, F_SETLK, &range), EAGAIN);
        _exit(0);
    }
    reap(child, 0);
    CHECK(lockf(fd, F_TLOCK, 3) == 0 && lockf(fd, F_ULOCK, 3) == 0);
    CHECK(unlink("first") == 0 && unlink("second") == 0);
    return success();
}
