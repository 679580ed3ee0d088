/* A function called by a parent, its children by fork and vfork, and a thread. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noinline)) int counted(int n)
{
    __asm__ volatile("" : "+r"(n));
    return n + 1;
}

static int many(int times)
{
    int n = 0;

    while (times--)
        n = counted(n);
    return n;
}

static void *thread(void *unused)
{
    (void)unused;
    many(100);
    return NULL;
}

int main(void)
{
    pthread_t t;
    int status, sum = many(10);
    pid_t child;

    for (int i = 0; i < 3; i++) {
        if (!(child = fork()))
            _exit(many(50));
        waitpid(child, &status, 0);
        sum += WEXITSTATUS(status);
    }
    if (!(child = vfork())) {
        counted(1);
        _exit(0);
    }
    waitpid(child, &status, 0);
    pthread_create(&t, NULL, thread, NULL);
    pthread_join(t, NULL);
    sum += many(10);
    printf("%d\n", sum);
    return 0;
}
