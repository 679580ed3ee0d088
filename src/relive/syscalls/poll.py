"""Waiting for descriptors: poll, select, epoll, eventfd."""

from __future__ import annotations

from typing import Final

from relive.syscalls.model import (
    Call,
    When,
    call,
    fd,
    flags,
    in_,
    inout,
    num,
    one_of,
    out,
    size,
)

# do_sys_poll writes revents back whatever do_poll returned, -EINTR included.
_POLLFDS: Final = inout("pollfd", n=1, when=When.EVEN_ON_ERROR)
# poll_select_finish writes the time left whatever the result (unless STICKY_TIMEOUTS).
_TIMEOUT: Final = inout("timespec", when=When.EVEN_ON_ERROR)
_FDSET: Final = inout("fdset", nfds=0)

CALLS: Final[tuple[Call, ...]] = (
    call("poll", 7, _POLLFDS, size(), num(), blocks=True, restarts=True),
    call("ppoll", 271, _POLLFDS, size(), _TIMEOUT, in_("sigset", n=4), size(), blocks=True),
    call(
        "select",
        23,
        num(),
        _FDSET,
        _FDSET,
        _FDSET,
        inout("timeval", when=When.EVEN_ON_ERROR),
        blocks=True,
    ),
    # The sixth argument points at {pointer to mask, size of mask}.
    call(
        "pselect6",
        270,
        num(),
        _FDSET,
        _FDSET,
        _FDSET,
        _TIMEOUT,
        in_("sigset_argpack"),
        blocks=True,
    ),
    call("epoll_create", 213, num(), opens=True),
    call("epoll_create1", 291, flags("newfd"), opens=True),
    # The event is ignored for EPOLL_CTL_DEL.
    call("epoll_ctl", 233, fd(), one_of("epoll_ctl"), fd(), in_("epoll_event")),
    call("epoll_wait", 232, fd(), out("epoll_event", ret=2), num(), num(), blocks=True),
    call(
        "epoll_pwait",
        281,
        fd(),
        out("epoll_event", ret=2),
        num(),
        num(),
        in_("sigset", n=5),
        size(),
        blocks=True,
    ),
    call(
        "epoll_pwait2",
        441,
        fd(),
        out("epoll_event", ret=2),
        num(),
        in_("timespec"),
        in_("sigset", n=5),
        size(),
        blocks=True,
    ),
    call("eventfd", 284, num(), opens=True),
    call("eventfd2", 290, num(), flags("eventfd"), opens=True),
)
