/*
 * A hundred processes one after another, each blocking in calls, then threads that do: whatever a
 * recorder hands out per task is handed out often.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static int ends[2];

static void *reader(void *unused)
{
    char bytes[3000];
    CHECK(read(ends[0], bytes, sizeof bytes) > 0);
    return unused;
}

int main(void)
{
    for (int i = 0; i < 100; i++) {
        int own[2];
        CHECK(pipe(own) == 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            int saved = ends[0];
            pthread_t thread;
            ends[0] = own[0];
            CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
            CHECK(pthread_join(thread, NULL) == 0);
            ends[0] = saved;
            pid_t grandchild = fork(); /* gets a copy of whatever the waits have left here */
            CHECK(grandchild >= 0);
            if (grandchild == 0)
                _exit(i);
            reap(grandchild, i);
            _exit(i);
        }
        tell(own[1]);
        reap(child, i);
        close(own[0]);
        close(own[1]);
    }
    CHECK(pipe(ends) == 0);
    pthread_t threads[8];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8; i++)
            CHECK(pthread_create(&threads[i], NULL, reader, NULL) == 0);
        for (int i = 0; i < 8; i++)
            tell(ends[1]);
        /* Some take the bytes of several. */
        for (int i = 0; i < 8; i++)
            while (pthread_tryjoin_np(threads[i], NULL) == EBUSY)
                tell(ends[1]);
        char rest[4096];
        CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
        while (read(ends[0], rest, sizeof rest) > 0)
            ;
        CHECK(fcntl(ends[0], F_SETFL, 0) == 0);
    }
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, reader, NULL) == 0);
    return success(); /* with three threads in the middle of a read */
}
