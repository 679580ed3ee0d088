#define _GNU_SOURCE
#include "guardian.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TABLE_SIZE (GUARD_ENTRIES * sizeof(struct guard_entry))

enum what {
    ADD_FILE,
    DROP_FILE,
    DEBUG_REGISTERS, /* of the process that the file belongs to are in use */
};

struct message {
    uint32_t file;
    uint32_t what;
    int32_t pid;
};

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

/* What follows runs in a fork of a process that may have threads: system calls
 * only, until the end, when nothing can be lost any more. */

static void put_back(const struct guard_entry *table, const int *files)
{
    for (uint32_t i = 0; i < GUARD_ENTRIES; i++) {
        const struct guard_entry *e = &table[i];
        uint8_t now[GUARD_BYTES];

        if (!__atomic_load_n(&e->live, __ATOMIC_ACQUIRE) || files[e->file] < 0)
            continue;
        /* Something else may be mapped there by now. */
        if (pread(files[e->file], now, e->len, (off_t)e->addr) != e->len)
            continue;
        if (memcmp(now, e->patched, e->len) == 0 &&
            pwrite(files[e->file], e->original, e->len, (off_t)e->addr) != e->len)
            continue; /* nobody is left to be told */
    }
}

/* A debug register outlives the tracer that set it. */
static void clear_debug_registers(pid_t tid)
{
    const struct timespec nap = {0, 1000000};
    int tries = 1000, status;

    /* The kernel may still be taking the old tracer away. */
    while (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
        if (errno != EPERM || --tries == 0 || nanosleep(&nap, NULL) < 0)
            return;
    if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
        return;
    while (waitpid(tid, &status, __WALL) < 0)
        if (errno != EINTR)
            return;
    if (!WIFSTOPPED(status))
        return;
    ptrace(PTRACE_POKEUSER, tid, (void *)(offsetof(struct user, u_debugreg) + 7 * 8), NULL);
    /* a signal of the program's own is passed on, one of a breakpoint is not */
    status = status >> 16 || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
    ptrace(PTRACE_DETACH, tid, NULL, (void *)(intptr_t)status);
}

static void release_threads(pid_t pid)
{
    char path[32];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        if (atoi(entry->d_name) > 0)
            clear_debug_registers(atoi(entry->d_name));
}

static bool take_message(int sock, int *files, pid_t *pids)
{
    struct message m;
    union control control;
    struct iovec iov = {&m, sizeof m};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
                            .msg_controllen = sizeof control};
    ssize_t n;

    do
        n = recvmsg(sock, &header, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != sizeof m)
        return false;
    if (m.file >= GUARD_FILES)
        return true;
    if (m.what == DEBUG_REGISTERS) {
        pids[m.file] = m.pid;
        return true;
    }
    pids[m.file] = 0;
    if (files[m.file] >= 0)
        close(files[m.file]);
    files[m.file] = -1;
    if (m.what == ADD_FILE && header.msg_controllen >= sizeof(struct cmsghdr))
        memcpy(&files[m.file], CMSG_DATA(&control.header), sizeof(int));
    return true;
}

static _Noreturn void guard(int sock, const struct guard_entry *table)
{
    static int files[GUARD_FILES];
    static pid_t pids[GUARD_FILES];
    sigset_t all;

    setsid();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_NAME, "guardian");
    if (sock != 0 && dup2(sock, 0) < 0)
        _exit(1);
    syscall(SYS_close_range, 1u, ~0u, 0u);
    for (unsigned i = 0; i < GUARD_FILES; i++)
        files[i] = -1;
    while (take_message(0, files, pids))
        ;
    put_back(table, files);
    for (unsigned i = 0; i < GUARD_FILES; i++)
        if (pids[i])
            release_threads(pids[i]);
    _exit(0);
}

