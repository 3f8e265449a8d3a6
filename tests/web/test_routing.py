"""How a route is begun, goes on when it had to wait, and ends with its client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import Server
from txregistry.web.answers import answer
from txregistry.web.routing import Routing

_GET = b"GET /x HTTP/1.1\r\nHost: r\r\n\r\n"
_seen: ContextVar[str] = ContextVar("_seen", default="nothing")


class RoutingTests(SynchronousTestCase):
    """One route, of the test's own making."""

    def connect(self, respond: Callable[[Any], Awaitable[bytes]]) -> tuple[Any, Any]:
        """Return a connection to a server whose only route this is."""
        app = Klein()
        app.route("/x", endpoint="x")(respond)
        server = Server()
        server.site.resource = Routing(app, {"x": respond})
        return server.connect()

    def test_waits(self) -> None:
        """A route that waits goes on with what it waited for, be that a result, a failure or no wait at all."""
        first, second, third = Deferred[bytes](), Deferred[bytes](), Deferred[bytes]()

        async def respond(request: Any) -> bytes:
            content = await first
            try:
                await second
            except ZeroDivisionError:
                content += b"two"
            return answer(request, 200, content + await third)

        channel, transport = self.connect(respond)
        third.callback(b"three")
        channel.dataReceived(_GET)
        first.callback(b"one")
        self.assertEqual(transport.value(), b"")
        second.errback(ZeroDivisionError())
        self.assertTrue(transport.value().endswith(b"\r\n\r\nonetwothree"), transport.value())

    def test_fails_after_waiting(self) -> None:
        """A route that fails once it had to wait is answered with the failure, which the log tells of."""
        waiting = Deferred[None]()

        async def respond(request: Any) -> bytes:
            await waiting
            raise ZeroDivisionError

        channel, transport = self.connect(respond)
        channel.dataReceived(_GET)
        waiting.callback(None)
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 500 "), transport.value())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_client_leaves(self) -> None:
        """What a route waits for is cancelled when its client leaves, and what it then does is not in the way."""
        cancelled: list[object] = []
        first, second = Deferred[bytes](cancelled.append), Deferred[bytes](cancelled.append)

        async def respond(request: Any) -> bytes:
            try:
                await first
            except CancelledError:
                return await second
            return b""

        channel, transport = self.connect(respond)
        channel.dataReceived(_GET)
        transport.loseConnection()
        self.assertEqual(cancelled, [first])
        second.callback(b"too late")
        self.assertEqual(transport.value(), b"")

    def test_own_context(self) -> None:
        """What a route puts into its context stays there while it waits, and is not seen by other requests."""
        waiting = Deferred[None]()
        seen = []

        async def respond(request: Any) -> bytes:
            seen.append(_seen.get())
            _seen.set("mine")
            await waiting
            seen.append(_seen.get())
            return answer(request, 200)

        channel, _ = self.connect(respond)
        channel.dataReceived(_GET)
        self.assertEqual(_seen.get(), "nothing")
        waiting.callback(None)
        channel.dataReceived(_GET)
        self.assertEqual(seen, ["nothing", "mine", "nothing", "mine"])
        self.assertEqual(_seen.get(), "nothing")
