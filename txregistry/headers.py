"""What may stand in the headers of an answer."""

from __future__ import annotations

import re

_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def is_printable(value: object) -> bool:
    """Say whether a value is one line of printable ASCII, and not empty."""
    return isinstance(value, str) and _PRINTABLE.fullmatch(value) is not None


def quoted(text: str) -> str:
    """Return a text of printable ASCII as a quoted string (RFC 9110, 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
