/* timerfd: one shot, repeating, absolute, read while it blocks, disarmed. */
#include "check.h"
#include <sys/timerfd.h>

int main(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    CHECK(fd >= 0);
    struct itimerspec spec = {.it_value.tv_nsec = 1000000}, old;
    uint64_t count;
    CHECK(timerfd_settime(fd, 0, &spec, NULL) == 0);
    CHECK(read(fd, &count, sizeof count) == sizeof count && count == 1);
    spec = (struct itimerspec){.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 500000};
    CHECK(timerfd_settime(fd, 0, &spec, NULL) == 0);
    uint64_t total = 0;
    for (int i = 0; i < 5; i++) {
        CHECK(read(fd, &count, sizeof count) == sizeof count && count >= 1);
        total += count;
    }
    CHECK(total >= 5);
    spec = (struct itimerspec){.it_value.tv_sec = 1000};
    CHECK(timerfd_settime(fd, 0, &spec, &old) == 0 && old.it_interval.tv_nsec == 500000);
    CHECK(timerfd_gettime(fd, &spec) == 0 && spec.it_value.tv_sec >= 990);
    printf("expirations %lu, left %ld.%09ld\n", (unsigned long)total, spec.it_value.tv_sec,
           spec.it_value.tv_nsec);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK_FAILS(read(fd, &count, sizeof count), EAGAIN);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &spec.it_value) == 0);
    CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
    CHECK(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1) == 1);
    CHECK(read(fd, &count, sizeof count) == sizeof count && count == 1);
    return success();
}
