/* sched_*: policies, parameters, intervals, attributes, io priorities. */
#include "check.h"

int main(void)
{
    int policy = sched_getscheduler(0);
    CHECK(policy == SCHED_OTHER || policy == SCHED_BATCH);
    struct sched_param parameter = {.sched_priority = 9};
    CHECK(sched_getparam(0, &parameter) == 0 && parameter.sched_priority == 0);
    CHECK(sched_get_priority_max(SCHED_FIFO) == 99 && sched_get_priority_min(SCHED_RR) == 1);
    struct timespec slice;
    CHECK(sched_rr_get_interval(0, &slice) == 0);
    printf("slice %ld\n", slice.tv_nsec);
    CHECK(sched_setscheduler(0, SCHED_BATCH, &parameter) == 0);
    CHECK(sched_getscheduler(0) == SCHED_BATCH);
    parameter.sched_priority = 50;
    CHECK_FAILS(sched_setscheduler(0, SCHED_OTHER, &parameter), EINVAL);
    struct { /* struct sched_attr, first version: its header clashes with sched.h */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } found = {0};
    CHECK(syscall(SYS_sched_getattr, 0, &found, sizeof found, 0) == 0);
    CHECK(found.policy == SCHED_BATCH && found.size == sizeof found);
    CHECK(syscall(SYS_sched_setattr, 0, &found, 0) == 0);
    long priority = syscall(SYS_ioprio_get, 1, 0);
    CHECK(priority >= 0);
    for (int i = 0; i < 20; i++)
        CHECK(sched_yield() == 0);
    return success();
}
