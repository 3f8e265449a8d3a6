"""Patterns of repository names and tags, as operators write them."""

from __future__ import annotations

import re
from functools import cache

_PART = re.compile(r"\*\*|\*|[^*]+")


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression for the whole of a name.

    ``*`` stands for any run of characters but slashes, ``**`` for any run; everything else for itself.
    """
    parts = {"*": "[^/]*", "**": ".*"}
    return re.compile("".join(parts.get(part) or re.escape(part) for part in _PART.findall(pattern)))


def matches(pattern: str, name: str) -> bool:
    """Say whether a name is of a pattern."""
    return compiled(pattern).fullmatch(name) is not None
