"""The cache in Redis, its server being whatever a test wants: mostly none that behaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from txregistry.cache.connection import PENDING_BYTES, PENDING_LIMIT
from txregistry.cache.redis import RedisCache


@implementer(IStreamClientEndpoint)
class Wire:
    """An endpoint whose connections a test holds the other end of.

    :ivar begun: when each try to connect began.
    :ivar mode: whether connections are ``made``, ``refused`` or ``pending``.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.mode = "made"
        self.begun: list[float] = []
        self.transport = StringTransportWithDisconnection()

    def connect(self, factory: Any) -> Deferred[Any]:
        self.begun.append(self.clock.seconds())
        if self.mode == "refused":
            return fail(ConnectError())
        if self.mode == "pending":
            return Deferred()
        protocol = factory.buildProtocol(None)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = protocol
        self.transport.abortConnection = self.transport.loseConnection
        protocol.makeConnection(self.transport)
        return succeed(protocol)

    def sent(self) -> list[bytes]:
        """Return the words that were sent since the last call."""
        text, words = self.transport.value(), []
        self.transport.clear()
        while text:
            head, _, text = text.partition(b"\r\n")
            if head[:1] == b"$":
                words.append(text[: int(head[1:])])
                text = text[int(head[1:]) + 2 :]
        return words

    def answer(self, data: bytes) -> None:
        """Let the server say something."""
        self.transport.protocol.dataReceived(data)


class RedisCase(SynchronousTestCase):
    """A cache over a :class:`Wire`."""

    login: Sequence[Sequence[str]] = ()

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.cache = RedisCache(lambda: self.wire, self.login, self.clock, 0.05, 5.0, lambda: 0.5)
        self.cache.prepare()

    def begin(self) -> None:
        """Let the cache connect, and find the server quick."""
        self.clock.advance(0)
        self.assertEqual(self.wire.sent(), [b"PING"])
        self.wire.answer(b"+PONG\r\n")

    def get(self, key: str = "a") -> Deferred[bytes | None]:
        return Deferred.fromCoroutine(self.cache.get(key))

    def put(self, key: str, value: bytes) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.cache.put(key, value)))

    def assert_off(self) -> None:
        """Fail unless nothing is asked."""
        errors = self.cache.errors
        self.wire.transport.clear()
        self.assertIsNone(self.successResultOf(self.get()))
        self.put("a", b"1")
        self.successResultOf(Deferred.fromCoroutine(self.cache.forget("a")))
        self.assertEqual((self.cache.errors - errors, self.wire.transport.value()), (1, b""))


