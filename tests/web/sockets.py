"""Raw connections to a registry: in memory under a clock that the test moves, and over a loopback port."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol
from twisted.internet.protocol import connectionDone as _connection_done
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from txregistry.content.registry import Registry
from txregistry.interfaces import IStorageDriver
from txregistry.storage.memory import MemoryDriver
from txregistry.web.app import Permissions, make_resource
from txregistry.web.locations import Locations
from txregistry.web.site import RegistrySite
from txregistry.web.states import UploadStates

T = TypeVar("T")

#: Typed loosely: the module stands for whichever reactor trial installed.
reactor: Any = _reactor

HOST = b"Host: r\r\n"
#: A request that a smuggler would like to see answered.
SMUGGLED = b"GET /v2/_catalog HTTP/1.1\r\n" + HOST + b"\r\n"
PING = b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n"

_CODES = {
    *(
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
    ),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "TAG_INVALID"),
    *("UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"),
}


@frozen
class Answer:
    """One answer as it stood on the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header that is there once; None where it is not there."""
        values = [value for known, value in self.headers if known.lower() == name.lower()]
        assert len(values) < 2, f"{name} twice: {values}"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the server said that this was the connection's last answer."""
        return self.header("Connection") == "close"

    @property
    def location(self) -> bytes:
        """The path and query of ``Location``."""
        return re.sub(rb"^https?://[^/]*", b"", (self.header("Location") or "").encode())

    def code(self) -> str:
        """Return the error code, having checked that the body is what the spec says and tells no secrets."""
        assert self.header("Content-Type") == "application/json", self
        for secret in (b"Traceback", b".py", b"/home", b"/work", b"/tmp", b"docker/registry/v2"):
            assert secret not in self.body, self.body
        (error,) = json.loads(self.body)["errors"]
        assert error["code"] in _CODES, error
        assert error["message"], error
        return str(error["code"])


def next_answer(data: bytes, head: bool = False) -> tuple[Answer, bytes] | None:
    """Return the first answer of *data* and what follows it; None where it is not whole yet.

    :param head: the answer is that to a HEAD request.
    :raises AssertionError: what is there is not an answer.
    """
    top, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = top.decode("ascii").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.[01] ([0-9]{3}) [ -~]+", first)
    assert match is not None, first
    answer = Answer(int(match[1]), [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines], b"")
    if head or answer.status in (100, 204, 304):
        return answer, rest
    length = answer.header("Content-Length")
    assert length is not None, answer
    if len(rest) < int(length):
        return None
    return Answer(answer.status, answer.headers, rest[: int(length)]), rest[int(length) :]


def all_answers(data: bytes) -> list[Answer]:
    """Return the answers that *data* is.

    :raises AssertionError: it is not whole answers, one after the other.
    """
    answers = []
    while data:
        found = next_answer(data)
        assert found is not None, data
        answer, data = found
        answers.append(answer)
    return answers


