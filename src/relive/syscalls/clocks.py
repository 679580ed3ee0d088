"""Clocks, timers and sleeping."""

from __future__ import annotations

from typing import Final

from relive.syscalls.model import (
    Call,
    When,
    addr,
    call,
    fd,
    flags,
    in_,
    inout,
    num,
    one_of,
    out,
)

CALLS: Final[tuple[Call, ...]] = (
    call("time", 201, out("time"), ret="long"),
    call("gettimeofday", 96, out("timeval"), out("timezone")),
    call("settimeofday", 164, in_("timeval"), in_("timezone")),
    call("adjtimex", 159, inout("timex")),
    call("clock_adjtime", 305, one_of("clock"), inout("timex")),
    call("clock_gettime", 228, one_of("clock"), out("timespec")),
    call("clock_settime", 227, one_of("clock"), in_("timespec")),
    call("clock_getres", 229, one_of("clock"), out("timespec")),
    # The time left is written when the sleep is interrupted, whether it will be restarted or
    # not.
    call(
        "nanosleep",
        35,
        in_("timespec"),
        out("timespec", when=When.ONLY_ON_EINTR),
        blocks=True,
        restarts=True,
    ),
    # With TIMER_ABSTIME nothing is left to tell: hence INOUT, which claims what was there.
    call(
        "clock_nanosleep",
        230,
        one_of("clock"),
        flags("timer"),
        in_("timespec"),
        inout("timespec", when=When.ONLY_ON_EINTR),
        blocks=True,
        restarts=True,
    ),
    call("times", 100, out("tms"), ret="long"),
    call("alarm", 37, num()),
    call("getitimer", 36, one_of("itimer"), out("itimerval")),
    call("setitimer", 38, one_of("itimer"), in_("itimerval"), out("itimerval")),
    # The id is written before the last checks, which may still fail.
    call(
        "timer_create",
        222,
        one_of("clock"),
        in_("sigevent"),
        out("int", when=When.EVEN_ON_ERROR),
    ),
    call("timer_settime", 223, num(), flags("timer"), in_("itimerspec"), out("itimerspec")),
    call("timer_gettime", 224, num(), out("itimerspec")),
    call("timer_getoverrun", 225, num()),
    call("timer_delete", 226, num()),
    call("timerfd_create", 283, one_of("clock"), flags("newfd"), opens=True),
    call("timerfd_settime", 286, fd(), flags("timer"), in_("itimerspec"), out("itimerspec")),
    call("timerfd_gettime", 287, fd(), out("itimerspec")),
    # The third argument has been unused since 2.6.24.
    call("getcpu", 309, out("u32"), out("u32"), addr()),
)
