"""System calls that need more than the table says, while recording: a function
for the entry, one for the exit, by number."""

from __future__ import annotations

import errno
import os
import stat
import struct

from relive import _core
from relive.record import lifecycle, memory
from relive.trace.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from relive.record.session import Session
    from relive.record.tasks import Task

    Regs = tuple[int, ...]
    Entry = Callable[[Session, Task, Regs], None]
    Exit = Callable[[Session, Task, Regs, int], None]

REGS, MEMWRITE = 7, 10
_XFRAME = 0x40
_RDI, _RSI, _RDX, _R10, _R8, _R9 = 14, 13, 12, 7, 9, 8
_ORIG_RAX = 15


def arguments(regs: Regs) -> tuple[int, int, int, int, int, int]:
    return regs[_RDI], regs[_RSI], regs[_RDX], regs[_R10], regs[_R8], regs[_R9]


# ---- entries


def _mmap_entry(session: Session, task: Task, regs: Regs) -> None:
    if not memory.can_map(session, task, regs):
        session.core.skip(task.serial, -errno.ENODEV)
        session.warn("a device was not mapped (ENODEV): its memory can't be recorded")


_MADV_DONTNEED, _MADV_FREE = 4, 8
# Advice without effect on contents, or whose effect a replay can have as well.
_MADVICE = frozenset(
    (0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25)
)


def _madvise_entry(session: Session, task: Task, regs: Regs) -> None:
    advice = regs[_RDX] & 0xFFFFFFFF
    if advice == _MADV_FREE:
        # it may free a page at any time or never; at once is one of the allowed times
        args = list(arguments(regs))
        args[2] = _MADV_DONTNEED
        session.core.set_args(task.serial, tuple(args))
    elif advice not in _MADVICE:
        session.core.skip(task.serial, -errno.EINVAL)


_CLONE_UNTRACED = 0x00800000


def _clone_entry(session: Session, task: Task, regs: Regs) -> None:
    nr = regs[_ORIG_RAX]
    if nr == 56 and regs[_RDI] & _CLONE_UNTRACED:
        args = list(arguments(regs))
        args[0] &= ~_CLONE_UNTRACED
        session.core.set_args(task.serial, tuple(args))
    elif nr == 435:
        try:
            flags = struct.unpack("<Q", session.core.read(task.serial, regs[_RDI], 8))[0]
        except OSError:
            return
        if flags & _CLONE_UNTRACED:
            session.core.skip(task.serial, -errno.EINVAL)


def _exec_entry(session: Session, task: Task, regs: Regs) -> None:
    # it waits for the other threads of the process to end
    path = program_path(session, task, regs)
    if not session.may_trace_all and os.path.exists(path) and not os.access(path, os.R_OK):
        session.core.skip(task.serial, -errno.EACCES)
        session.warn("a program that you may not read was not started (EACCES)")
        return
    if runs_32_bit(path):
        session.core.skip(task.serial, -errno.ENOEXEC)
        session.warn("a 32-bit program was not started (ENOEXEC)")
        return
    session.core.log_entry(task.serial)
    session.core.flag(task.serial, "may_sleep", True)
    # what the kernel will write when it succeeds (exec_mm_release in kernel/fork.c)
    task.at_release = lifecycle.release_writes(session, task)
    if not session.tasks.alone(task):
        session.core.flag(task.serial, "sleeps_deep", True)
    elif task.at_release:
        # others see that done; they must not run before it is logged
        session.core.flag(task.serial, "settles", True)


def program_path(session: Session, task: Task, regs: Regs) -> bytes:
    """The file that an exec names, as the recorder reaches it."""
    path_at, at = regs[_RDI], f"/proc/{task.tid}/cwd"
    if regs[_ORIG_RAX] == 322:
        path_at = regs[_RSI]
        if regs[_RDI] & 0xFFFFFFFF != 0xFFFFFF9C:  # AT_FDCWD
            at = f"/proc/{task.tid}/fd/{regs[_RDI] & 0xFFFFFFFF}"
    path = read_string(session, task, path_at)
    if path.startswith(b"/"):
        at = f"/proc/{task.tid}/root"
    return os.fsencode(at) + (b"/" + path if path else b"")


def runs_32_bit(path: bytes) -> bool:
    """Whether a file is an ELF file that is not 64-bit."""
    try:
        with open(path, "rb") as f:
            head = f.read(5)
    except OSError:
        return False  # its exec fails by itself
    return head[:4] == b"\x7fELF" and head[4] != 2


def read_string(session: Session, task: Task, at: int) -> bytes:
    """A NUL-terminated string of at most a path's length; b"" when unreadable."""
    found = b""
    while len(found) < 4096:
        n = 256 - (at & 255)
        try:
            part = session.core.read(task.serial, at, n)
        except OSError:
            return b""
        found += part
        if b"\0" in part:
            return found[: found.index(b"\0")]
        at += n
    return found