class SeeingSite(RegistrySite):
    """A site that remembers what it answered.

    :ivar seen: by request, the method, the address and the status.
    :ivar driver: what it stores in.
    """

    def __init__(self, driver: IStorageDriver, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.driver = driver
        self.seen: list[tuple[bytes, bytes, int]] = []

    def log(self, request: Any) -> None:
        """See :class:`RegistrySite`."""
        super().log(request)
        self.seen.append((request.method, request.uri, request.code))


def make_site(driver: IStorageDriver, clock: Any, in_thread: Any, **options: Any) -> SeeingSite:
    """Return a registry with the secret that every test knows."""
    resource = make_resource(
        Registry.on(driver, in_thread),
        UploadStates(b"secret"),
        in_thread,
        Locations(),
        Permissions(delete=True),
    )
    return SeeingSite(driver, resource, clock, **options)


def at_once(work: Callable[[], T]) -> Awaitable[T]:
    """Run *work* here and now, for tests in memory."""
    return succeed(work())


class Transport(StringTransport):
    """A connection in memory which, like a real one, holds back what the client does not read.

    :ivar room: bytes that the client is ready to read; None: all that come.
    """

    HIGH = 64 * 1024

    def __init__(self, room: int | None = None) -> None:
        super().__init__(lenient=True)
        self.room = room
        self._told_to_pause = False

    @property
    def held(self) -> int:
        """Bytes that were written and not read."""
        return 0 if self.room is None else max(0, len(self.value()) - self.room)

    def write(self, data: bytes) -> None:
        """See :class:`twisted.internet.interfaces.ITransport`."""
        if not self.disconnecting:
            super().write(data)
            self._tell()

    def writeSequence(self, data: Any) -> None:
        """See :class:`twisted.internet.interfaces.ITransport`."""
        self.write(b"".join(data))

    def unregisterProducer(self) -> None:
        """See :class:`twisted.internet.interfaces.IConsumer`."""
        self.producer = None

    def read(self, size: int | None) -> None:
        """Let the client read more; None: all that is there, and all to come."""
        self.room = None if size is None or self.room is None else self.room + size
        if self._told_to_pause and not self.held:
            self._told_to_pause = False
            if self.producer is not None:
                self.producer.resumeProducing()

    def _tell(self) -> None:
        if self.held > self.HIGH and not self._told_to_pause and self.producer is not None:
            self._told_to_pause = True
            self.producer.pauseProducing()


class Wire:
    """One connection to a registry, in memory.

    :param site: the registry; a new one when not given.
    :param room: see :class:`Transport`.
    """

    def __init__(self, site: SeeingSite | None = None, room: int | None = None) -> None:
        self.site = site or make_site(MemoryDriver(), Clock(), at_once)
        self.clock: Clock = self.site.reactor  # type: ignore[assignment]
        self.transport = Transport(room)
        self.channel: Any = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self._taken = 0

    def send(self, data: bytes, piece: int = 64 * 1024) -> int:
        """Send as the network would; return how many bytes the server took before it stopped reading."""
        sent = 0
        while sent < len(data) and self.open and self.transport.producerState == "producing":
            self.channel.dataReceived(data[sent : sent + piece])
            sent += piece
        return min(sent, len(data))

    @property
    def open(self) -> bool:
        """Whether the server has not ended the connection."""
        return not self.transport.disconnecting

    def answers(self) -> list[Answer]:
        """Return the answers that came since the last call."""
        data = self.transport.value()[self._taken :]
        self._taken += len(data)
        return all_answers(data)

    def head(self) -> Answer:
        """Return the answer to a HEAD request."""
        data = self.transport.value()[self._taken :]
        self._taken += len(data)
        found = next_answer(data, head=True)
        assert found is not None, data
        assert found[1] == b"", found
        return found[0]

    def ask(self, data: bytes) -> Answer:
        """Send a request and return its answer."""
        self.send(data)
        (answer,) = self.answers()
        return answer

    def again(self) -> "Wire":
        """Return another connection to the same registry."""
        return Wire(self.site)

    def hang_up(self) -> None:
        """End the connection from the client's side."""
        self.channel.connectionLost(Failure(ConnectionLost()))

    def wait(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass, for the server and for the network."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            if not self.open:
                self.channel.connectionLost(Failure(ConnectionDone()))
                return

    def begin(self, name: bytes = b"team/app") -> bytes:
        """Begin an upload and return where it goes on."""
        answer = self.ask(request(b"POST /v2/%s/blobs/uploads/" % name))
        assert answer.status == 202, answer
        return answer.location


def request(line: bytes, *headers: bytes, body: bytes | None = None) -> bytes:
    """Return a request of HTTP/1.1; with a *body*, its length is added."""
    lines = [line + b" HTTP/1.1", b"Host: r", *headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body or b""])


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def stored(driver: Any) -> Iterator[str]:
    """Yield the path of each file of a :class:`MemoryDriver`."""
    pending: list[tuple[str, Any]] = [("", driver._root)]
    while pending:
        path, node = pending.pop()
        if hasattr(node, "children"):
            pending += [(f"{path}/{name}", child) for name, child in node.children.items()]
        else:
            yield path


class Client(Protocol):
    """A client that sends what it is told to and keeps what comes.

    :ivar received: what came and was not taken yet.
    :ivar ended: fires with None when the connection is no more.
    """

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[None] = Deferred()
        self.total = 0
        self._waiting: Deferred[None] | None = None
        self._over = False

    def send(self, data: bytes) -> None:
        """Send."""
        assert self.transport is not None
        self.transport.write(data)

    async def answer(self, head: bool = False) -> Answer:
        """Return the next answer.

        :raises ConnectionError: the connection ended first.
        """
        while (found := next_answer(self.received, head)) is None:
            if self._over:
                raise ConnectionError(f"the connection ended after {self.received!r}")
            self._waiting = Deferred()
            await self._waiting
        answer, self.received = found
        return answer

    async def ask(self, data: bytes, head: bool = False) -> Answer:
        """Send a request and return its answer."""
        self.send(data)
        return await self.answer(head)

    def hang_up(self) -> None:
        """End the connection at once."""
        transport: Any = self.transport
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """See :class:`twisted.internet.interfaces.IProtocol`."""
        self.received += data
        self.total += len(data)
        self._wake()

    def connectionLost(self, reason: Failure = _connection_done) -> None:
        """See :class:`twisted.internet.interfaces.IProtocol`."""
        self._over = True
        self._wake()
        self.ended.callback(None)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


async def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    while not true():
        await deferLater(reactor, 0.005)


async def settled(client: Client, upload: bytes) -> Answer:
    """Ask for an upload's status until no one writes to it."""
    while True:
        status = await client.ask(request(b"GET " + upload))
        empty = await client.ask(request(b"PATCH " + upload, body=b""))
        if empty.status == 202:
            return empty
        assert empty.status in (409, 416), (empty, status)
        await deferLater(reactor, 0.02)


class Served:
    """A registry on a loopback port of the reactor that runs the test.

    :param driver: what it stores in.
    :param listen: how to listen; plain TCP when not given.
    """

    def __init__(self, driver: IStorageDriver, listen: Callable[[Any], IListeningPort] | None = None) -> None:
        self.driver = driver
        driver.prepare()
        self.site = make_site(driver, reactor, deferToThread)
        self._port: Any = (
            listen(self.site) if listen else reactor.listenTCP(0, self.site, interface="127.0.0.1")
        )
        address: Any = self._port.getHost()
        self.number: int = address.port
        self._clients: list[Client] = []

    @property
    def requests(self) -> list[Any]:
        """The requests that are under way, over all connections."""
        return [one for channel in self.site.channels for one in channel.requests]

    async def connect(self, connect: Callable[[Any], Any] | None = None) -> Client:
        """Return a new connection to it."""
        from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

        endpoint = connect(self.number) if connect else TCP4ClientEndpoint(reactor, "127.0.0.1", self.number)
        client: Client = await connectProtocol(endpoint, Client())
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """End everything."""
        await self._port.stopListening()
        for client in self._clients:
            if not client._over:
                client.hang_up()
                await client.ended
        await self.site.drain(1)
        await self.driver.close()
