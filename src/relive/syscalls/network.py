"""Sockets."""

from __future__ import annotations

from typing import Final

from relive.syscalls.model import (
    Call,
    call,
    fd,
    flags,
    in_,
    inout,
    mmsg_in,
    mmsg_out,
    msg_in,
    msg_out,
    num,
    one_of,
    out,
    size,
)

CALLS: Final[tuple[Call, ...]] = (
    call("socket", 41, one_of("domain"), flags("socktype"), num(), opens=True),
    call("socketpair", 53, one_of("domain"), flags("socktype"), num(), out("fdpair")),
    call("bind", 49, fd(), in_("sockaddr", n=2), size()),
    call("listen", 50, fd(), num()),
    call("connect", 42, fd(), in_("sockaddr", n=2), size(), blocks=True),
    call("accept", 43, fd(), out("sockaddr", len32=2), inout("socklen"), blocks=True, opens=True),
    call(
        "accept4",
        288,
        fd(),
        out("sockaddr", len32=2),
        inout("socklen"),
        flags("socktype"),
        blocks=True,
        opens=True,
    ),
    call("getsockname", 51, fd(), out("sockaddr", len32=2), inout("socklen")),
    call("getpeername", 52, fd(), out("sockaddr", len32=2), inout("socklen")),
    call("shutdown", 48, fd(), one_of("shutdown")),
    call("setsockopt", 54, fd(), one_of("sol"), one_of("sockopt"), in_(n=4), size()),
    call(
        "getsockopt",
        55,
        fd(),
        one_of("sol"),
        one_of("sockopt"),
        out(len32=4),
        inout("socklen"),
    ),
    call(
        "sendto",
        44,
        fd(),
        in_(n=2),
        size(),
        flags("msg"),
        in_("sockaddr", n=5),
        size(),
        blocks=True,
        writes_fd=True,
    ),
    # MSG_TRUNC makes the result the datagram's true length.
    call(
        "recvfrom",
        45,
        fd(),
        out(ret_min=2),
        size(),
        flags("msg"),
        out("sockaddr", len32=5),
        inout("socklen"),
        blocks=True,
    ),
    call("sendmsg", 46, fd(), msg_in(), flags("msg"), blocks=True, writes_fd=True),
    call("recvmsg", 47, fd(), msg_out(), flags("msg"), blocks=True),
    call("sendmmsg", 307, fd(), mmsg_in(n=2), size(), flags("msg"), blocks=True, writes_fd=True),
    # The timeout gets the time that was left when a datagram came.
    call(
        "recvmmsg",
        299,
        fd(),
        mmsg_out(n=2),
        size(),
        flags("msg"),
        inout("timespec"),
        blocks=True,
    ),
)
