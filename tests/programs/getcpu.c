/* Which core: getcpu, sched_getcpu, the affinity mask asked for and set. */
#include "check.h"
#include <sched.h>

int main(void)
{
    unsigned core, node;
    CHECK(syscall(SYS_getcpu, &core, &node, NULL) == 0);
    int asked = sched_getcpu();
    CHECK(asked >= 0);
    cpu_set_t set, again;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) >= 1);
    printf("core %u %d node %u of %d\n", core, asked, node, CPU_COUNT(&set));
    int first = 0;
    while (!CPU_ISSET(first, &set))
        first++;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(sched_getaffinity(0, sizeof again, &again) == 0 && CPU_ISSET(first, &again));
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    for (int i = 0; i < 100; i++)
        CHECK(sched_getcpu() >= 0);
    return success();
}
