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


def _open(path: Path) -> Image | None:
    from relive.symbols import cache

    try:
        return cache.load(path)
    except (OSError, SymbolError):
        return None