class QuestionTests(RedisCase):
    """Questions and replies."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_words(self) -> None:
        """What is kept has a key of its own kind, and is kept for a week."""
        self.put("a", b"value")
        self.successResultOf(Deferred.fromCoroutine(self.cache.forget("b")))
        self.get("c").addErrback(lambda failure: None)
        words = [b"SET", b"txregistry:a", b"value", b"EX", b"604800", b"DEL", b"txregistry:b"]
        self.assertEqual(self.wire.sent(), [*words, b"GET", b"txregistry:c"])

    def test_pieces(self) -> None:
        """Replies are understood however they are cut, and each goes to who asked for it."""
        values = [b"", b"\r\n$-1\r\n", None, bytes(70000), b"+OK"]
        replies = [
            b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value) for value in values
        ]
        for size in (1, 7, 1 << 20):
            asked = [self.get() for _ in values]
            stream = b"".join(replies)
            for start in range(0, len(stream), size):
                self.wire.answer(stream[start : start + size])
            self.assertEqual([self.successResultOf(one) for one in asked], values)

    def test_many(self) -> None:
        """Hundreds of replies that arrive together are all understood."""
        asked = [self.get() for _ in range(900)]
        self.wire.answer(b"".join(b"$3\r\n%03d\r\n" % number for number in range(900)))
        found = [self.successResultOf(one) for one in asked]
        self.assertEqual(found, [b"%03d" % number for number in range(900)])

    def test_counted(self) -> None:
        """Questions, answers and failures are counted."""
        for reply in (b"$1\r\n1\r\n", b"$-1\r\n", b"$1\r\n1\r\n"):
            asked = self.get()
            self.wire.answer(reply)
            self.successResultOf(asked)
        self.assertEqual((self.cache.requests, self.cache.hits, self.cache.errors), (3, 2, 0))

    def test_nonsense(self) -> None:
        """Whatever a server says that is no value ends the connection, and is no value."""
        for reply in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\xff\xfe\r\n",
            b"\r\n",
            b"+OK\r\n",
            b":5\r\n",
            b":x\r\n",
            b"-\r\n",
            b"-LOADING Redis is loading\r\n",
            b"$\r\n",
            b"$x\r\n",
            b"$-5\r\n",
            b"$ 1\r\n",
            b"$1_0\r\n",
            b"$131073\r\n",
            b"$99999999\r\n",
            b"$999999999999999999999\r\n",
            b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
            b"*-1\r\n",
            b"%1\r\n+a\r\n+b\r\n",
            b"x" * 5000,
            b"$" + b"1" * 5000,
        ):
            asked = self.get()
            self.wire.answer(reply)
            self.assertIsNone(self.successResultOf(asked), reply)
            self.assertFalse(self.wire.transport.connected, reply)
            self.assert_off()
            self.clock.advance(60)
            self.begin()

    def test_more_than_asked_for(self) -> None:
        """A server that says more than it was asked is not believed any more."""
        asked = self.get()
        self.wire.answer(b"$1\r\n1\r\n$1\r\n2\r\n")
        self.assertEqual(self.successResultOf(asked), b"1")
        self.assert_off()

    def test_late(self) -> None:
        """All who wait for a silent server go on after the time that is allowed, and no one waits again."""
        asked = [self.get() for _ in range(3)]
        self.clock.advance(0.049)
        for one in asked:
            self.assertNoResult(one)
        self.clock.advance(0.001)
        self.assertEqual([self.successResultOf(one) for one in asked], [None] * 3)
        self.assertEqual(self.cache.errors, 3)
        self.assertFalse(self.wire.transport.connected)
        self.assert_off()

    def test_late_reactor(self) -> None:
        """A reply that was there in time is taken, though the reactor reads it late."""
        asked = self.get()
        # What the reactor does in one turn: calls that are due, and then what arrived.
        self.clock.callLater(0.05, self.wire.answer, b"$1\r\n1\r\n")
        self.clock.advance(0.05)
        self.assertEqual(self.successResultOf(asked), b"1")

    def test_late_write(self) -> None:
        """A server that does not answer to what it is told is not asked either."""
        self.put("a", b"1")
        self.clock.advance(0.05)
        self.assert_off()

    def test_half_a_reply(self) -> None:
        """The half of a reply is none, and what comes of it later is no one else's."""
        asked = self.get()
        self.wire.answer(b"$10\r\n12345")
        self.clock.advance(0.05)
        self.assertIsNone(self.successResultOf(asked))
        old = self.wire.transport.protocol
        self.clock.advance(60)
        self.begin()
        asked = self.get()
        old.dataReceived(b"67890\r\n$1\r\nx\r\n")
        self.assertNoResult(asked)
        self.wire.answer(b"$1\r\ny\r\n")
        self.assertEqual(self.successResultOf(asked), b"y")

    def test_lost(self) -> None:
        """A connection that is lost answers all who wait."""
        asked = self.get()
        self.wire.transport.loseConnection()
        self.assertIsNone(self.successResultOf(asked))
        self.assert_off()

    def test_cancelled(self) -> None:
        """A request whose client is gone leaves its reply to no one."""
        asked, other = self.get(), self.get("b")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.wire.answer(b"$1\r\n1\r\n$1\r\n2\r\n")
        self.assertEqual(self.successResultOf(other), b"2")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full(self) -> None:
        """No more is asked than may wait, in number and in bytes."""
        waiting = [self.get() for _ in range(PENDING_LIMIT)]
        self.assertIsNone(self.successResultOf(self.get()))
        self.wire.answer(b"$-1\r\n" * PENDING_LIMIT)
        for one in waiting:
            self.successResultOf(one)
        self.wire.sent()
        for number in range(100):
            self.put(str(number), bytes(64 * 1024))
        self.assertLess(len(self.wire.transport.value()), PENDING_BYTES + 70_000)
        self.assertTrue(self.wire.transport.connected)

    def test_too_long(self) -> None:
        """A value that would not be read is not sent."""
        self.put("a", bytes(64 * 1024 + 1))
        self.assertEqual(self.wire.transport.value(), b"")

    def test_write_refused(self) -> None:
        """A server that keeps nothing is still asked; the log says so once."""
        with capturedLogs() as told:
            for _ in range(3):
                self.put("a", b"1")
                self.wire.answer(b"-OOM command not allowed, secret\r\n")
        self.assertEqual([event["reason"] for event in told], ["the server says OOM"])
        asked = self.get()
        self.wire.answer(b"$1\r\n1\r\n")
        self.assertEqual(self.successResultOf(asked), b"1")


