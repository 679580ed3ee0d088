/*
 * The C library's helper threads: timers that call functions, POSIX asynchronous I/O, mq_notify;
 * and SIGIO from a pipe.
 * @link pthread
 * @link rt
 */
#include "check.h"
#include <aio.h>
#include <semaphore.h>

static sem_t called;
static int value;
static volatile int ready_signals;

static void on_timer(union sigval argument)
{
    value += argument.sival_int;
    sem_post(&called);
}

static void on_input(int signal_number)
{
    (void)signal_number;
    ready_signals++;
}

int main(void)
{
    CHECK(sem_init(&called, 0, 0) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_timer,
                             .sigev_value.sival_int = 5};
    timer_t timer;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec soon = {.it_value.tv_nsec = 1000000};
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
    while (sem_wait(&called) == -1)
        CHECK(errno == EINTR);
    CHECK(value == 5 && timer_delete(timer) == 0);

    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    char text[100];
    memset(text, 'a', sizeof text);
    struct aiocb block = {.aio_fildes = fd, .aio_buf = text, .aio_nbytes = sizeof text};
    CHECK(aio_write(&block) == 0);
    const struct aiocb *list[] = {&block};
    while (aio_error(&block) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    CHECK(aio_error(&block) == 0 && aio_return(&block) == sizeof text);
    memset(text, 0, sizeof text);
    CHECK(aio_read(&block) == 0);
    while (aio_error(&block) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    CHECK(aio_return(&block) == sizeof text && text[99] == 'a');

    int ends[2];
    CHECK(pipe(ends) == 0 && signal(SIGIO, on_input) != SIG_ERR);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    CHECK(fcntl(ends[0], F_SETOWN, getpid()) == 0 && fcntl(ends[0], F_SETFL, O_ASYNC) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        tell(ends[1]);
        _exit(0);
    }
    while (!ready_signals)
        CHECK_FAILS(sigsuspend(&old), EINTR);
    await(ends[0]);
    reap(child, 0);
    CHECK(unlink("file") == 0);
    return success();
}