int guardian_create(struct guardian *g)
{
    int socks[2], status, rc;
    pid_t middle;

    memset(g, 0, sizeof *g);
    g->sock = -1;
    g->table = mmap(NULL, TABLE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g->table == MAP_FAILED) {
        g->table = NULL;
        return -errno;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0) {
        rc = -errno;
        goto unmap;
    }
    /* A grandchild: nobody has to wait for it, and a wait for any child does not
     * meet it. */
    middle = fork();
    if (middle == 0) {
        pid_t pid = fork();

        if (pid == 0) {
            close(socks[0]);
            guard(socks[1], g->table);
        }
        if (pid > 0 && write(socks[1], &pid, sizeof pid) != sizeof pid)
            _exit(1);
        _exit(pid < 0);
    }
    rc = middle < 0 ? -errno : 0;
    close(socks[1]);
    if (rc)
        goto close_sock;
    while (waitpid(middle, &status, 0) < 0 && errno == EINTR)
        ;
    if (read(socks[0], &g->pid, sizeof g->pid) != sizeof g->pid) {
        rc = -EAGAIN;
        goto close_sock;
    }
    g->sock = socks[0];
    return 0;
close_sock:
    close(socks[0]);
unmap:
    munmap(g->table, TABLE_SIZE);
    g->table = NULL;
    return rc;
}

void guardian_destroy(struct guardian *g)
{
    if (g->sock >= 0)
        close(g->sock);
    if (g->table)
        munmap(g->table, TABLE_SIZE);
    g->sock = -1;
    g->table = NULL;
}

static int send_message(const struct guardian *g, const struct message *m, int fd)
{
    union control control;
    struct iovec iov = {(void *)m, sizeof *m};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        header.msg_control = &control;
        header.msg_controllen = sizeof control;
    }
    while (sendmsg(g->sock, &header, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int guardian_add_file(struct guardian *g, int fd, uint32_t *ret_file)
{
    for (uint32_t i = 0; i < GUARD_FILES; i++) {
        const struct message m = {i, ADD_FILE, 0};
        int rc;

        if (g->file_used[i])
            continue;
        rc = send_message(g, &m, fd);
        if (rc)
            return rc;
        g->file_used[i] = 1;
        *ret_file = i;
        return 0;
    }
    return -ENOSPC;
}

void guardian_drop_file(struct guardian *g, uint32_t file)
{
    const struct message m = {file, DROP_FILE, 0};

    if (file >= GUARD_FILES || !g->file_used[file])
        return;
    g->file_used[file] = 0;
    for (uint32_t i = 0; i < g->used; i++)
        if (g->table[i].live && g->table[i].file == file)
            guardian_remove(g, i);
    send_message(g, &m, -1);
}

int guardian_debug_registers(struct guardian *g, uint32_t file, pid_t pid)
{
    const struct message m = {file, DEBUG_REGISTERS, pid};

    return send_message(g, &m, -1);
}

int guardian_add(struct guardian *g, uint32_t file, uint64_t addr, const uint8_t *patched,
                 const uint8_t *original, unsigned len, uint32_t *ret)
{
    uint32_t i;
    struct guard_entry *e;

    if (len > GUARD_BYTES)
        return -EINVAL;
    for (i = g->hint; i < g->used && g->table[i].live; i++)
        ;
    if (i == GUARD_ENTRIES)
        return -ENOSPC;
    if (i == g->used)
        g->used++;
    g->hint = i + 1;
    e = &g->table[i];
    e->addr = addr;
    e->file = file;
    e->len = (uint8_t)len;
    memcpy(e->patched, patched, len);
    memcpy(e->original, original, len);
    __atomic_store_n(&e->live, 1, __ATOMIC_RELEASE);
    *ret = i;
    return 0;
}

void guardian_remove(struct guardian *g, uint32_t entry)
{
    if (entry < g->hint)
        g->hint = entry;
    if (entry < GUARD_ENTRIES)
        __atomic_store_n(&g->table[entry].live, 0, __ATOMIC_RELEASE);
}
