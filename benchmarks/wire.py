"""An HTTP client that costs next to nothing, so that the server is what a benchmark measures."""

import contextlib
import os
import re
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import attrs

from benchmarks.bodies import Body

WINDOW = 1 << 20
PATIENCE = 120
"""Seconds that one send or receive may take."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nlocation: *(?:https?://[^/]*)?([^\r]*)", re.IGNORECASE)
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
    """
    A kept-alive connection, opened again when the server closes it.

    :param tls: whom to trust; None for plain HTTP.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            opened = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The kernel's own time-outs: Python's would ask with a system call before each other one.
            opened.settimeout(None)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                opened.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", PATIENCE, 0))
            if self._tls is not None:
                opened = self._tls.wrap_socket(opened, server_hostname="127.0.0.1")
            self._socket = opened
        return self._socket

    def send(self, method: str, path: str, headers: str = "", body: bytes | Body = b"") -> None:
        """
        Send a request whose body is at hand.

        :param headers: complete lines, each with its line end.
        """
        server = self._open()
        start = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{headers}\r\n".encode()
        if isinstance(body, bytes):
            server.sendall(start + body)
            return
        server.sendall(start)
        for memory, count in body.pieces:
            if self._tls is not None:
                server.sendall(memory.view[:count])
                continue
            sent = 0
            while sent < count:
                sent += os.sendfile(server.fileno(), memory.descriptor, sent, count - sent)
        server.sendall(body.tail)

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

    def exists(self, path: str, headers: str = "") -> bool:
        """Ask whether something is there."""
        self.send("HEAD", path, headers)
        head, _ = self._head(self._open())
        if head.closes:
            self.close()
        return head.status == 200

    def fetch(self, path: str, digester: Any = None) -> int:
        """
        Ask for something large, keep nothing of it and say how many bytes it had.

        :param digester: given all bytes; without one the kernel throws them away, where there is no TLS.
        """
        self.send("GET", path)
        server = self._open()
        head, rest = self._head(server)
        if head.status != 200:
            raise Refused(f"{head.status} instead of 200 for {path}")
        if digester is not None:
            digester.update(rest)
        flags = socket.MSG_TRUNC if digester is None and self._tls is None else 0
        left = head.length - len(rest)
        window = memoryview(bytearray(WINDOW))
        while left > 0:
            count = server.recv_into(window, min(left, WINDOW), flags)
            if count == 0:
                raise Refused(f"the body ended {left} bytes too early")
            if digester is not None:
                digester.update(window[:count])
            left -= count
        if head.closes:
            self.close()
        return head.length

    def request(
        self, status: int, method: str, path: str, headers: str = "", body: bytes | Body = b""
    ) -> tuple[Head, bytes]:
        """Send a request and read its answer; a body is sent with its length."""
        if method in ("POST", "PUT"):
            size = len(body) if isinstance(body, bytes) else body.size
            headers += f"Content-Length: {size}\r\n"
        self.send(method, path, headers, body)
        return self.answer(status, has_body=method != "HEAD")


@contextlib.contextmanager
def connected(port: int, tls: ssl.SSLContext | None = None) -> Iterator[Connection]:
    """Open a connection and close it at the end."""
    connection = Connection(port, tls)
    try:
        yield connection
    finally:
        connection.close()
