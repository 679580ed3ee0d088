"""What is asked of the patcher, and what it says: requests, patches, traps."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from relive.tracee.patching.relocate import Copy
from relive.tracee.patching.target import Registers, Target
from relive.tracee.patching.templates import Form, Template


class Body(Protocol):
    """Code that runs at a site before the displaced instructions."""

    def assemble(self, at: int) -> tuple[bytes, int]:
        """The code for the address `at`, and where in it to enter.

        It falls through at its end, with every register, the flags and the memory above the
        red zone as they were.  The length does not depend on `at`.
        """

    def rewind(self, offset: int, registers: Registers, target: Target) -> tuple[list[int], bool]:
        """The registers as they were when the site was reached (rip may be anything), for a
        task that is at this offset of the code; and whether the body was as good as done.

        If it was not, what it did so far is taken back: it will run again from its start."""

    def view(self, offset: int, registers: Registers, target: Target) -> list[int]:
        """The same registers; nothing else happens."""


class Request(NamedTuple):
    """A site to patch."""

    address: int
    body: Body
    function: tuple[int, int] | None = None
    """Bounds of the function around it, if known: the patch may then be better."""
    breakpoint: bool = True
    """Whether a breakpoint will do where no jump fits.  (A site that stops being in-process
    because of a neighbour becomes one in any case.)"""


class Nothing:
    """The body of an instruction that was moved for the sake of another one: none."""

    def assemble(self, at: int) -> tuple[bytes, int]:
        del at
        return b"", 0

    def rewind(self, offset: int, registers: Registers, target: Target) -> tuple[list[int], bool]:
        raise AssertionError("nobody is in a body of no bytes")

    def view(self, offset: int, registers: Registers, target: Target) -> list[int]:
        raise AssertionError("nobody is in a body of no bytes")


class CannotPatch(ValueError):
    """There can't be a patch of any form at the address; the message says why."""

    def __init__(self, address: int, why: str) -> None:
        super().__init__(f"{address:#x}: {why}")
        self.address = address
        self.why = why


@dataclass(eq=False, slots=True)
class Patch:
    """A patched site.  Its attributes change when a neighbour makes it move."""

    request: Request
    template: Template
    stub: int = 0
    """Address of the body's code."""
    body_size: int = 0
    copy: Copy = field(default_factory=Copy)
    writes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Bytes changed, by address: (original, written)."""
    entries: dict[int, int] = field(default_factory=dict)
    """Where to run instead of displaced bytes, by their address."""
    passed_over: list[str] = field(default_factory=list)
    """Why better forms were not possible."""
    active: bool = True
    landing: int = 0
    """Where the site's jump leads, if that is no more than another jump to the stub; else 0."""
    owner: Patch | None = None
    """The site for whose sake this instruction was moved; None if it is a site itself."""
    helpers: list[Patch] = field(default_factory=list)
    """Instructions moved for the sake of this site."""
    relied: tuple[int, ...] = ()
    """Addresses of bytes behind the patch that its jump shares and does not change."""
    places: list[int] = field(default_factory=list)
    """Where its stub, its landing and its further copies begin."""

    @property
    def address(self) -> int:
        return self.request.address

    @property
    def form(self) -> Form:
        return self.template.form

    @property
    def in_process(self) -> bool:
        return self.form is not Form.BREAKPOINT

    @property
    def resume(self) -> int:
        """Where a task goes on that is to execute the site's instruction, but not the body."""
        return self.stub + self.body_size

    @property
    def door(self) -> int:
        """Where the long jump of a short one is; 0 for other forms."""
        return self.address + self.template.jump_at - 1 if self.form is Form.SHORT else 0

    @property
    def changes(self) -> dict[int, tuple[int, int]]:
        """Bytes changed for the site, those of moved neighbours included."""
        changed = dict(self.writes)
        for helper in self.helpers:
            changed.update(helper.writes)
        return changed

    @property
    def bytes_used(self) -> set[int]:
        """Addresses of all bytes that have to stay as they are while the site is patched."""
        used = {*self.writes, *self.relied}
        for helper in self.helpers:
            used |= helper.bytes_used
        return used


class Happened(Enum):
    """What a trap or a fault in the target was."""

    BODY = "body"
    """An instruction of a body trapped or faulted."""
    SITE = "site"
    """A site of Form.BREAKPOINT was hit: rip is now the site."""
    STRAY = "stray"
    """Displaced bytes were jumped into.  The task was moved to their copy."""
    DISPLACED = "displaced"
    """A displaced instruction faulted by itself.  The task was moved to the original one; the
    signal is the program's."""


class Trap(NamedTuple):
    what: Happened
    patch: Patch
    offset: int
    """Of the trapping instruction: from the stub's start (BODY), else from the site."""
