"""What is looked at to know whether the registry is well."""

from __future__ import annotations

import errno
import os
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from txregistry.errors import PathUnknown, StorageError
from txregistry.interfaces import IStorageDriver, IWritability

#: Looks once; raises :exc:`Unwell` with what is wrong.
Probe: TypeAlias = Callable[[], Awaitable[None]]

#: As many redirects as Go's client follows.
_REDIRECTS = 10


class Unwell(Exception):
    """What was looked at is not as it should be; says how, in Distribution's words where it has some."""


def file_probe(path: str, in_thread: Callable[[Callable[[], None]], Awaitable[None]]) -> Probe:
    """Return what finds a file that must not be there.

    :param in_thread: where the disk is waited for.
    """

    def look() -> None:
        try:
            os.stat(path)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise Unwell(f"stat {path}: {(error.strerror or 'failed').lower()}") from None
        raise Unwell("file exists")

    async def probe() -> None:
        await in_thread(look)

    return probe


def storage_probe(driver: IStorageDriver) -> Probe:
    """Return what asks the storage for something; that it has it not is an answer too."""

    async def probe() -> None:
        try:
            await driver.stat("/docker")
        except PathUnknown:
            return
        except StorageError as error:
            raise Unwell(error.reason or "storage failed") from None

    return probe


def writability_probe(driver: IWritability) -> Probe:
    """Return what finds a storage that is full or read-only, without writing to it."""

    async def probe() -> None:
        try:
            await driver.check_writable()
        except StorageError as error:
            raise Unwell(error.reason or "storage cannot be written to") from None

    return probe


def http_probe(
    reactor: Any, uri: str, headers: Mapping[str, Sequence[str]], status: int, timeout: float
) -> Probe:
    """Return what asks a server with ``HEAD``, follows redirects as Go does, and looks at the status.

    :param uri: a user and password in it are sent as Basic credentials.
    :param status: the one that is expected.
    :param timeout: seconds for the whole of it.
    """
    # Imported where it is used: it takes longer than most at start-up.
    from twisted.web.client import Agent, RedirectAgent

    agent = RedirectAgent(Agent(reactor, connectTimeout=timeout), _REDIRECTS)
    target, sent = _without_credentials(
        uri, Headers({name: list(values) for name, values in headers.items()})
    )

    async def probe() -> None:
        asking = agent.request(b"HEAD", target, sent)
        try:
            response = await asking.addTimeout(timeout, reactor)
        except CancelledError:
            raise
        except Exception:
            raise Unwell(f"error while checking: {without_password(uri)}") from None
        # After a 303 the method is GET, and there may be a body, which nobody wants.
        response.deliverBody(_Refusal())
        if response.code != status:
            raise Unwell(f"downstream service returned unexpected status: {response.code}")

    return probe


def tcp_probe(reactor: Any, addr: str, host: str, port: int, timeout: float) -> Probe:
    """Return what connects and hangs up.

    :param addr: how the operator wrote *host* and *port*.
    :param timeout: seconds until the connection must have been made.
    """
    endpoint = HostnameEndpoint(reactor, host or "localhost", port, timeout=timeout)
    factory = Factory.forProtocol(Protocol)
    factory.noisy = False

    async def probe() -> None:
        connecting: Deferred[Any] = endpoint.connect(factory)
        try:
            protocol = await connecting.addTimeout(timeout, reactor)
        except CancelledError:
            raise
        except Exception:
            raise Unwell(f"connection to {addr} failed") from None
        protocol.transport.abortConnection()

    return probe


def without_password(uri: str) -> str:
    """Return a URI without the user and password that may be in it."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _without_credentials(uri: str, headers: Headers) -> tuple[bytes, Headers]:
    parts = urlsplit(uri)
    if parts.username is not None and not headers.hasHeader("Authorization"):
        user, password = unquote(parts.username), unquote(parts.password or "")
        credentials = b64encode(f"{user}:{password}".encode()).decode("ascii")
        headers.setRawHeaders("Authorization", [f"Basic {credentials}"])
    return without_password(uri).encode("ascii"), headers


class _Refusal(Protocol):
    """Takes no more of a body."""

    def connectionMade(self) -> None:
        """Hang up, unless the answer is over already."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Do nothing: that was wanted."""
