"""fcntl: every command of Linux 6.x; an unknown one gets EINVAL, the kernel's own answer."""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import (
    Arg,
    Call,
    Facts,
    addr,
    call,
    facts,
    fd,
    flags,
    hexa,
    in_,
    inout,
    num,
    one_of,
    out,
    pid,
    select,
    sig,
)

_CMD: Final = one_of("fcntl")


def _op(label: str, *third: Arg, blocks: bool = False, opens: bool = False) -> Facts:
    return facts(label, fd(), _CMD, *third, blocks=blocks, opens=opens)


_COMMANDS: Final = {
    0: _op("F_DUPFD", num(), opens=True),
    1: _op("F_GETFD"),
    2: _op("F_SETFD", flags("fdflags")),
    3: facts("F_GETFL", fd(), _CMD, ret="flags:open"),
    4: _op("F_SETFL", flags("open")),
    5: _op("F_GETLK", inout("flock")),
    6: _op("F_SETLK", in_("flock")),
    7: _op("F_SETLKW", in_("flock"), blocks=True),
    8: _op("F_SETOWN", pid()),
    9: _op("F_GETOWN"),
    10: _op("F_SETSIG", sig()),
    11: _op("F_GETSIG"),
    15: _op("F_SETOWN_EX", in_("f_owner_ex")),
    16: _op("F_GETOWN_EX", out("f_owner_ex")),
    17: _op("F_GETOWNER_UIDS", out("uids2")),
    36: _op("F_OFD_GETLK", inout("flock")),
    37: _op("F_OFD_SETLK", in_("flock")),
    38: _op("F_OFD_SETLKW", in_("flock"), blocks=True),
    1024: _op("F_SETLEASE", num()),
    1025: _op("F_GETLEASE"),
    1026: _op("F_NOTIFY", hexa()),
    1027: _op("F_DUPFD_QUERY", fd()),
    1028: _op("F_CREATED_QUERY"),
    1030: _op("F_DUPFD_CLOEXEC", num(), opens=True),
    1031: _op("F_SETPIPE_SZ", num()),
    1032: _op("F_GETPIPE_SZ"),
    1033: _op("F_ADD_SEALS", flags("seals")),
    1034: facts("F_GET_SEALS", fd(), _CMD, ret="flags:seals"),
    1035: _op("F_GET_RW_HINT", out("u64")),
    1036: _op("F_SET_RW_HINT", in_("u64")),
    1037: _op("F_GET_FILE_RW_HINT", out("u64")),
    1038: _op("F_SET_FILE_RW_HINT", in_("u64")),
}

CALLS: Final[tuple[Call, ...]] = (
    call(
        "fcntl",
        72,
        fd(),
        _CMD,
        addr(),
        refuse=errno.EINVAL,
        warn=True,
        variants=select(1, _COMMANDS),
    ),
)
