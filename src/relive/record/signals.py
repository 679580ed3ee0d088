"""Signals, while recording.

A signal met at a boundary (right after a system call, or caused by the
instruction itself) is delivered there and is exact. One that arrives anywhere
in user code is delivered where it arrives, and that place is logged as a landmark
(core/landmark.h). One that was met while the recorder had the task make calls of
its own is delivered just before the task's next system call: a landmark says just that.
"""

from __future__ import annotations

import errno
import resource
import struct

from relive import _core
from relive.record.lifecycle import verify_at_end
from relive.record.memory import log_digests
from relive.trace.jsontext import dumps
from relive.tracee.dispositions import CAUGHT, FATAL, IGNORED, disposition, pending_caught

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.record.session import Session
    from relive.record.tasks import Task

SIGNAL, REGS = 6, 7
_SYNC, _FATAL = 0x20, 0x80
_XINIT = 0x20
_RAX, _ORIG_RAX, _RIP, _EFLAGS, _RSP = 10, 15, 16, 18, 19
_TRAP_FLAG = 0x100
_RED_ZONE = 128
_SIGTRAP = 5
# A frame is the extended state (up to 11 KiB with AMX) and about 700 bytes.
_FRAME_MAX = 32768
# Offsets in struct rt_sigframe: return address 8, uc_flags 8, uc_link 8, then
# uc_stack: ss_sp 8, ss_flags 8, ss_size 8 (arch/x86/include/asm/sigframe.h).
_FRAME_STACK = 24
# Then the registers; the flags are the eighteenth (struct sigcontext_64, asm/sigcontext.h).
_FRAME_EFLAGS = 48 + 17 * 8


def describe_siginfo(info: bytes) -> dict[str, int]:
    """The fields of a siginfo_t that its si_code says are there (man 2 sigaction)."""
    signo, errno, code = struct.unpack_from("<iii", info)
    fields = {"signo": signo, "code": code}
    if errno:
        fields["errno"] = errno
    if code <= 0 or signo == 17:
        fields["pid"], fields["uid"] = struct.unpack_from("<iI", info, 16)
        if signo == 17:
            fields["status"] = struct.unpack_from("<i", info, 24)[0]
        elif code < 0:
            fields["value"] = struct.unpack_from("<Q", info, 24)[0]
    else:
        fields["addr"] = struct.unpack_from("<Q", info, 16)[0]
    return fields


def on_signal(session: Session, task: Task, signo: int, place: int) -> None:
    """A signal-delivery-stop."""
    core = session.core
    action = disposition(task.tid, signo)
    passed = signo
    if action == FATAL and signo == session.through and _can_go_on(place, signo):
        action, passed = IGNORED, 0
    if place == _core.SIGNAL_IN_USER:
        if action == IGNORED:
            core.resume_with(task.serial, passed)
            return
        # found again on replay by the state the program is in
        if not core.landmark(task.serial, signo):
            return
        if session.verify_memory in ("events", "all"):
            log_digests(session, task)
        place = _core.SIGNAL_AT_BOUNDARY
    if action == FATAL and task.mm in session.undumpable:
        resource.prlimit(task.tgid, resource.RLIMIT_CORE, (0, 0))
    flags = _SYNC if place == _core.SIGNAL_SYNC else 0
    if action == CAUGHT:
        regs = _log(session, task, signo, flags)
        task.frame_from, task.frame_flags = regs[_RSP], regs[_EFLAGS]
        core.resume_with(task.serial, signo, True)
        return
    if action == IGNORED and place == _core.SIGNAL_AT_BOUNDARY:
        _make_again(session, task)
    if action == FATAL:
        _log(session, task, signo, flags | _FATAL)
        verify_at_end(session, task)
    elif place == _core.SIGNAL_SYNC and not passed:
        _log(session, task, signo, flags)
    core.resume_with(task.serial, passed)


def _can_go_on(place: int, signo: int) -> bool:
    """Whether a program goes on when a signal is held back: a fault would come again at once, a
    trap (int3, a single step) is over."""
    return place != _core.SIGNAL_SYNC or signo == _SIGTRAP


def _make_again(session: Session, task: Task) -> None:
    """An ignored signal is dropped when it is sent, unless the task is traced: then it wakes
    sleeping calls (sig_ignored in kernel/signal.c). Those that the kernel does not restart by
    itself are made again, as if nothing had happened."""
    regs = list(_core.getregs(task.tid))
    if regs[_RAX] != 2**64 - errno.EINTR or pending_caught(task.tid):
        return
    regs[_RAX] = regs[_ORIG_RAX]
    regs[_RIP] -= 2
    regs[_ORIG_RAX] = 2**64 - 1
    _core.setregs(task.tid, regs)
    session.core.emit(REGS, 0, 0, task.serial, regs, None, (), None)


def _log(session: Session, task: Task, signo: int, flags: int) -> tuple[int, ...]:
    regs = _core.getregs(task.tid)
    extra = dumps(describe_siginfo(_core.siginfo(task.tid)))
    session.core.emit(SIGNAL, flags, signo, task.serial, regs, None, (), extra)
    return regs


def on_stepped(session: Session, task: Task) -> None:
    """The handler's frame has been made and nothing of the handler has run."""
    regs = _core.getregs(task.tid)
    _hide_step(session, task, regs[_RSP])
    session.core.emit(
        REGS, _XINIT, 0, task.serial, regs, None, (_frame(session, task, regs),), None
    )


def _hide_step(session: Session, task: Task, sp: int) -> None:
    """Before an instruction that may set the trap flag, a step's is taken for the program's own
    (enable_single_step in arch/x86/kernel/step.c), and the frame has it."""
    at = sp + _FRAME_EFLAGS
    (flags,) = struct.unpack("<Q", session.core.read(task.serial, at, 8))
    if flags & ~task.frame_flags & _TRAP_FLAG:
        session.core.write(task.serial, at, struct.pack("<Q", flags & ~_TRAP_FLAG))


def _frame(session: Session, task: Task, regs: tuple[int, ...]) -> tuple[int, int]:
    sp = regs[_RSP]
    below = task.frame_from - sp
    if 0 < below <= _FRAME_MAX:
        return sp, below
    # on the alternate stack
    base, _, size = struct.unpack("<QQQ", session.core.read(task.serial, sp + _FRAME_STACK, 24))
    end = base + size
    return sp, min(end - sp, _FRAME_MAX) if sp < end else _FRAME_MAX
