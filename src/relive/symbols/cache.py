"""Images shared by everybody who asks for the same file: kept by build id, else by identity."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

from relive.symbols.image import Image

_KEPT: Final = 256
_by_identity: OrderedDict[tuple[int, int, int, int], Image] = OrderedDict()
_by_build_id: OrderedDict[str, Image] = OrderedDict()


def load(path: str | Path, name: str = "") -> Image:
    """The image of a file.  name: what to call it when `path` is a detour (/proc/PID/root/...).

    The same object comes back while the file's device, inode, size and time are unchanged, and
    for another file with the same build id and the same amount of symbols.  Raises OSError, and
    SymbolError when it is no ELF file.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        held = _by_identity.get(key)
        if held is not None:
            _by_identity.move_to_end(key)
            return held
        # A private mapping is not used: the file may be truncated while we read it.
        data = file.read()
    image = _shared(Image(data, name or str(path)))
    _by_identity[key] = image
    if len(_by_identity) > _KEPT:
        _by_identity.popitem(last=False)
    return image


def from_bytes(data: bytes, name: str) -> Image:
    """The image of bytes that came from somewhere else (the vDSO).  Raises SymbolError."""
    return _shared(Image(data, name))


def _shared(image: Image) -> Image:
    """An image that is already there in place of an equal one."""
    if not image.build_id:
        return image
    # A debug file has the build id of what it was stripped from.
    key = f"{image.build_id} {len(image.data)}"
    held = _by_build_id.setdefault(key, image)
    _by_build_id.move_to_end(key)
    if len(_by_build_id) > _KEPT:
        _by_build_id.popitem(last=False)
    return held
