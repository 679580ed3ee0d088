"""What a few calls write that the table can't say.

Each of these calls is flagged RECORD_EXIT in the table.  After the call the
recorder asks `outs` for the blocks to log besides those the C core finds.
Claiming a byte that the kernel left alone is harmless: none of these calls is
redirected to scratch memory, so the byte is logged as the program had it.

``process_vm_writev`` writes into another process: `remote_outs`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Final

Read = Callable[[int, int], bytes]
"""``read(address, length)``: that many bytes of the task's memory; OSError if unmapped."""
Block = tuple[int, int]
"""Address and length in bytes."""
_Rule = Callable[[Sequence[int], int, Read], list[Block]]

_PAGE: Final = 4096
_IOVEC: Final = 16
_MAX_IOVECS: Final = 1024
_AT_HANDLE_MNT_ID_UNIQUE: Final = 0x001
_SEM_GETALL: Final = 13
_IPC_64: Final = 0x100
_SIOCGIFCONF: Final = 0x8912
_FIDEDUPERANGE: Final = 0xC0189436
_FS_IOC_FIEMAP: Final = 0xC020660B
_CLONE_PIDFD: Final = 0x00001000
_CLONE_PARENT_SETTID: Final = 0x00100000


def _u16(read: Read, addr: int) -> int:
    return int.from_bytes(read(addr, 2), "little")


def _u32(read: Read, addr: int) -> int:
    return int.from_bytes(read(addr, 4), "little")


def _u64(read: Read, addr: int) -> int:
    return int.from_bytes(read(addr, 8), "little")


def _through_iovecs(addr: int, count: int, total: int, read: Read) -> list[Block]:
    """The first `total` bytes of what an iovec array describes."""
    found: list[Block] = []
    for i in range(min(count, _MAX_IOVECS)):
        if total <= 0:
            break
        base = _u64(read, addr + i * _IOVEC)
        length = min(_u64(read, addr + i * _IOVEC + 8), total)
        if length:
            found.append((base, length))
        total -= length
    return found


def _mincore(args: Sequence[int], result: int, read: Read) -> list[Block]:
    return [(args[2], (args[1] + _PAGE - 1) // _PAGE)] if result == 0 else []


def _vmsplice(args: Sequence[int], result: int, read: Read) -> list[Block]:
    return _through_iovecs(args[1], args[2], result, read)


def _msgrcv(args: Sequence[int], result: int, read: Read) -> list[Block]:
    # A word for the type, then the text (man 2 msgrcv).
    return [(args[1], 8 + result)] if result >= 0 else []


def _semaphores(semid: int) -> int:
    """How many semaphores a set has, asked of the kernel; 0 when it does not say."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    info = (ctypes.c_ubyte * 104)()  # struct semid_ds; sem_nsems is at 80
    if libc.semctl(ctypes.c_int(semid), 0, 2, ctypes.byref(info)) != 0:
        return 0
    return int.from_bytes(bytes(info)[80:88], "little")


def _semctl(args: Sequence[int], result: int, read: Read) -> list[Block]:
    if result < 0 or args[2] & 0xFFFFFFFF & ~_IPC_64 != _SEM_GETALL:
        return []
    count = _semaphores(args[0] & 0xFFFFFFFF)
    return [(args[3], 2 * count)] if count else []


def _name_to_handle_at(args: Sequence[int], result: int, read: Read) -> list[Block]:
    # do_sys_name_to_handle: when the handle does not fit, the fixed part and the mount id are
    # written all the same. The id is 64 bits with AT_HANDLE_MNT_ID_UNIQUE (6.12).
    if result != 0 and result != -errno.EOVERFLOW:
        return []
    handle = 8 + (_u32(read, args[2]) if result == 0 else 0)
    return [(args[2], handle), (args[3], 8 if args[4] & _AT_HANDLE_MNT_ID_UNIQUE else 4)]


def _getxattrat(args: Sequence[int], result: int, read: Read) -> list[Block]:
    # struct xattr_args: u64 value, u32 size, u32 flags
    length = min(result, _u32(read, args[4] + 8)) if result > 0 else 0
    return [(_u64(read, args[4]), length)] if length else []


def _clone3(args: Sequence[int], result: int, read: Read) -> list[Block]:
    # struct clone_args: u64 flags, pidfd, child_tid, parent_tid, ...
    if result <= 0:
        return []
    flags = _u64(read, args[0])
    found: list[Block] = []
    if flags & _CLONE_PIDFD:
        found.append((_u64(read, args[0] + 8), 4))
    if flags & _CLONE_PARENT_SETTID:
        found.append((_u64(read, args[0] + 24), 4))
    return found


def _ioctl(args: Sequence[int], result: int, read: Read) -> list[Block]:
    request, addr = args[1] & 0xFFFFFFFF, args[2]
    if request == _SIOCGIFCONF:
        # struct ifconf: int length (written back), pointer
        records = _u64(read, addr + 8) if result == 0 else 0
        return [(records, _u32(read, addr))] if records else []
    if request == _FS_IOC_FIEMAP:
        # A header of 32 bytes, which comes back even with an error; fm_mapped_extents at 20,
        # fm_extent_count at 24 (0: only count). An extent has 56 bytes.
        found = [(addr, 32)]
        if result == 0 and _u32(read, addr + 24):
            found.append((addr + 32, 56 * min(_u32(read, addr + 20), _u32(read, addr + 24))))
        return found
    if request == _FIDEDUPERANGE:
        # A header of 24 bytes with the count at 16; a record has 32 bytes.
        return [(addr, 24 + 32 * _u16(read, addr + 16))] if result == 0 else []
    return []


# By number, so that the recorder need not load the table as it starts.
_RULES: Final[dict[int, _Rule]] = {
    16: _ioctl,
    27: _mincore,
    66: _semctl,
    70: _msgrcv,
    278: _vmsplice,
    303: _name_to_handle_at,
    435: _clone3,
    464: _getxattrat,
}

NUMBERS: Final = frozenset(_RULES)
"""The calls that have a rule here."""


def outs(nr: int, args: Sequence[int], result: int, read: Read) -> list[Block]:
    """Blocks of the calling task's memory that the call wrote, besides the table's.

    Args:
        nr: the system call's number.
        args: its six arguments as they were at entry, unsigned 64-bit.
        result: its raw result; a negative errno for a failure.
        read: reads the task's memory as it is after the call.

    Memory that can't be read gives no block: the kernel could not have read it either.
    """
    rule = _RULES.get(nr)
    if rule is None:
        return []
    try:
        return [(addr, length) for addr, length in rule(args, result, read) if addr and length > 0]
    except OSError:
        return []


def remote_outs(args: Sequence[int], result: int, read: Read) -> list[Block]:
    """Blocks that ``process_vm_writev`` wrote in the process `args[0]`.

    `read` reads the *calling* task's memory, where the remote vector is (man 2 process_vm_writev).
    """
    if result <= 0:
        return []
    try:
        return _through_iovecs(args[3], args[4], result, read)
    except OSError:
        return []
