"""The vocabulary in which system calls are described.

A description says what each argument means to the memory of the program and
what is special about the call.  It maps one to one on the structs of
``src/core/table.h``; the families beside this file use only the constructors
below, so that a line of a table reads like the call's manual page::

    call("read", 0, fd(), out(ret=2), size(), blocks=True)

Every argument also carries a *format*: how a person would like to see it (see
``format.py``); the C core does not know about it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relive.syscalls.structs import STRUCTS

MAX_ARGS = 6
"""Arguments a system call can have."""
MAX_NR = 1024
"""Numbers the encoded table has room for."""


class Kind(enum.IntEnum):
    """What an argument means to memory (``enum arg_kind``)."""

    SCALAR = 0
    STR = 1
    STRV = 2
    IN = 3
    OUT = 4
    INOUT = 5
    IOV_IN = 6
    IOV_OUT = 7
    MSG_IN = 8
    MSG_OUT = 9
    MMSG_IN = 10
    MMSG_OUT = 11


class Rule(enum.IntEnum):
    """How big a block is (``enum size_rule``)."""

    FIXED = 0
    ARG = 1
    RET = 2
    PTR32 = 3
    PTR64 = 4
    FDSET = 5
    BITS_ARG = 6
    RET_MIN = 7
    IN_U32 = 8


class When(enum.IntFlag):
    """When an output is written (``ARGF_*``); nothing set: when the call succeeds."""

    SUCCESS = 0
    EVEN_ON_ERROR = 0x01
    ONLY_ON_EINTR = 0x02
    RET_NONZERO = 0x04
    FUTEX_WORD = 0x08
    ON_ENOSPC = 0x10


class CallFlag(enum.IntFlag):
    """What is special about a call (``CALLF_*``)."""

    NONE = 0
    BLOCKS = 0x0001
    WRITES_FD = 0x0002
    RECORD_ENTRY = 0x0004
    RECORD_EXIT = 0x0008
    REPLAY = 0x0010
    REFUSE = 0x0020
    WARN = 0x0040
    NORETURN = 0x0080
    RESTARTS_BLOCK = 0x0100
    OPENS = 0x0200
    YIELDS = 0x0400


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument: ``struct arg_desc`` and its format."""

    kind: Kind = Kind.SCALAR
    rule: Rule = Rule.FIXED
    size_arg: int = 0
    """Index of the argument that the rule names."""
    when: When = When.SUCCESS
    elem: int = 0
    """Bytes: of the block (``FIXED``), of an element (other rules), at most (``IN_U32``)."""
    fmt: str = "hex"
    """How to print it; for memory, how to print the element."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one call or of one variant: ``struct call_desc``."""

    label: str
    """The call's name, or the variant's (``F_GETLK``)."""
    args: tuple[Arg, ...]
    flags: CallFlag
    refuse: int = 0
    """The errno that answers a refused call, else 0."""
    ret: str = "int"
    """How to print the result."""

    @property
    def refused(self) -> bool:
        """Whether the call is answered without being made."""
        return CallFlag.REFUSE in self.flags


@dataclass(frozen=True, slots=True)
class Variant:
    """A multiplexed call's facts where ``(args[arg] & mask) == value``: ``struct call_variant``."""

    arg: int
    mask: int
    value: int
    facts: Facts


@dataclass(frozen=True, slots=True)
class Call:
    """A system call: its name and number, its facts, and its variants (first match applies)."""

    name: str
    nr: int
    facts: Facts
    variants: tuple[Variant, ...] = ()

    def facts_for(self, args: Iterable[int]) -> Facts:
        """The facts that apply to these arguments (unsigned 64-bit): `call_lookup`'s twin."""
        values = tuple(args)
        for variant in self.variants:
            if values[variant.arg] & variant.mask == variant.value:
                return variant.facts
        return self.facts


# ---------------------------------------------------------------- scalars


def scalar(fmt: str) -> Arg:
    """An argument that means nothing to memory (or memory the kernel leaves alone)."""
    return Arg(fmt=fmt)


def fd() -> Arg:
    """A file descriptor."""
    return scalar("fd")


def dfd() -> Arg:
    """A directory descriptor, or AT_FDCWD."""
    return scalar("dfd")


def size() -> Arg:
    """A number of bytes or of elements."""
    return scalar("size")


