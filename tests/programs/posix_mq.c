/*
 * POSIX message queues and shared memory objects: priorities, time-outs, a blocked receiver.
 * @link rt
 */
#include "check.h"
#include <mqueue.h>

int main(void)
{
    char name[64], text[64];
    snprintf(name, sizeof name, "/relive-test-%d", getpid());
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 64};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == -1 && (errno == ENOSYS || errno == EACCES))
        SKIP("no POSIX message queues");
    CHECK(queue >= 0);
    CHECK(mq_unlink(name) == 0);
    CHECK(mq_send(queue, "low", 3, 1) == 0 && mq_send(queue, "high", 4, 9) == 0);
    unsigned priority;
    CHECK(mq_receive(queue, text, sizeof text, &priority) == 4 && priority == 9);
    CHECK(mq_receive(queue, text, sizeof text, NULL) == 3 && memcmp(text, "low", 3) == 0);
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    CHECK_FAILS(mq_timedreceive(queue, text, sizeof text, NULL, &now), ETIMEDOUT);
    CHECK(mq_getattr(queue, &attributes) == 0 && attributes.mq_maxmsg == 4);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(mq_receive(queue, text, sizeof text, &priority) == 5 && priority == 3);
        _exit(0);
    }
    CHECK(mq_send(queue, "hello", 5, 3) == 0);
    reap(child, 0);

    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && shm_unlink(name) == 0 && ftruncate(fd, 4096) == 0);
    volatile int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(word != MAP_FAILED);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        *word = 5;
        _exit(0);
    }
    reap(child, 0);
    CHECK(*word == 5);
    return success();
}
