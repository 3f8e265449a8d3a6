"""The time that a client is given."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txregistry.web.patience import Patience


class PatienceTests(SynchronousTestCase):
    """:class:`txregistry.web.patience.Patience`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.over: list[float] = []
        self.patience = Patience(self.clock, lambda: self.over.append(self.clock.seconds()))

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)

    def test_over(self) -> None:
        """It ends when its time is over, once, and can be used again."""
        self.patience.set(3)
        self.pass_time(10)
        self.patience.set(2)
        self.pass_time(10)
        self.assertEqual(self.over, [3, 12])

    def test_put_off(self) -> None:
        """What counts is the last time that was set, be it later or sooner than the one before."""
        self.patience.set(3)
        self.pass_time(2)
        self.patience.set(5)
        self.pass_time(6)
        self.assertEqual(self.over, [7])
        self.patience.set(60)
        self.patience.set(2)
        self.pass_time(80)
        self.assertEqual(self.over, [7, 10])

    def test_late(self) -> None:
        """A reactor that is late, so that the time is over when it looks, ends it all the same."""
        later = self.clock.callLater

        def strict(delay: float, *arguments: Any) -> Any:
            self.assertGreaterEqual(delay, 0)
            return later(delay, *arguments)

        self.patch(self.clock, "callLater", strict)
        self.patience.set(3)
        self.clock.advance(1)
        self.patience.set(3)
        self.clock.advance(10)
        self.clock.advance(0)
        self.assertEqual(self.over, [11])

    def test_never(self) -> None:
        """It never ends while no time is set."""
        self.patience.set(3)
        self.patience.set(None)
        self.pass_time(10)
        self.assertEqual((self.over, self.patience.is_set), ([], False))

    def test_cost(self) -> None:
        """However often the time is put off, one delayed call waits."""
        for _ in range(100):
            self.patience.set(60)
            self.patience.set(None)
            self.patience.set(30)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.patience.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
