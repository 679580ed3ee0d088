"""Takes machine state out of the dynamic loader's lazy-binding resolver.

_dl_runtime_resolve_xsavec saves the vector registers on the stack with xsavec,
which leaves out components that are in their initial state. Which ones are
(XINUSE) depends on context switches and not on the program (Intel SDM vol. 1,
13.6), so bytes remain on the stack that a replay can't reproduce. The
instruction is replaced by a jump to code beside the loader that saves the same
registers, with left-out components written as what they stand for.
"""

from __future__ import annotations

import struct

from relive import _core
from relive.tracee.maps import PROT_EXEC, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.record.session import Session
    from relive.record.tasks import Task

_SYS_MMAP = 9
_PAGE = 4096
# xsavec disp8(%rsp)
_XSAVEC = b"\x0f\xc7\x64\x24"
# movs of rcx, rsi and rdi to the stack: they are free at the instruction.
_SAVES = (b"\x48\x89\x4c\x24\x08", b"\x48\x89\x74\x24\x18", b"\x48\x89\x7c\x24\x20")
_LOOK_BACK = 112
# mov $mask,%eax
_MOV_EAX = 0xB8
# Pages tried for the code: after the loader's last mapping.
_TRIES = 64


def _sites(text: bytes) -> list[tuple[int, int, int]]:
    """(offset, displacement, mask) of each xsavec of a lazy-binding resolver."""
    found = []
    at = text.find(_XSAVEC)
    while at >= 0:
        before = text[max(0, at - _LOOK_BACK) : at]
        saves = [before.rfind(s) for s in _SAVES]
        disp = text[at + 4]
        if min(saves) >= 0 and disp < 0x80:
            mov = before.find(bytes((_MOV_EAX,)), max(saves) + 5)
            if mov >= 0 and before[mov + 5 : mov + 7] == b"\x31\xd2":  # xor %edx,%edx
                found.append((at, disp, struct.unpack_from("<I", before, mov + 1)[0]))
        at = text.find(_XSAVEC, at + 1)
    return found


def _code(disp: int, mask: int, at: int, back: int) -> bytes:
    """The replacement, to lie at `at` and go on at `back`.

    At entry eax = mask and edx = 0; rcx, rsi, rdi and the flags are free.
    """
    size, supported = _core.xsavec_layout(mask)
    code = b"".join(
        (
            b"\x48\x8d\x7c\x24" + bytes((disp,)),  # lea disp(%rsp),%rdi
            b"\xb9" + struct.pack("<I", size // 8),  # mov $size/8,%ecx
            b"\x31\xc0",  # xor %eax,%eax
            b"\xf3\x48\xab",  # rep stos %rax,(%rdi)
            # MXCSR's initial value, for when SSE is left out
            b"\xc7\x84\x24" + struct.pack("<II", disp + 24, 0x1F80),
            b"\xb8" + struct.pack("<I", mask),  # mov $mask,%eax
            _XSAVEC + bytes((disp,)),
            # MXCSR_MASK comes and goes with SSE; xrstor ignores it
            b"\xc7\x84\x24" + struct.pack("<II", disp + 28, 0xFFFF),
            # XSTATE_BV: every component is there
            b"\xb9" + struct.pack("<I", supported),  # mov $supported,%ecx
            b"\x48\x89\x8c\x24" + struct.pack("<I", disp + 512),  # mov %rcx,disp+512(%rsp)
        )
    )
    return code + b"\xe9" + struct.pack("<i", back - (at + len(code) + 5))


def neutralise(
    session: Session, task: Task, maps: list[Mapping], entry: int
) -> list[tuple[int, int]]:
    """Patches the loader of a new image (the mapping that execution begins in).

    Returns the memory changed. Nothing is changed in an image without such code.
    """
    core = session.core
    text = next((m for m in maps if m.start <= entry < m.end and m.inode), None)
    if text is None or not text.prot & PROT_EXEC:
        return []
    data = core.read(task.serial, text.start, text.size)
    sites = _sites(data)
    if not sites:
        return []
    end = max(m.end for m in maps if m.inode == text.inode)
    for m in maps:
        if m.start == end and not m.name:
            end = m.end
    page = 0
    for n in range(1, _TRIES):
        # PRIVATE | ANONYMOUS | FIXED_NOREPLACE
        page = core.remote(
            task.serial, _SYS_MMAP, end + n * _PAGE, _PAGE, 5, 0x100022, 2**64 - 1, 0
        )
        if page == end + n * _PAGE:
            break
    else:
        session.warn("no room beside the dynamic loader: dead stack bytes may differ on replay")
        return []
    changed = []
    at = page
    for offset, disp, mask in sites:
        site = text.start + offset
        code = _code(disp, mask, at, site + 5)
        core.write(task.serial, at, code)
        core.write(task.serial, site, b"\xe9" + struct.pack("<i", at - (site + 5)))
        changed += [(at, len(code)), (site, 5)]
        at += (len(code) + 15) & ~15
    return changed
