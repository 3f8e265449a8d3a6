"""What is written to a client, over real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from txregistry.web.sending import send

reactor: Any = _reactor


class _Writer(Protocol):
    def __init__(self, begun: Deferred[Any]) -> None:
        self._begun = begun

    def connectionMade(self) -> None:
        self._begun.callback(self.transport)


class _Reader(Protocol):
    def __init__(self) -> None:
        self.content = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.content += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.ended.callback(None)


class SendTests(TestCase):
    """:func:`txregistry.web.sending.send`."""

    async def connect(self) -> tuple[Any, _Reader]:
        """Return the server's transport of a connection, and what reads at its other end."""
        begun: Deferred[Any] = Deferred()
        factory = Factory.forProtocol(lambda: _Writer(begun))  # type: ignore[arg-type]
        factory.noisy = False
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        reader = _Reader()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), reader)
        return await begun, reader

    async def test_at_once(self) -> None:
        """What the kernel takes, it has when the call returns: nothing is kept here."""
        transport, reader = await self.connect()
        send(transport, b"all")
        self.assertFalse(transport.dataBuffer or transport._tempDataBuffer)
        transport.loseConnection()
        await reader.ended
        self.assertEqual(reader.content, b"all")

    async def test_order(self) -> None:
        """What the kernel does not take is sent before what is written later, and nothing twice."""
        transport, reader = await self.connect()
        pieces = [b"%07d" % number * 100_000 for number in range(20)] + [b"the end"]
        for piece in pieces:
            send(transport, piece)
        self.assertTrue(transport._tempDataBuffer)
        transport.loseConnection()
        await reader.ended
        self.assertEqual(reader.content, b"".join(pieces))

    async def test_aborted(self) -> None:
        """Of a connection that was aborted, the client sees nothing more: an answer that was cut stays cut."""
        transport, reader = await self.connect()
        transport.abortConnection()
        send(transport, b"more")
        await reader.ended
        self.assertEqual(reader.content, b"")
