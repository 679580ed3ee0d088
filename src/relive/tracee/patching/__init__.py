"""Code patching; see the modules."""

from relive.tracee.patching.arenas import MAP_SHARED, Arenas, NoRoom
from relive.tracee.patching.patcher import (
    Body,
    CannotPatch,
    Happened,
    Patch,
    Patcher,
    Request,
    Trap,
)
from relive.tracee.patching.target import Registers, Target, trap_pending
from relive.tracee.patching.templates import Form

__all__ = [
    "MAP_SHARED",
    "Arenas",
    "Body",
    "CannotPatch",
    "Form",
    "Happened",
    "NoRoom",
    "Patch",
    "Patcher",
    "Registers",
    "Request",
    "Target",
    "Trap",
    "trap_pending",
]
