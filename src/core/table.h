/* The system-call facts as the C core reads them.
 *
 * The single source is the Python table in src/relive/syscalls/; at build time
 * it is encoded into these structs (table_data.inc).  Nothing here is written
 * by hand for a particular call.
 */
#ifndef RELIVE_TABLE_H
#define RELIVE_TABLE_H

#include <stdint.h>

#define CALL_MAX_ARGS 6
#define CALL_MAX_NR 1024

/* What an argument means to the memory of the program. */
enum arg_kind {
    ARG_SCALAR = 0, /* nothing in memory */
    ARG_STR,        /* in: NUL-terminated string */
    ARG_STRV,       /* in: NULL-terminated vector of string pointers */
    ARG_IN,         /* in: a block */
    ARG_OUT,        /* out: a block */
    ARG_INOUT,      /* in and out: a block (poll's pollfds, select's sets) */
    ARG_IOV_IN,     /* in: struct iovec[args[size_arg]] whose buffers the kernel reads */
    ARG_IOV_OUT,    /* in: struct iovec[...]; result bytes are written through it, in order */
    ARG_MSG_IN,     /* struct msghdr as for sendmsg */
    ARG_MSG_OUT,    /* struct msghdr as for recvmsg (name, iov, control, flags written) */
    ARG_MMSG_IN,    /* struct mmsghdr[args[size_arg]]; msg_len of the first `result` is written */
    ARG_MMSG_OUT,   /* struct mmsghdr[args[size_arg]] as for recvmmsg */
};

/* How big the block is. */
enum size_rule {
    SIZE_FIXED = 0, /* elem bytes */
    SIZE_ARG,       /* elem * args[size_arg] */
    SIZE_RET,       /* out: elem * result; before the call: elem * args[size_arg] */
    SIZE_PTR32,     /* value-result: *(u32 *)args[size_arg] before; after: min(before, after) */
    SIZE_PTR64,     /* the same with a u64 */
    SIZE_FDSET,     /* ((args[size_arg] + 63) / 64) * 8, an fd_set */
    SIZE_BITS_ARG,  /* (args[size_arg] + 7) / 8 */
    SIZE_RET_MIN,   /* out: min(result, elem * args[size_arg]): calls whose result may exceed
                       what was written (readlink never; getxattr(size 0), recvfrom MSG_TRUNC) */
    SIZE_IN_U32,    /* the block starts with a u32/u64 that is its own size (clone_args has none;
                       sched_attr, perf_event_attr): *(u32 *)block, at most elem */
};

/* arg_desc.flags */
#define ARGF_EVEN_ON_ERROR 0x01 /* written even when the call fails (nanosleep's rem on EINTR) */
#define ARGF_ONLY_ON_EINTR 0x02 /* written only when the result is -EINTR or a restart code */
#define ARGF_RET_NONZERO 0x04   /* written only when the result is > 0 (wait4's status) */
#define ARGF_FUTEX_WORD 0x08    /* kernel may change the word while the call blocks (PI futex) */
#define ARGF_ON_ENOSPC 0x10     /* also written when the result is -ENOSPC/-E2BIG/-EOVERFLOW/-ERANGE */

struct arg_desc {
    uint8_t kind;     /* enum arg_kind */
    uint8_t rule;     /* enum size_rule */
    uint8_t size_arg; /* index 0..5 of the argument the rule names */
    uint8_t flags;    /* ARGF_* */
    uint32_t elem;    /* bytes */
};

/* call_desc.flags */
#define CALLF_BLOCKS 0x0001       /* may sleep until another task or the world acts */
#define CALLF_WRITES_FD 0x0002    /* hands bytes to the file in args[0]: echo, mapped-file check */
#define CALLF_RECORD_ENTRY 0x0004 /* recorder: Python handler at entry */
#define CALLF_RECORD_EXIT 0x0008  /* recorder: Python handler at exit */
#define CALLF_REPLAY 0x0010       /* replayer: Python handler (the call is executed for real) */
#define CALLF_REFUSE 0x0020       /* answered with -refuse_errno, never executed */
#define CALLF_WARN 0x0040         /* with REFUSE: tell the user once */
#define CALLF_NORETURN 0x0080     /* exit, exit_group */
#define CALLF_RESTARTS_BLOCK 0x0100 /* may return ERESTART_RESTARTBLOCK: restart_syscall goes on with it */
#define CALLF_OPENS 0x0200        /* the result is a new fd: re-opened stdout check */
#define CALLF_YIELDS 0x0400       /* a place to let another task run (sched_yield) */

struct call_desc {
    uint16_t nr;
    uint16_t flags; /* CALLF_* */
    uint16_t refuse_errno;
    uint8_t nargs;
    uint8_t pad;
    struct arg_desc arg[CALL_MAX_ARGS];
};

/* A multiplexed call (ioctl, fcntl, prctl, futex, mmap): the first variant whose
 * (args[arg] & mask) == value applies; else by_nr's own description. */
struct call_variant {
    uint8_t arg;
    uint8_t pad[3];
    uint32_t mask;
    uint32_t value;
    uint32_t desc; /* index into descs */
};

struct call_table {
    uint32_t n_descs;
    const struct call_desc *descs;
    /* by number: index into descs, or UINT32_MAX for an unknown call */
    const uint32_t *by_nr; /* [CALL_MAX_NR] */
    /* by number: range of variants */
    const uint32_t *variant_first; /* [CALL_MAX_NR] */
    const uint32_t *variant_count; /* [CALL_MAX_NR] */
    const struct call_variant *variants;
};

extern const struct call_table relive_calls; /* table.c includes the generated data */

/* The description for a call, or NULL for an unknown number. */
const struct call_desc *call_lookup(uint64_t nr, const uint64_t args[CALL_MAX_ARGS]);

#endif
