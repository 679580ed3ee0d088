"""Address spaces of the replay: mapped from the recording's own copies, at the
recorded addresses."""

from __future__ import annotations

import errno
import os

from relive import _core
from relive.errors import RecordingError
from relive.tracee.maps import read_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from relive.replay.session import Session
    from relive.replay.tasks import Task

AGENT_PATH = os.path.join(os.path.dirname(_core.__file__), "relive-agent")

_SYS_OPEN, _SYS_CLOSE, _SYS_MMAP, _SYS_MUNMAP, _SYS_EXECVE = 2, 3, 9, 11, 59
_PTRACE_SYSCALL = 24
_EVENT_EXEC = 4
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS = 1, 2, 0x10, 0x20
_MAP_GROWSDOWN, _MAP_STACK, _MAP_NORESERVE = 0x100, 0x20000, 0x4000
# Flags that change what the mapping is; where it lies and how it is paged in
# is the recording's affair.
_KEPT_FLAGS = (
    _MAP_SHARED | _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_GROWSDOWN | _MAP_STACK | _MAP_NORESERVE
)
_PAGE = 4096
_NO_FD = 2**64 - 1
_RIP, _RAX, _RDI, _RSI, _RDX, _R10, _R8, _R9, _ORIG_RAX = 16, 10, 14, 13, 12, 7, 9, 8, 15


class Objects:
    """Shared objects (files mapped shared, anonymous shared memory, segments): one
    memory file each, by the recording's key."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def get(self, key: str) -> int:
        fd = self._fds.get(key)
        if fd is None:
            fd = self._fds[key] = os.memfd_create(f"relive-{key}", os.MFD_CLOEXEC)
        return fd

    def resize(self, key: str, size: int, *, shrink: bool = False) -> None:
        fd = self.get(key)
        if shrink or os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)

    def write(self, key: str, at: int, data: bytes) -> None:
        os.pwrite(self.get(key), data, at)

    def copies(self) -> dict[str, int]:
        """A memory file with the content of each, for `fill`; the caller closes them."""
        found = {}
        for key, source in self._fds.items():
            to = found[key] = os.memfd_create(f"relive-copy-{key}", os.MFD_CLOEXEC)
            size = os.fstat(source).st_size
            os.ftruncate(to, size)
            for start, end in _extents(source, size):
                for at in range(start, end, 1 << 20):
                    os.pwrite(to, os.pread(source, min(1 << 20, end - at), at), at)
        return found

    def fill(self, key: str, source: int) -> None:
        """Makes the content that of the file behind `source`; what is a hole stays one."""
        to = self.get(key)
        size = os.fstat(source).st_size
        os.ftruncate(to, size)
        at = 0
        for start, end in _extents(source, size):
            self._clear(to, at, start)
            for piece in range(start, end, 1 << 20):
                data = os.pread(source, min(1 << 20, end - piece), piece)
                # a page that is the same already is not touched
                if os.pread(to, len(data), piece) != data:
                    os.pwrite(to, data, piece)
            at = end
        self._clear(to, at, size)

    @staticmethod
    def _clear(to: int, start: int, end: int) -> None:
        """Zeros where there is anything in [start, end)."""
        if start >= end:
            return
        for first, last in _extents(to, end, start):
            for piece in range(first, last, 1 << 20):
                os.pwrite(to, bytes(min(1 << 20, last - piece)), piece)

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


def _extents(fd: int, size: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """The parts of a file from `start` to `size` that are no holes (lseek(2), SEEK_DATA)."""
    while start < size:
        try:
            first = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        if first >= size:
            return
        start = min(os.lseek(fd, first, os.SEEK_HOLE), size)
        yield first, start


def _checked(result: int, what: str, task: Task) -> int:
    if -4096 < result < 0:
        raise OSError(
            -result, f"{what} in task {task.serial} of the replay: {os.strerror(-result)}"
        )
    return result


def remote(task: Task, what: str, nr: int, *args: int) -> int:
    """A system call of the task's that must succeed.  Raises OSError."""
    return _checked(_core.remote(task.tid, nr, *args), what, task)


def _open_there(session: Session, task: Task, path: str, flags: int) -> int:
    data = os.fsencode(path) + b"\0"
    session.write(task, _core.AGENT_DATA, data)
    fd = remote(task, f"open {path}", _SYS_OPEN, _core.AGENT_DATA, flags, 0)
    session.write(task, _core.AGENT_DATA, bytes(len(data)))
    return fd


def map_anonymous(task: Task, start: int, length: int, prot: int, flags: int = 0) -> None:
    remote(
        task,
        f"mmap of {length:#x} bytes at {start:#x}",
        _SYS_MMAP,
        start,
        length,
        prot,
        _MAP_FIXED | _MAP_ANONYMOUS | (flags & _KEPT_FLAGS or _MAP_PRIVATE),
        _NO_FD,
        0,
    )


