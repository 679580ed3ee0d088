"""Files and file systems: names, data, attributes, mounts.

Facts: the manual pages of section 2; what is written when a call fails is
``fs/*.c`` of Linux 6.x.
"""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import (
    Call,
    When,
    addr,
    call,
    dfd,
    facts,
    fd,
    flags,
    in_,
    inout,
    iov_in,
    iov_out,
    long_,
    mode,
    num,
    one_of,
    out,
    path,
    select,
    size,
    string,
    uid,
    unsigned,
)

_DATA: Final = (
    call("read", 0, fd(), out(ret=2), size(), blocks=True),
    call("write", 1, fd(), in_(n=2), size(), blocks=True, writes_fd=True),
    call("pread64", 17, fd(), out(ret=2), size(), long_(), blocks=True),
    call("pwrite64", 18, fd(), in_(n=2), size(), long_(), blocks=True, writes_fd=True),
    call("readv", 19, fd(), iov_out(n=2), size(), blocks=True),
    call("writev", 20, fd(), iov_in(n=2), size(), blocks=True, writes_fd=True),
    call("preadv", 295, fd(), iov_out(n=2), size(), long_(), long_(), blocks=True),
    call("pwritev", 296, fd(), iov_in(n=2), size(), long_(), long_(), blocks=True, writes_fd=True),
    call("preadv2", 327, fd(), iov_out(n=2), size(), long_(), long_(), flags("rwf"), blocks=True),
    call(
        "pwritev2",
        328,
        fd(),
        iov_in(n=2),
        size(),
        long_(),
        long_(),
        flags("rwf"),
        blocks=True,
        writes_fd=True,
    ),
    call("lseek", 8, fd(), long_(), one_of("whence"), ret="long"),
    # The offset is written back whatever the result (SYSCALL_DEFINE4(sendfile64)).
    call(
        "sendfile",
        40,
        fd(),
        fd(),
        inout("off", when=When.EVEN_ON_ERROR),
        size(),
        blocks=True,
        on_entry=True,
    ),
    call(
        "splice",
        275,
        fd(),
        inout("off"),
        fd(),
        inout("off"),
        size(),
        flags("splice"),
        blocks=True,
        on_entry=True,
    ),
    call("tee", 276, fd(), fd(), size(), flags("splice"), blocks=True, on_entry=True),
    # From a pipe's reading end vmsplice *writes* through the iovecs; only the descriptor knows
    # which, so special_outs claims the first `result` bytes in both cases.
    call(
        "vmsplice",
        278,
        fd(),
        iov_in(n=2),
        size(),
        flags("splice"),
        blocks=True,
        writes_fd=True,
        on_exit=True,
    ),
    call(
        "copy_file_range",
        326,
        fd(),
        inout("off"),
        fd(),
        inout("off"),
        size(),
        flags("none"),
        on_entry=True,
    ),
    call("truncate", 76, path(), long_()),
    call("ftruncate", 77, fd(), long_(), on_exit=True),
    call("fallocate", 285, fd(), flags("falloc"), long_(), long_(), on_exit=True),
    call("fadvise64", 221, fd(), long_(), size(), one_of("fadvise")),
    call("readahead", 187, fd(), long_(), size()),
    call("fsync", 74, fd()),
    call("fdatasync", 75, fd()),
    call("sync", 162),
    call("syncfs", 306, fd()),
    call("sync_file_range", 277, fd(), long_(), long_(), flags("sync_file_range")),
    call("cachestat", 451, fd(), in_("cachestat_range"), out("cachestat"), flags("none")),
    call("flock", 73, fd(), flags("flock"), blocks=True),
)

_DESCRIPTORS: Final = (
    # Opening a FIFO, a tty or a leased file may sleep.
    call("open", 2, path(), flags("open"), mode(), blocks=True, opens=True),
    call("openat", 257, dfd(), path(), flags("open"), mode(), blocks=True, opens=True),
    call("openat2", 437, dfd(), path(), in_("open_how", n=3), size(), blocks=True, opens=True),
    call("creat", 85, path(), mode(), blocks=True, opens=True),
    # name_to_handle_at: the handle is as long as its first field says; special_outs.
    call(
        "name_to_handle_at",
        303,
        dfd(),
        path(),
        in_("file_handle"),
        addr(),
        flags("at"),
        on_exit=True,
    ),
    call(
        "open_by_handle_at", 304, fd(), in_("file_handle"), flags("open"), blocks=True, opens=True
    ),
    call("close", 3, fd()),
    call("close_range", 436, fd(), fd(), flags("close_range")),
    call("dup", 32, fd(), opens=True),
    call("dup2", 33, fd(), fd(), opens=True),
    call("dup3", 292, fd(), fd(), flags("newfd"), opens=True),
    call("pipe", 22, out("fdpair")),
    call("pipe2", 293, out("fdpair"), flags("newfd")),
    call("memfd_create", 319, string(), flags("memfd"), opens=True),
)

