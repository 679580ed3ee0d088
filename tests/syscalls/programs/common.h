/* Calls made raw, with outputs in memory that is filled with a pattern first, so
 * that whatever the kernel writes shows. */
#ifndef COMMON_H
#define COMMON_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define PATTERN 0xa5
static uint8_t arena[1 << 20] __attribute__((aligned(4096)));

/* A fresh block of `len` bytes for outputs, at least 64 bytes away from any other. */
static inline void *room(size_t len)
{
    static size_t used = 64;

    used = (used + 63) & ~(size_t)63;
    if (used + len + 64 > sizeof arena)
        used = 64;
    uint8_t *p = arena + used;
    memset(p, PATTERN, len + 64);
    used += len + 64;
    return p;
}

/* A fresh block with given contents. */
static inline void *with(const void *bytes, size_t len)
{
    void *p = room(len + 64);
    memcpy(p, bytes, len);
    return p;
}

#ifndef SYS_cachestat
#define SYS_cachestat 451
#define SYS_fchmodat2 452
#define SYS_futex_wake 454
#define SYS_futex_wait 455
#define SYS_futex_requeue 456
#define SYS_statmount 457
#define SYS_listmount 458
#define SYS_lsm_get_self_attr 459
#define SYS_lsm_list_modules 461
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#define SYS_file_getattr 468
#define SYS_listns 470
#endif

#define CALL(nr, ...) syscall(SYS_##nr, ##__VA_ARGS__)
#define ROOM(type) ((type *)room(sizeof(type)))

#endif
