"""Memory shared with files or between processes, and digests of memory."""

from __future__ import annotations

import os
import stat

from relive import _core
from relive.record.vsyscall import replace_calls
from relive.trace.jsontext import dumps
from relive.tracee.maps import PROT_EXEC, PROT_WRITE, Mapping, read_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.record.session import Session
    from relive.record.tasks import Task

MEMWRITE, MEMORY = 10, 11
_RSP = 19
_RED_ZONE = 128
_MAP_SHARED, _MAP_TYPE, _MAP_ANONYMOUS = 1, 0x0F, 0x20
_RDI, _RSI, _RDX, _R10, _R8, _R9 = 14, 13, 12, 7, 9, 8
_DEV_ZERO = os.makedev(1, 5)
_SCRATCH_END = 0x80000000  # of scratch memory (core/record_calls.c)


class Shared:
    """A file or memory object mapped shared by the program.

    key: its name in the recording; last: the content last logged, for files
    that calls write to.
    """

    __slots__ = ("dev", "ino", "key", "size")

    def __init__(self, key: str, dev: int, ino: int, size: int) -> None:
        self.key = key
        self.dev = dev
        self.ino = ino
        self.size = size


def fd_stat(task: Task, fd: int) -> os.stat_result | None:
    try:
        return os.stat(f"/proc/{task.tid}/fd/{fd}")
    except OSError:
        return None


def can_map(session: Session, task: Task, regs: tuple[int, ...]) -> bool:
    """Whether the mmap that begins is of something that can be recorded."""
    if regs[_R10] & _MAP_ANONYMOUS:
        return True
    st = fd_stat(task, regs[_R8] & 0xFFFFFFFF)
    if st is None or stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
        return True  # what is no file of any kind fails by itself
    return stat.S_ISCHR(st.st_mode) and st.st_rdev == _DEV_ZERO


def describe_mmap(session: Session, task: Task, regs: tuple[int, ...], addr: int) -> None:
    """A mapping that needs more than its arguments to be made again."""
    flags = regs[_R10]
    shared = flags & _MAP_TYPE in (1, 3)
    extra: dict[str, object]
    st = None if flags & _MAP_ANONYMOUS else fd_stat(task, regs[_R8] & 0xFFFFFFFF)
    if st is None or not stat.S_ISREG(st.st_mode):
        if not shared:
            extra = {"anon": True}
        else:
            session.note_shares(task)
            extra = {"shared": session.new_shared(), "size": regs[_RSI]}
    else:
        fd = os.open(f"/proc/{task.tid}/fd/{regs[_R8] & 0xFFFFFFFF}", os.O_PATH | os.O_CLOEXEC)
        try:
            ref = session.store.add(fd, fresh=shared)
            name = os.readlink(f"/proc/{task.tid}/fd/{regs[_R8] & 0xFFFFFFFF}")
        finally:
            os.close(fd)
        extra = {"file": ref.hash, "name": name}
        if shared:
            obj = session.shared_file(st.st_dev, st.st_ino)
            obj.size = st.st_size
            extra["shared"] = obj.key
            extra["size"] = st.st_size
            session.note_shares(task)
            session.core.watch_writes(True)
        elif regs[_RDX] & PROT_EXEC:
            content = (ref.hash, regs[_R9])
            for at, n in replace_calls(session, task, addr, regs[_RSI], content, False):
                session.core.out(task.serial, at, n)
    session.core.attach(task.serial, dumps(extra).encode("utf-8", "surrogateescape"))


_FILE_POSITION_CALLS = (1, 20)  # write, writev
_OFFSET_CALLS = (18, 296, 328)  # pwrite64, pwritev, pwritev2


def _written_range(
    task: Task, regs: tuple[int, ...], fd: int, n: int, size: int
) -> tuple[int, int]:
    nr = regs[15]
    if nr in _OFFSET_CALLS:
        return regs[_R10], n
    if nr in _FILE_POSITION_CALLS:
        with open(f"/proc/{task.tid}/fdinfo/{fd}", "rb") as f:
            for line in f:
                if line.startswith(b"pos:"):
                    end = int(line[4:])
                    return end - n, n
    return 0, size


def on_written(session: Session, task: Task, fd: int, n: int) -> None:
    """Bytes went to a file: if the program has it mapped shared, its memory changed."""
    st = fd_stat(task, fd)
    if st is None or (st.st_dev, st.st_ino) not in session.shared:
        return
    obj = session.shared[st.st_dev, st.st_ino]
    at, length = _written_range(task, session.core.call_regs(task.serial), fd, n, st.st_size)
    log_shared(session, task, obj, f"/proc/{task.tid}/fd/{fd}", at, length, st.st_size)


def log_shared(
    session: Session, task: Task, obj: Shared, path: str, at: int, length: int, size: int
) -> None:
    """Logs [at, at+length) of a shared object as it is now, and its size."""
    obj.size = size
    data = b""
    if length > 0:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            data = os.pread(source, min(length, 1 << 30), at)
        finally:
            os.close(source)
    extra = dumps({"shared": obj.key, "size": size})
    session.core.emit(MEMWRITE, 0, 0, task.serial, None, None, ((at, data),) if data else (), extra)


#: Bytes. Of a larger mapping of a file, only the pages that are the process's own are digested.
_CONTENTS_MAX = 256 << 20


def _by_contents(m: Mapping) -> bool:
    """Whether a mapping's file pages are digested, too. Which pages are the process's own is not
    the program's doing alone: an instruction that is about to write has made its page the
    process's own if it was interrupted after the fault, and has not if it was stopped before.
    (Huge pages would be allocated by looking at them.)"""
    return m.inode != 0 and m.size <= _CONTENTS_MAX and not m.name.startswith("/anon_hugepage")


def digests(tid: int, mem_fd: int, skip: list[tuple[int, int]]) -> list[list[int]]:
    """[start, end, digest] of every private writable mapping, and a 1 where it is of all contents
    and not only of the process's own pages; the dead part of the stack, below the red zone, is
    left out."""
    regs = _core.getregs(tid)
    live = regs[_RSP] - _RED_ZONE
    found = []
    for m in read_maps(tid):
        if not m.prot & PROT_WRITE or m.shared:
            continue
        if any(a <= m.start < b for a, b in skip):
            continue
        if _by_contents(m):
            digest = _core.digest_contents(mem_fd, m.start, m.size)
            found.append([m.start, m.end, digest, 1])
            continue
        start = max(m.start, live) if m.start <= live < m.end else m.start
        found.append([start, m.end, _core.digest_memory(tid, mem_fd, start, m.end - start)])
    return found


def log_digests(session: Session, task: Task) -> None:
    core = session.core
    addr, size = core.scratch(task.serial)
    skip = [(_core.AGENT_TEXT, _SCRATCH_END), (addr, addr + size)]
    extra = {"digests": digests(task.tid, core.mem_fd(task.serial), skip)}
    core.emit(MEMORY, 0, 0, task.serial, None, None, (), dumps(extra))
