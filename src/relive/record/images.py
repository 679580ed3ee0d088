"""A new program image, right after exec: made recordable, and described.

What is changed in it, all before its first instruction: the agent's two pages
are added, the vDSO is hidden (AT_SYSINFO_EHDR becomes AT_IGNORE) and unmapped
with its data, because it reads clocks without the recorder seeing it.
"""

from __future__ import annotations

import os
import struct

from relive import _core
from relive.errors import ReliveError
from relive.record.neutralise import neutralise
from relive.record.vsyscall import replace_calls
from relive.tracee.maps import PROT_EXEC, PROT_WRITE, Mapping, read_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.record.session import Session
    from relive.record.tasks import Task

# beside the core, however the package was installed
AGENT_PATH = os.path.join(os.path.dirname(_core.__file__), "relive-agent")

_AT_NULL = 0
_AT_IGNORE = 1
_AT_SYSINFO_EHDR = 33
_SYS_MMAP = 9
_SYS_MUNMAP = 11
_PAGE = 4096
_FIXED = 0x100022  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
_RIP, _RSP = 16, 19
_KERNEL_NAMES = ("[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]")
_agent_code: bytes | None = None


def agent_code() -> bytes:
    """The agent's page of code, from the ELF file: the second page of it."""
    global _agent_code
    if _agent_code is None:
        with open(AGENT_PATH, "rb") as f:
            f.seek(_PAGE)
            _agent_code = f.read(_PAGE)
    return _agent_code


def _boot_mmap(session: Session, task: Task) -> None:
    """Maps the agent's page of code where no instruction of ours is yet: by one written
    over the program's entry point for a moment."""
    at = _core.getregs(task.tid)[_RIP]
    word = _core.peek(task.tid, at)
    _core.poke(task.tid, at, (word & ~0xFFFF) | 0x050F)
    result = session.core.remote(
        task.serial, _SYS_MMAP, _core.AGENT_TEXT, _PAGE, 5, _FIXED, 2**64 - 1, 0, at
    )
    _core.poke(task.tid, at, word)
    if result != _core.AGENT_TEXT:
        raise ReliveError(
            f"can't record {task.tid}: the pages at {_core.AGENT_TEXT:#x} can't be mapped",
            "the program occupies them",
        )


def _hide_vdso(session: Session, task: Task, sp: int) -> None:
    read = session.core.read
    argc = struct.unpack("<Q", read(task.serial, sp, 8))[0]
    at = sp + 8 * (argc + 2)
    while struct.unpack("<Q", read(task.serial, at, 8))[0]:
        at += 8
    at += 8
    while True:
        kind, _ = struct.unpack("<QQ", read(task.serial, at, 16))
        if kind == _AT_NULL:
            return
        if kind == _AT_SYSINFO_EHDR:
            session.core.write(task.serial, at, struct.pack("<Q", _AT_IGNORE))
        at += 16


def _differing_pages(session: Session, task: Task, m: Mapping, fd: int) -> list[tuple[int, int]]:
    """Pages of a private file mapping that the kernel changed at exec (the zeroed
    rest of the last data page)."""
    found = []
    data = os.pread(fd, m.size, m.offset)
    data += bytes(m.size - len(data))
    mem = session.core.mem_fd(task.serial)
    for at in range(0, m.size, _PAGE):
        try:
            now = os.pread(mem, _PAGE, m.start + at)
        except OSError:  # past the end of the file: no memory to read
            continue
        if now != data[at : at + _PAGE]:
            found.append((m.start + at, _PAGE))
    return found


def _describe(
    session: Session, task: Task, m: Mapping, sp: int
) -> tuple[list[object], list[tuple[int, int]]]:
    """[start, end, prot, kind, ...] of a mapping, and the parts whose bytes to log."""
    if m.inode:
        fd = session.open_mapped(task.tid, m)
        try:
            ref = session.store.add(fd)
            changed = _differing_pages(session, task, m, fd) if m.prot & PROT_WRITE else []
        finally:
            os.close(fd)
        return [m.start, m.end, m.prot, "file", ref.hash, m.offset, m.name], changed
    if m.name == "[stack]":
        return [m.start, m.end, m.prot, "stack"], [(sp & ~0xF, m.end - (sp & ~0xF))]
    return [m.start, m.end, m.prot, "anon", m.name], []


def prepare(session: Session, task: Task) -> tuple[dict[str, object], list[tuple[int, int]]]:
    """Makes the image recordable; its description and the memory to log with it.

    The task is at the exit stop of its exec.
    """
    tid = task.tid
    core = session.core
    _boot_mmap(session, task)
    core.write(task.serial, _core.AGENT_TEXT, agent_code())
    core.remote(task.serial, _SYS_MMAP, _core.AGENT_DATA, _PAGE, 3, _FIXED, 2**64 - 1, 0)
    regs = _core.getregs(tid)
    sp = regs[_RSP]
    _hide_vdso(session, task, sp)
    maps: list[list[object]] = []
    regions = neutralise(session, task, read_maps(tid), regs[_RIP])
    for m in read_maps(tid):
        if m.name in _KERNEL_NAMES:
            if m.name != "[vsyscall]":
                core.remote(task.serial, _SYS_MUNMAP, m.start, m.size, 0, 0, 0, 0)
            continue
        if _core.AGENT_TEXT <= m.start < _core.AGENT_TEXT + _core.AGENT_SIZE:
            continue
        described, parts = _describe(session, task, m, sp)
        maps.append(described)
        regions += parts
        if m.inode and m.prot & PROT_EXEC:
            content = (str(described[4]), m.offset)
            static = m.start <= regs[_RIP] < m.end
            regions += replace_calls(session, task, m.start, m.size, content, static)
    with open(f"/proc/{tid}/cmdline", "rb") as f:
        argv = f.read().decode("utf-8", "surrogateescape").split("\0")[:-1]
    image: dict[str, object] = {
        "maps": maps,
        "exe": os.readlink(f"/proc/{tid}/exe"),
        "argv": argv,
    }
    return image, regions
