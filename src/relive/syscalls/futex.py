"""Futexes: every operation of futex(2), and the newer calls.

The kernel changes user memory in a few of them only: the word of a priority
inheriting futex, and the second word of FUTEX_WAKE_OP.
"""

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
    flags,
    hexa,
    in_,
    inout,
    num,
    one_of,
    select,
    size,
)

_OP: Final = one_of("futex_op")
_COMMAND: Final = 0xFFFFFFFF & ~(128 | 256)
"""Without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME."""
_PI_WORD: Final = inout("u32", when=When.EVEN_ON_ERROR | When.FUTEX_WORD)


def _wait(label: str, word: Arg, *more: Arg, restarts: bool = False) -> Facts:
    return facts(label, word, _OP, num(), in_("timespec"), *more, blocks=True, restarts=restarts)


_OPS: Final = {
    0: _wait("FUTEX_WAIT", addr(), restarts=True),
    1: facts("FUTEX_WAKE", addr(), _OP, num()),
    3: facts("FUTEX_REQUEUE", addr(), _OP, num(), num(), addr()),
    4: facts("FUTEX_CMP_REQUEUE", addr(), _OP, num(), num(), addr(), num()),
    # The operation on the second word is done before anything is woken.
    5: facts(
        "FUTEX_WAKE_OP",
        addr(),
        _OP,
        num(),
        num(),
        inout("u32", when=When.EVEN_ON_ERROR),
        hexa(),
    ),
    6: _wait("FUTEX_LOCK_PI", _PI_WORD),
    7: facts("FUTEX_UNLOCK_PI", _PI_WORD, _OP),
    8: facts("FUTEX_TRYLOCK_PI", _PI_WORD, _OP),
    9: _wait("FUTEX_WAIT_BITSET", addr(), addr(), hexa(), restarts=True),
    10: facts("FUTEX_WAKE_BITSET", addr(), _OP, num(), addr(), addr(), hexa()),
    11: _wait("FUTEX_WAIT_REQUEUE_PI", addr(), _PI_WORD),
    12: facts("FUTEX_CMP_REQUEUE_PI", addr(), _OP, num(), num(), _PI_WORD, num()),
    13: _wait("FUTEX_LOCK_PI2", _PI_WORD),
}

CALLS: Final[tuple[Call, ...]] = (
    call(
        "futex",
        202,
        addr(),
        _OP,
        num(),
        hexa(),
        addr(),
        hexa(),
        refuse=errno.ENOSYS,
        warn=True,
        variants=select(1, _OPS, mask=_COMMAND),
    ),
    call(
        "futex_waitv",
        449,
        in_("futex_waitv", n=1),
        size(),
        flags("none"),
        in_("timespec"),
        one_of("clock"),
        blocks=True,
    ),
    call("futex_wake", 454, addr(), hexa(), num(), hexa()),
    call(
        "futex_wait",
        455,
        addr(),
        num(),
        hexa(),
        hexa(),
        in_("timespec"),
        one_of("clock"),
        blocks=True,
    ),
    # Two waiters: from and to.
    call("futex_requeue", 456, in_(48), flags("none"), num(), num()),
)