_NAMES: Final = (
    call("access", 21, path(), flags("access")),
    call("faccessat", 269, dfd(), path(), flags("access")),
    call("faccessat2", 439, dfd(), path(), flags("access"), flags("at")),
    call("rename", 82, path(), path()),
    call("renameat", 264, dfd(), path(), dfd(), path()),
    call("renameat2", 316, dfd(), path(), dfd(), path(), flags("rename")),
    call("mkdir", 83, path(), mode()),
    call("mkdirat", 258, dfd(), path(), mode()),
    call("rmdir", 84, path()),
    call("link", 86, path(), path()),
    call("linkat", 265, dfd(), path(), dfd(), path(), flags("at")),
    call("unlink", 87, path()),
    call("unlinkat", 263, dfd(), path(), flags("at")),
    call("symlink", 88, path(), path()),
    call("symlinkat", 266, path(), dfd(), path()),
    call("readlink", 89, path(), out("pathbuf", ret=2), size()),
    call("readlinkat", 267, dfd(), path(), out("pathbuf", ret=3), size()),
    call("mknod", 133, path(), mode(), unsigned()),
    call("mknodat", 259, dfd(), path(), mode(), unsigned()),
    call("chdir", 80, path()),
    call("fchdir", 81, fd()),
    call("chroot", 161, path()),
    call("getcwd", 79, out("pathbuf", ret=1), size()),
    call("getdents", 78, fd(), out("dirents", ret=2), size()),
    call("getdents64", 217, fd(), out("dirents", ret=2), size()),
    call("umask", 95, mode(), ret="octal"),
)

_ATTRIBUTES: Final = (
    call("stat", 4, path(), out("stat")),
    call("fstat", 5, fd(), out("stat")),
    call("lstat", 6, path(), out("stat")),
    call("newfstatat", 262, dfd(), path(), out("stat"), flags("at")),
    call("statx", 332, dfd(), path(), flags("at"), flags("statx"), out("statx")),
    call("statfs", 137, path(), out("statfs")),
    call("fstatfs", 138, fd(), out("statfs")),
    call("ustat", 136, unsigned(), out("ustat")),
    call("chmod", 90, path(), mode()),
    call("fchmod", 91, fd(), mode()),
    call("fchmodat", 268, dfd(), path(), mode()),
    call("fchmodat2", 452, dfd(), path(), mode(), flags("at")),
    call("chown", 92, path(), uid(), uid()),
    call("fchown", 93, fd(), uid(), uid()),
    call("lchown", 94, path(), uid(), uid()),
    call("fchownat", 260, dfd(), path(), uid(), uid(), flags("at")),
    call("utime", 132, path(), in_("utimbuf")),
    call("utimes", 235, path(), in_("timeval2")),
    call("futimesat", 261, dfd(), path(), in_("timeval2")),
    call("utimensat", 280, dfd(), path(), in_("timespec2"), flags("at")),
    call("setxattr", 188, path(), string(), in_(n=3), size(), flags("xattr")),
    call("lsetxattr", 189, path(), string(), in_(n=3), size(), flags("xattr")),
    call("fsetxattr", 190, fd(), string(), in_(n=3), size(), flags("xattr")),
    # With size 0 these tell how much room is needed and write nothing.
    call("getxattr", 191, path(), string(), out(ret_min=3), size()),
    call("lgetxattr", 192, path(), string(), out(ret_min=3), size()),
    call("fgetxattr", 193, fd(), string(), out(ret_min=3), size()),
    call("listxattr", 194, path(), out(ret_min=2), size()),
    call("llistxattr", 195, path(), out(ret_min=2), size()),
    call("flistxattr", 196, fd(), out(ret_min=2), size()),
    call("removexattr", 197, path(), string()),
    call("lremovexattr", 198, path(), string()),
    call("fremovexattr", 199, fd(), string()),
    call("setxattrat", 463, dfd(), path(), flags("at"), string(), in_("xattr_args"), size()),
    # getxattrat: the buffer is named inside the struct; special_outs.
    call(
        "getxattrat",
        464,
        dfd(),
        path(),
        flags("at"),
        string(),
        in_("xattr_args"),
        size(),
        on_exit=True,
    ),
    call("listxattrat", 465, dfd(), path(), flags("at"), out(ret_min=4), size()),
    call("removexattrat", 466, dfd(), path(), flags("at"), string()),
    call("file_getattr", 468, dfd(), path(), out("file_attr", n=3), size(), flags("at")),
    call("file_setattr", 469, dfd(), path(), in_("file_attr", n=3), size(), flags("at")),
)

_QUOTA_CMD: Final = 0xFFFFFF00
"""quotactl's command without the quota type (QCMD, linux/quota.h)."""


