/* eventfd: counter and semaphore, blocking between processes. */
#include "check.h"
#include <sys/eventfd.h>

int main(void)
{
    int counter = eventfd(3, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t value;
    CHECK(counter >= 0);
    CHECK(eventfd_read(counter, &value) == 0 && value == 3);
    CHECK_FAILS(eventfd_read(counter, &value), EAGAIN);
    CHECK(eventfd_write(counter, 0xfffffffffffffffeu) == 0);
    CHECK_FAILS(eventfd_write(counter, 1), EAGAIN);
    int semaphore = eventfd(0, EFD_SEMAPHORE), done = eventfd(0, 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 20; i++)
            CHECK(eventfd_read(semaphore, &value) == 0 && value == 1);
        CHECK(eventfd_write(done, 77) == 0);
        _exit(0);
    }
    for (int i = 0; i < 10; i++)
        CHECK(eventfd_write(semaphore, 2) == 0);
    CHECK(eventfd_read(done, &value) == 0 && value == 77);
    reap(child, 0);
    return success();
}
