/* Calls that end half-way: a write cut short by a signal, MSG_WAITALL too, a read cut by the end. */
#include "check.h"

static volatile int caught;

static void on_signal(int signal_number)
{
    caught = signal_number;
}

int main(void)
{
    static char block[1 << 20], text[1 << 20];
    int ends[2], pair[2], ready[2];
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(ready) == 0);
    pid_t parent = getpid();
    for (int kind = 0; kind < 3; kind++) {
        caught = 0;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            if (kind == 1)
                CHECK(write(pair[1], "some", 4) == 4);
            await_state(parent, parent, 'S');
            CHECK(kill(parent, SIGUSR1) == 0);
            _exit(0);
        }
        ssize_t count;
        if (kind == 0) { /* fills the pipe, then sleeps */
            count = write(ends[1], block, sizeof block);
            CHECK(count > 0 && count < (ssize_t)sizeof block);
            CHECK(read(ends[0], text, sizeof text) > 0);
        } else if (kind == 1) {
            count = recv(pair[0], text, 100, MSG_WAITALL);
            CHECK(count == 4 || (count == -1 && errno == EINTR));
        } else {
            struct iovec vector[] = {{block, 1 << 19}, {block, 1 << 19}};
            count = writev(ends[1], vector, 2);
            CHECK(count > 0 && count < (ssize_t)sizeof block);
        }
        CHECK(caught == SIGUSR1);
        printf("kind %d count %zd\n", kind, count);
        reap(child, 0);
    }
    return success();
}
