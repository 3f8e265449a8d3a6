"""A TCP proxy that does to the bytes what networks and servers do to them at the worst moment.

It stands between a client and a real server, and may be changed while connections are open.  What is given per
request needs HTTP/1.1 without pipelining; the rest is for any protocol.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure
from zope.interface import implementer

T = TypeVar("T")

#: Slices a second in which bytes pass where the rate is limited.
_SLICES = 20
_LONGEST_HEAD = 64 * 1024
_PATIENCE = 30


@attrs.frozen
class Reply:
    """What the proxy answers itself, without asking the server; the connection is closed after it."""

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""

    def encoded(self) -> bytes:
        """Spell it as it goes over the wire."""
        headers = {"Content-Length": str(len(self.body)), "Connection": "close", **self.headers}
        lines = [f"HTTP/1.1 {self.status} Chaos", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@attrs.frozen
class Trouble:
    """What happens to the bytes of one direction.  Places are counted from where the trouble began.

    :param delay: seconds that each piece waits.
    :param rate: bytes a second, at most.
    :param cut: the connection ends, as if its end were meant, once so many bytes have passed.
    :param reset: it is reset there instead.
    :param corrupt: the byte at this place has one bit flipped.
    :param swallow: from this place on nothing passes, and nothing else happens.
    """

    delay: float = 0
    rate: float | None = None
    cut: int | None = None
    reset: int | None = None
    corrupt: int | None = None
    swallow: int | None = None


#: Nothing passes.
BLACKHOLE = Trouble(swallow=0)


@attrs.frozen
class Head:
    """The head of a request that passed.

    :param headers: by lower-case names; the last of each.
    """

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return int(self.headers.get("content-length", "0"))


@attrs.define
class Rule:
    """What becomes of some requests.

    :param when: says whether a request is meant.
    :param reply: what is answered in the server's stead.
    :param up: what happens to the request, from the first byte of its head on.
    :param down: what happens to the answer, from its first byte on.
    :param times: for how many requests it holds; None for all.
    """

    when: Callable[[Head], bool]
    reply: Reply | None = None
    up: Trouble = Trouble()
    down: Trouble = Trouble()
    times: int | None = None


class ChaosProxy:
    """Passes connections on to a server, with trouble.

    :param reactor: drives it.
    :param port: where the server listens, on *host*.
    :param http: whether requests are looked at, so that *rules* hold.
    :ivar up: what happens to all that clients send.
    :ivar down: what happens to all that the server sends.
    :ivar rules: the first that means a request decides what happens to it and its answer.
    :ivar seen: the heads of the requests, in order, with *http*.
    :ivar connections: how many there were.
    """

    def __init__(self, reactor: Any, port: int, host: str = "127.0.0.1", http: bool = False) -> None:
        self._reactor = reactor
        self._http = http
        self._target = (host, port)
        self._listener: Any = None
        self._pairs: set[_Pair] = set()
        self.up = Trouble()
        self.down = Trouble()
        self.rules: list[Rule] = []
        self.seen: list[Head] = []
        self.connections = 0
        self.port = 0

    @property
    def host(self) -> str:
        """``127.0.0.1:port``: where clients connect to."""
        return f"127.0.0.1:{self.port}"

    def listen(self) -> None:
        """Take connections; the second time where it did the first time."""
        factory = _Clients(self._accept)
        self._listener = self._reactor.listenTCP(self.port, factory, interface="127.0.0.1")
        self.port = self._listener.getHost().port

    async def refuse(self) -> None:
        """Refuse connections until :meth:`listen`; those that are open go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stopListening()

    def reset(self) -> None:
        """Reset every connection that is open."""
        for pair in list(self._pairs):
            pair.end(abort=True)

    async def close(self) -> None:
        """Refuse connections and end those that are open; return when they are gone."""
        await self.refuse()
        pairs = list(self._pairs)
        self.reset()
        for pair in pairs:
            await pair.gone

    def rule_for(self, head: Head) -> Rule | None:
        """Return what becomes of a request, which is counted."""
        self.seen.append(head)
        for rule in self.rules:
            if rule.times != 0 and rule.when(head):
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None

    def _accept(self) -> Protocol:
        self.connections += 1
        pair = _Pair(self, self._reactor, self._http)
        self._pairs.add(pair)
        pair.gone.addCallback(lambda _: self._pairs.discard(pair))
        pair.connect(*self._target)
        return pair.client.end


