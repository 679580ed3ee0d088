/* A process whose memory the parameter tests play with: fixed mappings with holes
 * and a large block. Says "ok" and waits for the end of its input. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

static void map(uintptr_t at, size_t size)
{
    void *p = mmap((void *)at, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != (void *)at)
        exit(1);
}

int main(int argc, char **argv)
{
    char byte;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 1; i + 1 < argc; i += 2)
        map(strtoul(argv[i], NULL, 0), strtoul(argv[i + 1], NULL, 0));
    if (write(1, "ok", 2) != 2)
        return 1;
    return read(0, &byte, 1) != 0;
}
