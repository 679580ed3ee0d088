/* A landmark is the state that pins an asynchronous event: the registers (logged
 * with the event), a digest of the extended state, and a memory sample.
 *
 * The sample is the memory that code at this point is likely to work on, in the
 * form of an output blob (params.h): what instructions near the instruction pointer address relative to
 * it or absolutely, thread-local storage, what pointer registers point at, the active stack window, and what the
 * words found so point at; writable mappings only, bounded. Two items come first: address LANDMARK_XSTATE holds the digest of the
 * extended state, address LANDMARK_CPU the processor time (ns) that the task has
 * used, a hint that is never compared. */
#ifndef RELIVE_LANDMARK_H
#define RELIVE_LANDMARK_H

#include "changes.h"
#include "tracee.h"

#define LANDMARK_XSTATE 0
#define LANDMARK_CPU 1
#define LANDMARK_DIGESTS 2
#define LANDMARK_XVALUES 3 /* the extended state, as PTRACE_GETREGSET gives it */

/* Bounds: bytes of stack, bytes about a pointer's target, blocks in all. */
#define SAMPLE_STACK 1024
#define SAMPLE_BLOCK 128
#define SAMPLE_BLOCKS 320
/* Bytes of code on either side of the instruction pointer that are looked at. */
#define SAMPLE_CODE 256

/* 0 or -errno. The task is stopped in user code with these registers. */
int landmark_take(int tid, const struct mem *m, const struct regs *regs, struct changes *changes,
                  struct buf *ret);

#define XSTATE_MAX 16384
/* The extended state as PTRACE_GETREGSET gives it, without what the program does not see. 0 or -errno. */
int xstate_values(int tid, uint8_t area[XSTATE_MAX], size_t *ret_len);
/* Digest of the extended state's values, whatever its in-use bits: components in
 * their initial state count with their initial values. */
int xstate_digest(int tid, uint64_t *ret);

/* How memory and extended state as they are differ from a sample. */
struct sample_word {
    uint64_t addr, value; /* recorded */
};
struct difference {
    unsigned max;              /* words to be told; set by the caller, as is: */
    struct sample_word *words; /* those that differ, with their recorded values */
    unsigned n;                /* told */
    unsigned total;            /* 8-byte words of the sample that differ or can't be read */
    int same;                  /* nothing differs, the digests of small mappings included */
    int xstate_same;
};
int landmark_compare(int tid, const struct mem *m, const uint8_t *sample, size_t len,
                     struct difference *d);

/* Words of the extended state that differ from the sample's: where they lie in their component. */
struct xstate_word {
    unsigned component, offset;
    uint64_t value; /* recorded */
};
int xstate_compare(int tid, const uint8_t *sample, size_t len, unsigned max,
                   struct xstate_word *ret_words, unsigned *ret_n);

/* The processor time from a sample, 0 when it has none. */
uint64_t landmark_cpu_ns(const uint8_t *sample, size_t len);

#endif
