"""Listings, page by page."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from txregistry import errors

#: The longest page, Distribution's.
LIMIT = 1000

_NUMBER = re.compile(r"[0-9]{1,10}")


def wanted(request: Any) -> int | None:
    """Return how many results a request asks for by ``n``, at most :data:`LIMIT`; None where it does not say.

    :raises txregistry.errors.PageInvalid: ``n`` is not a number.
    """
    text = request.text_argument("n")
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise errors.PageInvalid({"n": text[:40]})
    return min(int(text), LIMIT)


def link_next(request: Any, path: str, last: str, n: int, **more: str) -> None:
    """Say where the next page is (RFC 8288; distribution-spec, "Listing Tags").

    :param last: what this one ends with.
    :param more: other parameters of the query.
    """
    query = urlencode({"last": last, "n": n, **more})
    request.setHeader(b"Link", f'<{path}?{query}>; rel="next"'.encode("ascii"))
