"""System calls that a replay does for real, because they change the address
space: a function for each, by number."""

from __future__ import annotations

from relive import _core
from relive.replay import memory
from relive.replay.tasks import Space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from relive.replay.session import Session
    from relive.replay.tasks import Task

    Regs = tuple[int, ...]
    Handler = Callable[[Session, Task, Regs, int, dict[str, Any]], None]

_RDI, _RSI, _RDX, _R10, _R8, _R9, _ORIG_RAX = 14, 13, 12, 7, 9, 8, 15
_SYS_MMAP, _SYS_MPROTECT, _SYS_MUNMAP, _SYS_MREMAP, _SYS_MADVISE = 9, 10, 11, 25, 28
_MREMAP_MAYMOVE, _MREMAP_FIXED, _MREMAP_DONTUNMAP = 1, 2, 4
# Advice with an effect on contents or on what a fork inherits.
_MADV_DONTNEED, _MADV_FREE, _MADV_REMOVE = 4, 8, 9
_MADV_DONE = frozenset((_MADV_DONTNEED, _MADV_REMOVE, 10, 11, 18, 19, 24))


def _mmap(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    session.code_moves(task, result & (2**64 - 1), regs[_RSI])
    memory.replay_mmap(session, task, regs, result, extra)


def _same(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    """munmap, mprotect: as the program called it, the agent's pages left out as when recording."""
    nr, start, length = regs[_ORIG_RAX], regs[_RDI], regs[_RSI]
    agent, behind = _core.AGENT_TEXT, _core.AGENT_TEXT + _core.AGENT_SIZE
    end = start + (length + 4095 & ~4095)
    if nr == _SYS_MUNMAP and start < behind and agent < end:
        if start < agent:
            length = agent - start
        else:
            start, length = behind, max(end - behind, 0)
        if not length:
            return
    session.code_moves(task, start, length)
    memory.remote(task, f"call {nr}", nr, start, length, regs[_RDX])


def _brk(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    old, new = sorted((task.space.brk, result))
    if old and new > old:
        session.code_moves(task, old, new - old)
    memory.replay_brk(task, result)


def _mremap(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    flags = regs[_R10] & _MREMAP_DONTUNMAP
    new = result & (2**64 - 1)
    session.code_moves(task, regs[_RDI], regs[_RSI])
    session.code_moves(task, new, regs[_RDX])
    if new != regs[_RDI] or regs[_R10] & _MREMAP_FIXED:
        flags |= _MREMAP_MAYMOVE | _MREMAP_FIXED
    memory.remote(task, "mremap", _SYS_MREMAP, regs[_RDI], regs[_RSI], regs[_RDX], flags, new)


def _madvise(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    advice = regs[_RDX] & 0xFFFFFFFF
    if advice == _MADV_FREE:
        advice = _MADV_DONTNEED  # what the recorder made of it
    if advice in _MADV_DONE:
        memory.remote(task, "madvise", _SYS_MADVISE, regs[_RDI], regs[_RSI], advice)


def _shmat(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    size = extra["size"]
    session.objects.resize(extra["shared"], size)
    prot = 1 if regs[_RDX] & 0o10000 else 3  # SHM_RDONLY
    if regs[_RDX] & 0o100000:  # SHM_EXEC
        prot |= 4
    start = result & (2**64 - 1)
    session.code_moves(task, start, size)
    memory.map_fd(session, task, session.objects.get(extra["shared"]), start, size, prot, 1, 0)
    task.space.segments[start] = size


def _shmdt(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    size = task.space.segments.pop(regs[_RDI], 0)
    if size:
        session.code_moves(task, regs[_RDI], size)
        memory.remote(task, "munmap of a segment", _SYS_MUNMAP, regs[_RDI], size)


def _exec(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    image = extra["exec"]
    tid = memory.exec_agent(session, task)
    session.took_over(task, tid)
    task.space = Space()
    memory.build_image(session, task, image)


_RLIMIT_STACK = 3


def _set_limit(
    session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]
) -> None:
    """The stack's limit decides how far it grows; no other limit matters to a replay."""
    if regs[_ORIG_RAX] == 160:  # setrlimit
        resource_number, new, pid = regs[_RDI], regs[_RSI], 0
    else:
        pid, resource_number, new = regs[_RDI] & 0xFFFFFFFF, regs[_RSI], regs[_RDX]
    target = task
    if pid and pid != task.was_tgid:
        found = [t for t in session.tasks.values() if t.was_tid == pid]
        if not found:
            return
        target = found[0]
    if resource_number & 0xFFFFFFFF == _RLIMIT_STACK and new:
        session.limit_stack(target, session.read_u64(task, new))


def _nothing(session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]) -> None:
    """The work is done by another event (TASK_NEW, REGS)."""


HANDLERS: dict[int, Handler] = {
    _SYS_MMAP: _mmap,
    _SYS_MPROTECT: _same,
    _SYS_MUNMAP: _same,
    12: _brk,
    15: _nothing,  # rt_sigreturn
    _SYS_MREMAP: _mremap,
    _SYS_MADVISE: _madvise,
    30: _shmat,
    56: _nothing,  # clone
    57: _nothing,  # fork
    58: _nothing,  # vfork
    59: _exec,
    60: _nothing,  # exit
    67: _shmdt,
    160: _set_limit,
    302: _set_limit,  # prlimit64
    158: _nothing,  # arch_prctl
    231: _nothing,  # exit_group
    322: _exec,  # execveat
    435: _nothing,  # clone3
}


def replay_call(
    session: Session, task: Task, regs: Regs, result: int, extra: dict[str, Any]
) -> None:
    """Does what a verified call did. Failed calls changed nothing (a partly done munmap or mprotect
    of several mappings excepted, see docs/limits.md)."""
    if -4096 < result < 0:
        return
    nr = regs[_ORIG_RAX]
    handler = HANDLERS.get(nr)
    if handler is None:
        raise AssertionError(f"call {nr} is marked for replay and has no handler")
    handler(session, task, regs, result, extra)
