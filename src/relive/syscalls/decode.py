"""Bytes of memory as text: strings, numbers, and the commonest structures."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from typing import Final

from relive.syscalls.names import flags_text, signal_name, value_text
from relive.syscalls.structs import STRUCTS

STRING_LIMIT: Final = 32
"""Bytes of a string or buffer that are shown."""
ELEMENT_LIMIT: Final = 8
"""Elements of an array that are shown."""

_ESCAPES: Final = {
    0x07: "\\a",
    0x08: "\\b",
    0x09: "\\t",
    0x0A: "\\n",
    0x0B: "\\v",
    0x0C: "\\f",
    0x0D: "\\r",
    0x22: '\\"',
    0x5C: "\\\\",
}


def quoted(data: bytes, *, length: int | None = None, limit: int | None = STRING_LIMIT) -> str:
    """A C string literal; ``...`` follows when `length` (default: of `data`) says there is more.

    Octal escapes are as short as the next character allows, so that the literal is exact.
    """
    total = len(data) if length is None else length
    shown = data if limit is None else data[:limit]
    parts: list[str] = []
    for i, byte in enumerate(shown):
        if byte in _ESCAPES:
            parts.append(_ESCAPES[byte])
        elif 0x20 <= byte < 0x7F:
            parts.append(chr(byte))
        else:
            digit_next = i + 1 < len(shown) and 0x30 <= shown[i + 1] <= 0x37
            parts.append(f"\\{byte:03o}" if digit_next else f"\\{byte:o}")
    return '"' + "".join(parts) + '"' + ("..." if len(shown) < total else "")


def _int(data: bytes, at: int = 0, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little", signed=True)


def _uint(data: bytes, at: int = 0, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _ids(value: int) -> str:
    return "-1" if value == 0xFFFFFFFF else str(value)


def _cstring(data: bytes) -> str:
    return quoted(data.split(b"\0", 1)[0])


def _timespec(data: bytes) -> str:
    seconds, nanoseconds = struct.unpack("<qq", data[:16])
    special = {0x3FFFFFFF: "UTIME_NOW", 0x3FFFFFFE: "UTIME_OMIT"}
    return f"{{tv_sec={seconds}, tv_nsec={special.get(nanoseconds, nanoseconds)}}}"


def _timeval(data: bytes) -> str:
    return "{{tv_sec={}, tv_usec={}}}".format(*struct.unpack("<qq", data[:16]))


def _interval(one: Callable[[bytes], str]) -> Callable[[bytes], str]:
    return lambda data: f"{{it_interval={one(data[:16])}, it_value={one(data[16:32])}}}"


def _pair(one: Callable[[bytes], str]) -> Callable[[bytes], str]:
    return lambda data: f"[{one(data[:16])}, {one(data[16:32])}]"


def mode_text(mode: int) -> str:
    """``S_IFREG|0644``."""
    kind = value_text("filetype", mode & 0o170000) if mode & 0o170000 else ""
    return "|".join(part for part in (kind, f"0{mode & 0o7777:o}") if part)


def _stat(data: bytes) -> str:
    mode, size = _uint(data, 24), _int(data, 48, 8)
    kind = mode & 0o170000
    if kind in (0o020000, 0o060000):
        rdev = _uint(data, 40, 8)
        major = (rdev >> 8) & 0xFFF | (rdev >> 32) & ~0xFFF
        minor = rdev & 0xFF | (rdev >> 12) & ~0xFF
        return f"{{st_mode={mode_text(mode)}, st_rdev=makedev({major:#x}, {minor:#x}), ...}}"
    return f"{{st_mode={mode_text(mode)}, st_size={size}, ...}}"


def _statx(data: bytes) -> str:
    mask = flags_text("statx", _uint(data))
    mode = mode_text(_uint(data, 28, 2))
    return f"{{stx_mask={mask}, stx_mode={mode}, stx_size={_uint(data, 40, 8)}, ...}}"


def _statfs(data: bytes) -> str:
    kind, bsize, blocks, bfree = struct.unpack("<qqQQ", data[:32])
    return f"{{f_type={kind:#x}, f_bsize={bsize}, f_blocks={blocks}, f_bfree={bfree}, ...}}"


def _flock(data: bytes) -> str:
    kind, whence = struct.unpack("<hh", data[:4])
    start, length = struct.unpack("<qq", data[8:24])
    return (
        f"{{l_type={value_text('locktype', kind)}, l_whence={value_text('whence', whence)}, "
        f"l_start={start}, l_len={length}, l_pid={_int(data, 24)}}}"
    )


def sockaddr(data: bytes) -> str:
    """A socket address of the common families, else its family and bytes."""
    if len(data) < 2:
        return quoted(data)
    family = _uint(data, 0, 2)
    name = value_text("domain", family)
    if family == 1:
        path = data[2:]
        if path[:1] == b"\0":
            return f"{{sa_family={name}, sun_path=@{quoted(path[1:], limit=None)}}}"
        where = path.split(b"\0", 1)[0]
        if not where:
            return f"{{sa_family={name}}}"
        return f"{{sa_family={name}, sun_path={quoted(where, limit=None)}}}"
    if family == 2 and len(data) >= 8:
        port = int.from_bytes(data[2:4], "big")
        return f"{{sa_family={name}, sin_port={port}, sin_addr={ipaddress.ip_address(data[4:8])}}}"
    if family == 10 and len(data) >= 24:
        port = int.from_bytes(data[2:4], "big")
        host = ipaddress.ip_address(data[8:24])
        return f"{{sa_family={name}, sin6_port={port}, sin6_addr={host}}}"
    if family == 16 and len(data) >= 12:
        return f"{{sa_family={name}, nl_pid={_uint(data, 4)}, nl_groups={_uint(data, 8):#x}}}"
    return f"{{sa_family={name}, sa_data={quoted(data[2:])}}}"


def _pollfd(data: bytes) -> str:
    fd, events, revents = struct.unpack("<iHH", data[:8])
    text = f"{{fd={fd}, events={flags_text('poll', events)}"
    return text + (f", revents={flags_text('poll', revents)}}}" if revents else "}")


def _epoll_event(data: bytes) -> str:
    return f"{{{flags_text('epoll', _uint(data))}, data={_uint(data, 4, 8):#x}}}"


def _bit_numbers(data: bytes) -> list[int]:
    return [i * 8 + k for i, byte in enumerate(data) if byte for k in range(8) if byte >> k & 1]


def _fdset(data: bytes) -> str:
    return "[" + " ".join(map(str, _bit_numbers(data))) + "]"


def _sigset(data: bytes) -> str:
    members = {bit + 1 for bit in _bit_numbers(data)}
    everything = set(range(1, len(data) * 8 + 1))
    sign = ""
    if len(members) > len(everything) // 2:
        sign, members = "~", everything - members
    names = (signal_name(number).removeprefix("SIG") for number in sorted(members))
    return f"{sign}[{' '.join(names)}]"


def _sigaction(data: bytes) -> str:
    handler, flags, restorer = struct.unpack("<QQQ", data[:24])
    name = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler, hex(handler))
    text = (
        f"{{sa_handler={name}, sa_mask={_sigset(data[24:32])}, sa_flags={flags_text('sa', flags)}"
    )
    return text + (f", sa_restorer={restorer:#x}}}" if flags & 0x04000000 else "}")


def _siginfo(data: bytes) -> str:
    signo, code = _int(data), _int(data, 8)
    if signo == 0:
        return "{si_signo=0}"
    text = f"{{si_signo={signal_name(signo)}, "
    if signo == 17 and code > 0:
        status = _int(data, 24)
        shown = str(status) if code == 1 else signal_name(status)
        return (
            f"{text}si_code={value_text('cldcode', code)}, si_pid={_int(data, 16)}, "
            f"si_uid={_uint(data, 20)}, si_status={shown}}}"
        )
    text += f"si_code={value_text('sicode', code)}"
    if code <= 0 and code != -2:
        return f"{text}, si_pid={_int(data, 16)}, si_uid={_uint(data, 20)}}}"
    if signo in (4, 5, 7, 8, 11) and code > 0:
        return f"{text}, si_addr={_uint(data, 16, 8):#x}}}"
    return text + ", ...}"


def wait_status(status: int) -> str:
    """What wait4 stores, in the macros that take it apart."""
    if status & 0x7F == 0:
        return f"WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}"
    if status & 0xFF == 0x7F:
        if status == 0xFFFF:
            return "WIFCONTINUED(s)"
        return f"WIFSTOPPED(s) && WSTOPSIG(s) == {signal_name(status >> 8 & 0xFF)}"
    core = " && WCOREDUMP(s)" if status & 0x80 else ""
    return f"WIFSIGNALED(s) && WTERMSIG(s) == {signal_name(status & 0x7F)}{core}"


def _rlimit(data: bytes) -> str:
    def one(value: int) -> str:
        return "RLIM64_INFINITY" if value == 2**64 - 1 else str(value)

    current, most = struct.unpack("<QQ", data[:16])
    return f"{{rlim_cur={one(current)}, rlim_max={one(most)}}}"


def _rusage(data: bytes) -> str:
    return f"{{ru_utime={_timeval(data[:16])}, ru_stime={_timeval(data[16:32])}, ...}}"


def _utsname(data: bytes) -> str:
    parts = [_cstring(data[i * 65 : (i + 1) * 65]) for i in range(3)]
    return f"{{sysname={parts[0]}, nodename={parts[1]}, release={parts[2]}, ...}}"


def _sysinfo(data: bytes) -> str:
    uptime, total, free = _int(data, 0, 8), _uint(data, 32, 8), _uint(data, 40, 8)
    return f"{{uptime={uptime}, totalram={total}, freeram={free}, ...}}"


def _winsize(data: bytes) -> str:
    return "{{ws_row={}, ws_col={}, ws_xpixel={}, ws_ypixel={}}}".format(
        *struct.unpack("<HHHH", data[:8])
    )


def _termios(data: bytes) -> str:
    return "{{c_iflag={:#x}, c_oflag={:#x}, c_cflag={:#x}, c_lflag={:#x}, ...}}".format(
        *struct.unpack("<IIII", data[:16])
    )


def _sigaltstack(data: bytes) -> str:
    base, flags = _uint(data, 0, 8), _uint(data, 8)
    return f"{{ss_sp={base:#x}, ss_flags={flags_text('ss', flags)}, ss_size={_uint(data, 16, 8)}}}"


def _sembuf(data: bytes) -> str:
    number, op, flags = struct.unpack("<Hhh", data[:6])
    return f"{{{number}, {op}, {flags:#x}}}"


def _ifreq(data: bytes) -> str:
    return f"{{ifr_name={_cstring(data[:16])}, ...}}"


def _dirents(data: bytes) -> str:
    count, at = 0, 0
    while at + 18 < len(data):
        step = _uint(data, at + 16, 2)
        if step == 0:
            break
        count, at = count + 1, at + step
    return f"[{count} {'entry' if count == 1 else 'entries'}]"


def _open_how(data: bytes) -> str:
    flags, mode = _uint(data, 0, 8), _uint(data, 8, 8)
    return f"{{flags={open_flags(flags)}, mode=0{mode:o}, resolve={_uint(data, 16, 8):#x}}}"


def _clone_args(data: bytes) -> str:
    flags = _uint(data, 0, 8)
    exit_signal, stack, stack_size = (_uint(data, at, 8) for at in (32, 40, 48))
    return (
        f"{{flags={flags_text('clone', flags)}, exit_signal={signal_name(exit_signal)}, "
        f"stack={stack:#x}, stack_size={stack_size:#x}, ...}}"
    )


def _sched_param(data: bytes) -> str:
    return f"[{_int(data)}]"


def _caps_header(data: bytes) -> str:
    return f"{{version={_uint(data):#x}, pid={_int(data, 4)}}}"


def open_flags(value: int) -> str:
    """Flags of open(2): the access mode first."""
    access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[value & 3]
    rest = flags_text("open", value & ~3)
    return access if rest == "0" else f"{access}|{rest}"


_NUMBERS: Final[dict[str, Callable[[bytes], str]]] = {
    "char": lambda data: quoted(data),
    "u16": lambda data: str(_uint(data, 0, 2)),
    "int": lambda data: str(_int(data)),
    "pid": lambda data: str(_int(data)),
    "u32": lambda data: str(_uint(data)),
    "socklen": lambda data: str(_uint(data)),
    "id": lambda data: _ids(_uint(data)),
    "long": lambda data: str(_int(data, 0, 8)),
    "off": lambda data: str(_int(data, 0, 8)),
    "time": lambda data: str(_int(data, 0, 8)),
    "size": lambda data: str(_uint(data, 0, 8)),
    "u64": lambda data: hex(_uint(data, 0, 8)),
    "ptr": lambda data: hex(_uint(data, 0, 8)),
}
"""Numbers in memory are shown in brackets, as in an array of one."""

_WHOLE: Final[dict[str, Callable[[bytes], str]]] = {
    "sockaddr": sockaddr,
    "fdset": _fdset,
    "sigset": _sigset,
    "cpuset": _fdset,
    "nodeset": _fdset,
    "dirents": _dirents,
    "open_how": _open_how,
    "clone_args": _clone_args,
    "fdpair": lambda data: f"[{_int(data)}, {_int(data, 4)}]",
    "pathbuf": lambda data: quoted(data.split(b"\0", 1)[0], limit=None),
    "comm": _cstring,
}
"""Blocks that are decoded as a whole, whatever their size."""

_STRUCTS: Final[dict[str, Callable[[bytes], str]]] = {
    "timespec": _timespec,
    "timeval": _timeval,
    "timespec2": _pair(_timespec),
    "timeval2": _pair(_timeval),
    "itimerspec": _interval(_timespec),
    "itimerval": _interval(_timeval),
    "stat": _stat,
    "statx": _statx,
    "statfs": _statfs,
    "flock": _flock,
    "pollfd": _pollfd,
    "epoll_event": _epoll_event,
    "sigaction": _sigaction,
    "siginfo": _siginfo,
    "waitinfo": _siginfo,
    "sigaltstack": _sigaltstack,
    "rlimit": _rlimit,
    "rusage": _rusage,
    "utsname": _utsname,
    "sysinfo": _sysinfo,
    "winsize": _winsize,
    "termios": _termios,
    "termios2": _termios,
    "sembuf": _sembuf,
    "ifreq": _ifreq,
    "sched_param": _sched_param,
    "cap_header": _caps_header,
    "wstatus": lambda data: f"[{{{wait_status(_uint(data))}}}]",
}


def block(fmt: str, data: bytes, length: int, *, array: bool) -> str | None:
    """A block of memory as text, or None when all there is to say is its address.

    Args:
        fmt: the element (a name of ``structs.py``), as the table has it.
        data: the bytes at hand, from the start of the block.
        length: how many bytes the block has.
        array: whether the block is a sequence of elements.
    """
    if fmt == "bytes":
        return quoted(data, length=length)
    if fmt in _WHOLE:
        return _WHOLE[fmt](data) if len(data) == length or fmt == "pathbuf" else quoted(data)
    one = _NUMBERS.get(fmt) or _STRUCTS.get(fmt)
    step = STRUCTS.get(fmt, 0)
    if one is None or step == 0:
        return None
    if not array:
        if len(data) < step:
            return None
        return f"[{one(data)}]" if fmt in _NUMBERS else one(data)
    shown = [one(data[at : at + step]) for at in range(0, len(data) - step + 1, step)]
    more = ["..."] if len(shown) > ELEMENT_LIMIT or len(data) < length else []
    return "[" + ", ".join(shown[:ELEMENT_LIMIT] + more) + "]"