def _exit_entry(session: Session, task: Task, regs: Regs) -> None:
    session.core.log_entry(task.serial)
    if regs[_ORIG_RAX] == 231 or len(session.tasks.users_of(task.mm)) == 1:
        lifecycle.verify_at_end(session, task)


def _setaffinity_entry(session: Session, task: Task, regs: Regs) -> None:
    """All tasks stay on the recorder's core; the mask is only kept."""
    pid, size, addr = regs[_RDI] & 0xFFFFFFFF, regs[_RSI] & 0xFFFFFFFF, regs[_RDX]
    target = task if pid == 0 else session.tasks.by_tid.get(pid)
    if target is None:
        return  # some process outside: its own affair
    try:
        mask = session.core.read(task.serial, addr, min(size, 128))
    except OSError:
        session.core.skip(task.serial, -errno.EFAULT)
        return
    wanted = int.from_bytes(mask, "little") & session.machine_cpus
    if not wanted:
        session.core.skip(task.serial, -errno.EINVAL)
        return
    target.affinity = wanted.to_bytes(128, "little")
    session.core.skip(task.serial, 0)


def _getaffinity_entry(session: Session, task: Task, regs: Regs) -> None:
    pid, size, addr = regs[_RDI] & 0xFFFFFFFF, regs[_RSI] & 0xFFFFFFFF, regs[_RDX]
    target = task if pid == 0 else session.tasks.by_tid.get(pid)
    if target is None:
        return
    # what the kernel writes: its own mask's size (sched_getaffinity(2), NOTES)
    kernel = session.cpu_mask_bytes
    if size * 8 < session.n_cpu_ids or size & 7:
        session.core.skip(task.serial, -errno.EINVAL)
        return
    n = min(size, kernel)
    mask = target.affinity or session.own_cpus.to_bytes(128, "little")
    try:
        session.core.write(task.serial, addr, (mask + bytes(n))[:n])
    except OSError:
        session.core.skip(task.serial, -errno.EFAULT)
        return
    session.core.out(task.serial, addr, n)
    session.core.skip(task.serial, n)


_PR_GET_TSC, _PR_SET_TSC = 25, 26


_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def _dumpable_entry(session: Session, task: Task, regs: Regs) -> None:
    """A process that is not dumpable can be read only with CAP_SYS_PTRACE. Without it the setting
    is kept here, and honoured when a signal would dump core."""
    if session.may_trace_all:
        return
    if regs[_RDI] & 0xFFFFFFFF == _PR_GET_DUMPABLE:
        session.core.skip(task.serial, 0 if task.mm in session.undumpable else 1)
    elif regs[_RSI] > 1:
        session.core.skip(task.serial, -errno.EINVAL)
    else:
        (session.undumpable.discard if regs[_RSI] else session.undumpable.add)(task.mm)
        session.core.skip(task.serial, 0)


def _prctl_entry(session: Session, task: Task, regs: Regs) -> None:
    option = regs[_RDI] & 0xFFFFFFFF
    if option in (_PR_GET_DUMPABLE, _PR_SET_DUMPABLE):
        _dumpable_entry(session, task, regs)
    elif option == _PR_GET_TSC:
        value = struct.pack("<i", 2 if task.tsc_faults else 1)
        try:
            session.core.write(task.serial, regs[_RSI], value)
        except OSError:
            session.core.skip(task.serial, -errno.EFAULT)
            return
        session.core.out(task.serial, regs[_RSI], 4)
        session.core.skip(task.serial, 0)
    elif option == _PR_SET_TSC:
        # the counter faults anyway and is emulated
        if regs[_RSI] == 1:
            task.tsc_faults = False
            session.core.skip(task.serial, 0)
        else:
            session.core.skip(task.serial, -errno.EINVAL)


def _splice_entry(session: Session, task: Task, regs: Regs) -> None:
    """Bytes that go from file to file never pass through the program's memory; what is shown on
    replay must. EINVAL makes programs use read and write (splice(2), sendfile(2))."""
    nr = regs[_ORIG_RAX]
    # the descriptor written to: sendfile's first, tee's second, else the third
    out = {40: _RDI, 276: _RSI}.get(nr, _RDX)
    if session.core.is_echo(task.serial, regs[out] & 0xFFFFFFFF):
        session.core.skip(task.serial, -errno.EINVAL)


# ---- exits


def _mmap_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    if result >= 0:
        memory.describe_mmap(session, task, regs, result)


def _sigreturn_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    session.core.finish_call(task.serial)
    session.core.emit(REGS, _XFRAME, 0, task.serial, _core.getregs(task.tid), None, (), None)


def _regs_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    """The call changed registers besides its result (arch_prctl)."""
    session.core.finish_call(task.serial)
    session.core.emit(REGS, 0, 0, task.serial, _core.getregs(task.tid), None, (), None)


