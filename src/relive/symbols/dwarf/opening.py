"""Gives pyelftools the sections of a file, decompressed."""

from __future__ import annotations

import inspect
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elftools.dwarf.dwarfinfo import DWARFInfo

    from relive.symbols.image import Image


def open_dwarf(image: Image) -> DWARFInfo:
    """What pyelftools makes of a file's debugging information; sections that are not there are
    left out.  Raises whatever pyelftools raises."""
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

    sections: dict[str, Any] = {}
    for argument in inspect.signature(DWARFInfo.__init__).parameters:
        if not argument.endswith("_sec"):
            continue
        name = "." + argument.removesuffix("_sec")
        found = image.section(name) if name.startswith(".debug_") else None
        sections[argument] = None
        if found is not None:
            address, data = found
            sections[argument] = DebugSectionDescriptor(
                io.BytesIO(data), name, None, len(data), address
            )
    config = DwarfConfig(little_endian=True, default_address_size=8, machine_arch="x64")
    return DWARFInfo(config=config, **sections)