def num() -> Arg:
    """A C ``int``."""
    return scalar("int")


def long_() -> Arg:
    """A signed 64-bit number (offsets too)."""
    return scalar("long")


def unsigned() -> Arg:
    """An unsigned 64-bit number."""
    return scalar("ulong")


def hexa() -> Arg:
    """A number best read in hexadecimal."""
    return scalar("hex")


def addr() -> Arg:
    """An address that the kernel neither reads nor writes as an effect of the call."""
    return scalar("addr")


def mode() -> Arg:
    """Permission bits."""
    return scalar("octal")


def sig() -> Arg:
    """A signal number."""
    return scalar("signal")


def pid() -> Arg:
    """A process, thread or process-group id."""
    return scalar("int")


def uid() -> Arg:
    """A user or group id; -1 means "leave as it is"."""
    return scalar("id")


def flags(names: str) -> Arg:
    """A set of bits, named in ``names.py``."""
    return scalar(f"flags:{names}")


def one_of(names: str) -> Arg:
    """One of a list of constants, named in ``names.py``."""
    return scalar(f"enum:{names}")


# ---------------------------------------------------------------- memory


def path() -> Arg:
    """In: a path name."""
    return Arg(Kind.STR, fmt="path")


def string() -> Arg:
    """In: a NUL-terminated string."""
    return Arg(Kind.STR, fmt="str")


def strv() -> Arg:
    """In: a NULL-terminated vector of strings."""
    return Arg(Kind.STRV, fmt="strv")


def _block(
    kind: Kind,
    what: str | int,
    *,
    n: int | None,
    ret: int | None = None,
    ret_min: int | None = None,
    len32: int | None = None,
    len64: int | None = None,
    nfds: int | None = None,
    bits: int | None = None,
    own: bool = False,
    when: When = When.SUCCESS,
) -> Arg:
    elem, fmt = (what, "bytes") if isinstance(what, int) else (STRUCTS[what], what)
    named = {
        Rule.ARG: n,
        Rule.RET: ret,
        Rule.RET_MIN: ret_min,
        Rule.PTR32: len32,
        Rule.PTR64: len64,
        Rule.FDSET: nfds,
        Rule.BITS_ARG: bits,
    }
    given = [(rule, index) for rule, index in named.items() if index is not None]
    if own:
        given.append((Rule.IN_U32, 0))
    if len(given) > 1:
        raise ValueError(f"a block has one size rule, not {[rule.name for rule, _ in given]}")
    rule, index = given[0] if given else (Rule.FIXED, 0)
    return Arg(kind, rule, index, when, elem, fmt)


def in_(
    what: str | int = "bytes",
    *,
    n: int | None = None,
    len32: int | None = None,
    nfds: int | None = None,
    bits: int | None = None,
    own: bool = False,
) -> Arg:
    """In: a block.

    `what` is the element: a name of ``structs.py`` or a number of bytes.  At most one of:
    `n`, the argument that counts elements; `len32`, the argument that points at the length;
    `nfds`, the argument that sizes an fd_set; `bits`, that counts bits; `own`, the block begins
    with its own size as a u32.  None of them: one element.
    """
    return _block(Kind.IN, what, n=n, len32=len32, nfds=nfds, bits=bits, own=own)


def out(
    what: str | int = "bytes",
    *,
    n: int | None = None,
    ret: int | None = None,
    ret_min: int | None = None,
    len32: int | None = None,
    len64: int | None = None,
    bits: int | None = None,
    nfds: int | None = None,
    when: When = When.SUCCESS,
) -> Arg:
    """Out: a block, sized as for `in_`, or by the result.

    `ret`: as many elements as the result says, where the named argument is the room for
    them; `ret_min`: the same where the result may exceed the room.
    """
    return _block(
        Kind.OUT,
        what,
        n=n,
        ret=ret,
        ret_min=ret_min,
        len32=len32,
        len64=len64,
        bits=bits,
        nfds=nfds,
        when=when,
    )


def inout(
    what: str | int = "bytes",
    *,
    n: int | None = None,
    nfds: int | None = None,
    own: bool = False,
    when: When = When.SUCCESS,
) -> Arg:
    """In and out: a block that the kernel reads and changes, or writes only in part."""
    return _block(Kind.INOUT, what, n=n, nfds=nfds, own=own, when=when)


