"""What every notifier promises, each promise a test.

A notifier's own tests mix it in, before :class:`twisted.trial.unittest.TestCase`, and say how to make one::

    class TestMyNotifier(NotifierContract, TestCase):
        def make_notifier(self):      # one whose events are taken
            ...

        def make_failing(self):       # one that reaches no one
            ...
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from txregistry.errors import NotificationError
from txregistry.events import Actor, Event, Request, Source, Target
from txregistry.interfaces import INotifier
from txregistry.testing.closing import ClosingCase, started

__all__ = ["NotifierContract", "an_event"]


def an_event(tag: str = "1.0") -> Event:
    """Return an event of a push."""
    target = Target(media_type="a/b", digest="sha256:00", size=2, length=2, repository="team/app", tag=tag)
    request = Request(id="1", addr="127.0.0.1:1", host="hub", method="PUT", useragent="<test>")
    return Event(
        id=f"id-{tag}",
        timestamp="2026-11-24T15:20:59.218488Z",
        action="push",
        target=target,
        request=request,
        actor=Actor(name="alice"),
        source=Source(addr="hub:5000", instance_id="1"),
    )


class NotifierContract(ClosingCase):
    """The promises of :class:`~txregistry.interfaces.INotifier`."""

    def make_notifier(self) -> INotifier:
        """Return a notifier, prepared, whose events are taken."""
        raise NotImplementedError

    def make_failing(self) -> INotifier:
        """Return a notifier, prepared, that reaches no one."""
        raise NotImplementedError

    def test_interface(self) -> None:
        """It has what the interface asks for."""
        notifier = self.make_notifier()
        self.closing(notifier)
        verifyObject(INotifier, notifier)

    def test_taken(self) -> Deferred[None]:
        """Events that are taken raise nothing, one after the other."""
        notifier = self.make_notifier()
        self.closing(notifier)

        async def notify() -> None:
            for tag in "123":
                await notifier.notify(an_event(tag))

        return Deferred.fromCoroutine(notify())

    def test_failed(self) -> Deferred[NotificationError]:
        """An event that reaches no one is one of the notifier's two errors, with a reason of one line."""
        notifier = self.make_failing()
        self.closing(notifier)
        trying: Deferred[Any] = started(notifier.notify(an_event()))
        failed: Deferred[NotificationError] = self.assertFailure(trying, NotificationError)
        failed.addCallback(lambda error: self.assertTrue(error.reason.isprintable()))
        return failed

    def test_closed(self) -> Deferred[None]:
        """Closed, it leaves no threads."""
        self.closing(self.make_notifier())
        return self.close().addCallback(lambda _: self.assert_no_threads_left())
