"""Scheduling: policies, priorities, affinity."""

from __future__ import annotations

from typing import Final

from relive.syscalls.model import (
    Call,
    When,
    call,
    flags,
    in_,
    inout,
    one_of,
    out,
    pid,
    size,
)

CALLS: Final[tuple[Call, ...]] = (
    call("sched_yield", 24, yields=True),
    call("sched_setparam", 142, pid(), in_("sched_param")),
    call("sched_getparam", 143, pid(), out("sched_param")),
    call("sched_setscheduler", 144, pid(), one_of("sched"), in_("sched_param")),
    call("sched_getscheduler", 145, pid()),
    call("sched_get_priority_max", 146, one_of("sched")),
    call("sched_get_priority_min", 147, one_of("sched")),
    call("sched_rr_get_interval", 148, pid(), out("timespec")),
    # The recorder keeps every task on one core and answers for the program's own idea of its
    # affinity.
    call("sched_setaffinity", 203, pid(), size(), in_("cpuset", n=1), on_entry=True),
    call("sched_getaffinity", 204, pid(), size(), out("cpuset", ret=1), on_entry=True),
    # On E2BIG the kernel writes the size it knows; 48 bytes is version 0 of the struct, which
    # has all but the utilisation clamps.
    call("sched_setattr", 314, pid(), inout("sched_attr", when=When.ON_ENOSPC), flags("none")),
    call("sched_getattr", 315, pid(), out(n=2), size(), flags("none")),
)
