"""A request that nobody waits for is given up, wherever it is."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from txregistry.objects.retries import Retries
from txregistry.objects.transport import Request, Transport


class TestCancelling(SynchronousTestCase):
    """Of a transport."""

    def test_while_connecting(self) -> None:
        """Who is cancelled before there is a connection does not try again."""
        reactor = MemoryReactorClock()
        transport = Transport(reactor, Retries(lambda: 0.5))

        async def prepare() -> Request:
            return Request("GET", "http://127.0.0.1:1/")

        asking = Deferred.fromCoroutine(transport.ask("/file", prepare))
        self.assertEqual(len(reactor.tcpClients), 1)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        reactor.advance(60)
        self.assertEqual(len(reactor.tcpClients), 1)
        self.assertEqual(reactor.getDelayedCalls(), [])