class ConnectionTests(RedisCase):
    """How a connection is made, and made again."""

    def test_down(self) -> None:
        """A server that is down is tried ever more rarely, at last twice a minute; the log says so once."""
        self.wire.mode = "refused"
        with capturedLogs() as told:
            for _ in range(3000):
                self.clock.advance(0.1)
                self.assert_off()
        pauses = [after - before for before, after in zip(self.wire.begun, self.wire.begun[1:], strict=False)]
        self.assertEqual(pauses[:9], sorted(pauses[:9]))
        self.assertLess(pauses[0], 0.3)
        self.assertAlmostEqual(pauses[-1], 30, delta=0.2)
        self.assertEqual([event["log_level"] for event in told], [LogLevel.warn])

    def test_back(self) -> None:
        """A server that comes back is used again without being asked to, which the log says."""
        self.wire.mode = "refused"
        self.clock.advance(1)
        self.wire.mode = "made"
        with capturedLogs() as told:
            self.clock.advance(1)
            self.wire.sent()
            self.wire.answer(b"+PONG\r\n")
        self.assertEqual([event["log_level"] for event in told], [LogLevel.info])
        asked = self.get()
        self.wire.answer(b"$1\r\n1\r\n")
        self.assertEqual(self.successResultOf(asked), b"1")

    def test_no_one_waits(self) -> None:
        """While a connection is made no request waits for it; one that takes too long is given up."""
        self.wire.mode = "pending"
        self.clock.advance(0)
        self.assert_off()
        self.wire.mode = "made"
        self.clock.advance(5)
        self.clock.advance(0.1)
        self.wire.sent()
        self.wire.answer(b"+PONG\r\n")
        self.assertNoResult(self.get())

    def test_slow(self) -> None:
        """A server that is slow from the first is not used."""
        self.clock.advance(0)
        self.assert_off()
        self.clock.advance(0.05)
        self.assertFalse(self.wire.transport.connected)
        self.assert_off()

    def test_flapping(self) -> None:
        """A server that is lost again and again is tried ever more rarely; one that was good for long is not."""
        for lasting, rare in ((1.0, True), (6.0, False)):
            self.setUp()
            self.wire.mode = "made"
            for _ in range(8):
                while not self.wire.transport.connected or not self.wire.transport.value():
                    self.clock.advance(0.05)
                self.wire.sent()
                self.wire.answer(b"+PONG\r\n")
                self.clock.advance(lasting)
                self.wire.transport.loseConnection()
            pause = self.wire.begun[-1] - self.wire.begun[-2] - lasting
            self.assertEqual(pause > 3, rare, pause)

    def test_closed(self) -> None:
        """Closed, it has no timer and no connection, in whatever state it was."""
        for mode, seconds in (("made", None), ("made", 0), ("refused", 1), ("pending", 0), ("made", "used")):
            self.setUp()
            self.wire.mode = mode
            if seconds == "used":
                self.begin()
                self.get()
            elif seconds is not None:
                self.clock.advance(seconds)
            self.successResultOf(Deferred.fromCoroutine(self.cache.close()))
            self.assertEqual(self.clock.getDelayedCalls(), [], (mode, seconds))
            self.assertFalse(hasattr(self.wire.transport, "protocol") and self.wire.transport.connected)


