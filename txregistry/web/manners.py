"""What answers carry because the operator wants it: warnings, and leave for web pages of other sites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from txregistry.globs import matches
from txregistry.headers import quoted
from txregistry.web.answers import answer

#: Bytes of all warnings of one answer at most (distribution-spec, "Warnings").
WARNINGS_LIMIT = 4096


@frozen
class RepositoryWarning:
    """A warning that answers about some repositories carry.

    :param repositories: a pattern of names (:mod:`txregistry.globs`).
    :param text: what clients are to show to their users, printable ASCII.
    """

    repositories: str
    text: str

    def concerns(self, name: str) -> bool:
        """Say whether answers about a repository carry it."""
        return matches(self.repositories, name)

    @property
    def header(self) -> str:
        """The value of the header (RFC 7234, 5.5, as the spec narrows it)."""
        return f"299 - {quoted(self.text)}"


def add_warnings(request: Any, name: str, warnings: Sequence[RepositoryWarning]) -> None:
    """Put the warnings that concern a repository into an answer, as many as the spec has room for."""
    room = WARNINGS_LIMIT
    for warning in warnings:
        if warning.concerns(name):
            header = warning.header.encode("ascii")
            room -= len(header)
            if room >= 0:
                request.responseHeaders.addRawHeader(b"Warning", header)


def is_preflight(request: Any) -> bool:
    """Say whether a request is a browser's question (Fetch Standard, "CORS-preflight request").

    It is answered only where the operator's ``http.headers`` let pages of other sites use the registry.
    """
    return bool(
        request.method == b"OPTIONS"
        and request.getHeader(b"Origin")
        and request.getHeader(b"Access-Control-Request-Method")
        and request.responseHeaders.hasHeader(b"Access-Control-Allow-Origin")
    )


def answer_preflight(request: Any, methods: Iterable[str]) -> bytes:
    """Say what a page may ask: what ``http.headers`` says, else the methods that there are."""
    headers = request.responseHeaders
    if not headers.hasHeader(b"Access-Control-Allow-Methods"):
        headers.setRawHeaders(b"Access-Control-Allow-Methods", [", ".join(methods).encode("ascii")])
    return answer(request, 204)
