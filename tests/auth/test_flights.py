"""Work is shared by those who want it at the same time."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txregistry.auth.flights import Flights


class FlightsTests(SynchronousTestCase):
    """Work under way."""

    def setUp(self) -> None:
        self.flights: Flights[str] = Flights()
        self.begun: list[Deferred[str]] = []

    async def work(self) -> str:
        self.begun.append(Deferred())
        return await self.begun[-1]

    def join(self, key: str = "a") -> Deferred[str]:
        return Deferred.fromCoroutine(self.flights.join(key, self.work))

    def test_shared(self) -> None:
        """Those who want the same at the same time get it from work that is done once."""
        waiting = [self.join() for _ in range(3)]
        self.assertIn("a", self.flights)
        self.begun[0].callback("result")
        self.assertEqual([self.successResultOf(each) for each in waiting], ["result"] * 3)
        self.assertEqual((len(self.begun), len(self.flights)), (1, 0))

    def test_not_kept(self) -> None:
        """Work that has ended is done anew for the next who wants it."""
        first = self.join()
        self.begun[0].callback("one")
        second = self.join()
        self.begun[1].callback("two")
        self.assertEqual([self.successResultOf(first), self.successResultOf(second)], ["one", "two"])

    def test_apart(self) -> None:
        """Work of another key is other work."""
        one, other = self.join("a"), self.join("b")
        self.begun[1].callback("other")
        self.assertEqual(self.successResultOf(other), "other")
        self.assertNoResult(one)

    def test_at_once(self) -> None:
        """Work that ends at once leaves nothing under way."""

        async def work() -> str:
            return "result"

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.flights.join("a", work))), "result")
        self.assertEqual(len(self.flights), 0)

    def test_leaving(self) -> None:
        """One who leaves takes neither the work nor the others with it, even as the last."""
        leaving, staying = self.join(), self.join()
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.begun[0].callback("result")
        self.assertEqual(self.successResultOf(staying), "result")
        last = self.join()
        last.cancel()
        self.failureResultOf(last, CancelledError)
        self.assertIn("a", self.flights)
        again = self.join()
        self.assertEqual(len(self.begun), 2)
        self.begun[1].callback("late")
        self.assertEqual(self.successResultOf(again), "late")

    def test_failing(self) -> None:
        """A failure is everyone's who waits, and is logged where no one does."""
        waiting = [self.join() for _ in range(2)]
        self.begun[0].errback(ValueError())
        for each in waiting:
            self.failureResultOf(each, ValueError)
        self.assertEqual(self.flushLoggedErrors(), [])
        left = self.join()
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.begun[1].errback(ValueError())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(self.flights), 0)