@implementer(IPullProducer)
class _End(Protocol):
    """One end of a pair: a connection that is read from only when there is somewhere to put it."""

    way: _Way

    def __init__(self) -> None:
        self.drained: Deferred[None] | None = None
        self.open = False

    def connectionMade(self) -> None:
        """Read nothing before the other end is there."""
        self.open = True
        transport = cast(Any, self.transport)
        transport.registerProducer(self, False)
        transport.pauseProducing()
        self.way.connected()

    def dataReceived(self, data: bytes) -> None:
        """Hand on, and read no more until that has passed."""
        cast(Any, self.transport).pauseProducing()
        self.way.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the other end too, when all has passed."""
        self.open = False
        self.resumeProducing()
        self.way.received(b"")

    async def send(self, data: bytes) -> None:
        """Write, and return when it is the kernel's, and so outlives a reset that follows."""
        if self.open and data:
            self.drained = Deferred()
            cast(Any, self.transport).write(data)
            await self.drained

    def resumeProducing(self) -> None:
        """See :class:`twisted.internet.interfaces.IPullProducer`."""
        drained, self.drained = self.drained, None
        if drained is not None:
            drained.callback(None)

    def stopProducing(self) -> None:
        """See :class:`twisted.internet.interfaces.IPullProducer`."""

    def end(self, abort: bool) -> None:
        """Close the connection, or reset it."""
        if self.open:
            transport = cast(Any, self.transport)
            transport.unregisterProducer()
            transport.resumeProducing()
            transport.abortConnection() if abort else transport.loseConnection()


class _Way:
    """One direction: from an end of a pair to the other.

    :param trouble: says what happens to the bytes where no rule says otherwise.
    """

    def __init__(self, pair: _Pair, trouble: Callable[[], Trouble]) -> None:
        self.end = _End()
        self.end.way = self
        self._pair = pair
        self._default = trouble
        self._own: Trouble | None = None
        self._last: Trouble | None = None
        self._passed = 0

    def connected(self) -> None:
        """Begin when both ends are there."""
        self._pair.connected()

    def received(self, data: bytes) -> None:
        """Let *data* pass; nothing for the end."""
        self._pair.run(self._let_pass(data))

    def begin(self, trouble: Trouble | None) -> None:
        """Count from here, under *trouble*; None for what holds for all."""
        self._own, self._last = trouble, None

    async def _let_pass(self, data: bytes) -> None:
        if not data:
            self._pair.end()
            return
        if self is self._pair.client and self._pair.http:
            await self._pair.heads_of(data)
        else:
            await self.pass_on(data)
        if self.end.open and not self._pair.ended:
            cast(Any, self.end.transport).resumeProducing()

    async def pass_on(self, data: bytes) -> None:
        """Send *data* to the other end, as the trouble allows."""
        other = self._pair.other(self)
        while data and not self._pair.ended:
            trouble = self._own or self._default()
            if trouble is not self._last:
                self._last, self._passed = trouble, 0
            size = len(data)
            if trouble.rate is not None:
                size = min(size, max(1, int(trouble.rate / _SLICES)))
            places = (trouble.cut, trouble.reset, trouble.swallow)
            stops = [place for place in places if place is not None]
            left = min(stops) - self._passed if stops else size
            piece, data = data[: min(size, max(left, 0))], data[min(size, max(left, 0)) :]
            if trouble.delay:
                await self._pair.pause(trouble.delay)
            if trouble.rate is not None:
                await self._pair.pause(len(piece) / trouble.rate)
            place = -1 if trouble.corrupt is None else trouble.corrupt - self._passed
            if 0 <= place < len(piece):
                piece = piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]
            self._passed += len(piece)
            await other.end.send(piece)
            if stops and self._passed >= min(stops):
                if min(stops) == trouble.swallow:
                    return
                self._pair.end(abort=min(stops) == trouble.reset)


