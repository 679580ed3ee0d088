"""Whether an address is where an instruction begins.

A breakpoint in the middle of one would make another instruction of it.
"""

from __future__ import annotations

from relive.tracee.patching.decode import Read, analyse, instructions


def inside(read: Read, function: tuple[int, int], address: int) -> int | None:
    """The instruction of a function in whose middle the address is; None if it is in none, or
    if that is not known.

    read: gives original bytes.  An address that a branch goes to is a beginning, whatever the
    bytes before it look like (past a lock prefix, for one).
    """
    start, end = function
    for instruction in instructions(read, start, min(end, address + 16) - start):
        if instruction.ip == address:
            return None
        if instruction.next_ip > address:
            if address in analyse(read, start, end, exact=True).targets:
                return None
            return int(instruction.ip)
    return None