def iov_in(*, n: int) -> Arg:
    """In: ``struct iovec[args[n]]`` whose buffers the kernel reads."""
    return Arg(Kind.IOV_IN, Rule.ARG, n, elem=16, fmt="iovec")


def iov_out(*, n: int) -> Arg:
    """In: ``struct iovec[args[n]]`` through which the kernel writes `result` bytes."""
    return Arg(Kind.IOV_OUT, Rule.ARG, n, elem=16, fmt="iovec")


def msg_in() -> Arg:
    """In: ``struct msghdr`` as for sendmsg."""
    return Arg(Kind.MSG_IN, elem=STRUCTS["msghdr"], fmt="msghdr")


def msg_out() -> Arg:
    """``struct msghdr`` as for recvmsg."""
    return Arg(Kind.MSG_OUT, elem=STRUCTS["msghdr"], fmt="msghdr")


def mmsg_in(*, n: int) -> Arg:
    """``struct mmsghdr[args[n]]`` as for sendmmsg."""
    return Arg(Kind.MMSG_IN, Rule.ARG, n, elem=STRUCTS["mmsghdr"], fmt="mmsghdr")


def mmsg_out(*, n: int) -> Arg:
    """``struct mmsghdr[args[n]]`` as for recvmmsg."""
    return Arg(Kind.MMSG_OUT, Rule.ARG, n, elem=STRUCTS["mmsghdr"], fmt="mmsghdr")


# ---------------------------------------------------------------- calls


def facts(
    label: str,
    *args: Arg,
    blocks: bool = False,
    writes_fd: bool = False,
    on_entry: bool = False,
    on_exit: bool = False,
    replay: bool = False,
    noreturn: bool = False,
    restarts: bool = False,
    opens: bool = False,
    yields: bool = False,
    refuse: int = 0,
    warn: bool = False,
    ret: str | None = None,
) -> Facts:
    """The facts of a call or variant; the keywords are the ``CALLF_*`` of ``table.h``."""
    if len(args) > MAX_ARGS:
        raise ValueError(f"{label}: {len(args)} arguments")
    if warn and not refuse:
        raise ValueError(f"{label}: only a refusal warns")
    chosen = CallFlag.NONE
    for given, flag in (
        (blocks, CallFlag.BLOCKS),
        (writes_fd, CallFlag.WRITES_FD),
        (on_entry, CallFlag.RECORD_ENTRY),
        (on_exit, CallFlag.RECORD_EXIT),
        (replay, CallFlag.REPLAY),
        (bool(refuse), CallFlag.REFUSE),
        (warn, CallFlag.WARN),
        (noreturn, CallFlag.NORETURN),
        (restarts, CallFlag.RESTARTS_BLOCK),
        (opens, CallFlag.OPENS),
        (yields, CallFlag.YIELDS),
    ):
        if given:
            chosen |= flag
    return Facts(label, args, chosen, refuse, ret or ("fd" if opens else "int"))


def call(
    name: str,
    nr: int,
    *args: Arg,
    variants: tuple[Variant, ...] = (),
    blocks: bool = False,
    writes_fd: bool = False,
    on_entry: bool = False,
    on_exit: bool = False,
    replay: bool = False,
    noreturn: bool = False,
    restarts: bool = False,
    opens: bool = False,
    yields: bool = False,
    refuse: int = 0,
    warn: bool = False,
    ret: str | None = None,
) -> Call:
    """A system call; keywords as for `facts`."""
    described = facts(
        name,
        *args,
        blocks=blocks,
        writes_fd=writes_fd,
        on_entry=on_entry,
        on_exit=on_exit,
        replay=replay,
        noreturn=noreturn,
        restarts=restarts,
        opens=opens,
        yields=yields,
        refuse=refuse,
        warn=warn,
        ret=ret,
    )
    return Call(name, nr, described, variants)


def select(arg: int, cases: Mapping[int, Facts], mask: int = 0xFFFFFFFF) -> tuple[Variant, ...]:
    """Variants chosen by one argument under one mask (32 bits: the rest is not looked at)."""
    for value in cases:
        if value & ~mask:
            raise ValueError(f"{cases[value].label}: {value:#x} can never match mask {mask:#x}")
    return tuple(Variant(arg, mask, value, found) for value, found in cases.items())
