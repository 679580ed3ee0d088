"""System identity and control, seccomp, Landlock, security modules, randomness."""

from __future__ import annotations

import errno
from typing import Final

from relive.syscalls.model import (
    Arg,
    Call,
    Facts,
    When,
    addr,
    call,
    facts,
    fd,
    flags,
    in_,
    inout,
    num,
    one_of,
    out,
    select,
    size,
)

_SYSLOG_READ: Final = 2
_SYSLOG_READ_ALL: Final = 3
_SYSLOG_READ_CLEAR: Final = 4

_SYSTEM: Final = (
    call("uname", 63, out("utsname")),
    call("sysinfo", 99, out("sysinfo")),
    call("sethostname", 170, in_(n=1), size()),
    call("setdomainname", 171, in_(n=1), size()),
    call(
        "syslog",
        103,
        one_of("syslog"),
        addr(),
        size(),
        variants=select(
            0,
            {
                _SYSLOG_READ: facts("syslog", one_of("syslog"), out(ret=2), size(), blocks=True),
                _SYSLOG_READ_ALL: facts("syslog", one_of("syslog"), out(ret=2), size()),
                _SYSLOG_READ_CLEAR: facts("syslog", one_of("syslog"), out(ret=2), size()),
            },
        ),
    ),
    call("vhangup", 153),
    call("getrandom", 318, out(ret=1), size(), flags("getrandom")),
)

_SECCOMP_OP: Final = one_of("seccomp")


def _mode(third: Arg) -> Facts:
    """Sets a mode: from then on the recorder may not make just any call in the program's name."""
    return facts("seccomp", _SECCOMP_OP, flags("seccomp"), third, on_entry=True, on_exit=True)


_SECCOMP: Final = call(
    "seccomp",
    317,
    _SECCOMP_OP,
    flags("seccomp"),
    addr(),
    refuse=errno.EINVAL,
    warn=True,
    variants=select(
        0,
        {
            0: _mode(addr()),
            1: _mode(in_("sock_fprog")),
            2: facts("seccomp", _SECCOMP_OP, flags("seccomp"), in_("u32")),
            3: facts("seccomp", _SECCOMP_OP, flags("seccomp"), out("seccomp_notif_sizes")),
        },
    ),
)

_LANDLOCK_RULE: Final = (fd(), one_of("landlock_rule"))
_LANDLOCK: Final = (
    call("landlock_create_ruleset", 444, in_(n=1), size(), flags("none"), opens=True),
    call(
        "landlock_add_rule",
        445,
        *_LANDLOCK_RULE,
        addr(),
        flags("none"),
        variants=select(
            1,
            {
                1: facts(
                    "landlock_add_rule",
                    *_LANDLOCK_RULE,
                    in_("landlock_path_beneath"),
                    flags("none"),
                ),
                2: facts(
                    "landlock_add_rule", *_LANDLOCK_RULE, in_("landlock_net_port"), flags("none")
                ),
            },
        ),
    ),
    call("landlock_restrict_self", 446, fd(), flags("none")),
)

_LSM: Final = (
    # The size is a u32 that comes back whether there was room, or anything to tell, or not.
    call(
        "lsm_get_self_attr",
        459,
        num(),
        out(len32=2),
        inout("u32", when=When.EVEN_ON_ERROR),
        flags("none"),
    ),
    call("lsm_set_self_attr", 460, num(), in_(n=2), size(), flags("none")),
    call(
        "lsm_list_modules",
        461,
        out(len32=1),
        inout("u32", when=When.ON_ENOSPC),
        flags("none"),
    ),
)

CALLS: Final[tuple[Call, ...]] = (*_SYSTEM, _SECCOMP, *_LANDLOCK, *_LSM)