class LoginTests(RedisCase):
    """Who the registry is to the server."""

    login = (("AUTH", "alice", "hush"), ("SELECT", "3"))

    def test_order(self) -> None:
        """The password comes first, then the database, then the question whether the server is quick."""
        self.clock.advance(0)
        for words in ([b"AUTH", b"alice", b"hush"], [b"SELECT", b"3"], [b"PING"]):
            self.assertEqual(self.wire.sent(), words)
            self.assert_off()
            self.wire.answer(b"+OK\r\n")
        self.get()
        self.assertEqual(self.wire.sent(), [b"GET", b"txregistry:a"])

    def test_refused(self) -> None:
        """A login that is refused is tried again later; the log has the kind of error, and none of its words."""
        for refusal, reason in (
            (b"-WRONGPASS invalid hush\r\n", "the server says WRONGPASS"),
            (
                b"-ERR unknown command 'AUTH', with args beginning with: 'alice' 'hush'\r\n",
                "the server says ERR",
            ),
            (b"-hush\r\n", "the server says no"),
        ):
            self.setUp()
            with capturedLogs() as told:
                self.clock.advance(0)
                self.wire.answer(refusal)
            self.assertEqual([event["reason"] for event in told], [reason])
            self.assertFalse(self.wire.transport.connected)
            self.assert_off()
            self.clock.advance(1)
            for _ in range(3):
                self.wire.answer(b"+OK\r\n")
            self.assertNoResult(self.get())


class _Stranger(Protocol):
    """Says the same to everything, whatever it is."""

    def __init__(self, speech: bytes, opening: bytes) -> None:
        self.speech, self.opening = speech, opening
        self.seen: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.seen.append(data)
        said = self.opening if b"PING" in data else self.speech
        assert self.transport is not None
        self.transport.write(said)


class SocketTests(TestCase):
    """Servers behind sockets that are no Redis."""

    timeout = 60

    def exercise(self, speech: bytes, opening: bytes) -> Deferred[None]:
        """Use a cache whose server says *opening* to PING and *speech* to the rest; it must know nothing."""
        met: list[_Stranger] = []

        def build() -> Protocol:
            met.append(_Stranger(speech, opening))
            return met[-1]

        port = reactor.listenTCP(0, Factory.forProtocol(build), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        cache = RedisCache(lambda: endpoint, (), reactor, 0.05, 5.0, lambda: 0.5)
        cache.prepare()

        async def work() -> None:
            try:
                while len(met) < 3:
                    await cache.put("a", b"1")
                    self.assertIsNone(await cache.get("a"))
                    await deferLater(reactor, 0.005)  # type: ignore[arg-type]
            finally:
                await cache.close()
            self.assertEqual(cache.hits, 0)

        return Deferred.fromCoroutine(work())

    def test_silent(self) -> Deferred[None]:
        """A server that takes connections and says nothing is tried again and never waited for."""
        return self.exercise(b"", b"")

    def test_silent_later(self) -> Deferred[None]:
        """So is one that falls silent."""
        return self.exercise(b"", b"+PONG\r\n")

    def test_other_protocol(self) -> Deferred[None]:
        """A web server on the port is no cache."""
        answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
        return self.exercise(answer, answer)

    def test_flood(self) -> Deferred[None]:
        """A server that says megabytes to everything is hung up on."""
        return self.exercise(b"x" * (4 << 20), b"+PONG\r\n")

    def test_endless_value(self) -> Deferred[None]:
        """So is one whose value has no end."""
        return self.exercise(b"$131072\r\n" + b"x" * 1000, b"+PONG\r\n")
