"""An HTTP client that costs next to nothing, so that the server is what a benchmark measures."""

import contextlib
import re
import socket
from collections.abc import Iterator

import attrs

WINDOW = 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nlocation: *(?:http://[^/]*)?([^\r]*)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Refused(Exception):
    """The server answered with another status than a benchmark needs."""


@attrs.frozen
class Head:
    """Status line and headers of an answer, unparsed."""

    raw: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.raw[9:12])

    @property
    def length(self) -> int:
        """The length of the body, in bytes."""
        if found := _LENGTH.search(self.raw):
            return int(found[1])
        if self.status in (204, 304):
            return 0
        raise Refused(f"an answer without a length: {self.raw!r}")

    @property
    def location(self) -> str:
        """The path where an upload goes on."""
        found = _LOCATION.search(self.raw)
        if found is None:
            raise Refused(f"an answer without a Location: {self.raw!r}")
        return found[1].decode()

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after this answer."""
        return _CLOSE.search(self.raw) is not None


class Connection:
    """A kept-alive connection, opened again when the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=120)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def send(self, method: str, path: str, headers: str = "", body: bytes | memoryview = b"") -> None:
        """
        Send a request whose body is at hand.

        :param headers: complete lines, each with its line end.
        """
        server = self._open()
        start = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{headers}\r\n".encode()
        if len(body) <= WINDOW:
            server.sendall(start + body)
        else:
            server.sendall(start)
            server.sendall(body)

    def _head(self, server: socket.socket) -> tuple[Head, bytes]:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            piece = server.recv(65536)
            if not piece:
                raise Refused(f"the server closed the connection after {data!r}")
            data += piece
        return Head(data[:end]), data[end + 4 :]

    def answer(self, status: int, *, has_body: bool = True) -> tuple[Head, bytes]:
        """
        Read an answer whole.

        :param status: what it must be.
        :param has_body: no for the answer to a HEAD.
        """
        server = self._open()
        head, body = self._head(server)
        if has_body:
            while len(body) < head.length:
                piece = server.recv(WINDOW)
                if not piece:
                    raise Refused(f"the body ended after {len(body)} of {head.length} bytes")
                body += piece
        if head.status != status:
            raise Refused(f"{head.status} instead of {status}: {body[:500]!r}")
        if head.closes:
            self.close()
        return head, body

    def discard(self, status: int) -> int:
        """Read an answer, throw its body away and say how many bytes it had."""
        server = self._open()
        head, rest = self._head(server)
        if head.status != status:
            raise Refused(f"{head.status} instead of {status}")
        left = head.length - len(rest)
        window = memoryview(bytearray(WINDOW))
        while left > 0:
            count = server.recv_into(window, min(left, WINDOW))
            if count == 0:
                raise Refused(f"the body ended {left} bytes too early")
            left -= count
        return head.length

    def request(
        self, status: int, method: str, path: str, headers: str = "", body: bytes | memoryview = b""
    ) -> tuple[Head, bytes]:
        """Send a request and read its answer; a body is sent with its length."""
        if method in ("POST", "PUT"):
            headers += f"Content-Length: {len(body)}\r\n"
        self.send(method, path, headers, body)
        return self.answer(status, has_body=method != "HEAD")


@contextlib.contextmanager
def connected(port: int) -> Iterator[Connection]:
    """Open a connection and close it at the end."""
    connection = Connection(port)
    try:
        yield connection
    finally:
        connection.close()


def framed(data: memoryview, chunk_size: int) -> bytes:
    """Put the frames of the chunked transfer coding around some bytes, beforehand."""
    parts: list[bytes | memoryview] = []
    for start in range(0, len(data), chunk_size):
        chunk = data[start : start + chunk_size]
        parts += [b"%x\r\n" % len(chunk), chunk, b"\r\n"]
    return b"".join([*parts, b"0\r\n\r\n"])
