"""The service that keeps events and has them delivered, under a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txregistry.errors import ConfigError, EndpointFailed, EventRefused
from txregistry.events import Event
from txregistry.figures import show_notifications
from txregistry.interfaces import INotifier
from txregistry.notify.courier import Endpoint
from txregistry.notify.service import Notifications, Place
from txregistry.telemetry.metrics import Metrics
from txregistry.testing.notify import an_event


class AtOnce:
    """A thread that does what it is asked for at once."""

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Do it."""
        return succeed(work(*args))

    def stop(self) -> None:
        """Do nothing."""


@implementer(INotifier)
@define
class Listener:
    """Takes events, or raises what it is told to."""

    taken: list[str] = field(factory=list)
    problem: Exception | None = None
    unusable: bool = False
    closed: bool = False
    tries: int = 0

    def prepare(self) -> None:
        """See the interface."""
        if self.unusable:
            raise ConfigError("key", "wrong")

    async def close(self) -> None:
        """See the interface."""
        self.closed = True

    async def notify(self, event: Event) -> None:
        """See the interface."""
        self.tries += 1
        if self.problem is not None:
            raise self.problem
        self.taken.append(event.target.tag)


class ServiceTests(SynchronousTestCase):
    """What the service promises to the rest of the server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = os.path.abspath(self.mktemp())

    def service(self, *endpoints: Endpoint) -> Notifications:
        """Return a service, started."""
        service = Notifications(endpoints, Place(self.path, 1 << 20), AtOnce, self.clock, lambda: 0.0)
        service.startService()
        self.addCleanup(lambda: self.successResultOf(service.stopService()) if service.running else None)
        return service

    def tell(self, service: Notifications, *tags: str) -> None:
        """Tell of pushes."""
        for tag in tags:
            event = an_event(tag)
            self.successResultOf(
                Deferred.fromCoroutine(service.tell([(event, service.wanted("push", "a/b"))]))
            )

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps."""
        self.clock.pump([0.05] * int(seconds / 0.05))

    def exchange(self, service: Notifications, *endpoints: Endpoint) -> Deferred[None]:
        """Exchange endpoints."""
        return Deferred.fromCoroutine(service.exchange(endpoints))

    def test_exchange(self) -> None:
        """What waits for an endpoint is delivered to the one of its name that takes its place."""
        old, new = Listener(problem=EndpointFailed("down")), Listener()
        service = self.service(Endpoint("a", old))
        self.tell(service, "1", "2")
        self.pass_time(1)
        self.successResultOf(self.exchange(service, Endpoint("a", new)))
        self.pass_time(1)
        self.assertEqual((new.taken, old.closed), (["1", "2"], True))

    def test_exchange_refused(self) -> None:
        """Endpoints of which one cannot be used change nothing."""
        old, good = Listener(), Listener()
        service = self.service(Endpoint("a", old))
        error = self.failureResultOf(
            self.exchange(service, Endpoint("a", good), Endpoint("b", Listener(unusable=True))), ConfigError
        )
        self.assertEqual(error.value.where, "notifications.endpoints.b.key")
        self.tell(service, "1")
        self.pass_time(1)
        self.assertEqual((old.taken, old.closed, good.closed), (["1"], False, True))

    def test_first_endpoint(self) -> None:
        """A service without endpoints touches nothing, and can be given some."""
        service = self.service()
        self.assertFalse(os.path.exists(self.path))
        listener = Listener()
        self.successResultOf(self.exchange(service, Endpoint("a", listener)))
        self.tell(service, "1")
        self.pass_time(1)
        self.assertEqual(listener.taken, ["1"])

    def test_figures(self) -> None:
        """What waits, was taken, failed and was set aside is counted, by endpoint."""
        dead, picky = Listener(problem=EndpointFailed("down")), Listener(problem=EventRefused("no"))
        service = self.service(
            Endpoint("dead", dead), Endpoint("picky", picky, tries=2), Endpoint("well", Listener())
        )
        self.tell(service, "1")
        self.pass_time(5)
        pending = {name: courier.pending for name, courier in service.couriers.items()}
        self.assertEqual(pending, {"dead": 1, "picky": 0, "well": 0})
        figures = service.figures
        self.assertEqual((figures["well"].delivered, figures["picky"].set_aside), (1, 1))
        self.assertEqual((figures["picky"].failures, figures["dead"].failures), (2, dead.tries))
        self.assertIsNotNone(figures["dead"].oldest)
        self.assertIsNone(figures["well"].oldest)

    def test_prometheus(self) -> None:
        """The figures are shown by endpoint, with how long the oldest event has waited."""
        metrics = Metrics.make()
        dead = Listener(problem=EndpointFailed("down"))
        service = self.service(Endpoint("dead", dead), Endpoint("well", Listener()))
        show_notifications(metrics, service, lambda: (service.figures["dead"].oldest or 0) + 90)
        self.tell(service, "1")
        self.pass_time(5)
        events = "registry_notifications_events_total"
        for name, labels, value in (
            (events, {"type": "Successes", "endpoint": "well"}, 1),
            (events, {"type": "Failures", "endpoint": "dead"}, dead.tries),
            ("registry_notifications_pending_total", {"endpoint": "dead"}, 1),
            ("txregistry_notifications_oldest_seconds", {"endpoint": "dead"}, 90),
            ("txregistry_notifications_oldest_seconds", {"endpoint": "well"}, 0),
            ("txregistry_notifications_set_aside", {"endpoint": "dead"}, 0),
            ("txregistry_notifications_dropped_total", {"endpoint": "dead"}, 0),
        ):
            self.assertEqual(metrics.registry.get_sample_value(name, labels), value, (name, labels))
        self.assertIn(b'registry_notifications_pending_total{endpoint="dead"} 1.0', metrics.exposition("")[0])

    def test_back_off(self) -> None:
        """An endpoint that is down is tried at once until the threshold, and then ever more rarely."""
        listener = Listener(problem=EndpointFailed("down"))
        service = self.service(Endpoint("a", listener, threshold=3, backoff=1))
        self.tell(service, "1")
        self.pass_time(0.5)
        self.assertEqual(listener.tries, 3)
        self.pass_time(1)
        self.assertEqual(listener.tries, 4)
        self.pass_time(28)
        self.assertEqual(listener.tries, 7)  # after 2, 4 and 8 s more

    def test_pulls_at_the_end(self) -> None:
        """What was only to be on disk soon is there when the service has stopped in order."""
        service = self.service(Endpoint("a", Listener(problem=EndpointFailed("down"))))
        service.tell_soon(an_event("1"), ["a"])
        self.successResultOf(service.stopService())
        listener = Listener()
        self.service(Endpoint("a", listener))
        self.pass_time(1)
        self.assertEqual(listener.taken, ["1"])