def _quota(name: str, nr: int) -> Call:
    """quotactl(cmd, special, id, addr); quotactl_fd takes a descriptor for the first two."""
    first = (
        (fd(), one_of("quota"), uid())
        if name == "quotactl_fd"
        else (one_of("quota"), path(), uid())
    )
    by_cmd = {
        0x80000100: facts("Q_SYNC", *first, addr()),
        0x80000200: facts("Q_QUOTAON", *first, path()),
        0x80000300: facts("Q_QUOTAOFF", *first, addr()),
        0x80000400: facts("Q_GETFMT", *first, out("u32")),
        0x80000500: facts("Q_GETINFO", *first, out("if_dqinfo")),
        0x80000600: facts("Q_SETINFO", *first, in_("if_dqinfo")),
        0x80000700: facts("Q_GETQUOTA", *first, out("if_dqblk")),
        0x80000800: facts("Q_SETQUOTA", *first, in_("if_dqblk")),
        0x80000900: facts("Q_GETNEXTQUOTA", *first, out("if_nextdqblk")),
        0x00580100: facts("Q_XQUOTAON", *first, in_("u32")),
        0x00580200: facts("Q_XQUOTAOFF", *first, in_("u32")),
        0x00580300: facts("Q_XGETQUOTA", *first, out("fs_disk_quota")),
        0x00580400: facts("Q_XSETQLIM", *first, in_("fs_disk_quota")),
        0x00580500: facts("Q_XGETQSTAT", *first, out("fs_quota_stat")),
        0x00580600: facts("Q_XQUOTARM", *first, in_("u32")),
        0x00580700: facts("Q_XQUOTASYNC", *first, addr()),
        0x00580800: facts("Q_XGETQSTATV", *first, inout("fs_quota_statv")),
        0x00580900: facts("Q_XGETNEXTQUOTA", *first, out("fs_disk_quota")),
    }
    return call(
        name,
        nr,
        *first,
        addr(),
        refuse=errno.EINVAL,
        warn=True,
        variants=select(1 if name == "quotactl_fd" else 0, by_cmd, _QUOTA_CMD),
    )


_FSCONFIG: Final = {
    # cmd: FSCONFIG_* of linux/mount.h
    1: facts("FSCONFIG_SET_STRING", fd(), num(), string(), string(), num()),
    2: facts("FSCONFIG_SET_BINARY", fd(), num(), string(), in_(n=4), size()),
    3: facts("FSCONFIG_SET_PATH", fd(), num(), string(), path(), num()),
    4: facts("FSCONFIG_SET_PATH_EMPTY", fd(), num(), string(), path(), num()),
}

_MOUNTS: Final = (
    # The data argument is text for every file system but a few (NFS, SMB with binary options).
    call("mount", 165, path(), path(), string(), flags("mount"), string()),
    call("umount2", 166, path(), flags("umount")),
    call("pivot_root", 155, path(), path()),
    call("swapon", 167, path(), flags("none")),
    call("swapoff", 168, path()),
    call("acct", 163, path()),
    call("open_tree", 428, dfd(), path(), flags("open_tree"), opens=True),
    call(
        "open_tree_attr",
        467,
        dfd(),
        path(),
        flags("open_tree"),
        in_("mount_attr", n=4),
        size(),
        opens=True,
    ),
    call("move_mount", 429, dfd(), path(), dfd(), path(), flags("move_mount")),
    call("fsopen", 430, string(), flags("fsopen"), opens=True),
    call(
        "fsconfig",
        431,
        fd(),
        num(),
        string(),
        addr(),
        num(),
        variants=select(1, _FSCONFIG),
    ),
    call("fsmount", 432, fd(), flags("fsopen"), flags("none"), opens=True),
    call("fspick", 433, dfd(), path(), flags("at"), opens=True),
    call("mount_setattr", 442, dfd(), path(), flags("at"), in_("mount_attr", n=4), size()),
    call("statmount", 457, in_("mnt_id_req", own=True), out(n=2), size(), flags("none")),
    call("listmount", 458, in_("mnt_id_req", own=True), out("u64", ret=2), size(), flags("none")),
    # sysfs(1, name) and sysfs(3) are described; sysfs(2, index, buf) writes a string of unknown
    # length and has been obsolete for decades.
    call(
        "sysfs",
        139,
        num(),
        addr(),
        addr(),
        refuse=errno.EINVAL,
        warn=True,
        variants=select(0, {1: facts("sysfs", num(), string()), 3: facts("sysfs", num())}),
    ),
    _quota("quotactl", 179),
    _quota("quotactl_fd", 443),
)

_WATCHES: Final = (
    call("inotify_init", 253, opens=True),
    call("inotify_init1", 294, flags("newfd"), opens=True),
    call("inotify_add_watch", 254, fd(), path(), flags("inotify")),
    call("inotify_rm_watch", 255, fd(), num()),
    call("fanotify_init", 300, flags("fanotify"), flags("open"), opens=True),
    call("fanotify_mark", 301, fd(), flags("fanotify_mark"), flags("inotify"), dfd(), path()),
)

CALLS: Final[tuple[Call, ...]] = (
    *_DATA,
    *_DESCRIPTORS,
    *_NAMES,
    *_ATTRIBUTES,
    *_MOUNTS,
    *_WATCHES,
)
