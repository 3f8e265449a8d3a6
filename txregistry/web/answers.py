"""Answers that are small enough to be written at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def answer(
    request: Any, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Set an answer's status and headers, and return its body for the route to return."""
    request.setResponseCode(status)
    for name, value in (headers or {}).items():
        request.setHeader(name.encode("ascii"), value.encode("ascii"))
    if status not in (204, 304):
        request.setHeader(b"Content-Length", b"%d" % len(content))
    return content


def ask_for_credentials(request: Any, challenges: Iterable[str]) -> None:
    """Say in an answer how the client may log in."""
    request.responseHeaders.setRawHeaders(
        b"WWW-Authenticate", [challenge.encode("ascii") for challenge in challenges]
    )


def answer_json(request: Any, document: object) -> bytes:
    """Answer 200 with a JSON document."""
    content = json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"
    return answer(request, 200, content, {"Content-Type": "application/json"})
