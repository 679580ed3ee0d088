"""Signals: sending, handling, masking, waiting."""

from __future__ import annotations

from typing import Final

from relive.syscalls.model import (
    Call,
    When,
    call,
    fd,
    flags,
    in_,
    one_of,
    out,
    pid,
    sig,
    size,
)

CALLS: Final[tuple[Call, ...]] = (
    # 32 bytes: the kernel's sigaction (handler, flags, restorer, one word of mask).
    call("rt_sigaction", 13, sig(), in_("sigaction"), out("sigaction"), size()),
    call(
        "rt_sigprocmask",
        14,
        one_of("sigprocmask"),
        in_("sigset", n=3),
        out("sigset", n=3),
        size(),
    ),
    # Registers and mask come from the frame on the stack.
    call("rt_sigreturn", 15, on_exit=True, replay=True),
    call("rt_sigpending", 127, out("sigset", n=1), size()),
    call(
        "rt_sigtimedwait",
        128,
        in_("sigset", n=3),
        out("siginfo", when=When.RET_NONZERO),
        in_("timespec"),
        size(),
        blocks=True,
        ret="signal",
    ),
    call("rt_sigqueueinfo", 129, pid(), sig(), in_("siginfo")),
    call("rt_tgsigqueueinfo", 297, pid(), pid(), sig(), in_("siginfo")),
    call("rt_sigsuspend", 130, in_("sigset", n=1), size(), blocks=True),
    call("sigaltstack", 131, in_("sigaltstack"), out("sigaltstack")),
    call("pause", 34, blocks=True),
    call("kill", 62, pid(), sig()),
    call("tkill", 200, pid(), sig()),
    call("tgkill", 234, pid(), pid(), sig()),
    call("pidfd_send_signal", 424, fd(), sig(), in_("siginfo"), flags("none")),
    call("signalfd", 282, fd(), in_("sigset", n=2), size(), opens=True),
    call("signalfd4", 289, fd(), in_("sigset", n=2), size(), flags("newfd"), opens=True),
    # Goes on with the call that a stop or an untaken signal interrupted (nanosleep, poll, futex):
    # what it writes is what that call writes, to the addresses that call was made with.
    call("restart_syscall", 219, blocks=True),
)