def map_fd(
    session: Session,
    task: Task,
    fd: int,
    start: int,
    length: int,
    prot: int,
    flags: int,
    offset: int,
) -> None:
    """Maps a descriptor of this process's in the task.

    Mapped shared it must be writable, whatever the protection now: mprotect may come.
    """
    shared = flags & 3 != _MAP_PRIVATE
    mode = os.O_RDWR if shared else os.O_RDONLY
    there = _open_there(session, task, f"/proc/{os.getpid()}/fd/{fd}", mode)
    try:
        remote(
            task,
            f"mmap of {length:#x} bytes at {start:#x}",
            _SYS_MMAP,
            start,
            length,
            prot,
            _MAP_FIXED | (flags & _KEPT_FLAGS & ~_MAP_ANONYMOUS),
            there,
            offset,
        )
    finally:
        _core.remote(task.tid, _SYS_CLOSE, there)


def replay_mmap(
    session: Session, task: Task, regs: tuple[int, ...], result: int, extra: dict[str, Any]
) -> None:
    """A successful mmap of the program's."""
    length, prot, flags, offset = regs[_RSI], regs[_RDX], regs[_R10], regs[_R9]
    if flags & 3 == 3:  # MAP_SHARED_VALIDATE
        flags &= ~2
    start = result & (2**64 - 1)
    if "shared" in extra:
        key = _text(extra, "shared")
        if "file" in extra:
            source = session.store.open(_text(extra, "file"))
            try:
                session.objects.fill(key, source)
            finally:
                os.close(source)
        else:
            session.objects.resize(key, _number(extra, "size"))
            offset = 0
        map_fd(session, task, session.objects.get(key), start, length, prot, flags, offset)
    elif "file" in extra:
        fd = session.store_fd(_text(extra, "file"))
        map_fd(session, task, fd, start, length, prot, flags, offset)
    else:
        map_anonymous(task, start, length, prot, flags | _MAP_ANONYMOUS)


def _text(extra: dict[str, Any], name: str) -> str:
    value = extra.get(name)
    if not isinstance(value, str):
        raise RecordingError(f"an event's {name} is no text")
    return value


def _number(extra: dict[str, Any], name: str) -> int:
    value = extra.get(name)
    if not isinstance(value, int) or value < 0:
        raise RecordingError(f"an event's {name} is no number")
    return value


def replay_brk(task: Task, result: int) -> None:
    """The heap as an anonymous mapping: the kernel's own break stays unused."""
    old, new = task.space.brk, result
    if old:
        first, last = _round(old), _round(new)
        if last > first:
            map_anonymous(task, first, last - first, 3)
        elif last < first:
            remote(task, "munmap of the heap", _SYS_MUNMAP, last, first - last)
    task.space.brk = new


def _round(addr: int) -> int:
    return (addr + _PAGE - 1) & ~(_PAGE - 1)


def exec_agent(session: Session, task: Task) -> int:
    """Has the task execute the agent, for an empty address space; its thread id then."""
    data = os.fsencode(AGENT_PATH) + b"\0"
    session.write(task, _core.AGENT_DATA, data)
    regs = list(_core.getregs(task.tid))
    regs[_RIP], regs[_RAX], regs[_ORIG_RAX] = _core.AGENT_TEXT, _SYS_EXECVE, 2**64 - 1
    regs[_RDI], regs[_RSI], regs[_RDX] = _core.AGENT_DATA, 0, 0
    _core.setregs(task.tid, regs)
    tid = task.tid
    while True:
        _core.resume(tid, _PTRACE_SYSCALL)
        try:
            _, status = _core.wait(tid)
        except ChildProcessError:
            # the exec of a thread takes over its leader's id
            tid = task.tgid
            _, status = _core.wait(tid)
        if not os.WIFSTOPPED(status):
            raise OSError(errno.ESRCH, f"task {task.serial} died in its exec")
        if status >> 16 == _EVENT_EXEC:
            break
    _core.resume(tid, _PTRACE_SYSCALL)
    _core.wait(tid)
    return tid


def build_image(session: Session, task: Task, image: dict[str, Any]) -> None:
    """The mappings of a program image as they were right after its exec."""
    keep = range(_core.AGENT_TEXT, _core.AGENT_TEXT + _core.AGENT_SIZE)
    for m in read_maps(task.tid):
        if m.start not in keep and m.name != "[vsyscall]":
            remote(task, "munmap", _SYS_MUNMAP, m.start, m.size)
    for described in image["maps"]:
        start, end, prot, kind = described[:4]
        if kind == "file":
            fd = session.store_fd(described[4])
            map_fd(session, task, fd, start, end - start, prot, _MAP_PRIVATE, described[5])
        elif kind == "stack":
            map_anonymous(
                task, start, end - start, prot, _MAP_PRIVATE | _MAP_GROWSDOWN | _MAP_STACK
            )
        else:
            map_anonymous(task, start, end - start, prot)
