"""The built-in notifier."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.notify.receiver import Receiver
from tests.processes import free_port
from txregistry.errors import ConfigError, EndpointFailed, EventRefused
from txregistry.notify.webhook import Webhook, make
from txregistry.testing.closing import started
from txregistry.testing.notify import NotifierContract, an_event

reactor: Any = _reactor


class WebhookTests(NotifierContract, TestCase):
    """A webhook keeps the contract."""

    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver()
        self.receiver.start()
        self.addCleanup(deferToThread, self.receiver.stop)

    def assert_no_threads_left(self) -> None:
        """Pass: the receiver's own threads are left."""

    def make_notifier(self) -> Webhook:
        """See the contract."""
        return make({"url": self.receiver.url, "headers": {"X-A": ["b"]}}, reactor)

    def make_failing(self) -> Webhook:
        """See the contract."""
        return make({"url": f"http://127.0.0.1:{free_port()}/"}, reactor)

    def check(self, status: int, error: type[Exception] | None) -> Deferred[Any]:
        """See what becomes of an event that is answered with a status."""
        self.receiver.misbehave = lambda event: status
        notifier = self.make_notifier()
        self.closing(notifier)
        done: Deferred[Any] = started(notifier.notify(an_event()))
        return done if error is None else self.assertFailure(done, error)

    def test_accepted(self) -> Deferred[Any]:
        """Any 2xx takes the event; headers of the operator's are sent, and no content coding is asked for."""

        def look(_: object) -> None:
            self.assertEqual(self.receiver.headers[0]["X-A"], "b")
            self.assertEqual(self.receiver.headers[0]["Accept-Encoding"], "identity")

        return self.check(204, None).addCallback(look)

    def test_refused(self) -> Deferred[Any]:
        """A 4xx refuses the event."""
        return self.check(422, EventRefused)

    def test_passing(self) -> Deferred[Any]:
        """429 says nothing about the event."""
        return self.check(429, EndpointFailed)

    def test_failing(self) -> Deferred[Any]:
        """A 5xx says nothing about the event."""
        return self.check(503, EndpointFailed)


class OptionTests(SynchronousTestCase):
    """What is wrong with an endpoint's keys is named."""

    def test_wrong(self) -> None:
        """A wrong key or value is refused by its name."""
        url = "http://a.example/"
        for options, where in (
            ({}, "url"),
            ({"url": "ftp://a.example"}, "url"),
            ({"url": "http://me:hush@a.example"}, "url"),
            ({"url": url, "ulr": "x"}, "ulr"),
            ({"url": url, "format": "xml"}, "format"),
            ({"url": url, "headers": {"Host": ["a"]}}, "headers.Host"),
            ({"url": url, "headers": {"X-A": ["a\r\nb"]}}, "headers.X-A"),
        ):
            error = self.assertRaises(ConfigError, make, options, reactor)
            self.assertEqual(error.where, where)
            self.assertNotIn("hush", str(error))
