/* The bytes that the program handed to a write-like call, written to the user's
 * own output: what a replay prints comes from the replayed memory. */
#include "params_internal.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define CHUNK 65536

static int write_all(int fd, const uint8_t *from, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, from, len);
        if (n >= 0) {
            from += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) { /* a descriptor that someone set to O_NONBLOCK */
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            if (poll(&p, 1, -1) < 0 && errno != EINTR)
                return -errno;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int echo_block(const struct mem *m, uint64_t addr, uint64_t len, struct echo *to)
{
    uint8_t bytes[CHUNK];

    while (len > 0) {
        size_t n = params_min(len, sizeof bytes);
        size_t known = params_min(n, to->skip);
        int rc = mem_read(m, addr, bytes, n);
        if (rc == 0)
            rc = write_all(to->fd, bytes + known, n - known);
        to->skip -= known;
        to->seen += n;
        if (rc)
            return rc;
        addr += n;
        len -= n;
    }
    return 0;
}

static int echo_iov(const struct mem *m, uint64_t addr, uint64_t count, uint64_t bytes, struct echo *to)
{
    struct params_iov iov[PARAMS_MAX_IOV];
    uint32_t n;
    int rc = 0;

    params_read_iov(m, addr, count, iov, &n);
    for (uint32_t i = 0; i < n && bytes > 0 && rc == 0; i++) {
        uint64_t len = params_min(iov[i].len, bytes);
        rc = echo_block(m, iov[i].base, len, to);
        bytes -= len;
    }
    return rc == 0 && bytes > 0 ? -EFAULT : rc;
}

static int echo_message(const struct mem *m, uint64_t addr, uint64_t bytes, struct echo *to)
{
    struct params_msghdr h;

    int rc = mem_read(m, addr, &h, sizeof h);
    return rc ? rc : echo_iov(m, h.iov, h.iovlen, bytes, to);
}

/* sendmmsg's result counts messages; how much of each was sent is in msg_len,
 * which the output blob brings: apply it first. */
static int echo_messages(const struct mem *m, uint64_t addr, uint64_t count, struct echo *to)
{
    int rc = 0;

    for (uint64_t i = 0; i < count && rc == 0; i++) {
        uint64_t at = addr + i * sizeof(struct params_mmsghdr);
        uint32_t bytes = 0;

        rc = mem_read(m, at + MMSG_LEN_AT, &bytes, sizeof bytes);
        if (rc == 0)
            rc = echo_message(m, at, bytes, to);
    }
    return rc;
}

int params_echo(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS], int64_t result,
                const struct mem *m, struct echo *to)
{
    if (result <= 0)
        return 0;
    uint64_t bytes = params_min((uint64_t)result, PARAMS_MAX_BLOCK);

    /* The first such argument is the data; what follows is an address (sendto). */
    for (unsigned i = 0; i < d->nargs; i++) {
        const struct arg_desc *a = &d->arg[i];

        if (a->kind == ARG_IN && a->rule == SIZE_ARG)
            return echo_block(
                m, args[i], params_min(bytes, params_times(a->elem, args[a->size_arg])), to);
        if (a->kind == ARG_IOV_IN)
            return echo_iov(m, args[i], args[a->size_arg], bytes, to);
        if (a->kind == ARG_MSG_IN)
            return echo_message(m, args[i], bytes, to);
        if (a->kind == ARG_MMSG_IN)
            return echo_messages(m, args[i], params_min(bytes, params_vlen(args[a->size_arg])),
                                 to);
    }
    return 0;
}
