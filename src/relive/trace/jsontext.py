"""JSON of an event's EXTRA, written.

The standard module costs 6 ms to import (it brings `re`), too much for the start
of every recording; its C helper for strings costs nothing.
"""

from __future__ import annotations

from _json import encode_basestring_ascii as _text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def dumps(value: object) -> str:
    """JSON text in ASCII.  Raises TypeError for what is no JSON value.

    Undecodable bytes of file names (lone surrogates) are escaped as such.
    """
    if isinstance(value, str):
        return _text(value)
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return _dict(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([dumps(item) for item in value]) + "]"
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _dict(value: Mapping[str, object]) -> str:
    return "{" + ",".join([f"{_text(key)}:{dumps(item)}" for key, item in value.items()]) + "}"
