"""Calls the recorder answers itself, because their effects can't be recorded.

`_OBSOLETE` are numbers the kernel no longer implements: ENOSYS is its own
answer, and nobody needs to be told.  `_REFUSED` exist; the program gets the
answer of a kernel without the feature or of a user without the privilege.
"""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import Call, addr, call, fd, flags, hexa, num, path, pid, size

_OBSOLETE_NUMBERS: Final = {
    "uselib": 134,
    "_sysctl": 156,
    "create_module": 174,
    "get_kernel_syms": 177,
    "query_module": 178,
    "nfsservctl": 180,
    "getpmsg": 181,
    "putpmsg": 182,
    "afs_syscall": 183,
    "tuxcall": 184,
    "security": 185,
    "set_thread_area": 205,
    "get_thread_area": 211,
    "lookup_dcookie": 212,
    "epoll_ctl_old": 214,
    "epoll_wait_old": 215,
    "vserver": 236,
    # Entered only from a trampoline the kernel itself maps for a probe.
    "uretprobe": 335,
    "uprobe": 336,
}
_OBSOLETE: Final = tuple(
    call(name, nr, refuse=errno.ENOSYS) for name, nr in _OBSOLETE_NUMBERS.items()
)

_REFUSED: Final = (
    # Completions appear in memory shared with the kernel, without a system call. Event loops
    # probe for io_uring as they start and have another way, so its refusal is silent.
    call("io_uring_setup", 425, size(), addr(), refuse=errno.ENOSYS),
    call(
        "io_uring_enter",
        426,
        fd(),
        size(),
        size(),
        hexa(),
        addr(),
        size(),
        refuse=errno.ENOSYS,
    ),
    call("io_uring_register", 427, fd(), num(), addr(), size(), refuse=errno.ENOSYS),
    call("io_setup", 206, num(), addr(), refuse=errno.ENOSYS, warn=True),
    call("io_destroy", 207, hexa(), refuse=errno.ENOSYS, warn=True),
    call("io_getevents", 208, hexa(), num(), num(), addr(), addr(), refuse=errno.ENOSYS, warn=True),
    call("io_submit", 209, hexa(), num(), addr(), refuse=errno.ENOSYS, warn=True),
    call("io_cancel", 210, hexa(), addr(), addr(), refuse=errno.ENOSYS, warn=True),
    call(
        "io_pgetevents",
        333,
        hexa(),
        num(),
        num(),
        addr(),
        addr(),
        addr(),
        refuse=errno.ENOSYS,
        warn=True,
    ),
    # Page faults and counters that another party answers or reads.
    call("userfaultfd", 323, flags("newfd"), refuse=errno.EPERM, warn=True),
    call(
        "perf_event_open",
        298,
        addr(),
        pid(),
        num(),
        fd(),
        hexa(),
        refuse=errno.ENOSYS,
        warn=True,
    ),
    call("bpf", 321, num(), addr(), size(), refuse=errno.EPERM, warn=True),
    # Memory that nobody else can read can't be recorded.
    call("memfd_secret", 447, hexa(), refuse=errno.ENOSYS, warn=True),
    # A task has one tracer, and that is the recorder.
    call("ptrace", 101, num(), pid(), addr(), addr(), refuse=errno.EPERM, warn=True),
    # Port instructions are input that no system call shows.
    call("iopl", 172, num(), refuse=errno.EPERM, warn=True),
    call("ioperm", 173, hexa(), size(), num(), refuse=errno.EPERM, warn=True),
    # The machine itself.
    call("init_module", 175, addr(), size(), addr(), refuse=errno.EPERM, warn=True),
    call("finit_module", 313, fd(), path(), hexa(), refuse=errno.EPERM, warn=True),
    call("delete_module", 176, path(), hexa(), refuse=errno.EPERM, warn=True),
    call("kexec_load", 246, addr(), size(), addr(), hexa(), refuse=errno.EPERM, warn=True),
    call(
        "kexec_file_load",
        320,
        fd(),
        fd(),
        size(),
        path(),
        hexa(),
        refuse=errno.EPERM,
        warn=True,
    ),
    call("reboot", 169, hexa(), hexa(), hexa(), addr(), refuse=errno.EPERM, warn=True),
)

CALLS: Final[tuple[Call, ...]] = (*_OBSOLETE, *_REFUSED)
