"""Pages that a patch lies in and that the program may write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from relive import _core

if TYPE_CHECKING:
    from relive.tracee.maps import Mapping
    from relive.tracee.patching.patcher import Patch
    from relive.tracee.patching.target import Target

_PAGE: Final = 4096
_SYS_MPROTECT: Final = 10
_PROT_WRITE: Final = 2


class Guard(NamedTuple):
    """They are not writable while the patch is there; when the program writes to them, the patch
    goes, until the site is executed the next time."""

    start: int
    size: int
    prot: int

    @classmethod
    def over(cls, patch: Patch, where: Mapping | None) -> Guard | None:
        """For a patch in a mapping; None when the program can't write there anyway.

        Raises ValueError when the patch reaches beyond the mapping.
        """
        if where is None or not where.prot & _PROT_WRITE:
            return None
        start = min(patch.changes) & -_PAGE
        end = (max(patch.changes) & -_PAGE) + _PAGE
        if where.end < end:
            raise ValueError("code that the program may write, at the end of a mapping")
        return cls(start, end - start, where.prot)

    def holds(self, tid: int) -> bool:
        """Whether the task's fault is there."""
        address = int.from_bytes(_core.siginfo(tid)[16:24], "little")
        return self.start <= address < self.start + self.size

    def set(self, target: Target, *, on: bool) -> None:
        prot = self.prot & ~_PROT_WRITE if on else self.prot
        target.syscall(_SYS_MPROTECT, self.start, self.size, prot)
