"""Processes and threads: creation, end, identity, limits."""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import (
    Call,
    Facts,
    Variant,
    When,
    addr,
    call,
    dfd,
    facts,
    fd,
    flags,
    hexa,
    in_,
    inout,
    num,
    one_of,
    out,
    path,
    pid,
    select,
    sig,
    size,
    strv,
    uid,
)

_CLONE_PIDFD: Final = 0x00001000
_CLONE_PARENT_SETTID: Final = 0x00100000


def _clone(*, writes: bool) -> Facts:
    # x86-64 order: flags, stack, parent_tid, child_tid, tls (man 2 clone).
    return facts(
        "clone",
        flags("clone"),
        addr(),
        out("int") if writes else addr(),
        addr(),
        addr(),
        on_entry=True,
        on_exit=True,
        replay=True,
    )


_CREATION: Final = (
    # parent_tid is written in the caller for CLONE_PARENT_SETTID and CLONE_PIDFD. The child's
    # tid (CLONE_CHILD_SETTID) is written in the child: the recorder logs that with the child.
    Call(
        "clone",
        56,
        _clone(writes=False),
        (
            Variant(0, _CLONE_PARENT_SETTID, _CLONE_PARENT_SETTID, _clone(writes=True)),
            Variant(0, _CLONE_PIDFD, _CLONE_PIDFD, _clone(writes=True)),
        ),
    ),
    call("fork", 57, on_entry=True, on_exit=True, replay=True),
    call("vfork", 58, on_entry=True, on_exit=True, replay=True),
    # pidfd and parent_tid are named inside the struct: special_outs.
    call(
        "clone3",
        435,
        in_("clone_args", n=1),
        size(),
        on_entry=True,
        on_exit=True,
        replay=True,
    ),
    call("execve", 59, path(), strv(), strv(), on_entry=True, on_exit=True, replay=True),
    call(
        "execveat",
        322,
        dfd(),
        path(),
        strv(),
        strv(),
        flags("at"),
        on_entry=True,
        on_exit=True,
        replay=True,
    ),
    call("exit", 60, num(), on_entry=True, replay=True, noreturn=True),
    call("exit_group", 231, num(), on_entry=True, replay=True, noreturn=True),
)

_WAITING: Final = (
    # kernel_wait4 and sys_wait4 write only when a child is reported.
    call(
        "wait4",
        61,
        pid(),
        out("wstatus", when=When.RET_NONZERO),
        flags("wait"),
        out("rusage", when=When.RET_NONZERO),
        blocks=True,
    ),
    # waitid fills six fields of the siginfo whatever the result, zeros when there is no child
    # (SYSCALL_DEFINE5(waitid)); they span 28 bytes with a hole, hence INOUT. The usage is
    # written only when a child is reported, which the result (0) does not say: INOUT again.
    call(
        "waitid",
        247,
        one_of("idtype"),
        pid(),
        inout("waitinfo", when=When.EVEN_ON_ERROR),
        flags("wait"),
        inout("rusage"),
        blocks=True,
    ),
    call("pidfd_open", 434, pid(), flags("newfd"), opens=True),
    call("pidfd_getfd", 438, fd(), fd(), flags("none"), opens=True),
)

_IDENTITY: Final = (
    call("getpid", 39),
    call("gettid", 186),
    call("getppid", 110),
    call("getuid", 102),
    call("getgid", 104),
    call("geteuid", 107),
    call("getegid", 108),
    call("setuid", 105, uid()),
    call("setgid", 106, uid()),
    call("setreuid", 113, uid(), uid()),
    call("setregid", 114, uid(), uid()),
    call("setresuid", 117, uid(), uid(), uid()),
    call("getresuid", 118, out("id"), out("id"), out("id")),
    call("setresgid", 119, uid(), uid(), uid()),
    call("getresgid", 120, out("id"), out("id"), out("id")),
    call("setfsuid", 122, uid()),
    call("setfsgid", 123, uid()),
    # With size 0 the number of groups is returned and nothing is written.
    call(
        "getgroups",
        115,
        size(),
        out("id", ret=0),
        variants=select(0, {0: facts("getgroups", size(), addr())}),
    ),
    call("setgroups", 116, size(), in_("id", n=0)),
    call("setpgid", 109, pid(), pid()),
    call("getpgid", 121, pid()),
    call("getpgrp", 111),
    call("setsid", 112),
    call("getsid", 124, pid()),
    # The header gets the kernel's preferred version when it names an unknown one, even though
    # the call fails then. The data is two structs (24 bytes) for versions 2 and 3; version 1
    # (Linux before 2.6.25) writes 12 of the 24 claimed.
    call("capget", 125, inout("cap_header", when=When.EVEN_ON_ERROR), out("cap_data")),
    call("capset", 126, inout("cap_header", when=When.EVEN_ON_ERROR), in_("cap_data")),
)

_LIMITS: Final = (
    call("getrlimit", 97, one_of("rlimit"), out("rlimit")),
    call("setrlimit", 160, one_of("rlimit"), in_("rlimit"), replay=True),
    call("prlimit64", 302, pid(), one_of("rlimit"), in_("rlimit"), out("rlimit"), replay=True),
    call("getrusage", 98, one_of("rusage_who"), out("rusage")),
    call("getpriority", 140, one_of("prio"), pid()),
    call("setpriority", 141, one_of("prio"), pid(), num()),
    call("ioprio_set", 251, num(), pid(), hexa()),
    call("ioprio_get", 252, num(), pid(), ret="hex"),
    call("personality", 135, hexa(), ret="hex"),
    call("unshare", 272, flags("clone")),
    call("setns", 308, fd(), flags("clone")),
    call("kcmp", 312, pid(), pid(), num(), hexa(), hexa()),
    call("listns", 470, in_("ns_id_req", own=True), out("u64", ret=2), size(), flags("none")),
)

_THREAD: Final = (
    # The recorder keeps these addresses: the kernel writes there when the task ends.
    call("set_tid_address", 218, addr(), on_exit=True),
    call("set_robust_list", 273, addr(), size(), on_exit=True),
    call("get_robust_list", 274, pid(), out("ptr"), out("size")),
    # Its area is updated behind the program's back at every preemption.
    call("rseq", 334, addr(), size(), flags("none"), sig(), refuse=errno.ENOSYS),
    call("rseq_slice_yield", 471, refuse=errno.ENOSYS),
    # The LDT belongs to 16- and 32-bit code.
    call("modify_ldt", 154, num(), addr(), size(), refuse=errno.ENOSYS, warn=True),
)

CALLS: Final[tuple[Call, ...]] = (*_CREATION, *_WAITING, *_IDENTITY, *_LIMITS, *_THREAD)
