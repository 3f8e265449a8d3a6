"""What the head of a request must be.

More than HTTP asks for: what two programs could understand differently is refused, since a proxy may stand before
the registry.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from twisted.web.http_headers import Headers

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
#: The method, the target and the version.
REQUEST_LINE = re.compile(rb"(%s) ([\x21-\x7e]+) (HTTP/1\.[01])" % _TOKEN)
_FIELD = re.compile(rb"(%s):([\t\x20-\x7e]*)" % _TOKEN)
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,19}")

#: Headers that say where a body ends.
FRAMING = (b"content-length", b"transfer-encoding")


class Unacceptable(Exception):
    """A head that is refused.

    :param status: of the answer.
    :param why: what is wrong.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


def field(line: bytes) -> tuple[bytes, bytes]:
    """Return the name and the value that one line of a head spells.

    :raises Unacceptable: it spells none.
    """
    match = _FIELD.fullmatch(line)
    if match is None and line[:1] in (b" ", b"\t"):
        raise Unacceptable(400, "a header is folded over two lines")
    if match is None:
        raise Unacceptable(400, "a header is malformed, or has a character that is not printable ASCII")
    name, value = match.groups()
    value = value.strip(b" \t")
    if name.lower() == b"content-length" and _LENGTH.fullmatch(value) is None:
        raise Unacceptable(400, "malformed Content-Length")
    return name, value


def check(headers: Headers, version: bytes, length: int | None) -> None:
    """Look at the headers of a request together.

    :param length: bytes of its body; None for a chunked one.
    :raises Unacceptable: they do not go together.
    """
    hosts = headers.getRawHeaders(b"Host", [])
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1"):
        raise Unacceptable(400, "exactly one Host header is needed")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise Unacceptable(400, "malformed Host header")
    if headers.hasHeader(b"Transfer-Encoding"):
        codings = [value.lower() for value in headers.getRawHeaders(b"Transfer-Encoding", [])]
        if codings != [b"chunked"] or version != b"HTTP/1.1":
            raise Unacceptable(400, "unacceptable Transfer-Encoding")
    if length != 0 and headers.hasHeader(b"Content-Encoding"):
        raise Unacceptable(415, "content codings are not supported in request bodies")
    if headers.hasHeader(b"Expect"):
        expected = [value.lower() for value in headers.getRawHeaders(b"Expect", [])]
        if expected != [b"100-continue"]:
            raise Unacceptable(417, "the only expectation that can be met is 100-continue")


def target(method: bytes, text: bytes, headers: Headers) -> bytes:
    """Return the path and query that a request is for.

    The absolute form, which proxies use, must be accepted (RFC 9112, 3.2.2).

    :param text: what stands in its first line.
    :raises Unacceptable: it is no target, or another server's.
    """
    if text.startswith(b"/"):
        return text
    if text == b"*":
        if method != b"OPTIONS":
            raise Unacceptable(400, "malformed request target")
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        raise Unacceptable(400, "malformed request target") from None
    if parts.scheme.lower() not in (b"http", b"https") or headers.getRawHeaders(b"Host", []) != [
        parts.netloc
    ]:
        raise Unacceptable(400, "the request target is not a path, or not of the host asked for")
    return (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
