"""Where distributions put symbols and lines that were stripped from a file.

Source: gdb manual, "Debugging Information in Separate Files".
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relive.symbols.errors import SymbolError

if TYPE_CHECKING:
    from relive.symbols.image import Image

ROOTS: Final = (Path("/usr/lib/debug"),)


def find(image: Image) -> Image | None:
    """The debug file of `image` by its build id, else by its .gnu_debuglink; None for none."""
    build_id = image.build_id
    if len(build_id) > 2:
        for root in ROOTS:
            path = root / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
            found = _open(path)
            if found is not None and found.build_id == build_id:
                return found
    if image.debug_link is None:
        return None
    name, crc = image.debug_link
    folder = Path(image.path).parent
    candidates = [folder / name, folder / ".debug" / name]
    candidates += [root / folder.relative_to("/") / name for root in ROOTS if folder.is_absolute()]
    for path in candidates:
        if path == Path(image.path):
            continue
        found = _open(path)
        if found is None:
            continue
        if build_id and found.build_id == build_id:
            return found
        if zlib.crc32(found.data) == crc:
            return found
    return None


def find_shared(image: Image) -> Image | None:
    """The file that a debug file says has more of its information (.gnu_debugaltlink, made by
    dwz); None when it names none.  Raises SymbolError when it is not there."""
    found = image.section(".gnu_debugaltlink")
    if found is None:
        return None
    name, _, build_id = found[1].partition(b"\0")
    path = Path(image.path).parent / name.decode(errors="surrogateescape")
    wanted = build_id.hex()
    candidates = [path]
    candidates += [root / ".build-id" / wanted[:2] / f"{wanted[2:]}.debug" for root in ROOTS]
    for candidate in candidates:
        opened = _open(candidate)
        if opened is not None and opened.build_id == wanted:
            return opened
    raise SymbolError(
        f"{image.path} has a part of its debugging information in {path}, which is not there",
        "install the debug package completely",
    )


def _open(path: Path) -> Image | None:
    from relive.symbols import cache

    try:
        return cache.load(path)
    except (OSError, SymbolError):
        return None
