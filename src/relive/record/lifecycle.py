"""Tasks come and go: clone, exec, exit, and what the kernel writes on these occasions."""

from __future__ import annotations

import os
import struct

from relive import _core
from relive.record import images
from relive.record.memory import log_digests
from relive.trace.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.record.session import Session
    from relive.record.tasks import Task

TASK_NEW, EXIT, REGS, TASK_EXIT, MEMWRITE = 2, 5, 7, 9, 10
_XINIT = 0x20
_CLONE_VM = 0x100
_CLONE_VFORK = 0x4000
_CLONE_THREAD = 0x10000
_CLONE_CHILD_CLEARTID = 0x00200000
_CLONE_CHILD_SETTID = 0x01000000
_SYS_CLONE, _SYS_FORK, _SYS_VFORK, _SYS_CLONE3 = 56, 57, 58, 435
_RAX, _RSI, _RDI, _R10, _ORIG_RAX, _RDX = 10, 13, 14, 7, 15, 12
_PTRACE_SYSCALL = 24
_FUTEX_WAITERS = 0x80000000
_FUTEX_OWNER_DIED = 0x40000000
_FUTEX_TID_MASK = 0x3FFFFFFF
_ROBUST_LIST_LIMIT = 2048


def clone_facts(session: Session, parent: Task) -> tuple[int, int]:
    """Flags of the clone under way, and its child_tid address."""
    regs = session.core.call_regs(parent.serial)
    nr = regs[_ORIG_RAX]
    if nr == _SYS_CLONE:
        return regs[_RDI], regs[_R10]
    if nr == _SYS_VFORK:
        return _CLONE_VM | _CLONE_VFORK, 0
    if nr == _SYS_CLONE3:
        flags, _, child_tid = struct.unpack(
            "<QQQ", session.core.read(parent.serial, regs[_RDI], 24)
        )
        return flags, child_tid
    return 0, 0


def on_clone_event(session: Session, parent: Task, tid: int) -> None:
    """The parent is in its clone; the child exists and has executed nothing."""
    core = session.core
    flags, child_tid = clone_facts(session, parent)
    core.log_entry(parent.serial)
    status = core.take_stranger(tid)
    if status is None:
        _, status = _core.wait(tid)
    mm = parent.mm if flags & _CLONE_VM else session.tasks.new_mm()
    tgid = parent.tgid if flags & _CLONE_THREAD else tid
    child = session.tasks.add(tid, tgid, mm, parent.serial)
    child.affinity = parent.affinity
    if flags & _CLONE_CHILD_CLEARTID:
        child.clear_tid = child_tid
    core.add_task(child.serial, tid, tgid, mm)
    if parent.mm in session.undumpable:
        session.undumpable.add(mm)
    if parent.filtered:
        child.filtered = True
        core.flag(child.serial, "no_remote", True)
    if session.shares(parent.mm):
        session.note_shares(child)
    if not os.WIFSTOPPED(status):
        core.set_status(child.serial, status)
        return
    if status >> 16 == 6:  # killed before it began
        core.set_status(child.serial, status)
    regions = ((child_tid, 4),) if flags & _CLONE_CHILD_SETTID else ()
    extra = {"parent": parent.serial, "tid": tid, "tgid": tgid, "flags": flags}
    core.emit(TASK_NEW, 0, 0, child.serial, _core.getregs(tid), None, regions, dumps(extra))
    if flags & _CLONE_VFORK:
        core.flag(parent.serial, "sleeps_deep", True)


def on_clone_exit(session: Session, task: Task, result: int) -> None:
    core = session.core
    core.flag(task.serial, "sleeps_deep", False)
    if result <= 0:
        return
    from relive.syscalls.special_outs import outs

    regs = core.call_regs(task.serial)
    if regs[_ORIG_RAX] == _SYS_CLONE3:
        args = (regs[_RDI], regs[_RSI], 0, 0, 0, 0)
        for addr, n in outs(_SYS_CLONE3, args, result, session.reader(task)):
            core.out(task.serial, addr, n)


