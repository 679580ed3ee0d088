/* A loop in code that is made, and made differently, while the program runs. */
#include "landing.h"
#include <sys/mman.h>

static volatile uint64_t counter;
static unsigned char *code;

/* add $step,(counter); dec %ecx; jnz; ret */
static void make(unsigned char step)
{
    uint64_t at = (uint64_t)&counter;
    unsigned char *p = code;

    *p++ = 0x48, *p++ = 0xb8; /* mov $counter,%rax */
    memcpy(p, &at, 8), p += 8;
    *p++ = 0xb9, *p++ = 0x50, *p++ = 0xc3, *p++ = 0, *p++ = 0; /* mov $50000,%ecx */
    *p++ = 0x48, *p++ = 0x83, *p++ = 0x00, *p++ = step; /* addq $step,(%rax) */
    *p++ = 0xff, *p++ = 0xc9;                           /* dec %ecx */
    *p++ = 0x75, *p++ = (unsigned char)-8;              /* jnz */
    *p++ = 0xc3;
}

int main(int argc, char **argv)
{
    unsigned round = 0;

    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return 1;
    land(argc, argv, on_landing);
    while (!enough()) {
        make((unsigned char)(1 + round++ % 5));
        ((void (*)(void))(uintptr_t)code)();
    }
    mix(counter);
    say_landings();
    return 0;
}
