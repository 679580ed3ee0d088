/* Runs work(n) of instructions.S and prints what came of it; in a second thread, too, when asked. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

long work(long n);

static void *other(void *argument)
{
    return (void *)work((long)argument);
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 3;
    pthread_t id;
    void *result = NULL;

    if (argc > 2) {
        pthread_create(&id, NULL, other, (void *)n);
        pthread_join(id, &result);
    }
    printf("%lx %lx\n", work(n), (long)result);
    return 0;
}