def on_exec_event(session: Session, task: Task, former_tid: int) -> None:
    """The task has a new address space; all other threads of its process are gone."""
    core = session.core
    caller = session.tasks.by_tid[former_tid]
    if caller.at_release:
        writes, caller.at_release = caller.at_release, []
        core.emit(MEMWRITE, 0, 0, caller.serial, None, None, tuple(writes), None)
    if former_tid != task.tid:
        # the caller takes over the id of the thread-group leader, whose end is reported by nothing
        leader, task = task, session.tasks.by_tid[former_tid]
        _end(session, leader, 0)
        session.tasks.rename(task, leader.tid)
        core.set_tid(task.serial, task.tid, task.tgid)
    tid = task.tid
    _core.resume(tid, _PTRACE_SYSCALL)
    _, status = _core.wait(tid)
    if not os.WIFSTOPPED(status) or status >> 16:
        core.set_status(task.serial, status)
        return
    finish_exec(session, task)


def finish_exec(session: Session, task: Task) -> None:
    """At the exit stop of a successful exec."""
    core = session.core
    task.mm = session.tasks.new_mm()
    task.clear_tid = task.robust_list = 0
    core.set_mm(task.serial, task.mm)
    image, regions = images.prepare(session, task)
    regs = _core.getregs(task.tid)
    core.emit(EXIT, 0, 59, task.serial, None, 0, regions, dumps({"exec": image}))
    core.emit(REGS, _XINIT, 0, task.serial, regs, None, (), None)
    core.call_over(task.serial)


def _robust_words(session: Session, task: Task) -> list[tuple[int, bytes]]:
    """The futex words that the kernel will mark OWNER_DIED (kernel/futex/core.c,
    exit_robust_list, handle_futex_death)."""
    if not task.robust_list:
        return []
    read = session.reader(task)
    words: list[tuple[int, bytes]] = []
    seen: set[int] = set()

    def mark(entry: int, pi: bool, pending: bool) -> None:
        addr = (entry + offset) & (2**64 - 1)
        if addr in seen or addr & 3:
            return
        seen.add(addr)
        value = int.from_bytes(read(addr, 4), "little")
        if value & _FUTEX_TID_MASK == task.tid:
            value = (value & _FUTEX_WAITERS) | _FUTEX_OWNER_DIED
            words.append((addr, value.to_bytes(4, "little")))

    try:
        head, offset, pending = struct.unpack("<QqQ", read(task.robust_list, 24))
        entry = head
        for _ in range(_ROBUST_LIST_LIMIT):
            if entry & ~1 == task.robust_list:
                break
            following = int.from_bytes(read(entry & ~1, 8), "little")
            if entry != pending:
                mark(entry & ~1, bool(entry & 1), False)
            entry = following
        if pending:
            mark(pending & ~1, bool(pending & 1), True)
    except OSError:
        pass
    return words


def release_writes(session: Session, task: Task) -> list[tuple[int, bytes]]:
    """What the kernel writes when the task lets go of its address space (mm_release)."""
    writes = _robust_words(session, task)
    if task.clear_tid and len(session.tasks.users_of(task.mm)) > 1:
        writes.append((task.clear_tid, bytes(4)))
    return writes


def verify_at_end(session: Session, task: Task) -> None:
    """A process ends at a known place: its memory can be compared on replay."""
    if session.verify_memory:
        log_digests(session, task)


def on_exit_event(session: Session, task: Task) -> None:
    """The task is about to end; its memory is still there. What the kernel will
    write is logged now: nothing else runs in between."""
    core = session.core
    writes = release_writes(session, task)
    if writes:
        core.emit(MEMWRITE, 0, 0, task.serial, None, None, tuple(writes), None)
    core.call_over(task.serial)
    core.flag(task.serial, "dying", True)
    # no user memory of its own any more, as far as others' exits are concerned
    task.mm = -task.serial
    task.robust_list = task.clear_tid = 0


def on_gone(session: Session, task: Task, status: int) -> None:
    if task.serial == 1:
        session.status = status
    _end(session, task, status)


def _end(session: Session, task: Task, status: int) -> None:
    session.core.emit(TASK_EXIT, 0, 0, task.serial, None, status, (), dumps({"tid": task.tid}))
    session.core.drop_task(task.serial)
    session.tasks.remove(task)
