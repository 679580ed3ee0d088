/*
 * Clocks: every clock, old calls and new, through the vDSO's front where the C library uses it.
 * @also static
 */
#include "check.h"
#include <sys/times.h>
#include <sys/timex.h>

int main(void)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME,         CLOCK_MONOTONIC,
                                       CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
                                       CLOCK_MONOTONIC_RAW,    CLOCK_REALTIME_COARSE,
                                       CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};
    struct timespec now, before = {0};
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        CHECK(clock_gettime(clocks[i], &now) == 0);
        printf("clock %d: %ld.%09ld", clocks[i], now.tv_sec, now.tv_nsec);
        CHECK(clock_getres(clocks[i], &now) == 0);
        printf(" step %ld\n", now.tv_nsec);
    }
    for (int i = 0; i < 2000; i++) {
        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
        CHECK(now.tv_sec > before.tv_sec ||
              (now.tv_sec == before.tv_sec && now.tv_nsec >= before.tv_nsec));
        before = now;
    }
    struct timeval day;
    struct timezone zone;
    CHECK(gettimeofday(&day, &zone) == 0);
    time_t seconds = time(NULL), stored;
    CHECK(syscall(SYS_time, &stored) == stored && stored >= seconds);
    CHECK(syscall(SYS_gettimeofday, &day, NULL) == 0);
    struct tms used;
    clock_t ticks = times(&used);
    CHECK(ticks != (clock_t)-1);
    struct timex state = {0};
    int result = adjtimex(&state);
    CHECK(result >= 0);
    printf("%ld.%06ld %ld %ld %ld %ld\n", day.tv_sec, day.tv_usec, (long)seconds, (long)ticks,
           (long)used.tms_utime, (long)clock());
    struct tm *calendar = localtime(&seconds);
    CHECK(calendar);
    printf("%d-%02d-%02d\n", calendar->tm_year + 1900, calendar->tm_mon + 1, calendar->tm_mday);
    CHECK_FAILS(clock_gettime(77, &now), EINVAL);
    clockid_t own;
    CHECK(clock_getcpuclockid(getpid(), &own) == 0 && clock_gettime(own, &now) == 0);
    return success();
}
