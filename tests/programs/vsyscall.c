/* @also static
 * The vsyscall page, an address where system calls used to be: it answers, or is not there. */
#include "check.h"
#include <setjmp.h>

#define TIMEOFDAY 0xffffffffff600000ul
#define TIME 0xffffffffff600400ul
#define CPU 0xffffffffff600800ul

static sigjmp_buf back;

static void on_signal(int signal_number)
{
    siglongjmp(back, signal_number);
}

extern const char __executable_start[]; /* the linker's (ld, "Source Code Reference") */

static __attribute__((noinline)) long in_a_library(time_t *stored)
{
    return ((long (*)(time_t *))TIME)(stored);
}

/* The code of this program once more, mapped as the dynamic loader maps a library. */
static long (*loaded(void))(time_t *)
{
    size_t at = (uintptr_t)in_a_library - (uintptr_t)__executable_start;
    int file = open("/proc/self/exe", O_RDONLY);
    char *code = mmap(NULL, at % 4096 + 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file,
                      (off_t)(at - at % 4096));
    long (*function)(time_t *);

    CHECK(code != MAP_FAILED && close(file) == 0);
    code += at % 4096;
    CHECK(*code == *(const char *)(uintptr_t)in_a_library);
    memcpy(&function, &code, sizeof function);
    return function;
}

int main(void)
{
    long (*library_time)(time_t *) = loaded();

    CHECK(signal(SIGSEGV, on_signal) != SIG_ERR);
    for (volatile int i = 0; i < 3; i++) {
        if (sigsetjmp(back, 1)) {
            printf("no vsyscall page\n");
            continue;
        }
        struct timeval now;
        time_t stored = 0;
        unsigned core = 77;
        /* as C libraries did: the address is a constant in the code */
        CHECK(((int (*)(struct timeval *, void *))TIMEOFDAY)(&now, NULL) == 0);
        long seconds = ((long (*)(time_t *))TIME)(&stored);
        CHECK(((int (*)(unsigned *, unsigned *, void *))CPU)(&core, NULL, NULL) == 0);
        CHECK(labs(library_time(NULL) - in_a_library(NULL)) < 100);
        CHECK(seconds == stored && labs(seconds - time(NULL)) < 100);
        CHECK(labs(seconds - now.tv_sec) < 100 && core < 77);
        printf("%ld.%06ld %ld %ld %u\n", (long)now.tv_sec, (long)now.tv_usec, seconds,
               library_time(&stored), core);
    }
    return success();
}
