"""Conditional requests (RFC 9110, 13)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from txregistry import errors
from txregistry.digest import Digest

_MATCH = b"If-Match"
_NONE_MATCH = b"If-None-Match"
_ETAG = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)')


def unchanged(request: Any, digest: Digest) -> bool:
    """Set the ``ETag`` of content, and say whether the client has it already: then the answer is 304.

    An entity tag is the digest in quotation marks; a bare digest, which some clients send, is understood too.

    :raises txregistry.errors.PreconditionFailed: the client wants this content only if it were another.
    """
    request.setHeader(b"ETag", f'"{digest}"'.encode("ascii"))
    wanted = _header(request, _MATCH)
    if wanted is not None and not _lists(wanted, digest):
        raise errors.PreconditionFailed
    known = _header(request, _NONE_MATCH)
    if known is None or not _lists(known, digest):
        return False
    request.setResponseCode(304)
    return True


def is_conditional(request: Any) -> bool:
    """Say whether a GET has conditions."""
    headers = request.requestHeaders
    return bool(headers.hasHeader(_MATCH) or headers.hasHeader(_NONE_MATCH))


def is_wanted(request: Any, digest: Digest) -> bool:
    """Say whether the conditions of a GET let content be sent, as :func:`unchanged` would."""
    wanted, known = _header(request, _MATCH), _header(request, _NONE_MATCH)
    return (wanted is None or _lists(wanted, digest)) and (known is None or not _lists(known, digest))


def replacement_condition(request: Any) -> Callable[[Digest | None], bool] | None:
    """Return what a PUT says of the content that it may take the place of; None where it says nothing.

    ``If-Match`` with a digest makes moving a tag a compare-and-set; ``If-None-Match: *`` makes it a creation.
    """
    wanted, unwanted = _header(request, _MATCH), _header(request, _NONE_MATCH)
    if wanted is None and unwanted is None:
        return None

    def allows(current: Digest | None) -> bool:
        if wanted is not None and (current is None or not _lists(wanted, current)):
            return False
        return unwanted is None or current is None or not _lists(unwanted, current)

    return allows


def range_applies(request: Any, digest: Digest) -> bool:
    """Say whether a ``Range`` is to be honoured: not if ``If-Range`` names other content."""
    condition = request.text_header("If-Range")
    return condition is None or condition.strip(" \t") == f'"{digest}"'


def _header(request: Any, name: bytes) -> str | None:
    """Return a list that may be spread over several lines (RFC 9110, 5.3)."""
    lines = request.requestHeaders.getRawHeaders(name)
    return None if lines is None else str(b", ".join(lines), "latin-1")


def _lists(header: str, digest: Digest) -> bool:
    if header.strip(" \t") == "*":
        return True
    return str(digest) in [quoted or bare for quoted, bare in _ETAG.findall(header)]
