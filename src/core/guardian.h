/* A tiny process that outlives its maker: when the maker is gone without having
 * said good-bye, it puts original bytes back into the programs that the maker
 * had patched. */
#ifndef RELIVE_GUARDIAN_H
#define RELIVE_GUARDIAN_H

#include <stdint.h>
#include <sys/types.h>

#define GUARD_BYTES 16
#define GUARD_ENTRIES 65536
#define GUARD_FILES 1024

struct guard_entry {
    uint64_t addr;
    uint32_t file;
    uint8_t len;
    uint8_t live; /* written last when added, first when removed */
    uint8_t patched[GUARD_BYTES], original[GUARD_BYTES];
};

struct guardian {
    int sock; /* its end of file is the news of our death */
    pid_t pid;
    struct guard_entry *table; /* shared with the guardian */
    uint32_t used;             /* entries up to here were handed out */
    uint32_t hint;             /* all before here are live */
    uint8_t file_used[GUARD_FILES];
};

/* 0 or -errno. */
int guardian_create(struct guardian *g);
/* The guardian leaves; entries that are still live are put back by it. */
void guardian_destroy(struct guardian *g);

/* Hands over a descriptor of /proc/PID/mem; *ret_file names it in entries. */
int guardian_add_file(struct guardian *g, int fd, uint32_t *ret_file);
void guardian_drop_file(struct guardian *g, uint32_t file);
/* The debug registers of this process, whose file was added, have to be cleared. */
int guardian_debug_registers(struct guardian *g, uint32_t file, pid_t pid);

/* Before the patched bytes are written. *ret: for guardian_remove, after the
 * original bytes are back. -ENOSPC when the table is full. */
int guardian_add(struct guardian *g, uint32_t file, uint64_t addr, const uint8_t *patched,
                 const uint8_t *original, unsigned len, uint32_t *ret);
void guardian_remove(struct guardian *g, uint32_t entry);

#endif