def _set_tid_address_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    task.clear_tid = regs[_RDI]


def _set_robust_list_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    if result == 0:
        task.robust_list = regs[_RDI]


def _seccomp_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    if result >= 0:
        for other in session.tasks.users_of(task.mm):
            other.filtered = True
            session.core.flag(other.serial, "no_remote", True)


def _clone_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    lifecycle.on_clone_exit(session, task, result)


def _shmat_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    if result < 0:
        return
    from relive.tracee.maps import read_maps

    size = next(m.size for m in read_maps(task.tid) if m.start == result)
    key, new = session.shared_segment(regs[_RDI] & 0xFFFFFFFF)
    session.note_shares(task)
    if new:
        session.core.out(task.serial, result, size)
    extra = {"shared": key, "size": size}
    session.core.attach(task.serial, dumps(extra).encode())


def _process_vm_writev_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    target = session.tasks.by_tid.get(regs[_RDI] & 0xFFFFFFFF)
    if result <= 0 or target is None:
        return
    from relive.syscalls.special_outs import remote_outs

    session.core.finish_call(task.serial)
    blocks = tuple(remote_outs(arguments(regs), result, session.reader(task)))
    session.core.emit(MEMWRITE, 0, 0, target.serial, None, None, blocks, None)


_SYS_FALLOCATE = 285


def _truncate_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    """The size of a file that may be mapped shared has changed."""
    if result != 0 or not session.shared:
        return
    st = memory.fd_stat(task, regs[_RDI] & 0xFFFFFFFF)
    if st is None or (st.st_dev, st.st_ino) not in session.shared:
        return
    obj = session.shared[st.st_dev, st.st_ino]
    session.core.finish_call(task.serial)
    path = f"/proc/{task.tid}/fd/{regs[_RDI] & 0xFFFFFFFF}"
    at = length = 0
    if regs[_ORIG_RAX] == _SYS_FALLOCATE:  # it may punch, zero or collapse
        at, length = regs[_RDX], st.st_size - regs[_RDX]
    memory.log_shared(session, task, obj, path, at, length, st.st_size)


def _other_exit(session: Session, task: Task, regs: Regs, result: int) -> None:
    """Outputs that the table has no word for."""
    from relive.syscalls.special_outs import outs

    for addr, n in outs(regs[_ORIG_RAX], arguments(regs), result, session.reader(task)):
        session.core.out(task.serial, addr, n)


ENTRIES: dict[int, Entry] = {
    9: _mmap_entry,
    28: _madvise_entry,
    40: _splice_entry,  # sendfile
    56: _clone_entry,
    59: _exec_entry,
    60: _exit_entry,
    157: _prctl_entry,
    203: _setaffinity_entry,
    204: _getaffinity_entry,
    231: _exit_entry,
    275: _splice_entry,
    276: _splice_entry,  # tee
    322: _exec_entry,  # execveat
    326: _splice_entry,  # copy_file_range
    435: _clone_entry,  # clone3
}

EXITS: dict[int, Exit] = {
    9: _mmap_exit,
    15: _sigreturn_exit,
    30: _shmat_exit,
    56: _clone_exit,
    57: _clone_exit,
    58: _clone_exit,
    77: _truncate_exit,
    157: _seccomp_exit,
    158: _regs_exit,
    218: _set_tid_address_exit,
    273: _set_robust_list_exit,
    285: _truncate_exit,  # fallocate
    311: _process_vm_writev_exit,
    317: _seccomp_exit,
    435: _clone_exit,
}


def on_entry(session: Session, task: Task, nr: int) -> None:
    handler = ENTRIES.get(nr)
    if handler is not None:
        handler(session, task, session.core.call_regs(task.serial))


def on_exit(session: Session, task: Task, nr: int, result: int) -> None:
    handler = EXITS.get(nr, _other_exit)
    handler(session, task, session.core.call_regs(task.serial), result)


def on_opened(session: Session, task: Task, fd: int) -> None:
    """A new description of the recorder's own stdout or stderr is shown on replay too."""
    path = f"/proc/{task.tid}/fd/{fd}"
    try:
        name = os.readlink(path)
        if name.startswith("/proc/") and name.endswith("/mem") and os.lstat(path).st_mode & 0o200:
            session.warn(f"{name} was opened for writing: what is written there is not recorded")
        st = os.stat(path)
    except OSError:
        return
    if stat.S_ISREG(st.st_mode):
        return  # it has its own offset: what is written may be written over later
    bit = session.echo_files.get((st.st_dev, st.st_ino, st.st_rdev))
    if not bit or session.core.is_echo(task.serial, fd):
        return
    pidfd = os.pidfd_open(task.tgid)
    try:
        got = session.take_fd(pidfd, fd)
    finally:
        os.close(pidfd)
    if got is not None:
        session.core.add_echo(got, bit)
