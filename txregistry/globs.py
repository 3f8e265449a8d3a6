"""Patterns of repository names and tags, as operators write them."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression for the whole of a name.

    ``*`` stands for any run of characters but slashes, ``**`` for any run; everything else for itself.  What
    stands before the last ``**`` is looked for once, where it comes first, and never again further on, which
    could not help: so no name, and anyone may send one, makes the search long.
    """
    *above, last = pattern.split("**")
    if not above:
        return re.compile(_ending(last), re.DOTALL)
    first, *middle = map(_beginning, above)
    sought = "".join(f"(?>.*?{part})" for part in middle)
    return re.compile(f"{first}{sought}.*{_ending(last)}", re.DOTALL)


def _beginning(part: str) -> str:
    """Return what finds the first end of a part without ``**``."""
    first, *more = map(re.escape, part.split("*"))
    return first + "".join(f"(?>[^/]*?{text})" for text in more)


def _ending(part: str) -> str:
    """Return what finds a part without ``**`` at the end of a name."""
    *above, last = part.split("*")
    return f"{_beginning('*'.join(above))}[^/]*{re.escape(last)}" if above else re.escape(last)


def matches(pattern: str, name: str) -> bool:
    """Say whether a name is of a pattern."""
    return compiled(pattern).fullmatch(name) is not None
