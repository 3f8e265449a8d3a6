"""Listings, page by page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from txregistry import errors

_NUMBER = re.compile(r"[0-9]{1,10}")


def wanted(request: Any, limit: int) -> int | None:
    """Return how many results a request asks for by ``n``, at most *limit*; None where it does not say.

    :raises txregistry.errors.PageInvalid: ``n`` is not a number.
    """
    text = request.text_argument("n")
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise errors.PageInvalid({"n": text[:40]})
    return min(int(text), limit)


def link_next(request: Any, path: str, page: Sequence[str], n: int) -> None:
    """Say where the page after *page* is (RFC 8288; distribution-spec, "Listing Tags")."""
    query = urlencode({"last": page[-1], "n": n})
    request.setHeader(b"Link", f'<{path}?{query}>; rel="next"'.encode("ascii"))