class _Pair:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: ChaosProxy, reactor: Any, http: bool) -> None:
        self._proxy = proxy
        self._reactor = reactor
        self._head = b""
        self._body = 0
        self._replied = False
        self._pauses: set[Deferred[None]] = set()
        self._connector: Any = None
        self.http = http
        self.client = _Way(self, lambda: proxy.up)
        self.server = _Way(self, lambda: proxy.down)
        self.ended = False
        self.gone: Deferred[None] = Deferred()

    def other(self, way: _Way) -> _Way:
        """Return the other direction."""
        return self.server if way is self.client else self.client

    def connect(self, host: str, port: int) -> None:
        """Connect to the server."""
        self._connector = self._reactor.connectTCP(host, port, _Once(self), timeout=_PATIENCE)

    def connected(self) -> None:
        """Begin when both ends are there."""
        if self.client.end.open and self.server.end.open:
            for way in (self.client, self.server):
                cast(Any, way.end.transport).resumeProducing()

    def run(self, work: Any) -> None:
        """Do *work*; a pair that has ended hears no more of it."""

        def failed(failure: Failure) -> None:
            self.end(abort=True)
            failure.trap(CancelledError)

        Deferred.fromCoroutine(work).addErrback(failed)

    async def pause(self, seconds: float) -> None:
        """Return after a while; a pair that ends waits no longer."""
        pause = deferLater(self._reactor, seconds)
        self._pauses.add(pause)
        try:
            await pause
        finally:
            self._pauses.discard(pause)

    def end(self, abort: bool = False) -> None:
        """Close both connections, or reset them."""
        self.ended = True
        if self._connector.state == "connecting":
            self._connector.stopConnecting()
        for pause in list(self._pauses):
            pause.cancel()
        for way in (self.client, self.server):
            way.end.end(abort)
        if not self.client.end.open and not self.server.end.open and not self.gone.called:
            self.gone.callback(None)

    async def heads_of(self, data: bytes) -> None:
        """Pass requests on, each as its rule says."""
        while data and not self.ended:
            if self._body:
                piece, data = data[: self._body], data[self._body :]
                self._body -= len(piece)
                if not self._replied:
                    await self.client.pass_on(piece)
                continue
            self._head += data
            place = self._head.find(b"\r\n\r\n")
            if place < 0:
                if len(self._head) > _LONGEST_HEAD:
                    self.end(abort=True)
                return
            encoded, data, self._head = self._head[: place + 4], self._head[place + 4 :], b""
            await self._begin(encoded)

    async def _begin(self, encoded: bytes) -> None:
        head = _parsed(encoded)
        self._body = head.length
        rule = self._proxy.rule_for(head)
        self.client.begin(None if rule is None else rule.up)
        self.server.begin(None if rule is None else rule.down)
        if rule is None or rule.reply is None:
            await self.client.pass_on(encoded)
            return
        self._replied = True
        await self.server.pass_on(rule.reply.encoded())
        if self._body == 0:
            self.end()


class _Clients(Factory):
    """Makes the connections of clients."""

    noisy = False

    def __init__(self, accept: Callable[[], Protocol]) -> None:
        self._accept = accept

    def buildProtocol(self, addr: Any) -> Protocol:
        """See :class:`twisted.internet.interfaces.IProtocolFactory`."""
        return self._accept()


class _Once(ClientFactory):
    """Makes the one connection to the server."""

    noisy = False

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair

    def buildProtocol(self, addr: Any) -> Protocol:
        """See :class:`twisted.internet.interfaces.IProtocolFactory`."""
        return self._pair.server.end

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """The server is not there: reset the client."""
        self._pair.end(abort=True)


def _parsed(encoded: bytes) -> Head:
    first, *lines = encoded.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = (line.partition(":") for line in lines if line)
    # Where a chunked body ends is not looked for.
    assert "transfer-encoding" not in encoded.decode("latin-1").lower(), first
    return Head(method, target, {name.lower(): value.strip() for name, _, value in headers})


class ThreadedProxy:
    """A :class:`ChaosProxy` on a thread and a reactor of its own, for tests that block.

    :ivar proxy: what it does; its attributes may be set from any thread.
    """

    def __init__(self, port: int, http: bool = False) -> None:
        self._reactor: Any = SelectReactor()
        self.proxy = ChaosProxy(self._reactor, port, http=http)

    def call(self, work: Callable[[], T]) -> T:
        """Return the result of *work*, which may be awaitable, done on the proxy's thread."""

        def do() -> Any:
            result: Any = work()
            return Deferred.fromCoroutine(result) if hasattr(result, "send") else result

        return cast(T, blockingCallFromThread(self._reactor, do))

    @contextmanager
    def running(self) -> Iterator[ChaosProxy]:
        """Take connections for a while."""
        thread = threading.Thread(target=self._reactor.run, kwargs={"installSignalHandlers": False})
        thread.start()
        try:
            self.call(self.proxy.listen)
            yield self.proxy
        finally:
            self.call(self.proxy.close)
            self._reactor.callFromThread(self._reactor.stop)
            thread.join(_PATIENCE)
