"""Many raw connections to a server at once, and what the server takes for them."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterator

from tests.processes import RegistryServer
from tests.registry_client import RegistryClient

KIB = 1024
MIB = 1024 * KIB


@contextlib.contextmanager
def room_for(count: int) -> Iterator[None]:
    """Let this process have so many files open beside its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 500
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"`ulimit -Hn` is less than {wanted}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connected(port: int, window: int | None = None) -> socket.socket:
    """Return a connection.

    :param window: bytes that its kernel keeps for a reader that does not read.
    """
    connection = socket.socket()
    if window is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", port))
    return connection


def crowd(
    stack: contextlib.ExitStack, count: int, connect: Callable[[], socket.socket]
) -> list[socket.socket]:
    """Return so many connections, which end with *stack*."""
    stack.enter_context(room_for(count))
    return [stack.enter_context(connect()) for _ in range(count)]


def untrusting() -> ssl.SSLContext:
    """Return what a client that takes any certificate connects with."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ended(connections: list[socket.socket], patience: float) -> list[tuple[bytes, float]]:
    """Read each connection to its end; return what each was told, and after how many seconds it ended.

    :raises AssertionError: some have not ended in time.
    """
    began = time.monotonic()
    told: dict[socket.socket, bytes] = dict.fromkeys(connections, b"")
    ends: dict[socket.socket, float] = {}
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        while len(ends) < len(connections):
            left = began + patience - time.monotonic()
            assert left > 0, f"{len(connections) - len(ends)} connections go on after {patience} s"
            for key, _ in selector.select(min(left, 1)):
                connection = key.fileobj  # type: ignore[assignment]
                try:
                    data = connection.recv(64 * KIB)
                except ConnectionError:
                    data = b""
                told[connection] += data
                if not data:
                    ends[connection] = time.monotonic() - began
                    selector.unregister(connection)
    return [(told[connection], ends[connection]) for connection in connections]


def resident(server: RegistryServer) -> int:
    """Return a server's resident size in bytes."""
    with open(f"/proc/{server.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(server: RegistryServer) -> int:
    """Return how many descriptors a server has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def delay(client: RegistryClient, times: int = 100) -> tuple[float, float]:
    """Ask for ``/v2/`` so many times; return the median and the 99th percentile in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        client.expect(200, "GET", "/v2/")
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]
