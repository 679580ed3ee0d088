/*
 * System calls interrupted by a handled signal: with SA_RESTART some start again, without it they
 * fail with EINTR; the ones that never restart; the handler's signal comes from a child.
 */
#include "check.h"
#include <linux/futex.h>
#include <sys/epoll.h>

static int silent[2], own_wake[2];
static volatile sig_atomic_t caught;

static void on_signal(int signal_number)
{
    caught = signal_number;
}

/* When the parent sleeps: SIGUSR1, and once that was handled what ends the wait for good. */
static pid_t prodder(int restarts)
{
    pid_t parent = getpid(), child = fork();
    CHECK(child >= 0);
    if (child)
        return child;
    await_state(parent, parent, 'S');
    CHECK(kill(parent, SIGUSR1) == 0);
    if (restarts) {
        /* The handler has run and the call sleeps again: no signal is pending any more. */
        char path[64], text[4096];
        snprintf(path, sizeof path, "/proc/%d/status", parent);
        for (;;) {
            int fd = open(path, O_RDONLY);
            CHECK(fd >= 0);
            ssize_t count = read(fd, text, sizeof text - 1);
            CHECK(count > 0);
            text[count] = 0;
            close(fd);
            char *pending = strstr(text, "ShdPnd:");
            CHECK(pending);
            if (strtoull(pending + 7, NULL, 16) == 0)
                break;
            sched_yield();
        }
        await_state(parent, parent, 'S');
        tell(silent[1]);
    }
    _exit(0);
}

int main(void)
{
    CHECK(pipe(silent) == 0 && pipe(own_wake) == 0);
    char byte;
    for (int restarts = 0; restarts < 2; restarts++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = restarts ? SA_RESTART : 0};
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        for (int round = 0; round < 3; round++) {
            caught = 0;
            pid_t child = prodder(restarts);
            ssize_t count = read(silent[0], &byte, 1);
            CHECK(restarts ? count == 1 : count == -1 && errno == EINTR);
            CHECK(caught == SIGUSR1);
            reap(child, 0);
        }
        /* waitpid restarts by SA_RESTART; wait for the child that prods. */
        caught = 0;
        pid_t child = prodder(restarts);
        pid_t found = waitpid(child, NULL, 0);
        CHECK(caught == SIGUSR1);
        if (found == -1)
            CHECK(errno == EINTR && !restarts && waitpid(child, NULL, 0) == child);
        if (restarts)
            await(silent[0]);
        /* These never restart. */
        for (int kind = 0; kind < 4; kind++) {
            caught = 0;
            child = prodder(0);
            struct pollfd fds = {.fd = silent[0], .events = POLLIN};
            struct epoll_event event;
            int set = epoll_create1(0);
            long result = 0;
            uint32_t word = 0;
            (void)word;
            switch (kind) {
            case 0:
                result = poll(&fds, 1, 100000);
                break;
            case 1:
                result = nanosleep(&(struct timespec){.tv_sec = 100}, NULL);
                break;
            case 2:
                result = epoll_wait(set, &event, 1, 100000);
                break;
            case 3:
                result = pause();
                break;
            }
            CHECK(result == -1 && errno == EINTR && caught == SIGUSR1);
            close(set);
            reap(child, 0);
        }
        /* A futex without a time-out restarts, or says EINTR. */
        caught = 0;
        static uint32_t futex_word;
        uint32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(word != MAP_FAILED);
        (void)futex_word;
        child = prodder(0);
        if (restarts) {
            pid_t waker = fork();
            CHECK(waker >= 0);
            if (waker == 0) {
                await(own_wake[0]);
                __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
                while (syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) == 0)
                    sched_yield();
                _exit(0);
            }
            tell(own_wake[1]);
            long result = syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
            CHECK(result == 0 || errno == EAGAIN);
            if (result == -1) /* the waker was there first: give it one to wake */
                syscall(SYS_futex, word, FUTEX_WAIT, 1, NULL, NULL, 0);
            kill(child, SIGKILL);
            CHECK(waitpid(child, NULL, 0) == child);
            reap(waker, 0);
        } else {
            CHECK_FAILS(syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0), EINTR);
            CHECK(caught == SIGUSR1);
            reap(child, 0);
        }
        CHECK(munmap(word, 4096) == 0);
    }
    return success();
}
