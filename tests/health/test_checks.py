"""Checks over time."""

from __future__ import annotations

import os
import shutil

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txregistry.config import checks
from txregistry.config.schema import Config, Maintenance, ReadOnly, Storage
from txregistry.health.checks import Check
from txregistry.health.condition import Condition
from txregistry.health.lag import ReactorLag
from txregistry.health.probes import Unwell
from txregistry.storage import filesystem
from txregistry.telemetry.metrics import Metrics
from txregistry.telemetry.storage import observed


class Patient:
    """Something whose health a test decides."""

    def __init__(self) -> None:
        self.complaint = ""
        self.looks = 0
        self.silent: Deferred[None] | None = None

    async def probe(self) -> None:
        """Say how it is, or nothing at all."""
        self.looks += 1
        if self.silent is not None:
            await self.silent
        if self.complaint:
            raise Unwell(self.complaint)


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.patient = Patient()

    def check(self, threshold: int = 0) -> Check:
        """Return a check that has been started."""
        check = Check("it", self.clock, self.patient.probe, 10, threshold)
        check.startService()
        self.addCleanup(lambda: check.running and check.stopService())
        return check

    def test_first(self) -> None:
        """The first look is made when one interval has passed."""
        self.patient.complaint = "ill"
        check = self.check()
        self.clock.advance(9.9)
        self.assertEqual((self.patient.looks, check.error), (0, None))
        self.clock.advance(0.1)
        self.assertEqual((self.patient.looks, check.error), (1, "ill"))

    def test_recovery(self) -> None:
        """One look that finds nothing wrong ends the failure."""
        self.patient.complaint = "ill"
        check = self.check(2)
        self.clock.pump([10, 10])
        self.assertEqual(check.error, "ill")
        self.patient.complaint = ""
        self.clock.advance(10)
        self.assertEqual((check.error, check.failures), (None, 0))

    def test_threshold(self) -> None:
        """Failures count once there are as many as the threshold, one after the other."""
        check = self.check(3)
        for complaint, error in (("a", None), ("b", None), ("", None), ("c", None), ("d", None), ("e", "e")):
            self.patient.complaint = complaint
            self.clock.advance(10)
            self.assertEqual(check.error, error)

    def test_silence(self) -> None:
        """A look without an end counts for each interval, and no other is begun beside it."""
        self.patient.silent = Deferred()
        check = self.check(2)
        self.clock.pump([10, 10])
        self.assertEqual(check.error, None)
        self.clock.advance(10)
        self.assertEqual((check.error, self.patient.looks), ("no answer within 10 s", 1))
        silent, self.patient.silent = self.patient.silent, None
        silent.callback(None)
        self.assertEqual(check.error, None)
        self.clock.advance(10)
        self.assertEqual(self.patient.looks, 2)

    def test_stopping(self) -> None:
        """A check that is stopped leaves nothing behind, in the middle of a look either."""
        check = self.check()
        cancelled: list[object] = []
        self.patient.silent = Deferred(cancelled.append)
        self.clock.advance(10)
        check.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(cancelled, [self.patient.silent])
        self.assertIsNone(check.error)

    def test_ill_when_stopped(self) -> None:
        """A look that fails because it was cut off is no failure."""

        async def probe() -> None:
            try:
                await Deferred()
            except CancelledError:
                raise Unwell("no answer") from None

        check = Check("it", self.clock, probe, 10)
        check.startService()
        self.clock.advance(10)
        check.stopService()
        self.assertEqual(check.failures, 0)

    def test_broken(self) -> None:
        """A look that fails for reasons of its own is a failure without their details, which the log has."""

        async def broken() -> None:
            raise RuntimeError("/a/path")

        check = Check("it", self.clock, broken, 10)
        check.startService()
        self.clock.advance(10)
        self.assertEqual(check.error, "the check itself failed; the log says why")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        check.stopService()

    def test_condition(self) -> None:
        """A storage that cannot be written to is a reason to send no requests, not to refuse them."""
        self.patient.complaint = "full"
        condition = Condition([], self.check())
        self.clock.advance(10)
        self.assertTrue(condition.is_well)
        self.assertEqual((condition.failures(), condition.hindrances()), ({}, {"it": "full"}))

    def test_stopping_condition(self) -> None:
        """While it is stopped the registry answers, and wants no more requests."""
        condition = Condition()
        self.assertEqual(condition.hindrances(), {})
        condition.stopping = True
        self.assertTrue(condition.is_well)
        self.assertEqual(list(condition.hindrances()), ["stopping"])


class LateClock(Clock):
    """A clock that runs when it is told to."""

    def callWhenRunning(self, call: object) -> None:
        """Call at once."""
        call()  # type: ignore[operator]


class LagTests(SynchronousTestCase):
    def test_lag(self) -> None:
        """The lag is how much later than asked the reactor called."""
        clock = LateClock()
        lag = ReactorLag(clock)
        lag.startService()
        clock.advance(0.1)
        self.assertAlmostEqual(lag.last, 0.0)
        clock.advance(0.6)
        self.assertAlmostEqual(lag.last, 0.5)
        clock.advance(0.1)
        self.assertAlmostEqual(lag.last, 0.0)
        self.assertAlmostEqual(lag.worst, 0.5)
        self.assertAlmostEqual(lag.total, 0.5)
        self.assertEqual(lag.count, 3)
        lag.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])


class StorageTests(TestCase):
    """The storage's own word on whether it can be written to."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.folder = os.path.abspath(self.mktemp())
        driver = filesystem.make({"rootdirectory": self.folder}, reactor)
        # As it is where figures are wanted.
        self.driver = observed(driver, [Metrics.make().storage("filesystem")])
        self.driver.prepare()
        self.addCleanup(self.driver.close)
        self.clock = Clock()

    def condition(self, read_only: bool = False) -> Condition:
        """Return the condition of a registry without a section ``health``."""
        maintenance = Maintenance(readonly=ReadOnly(enabled=read_only))
        storage = Storage(driver="filesystem", maintenance=maintenance)
        return checks.condition(
            Config(version="0.1", storage=storage), self.driver, self.clock, deferToThread
        )

    async def look(self, condition: Condition) -> None:
        """Let the storage be looked at once."""
        (check,) = condition.parts()
        check.startService()
        self.clock.advance(10)
        looking = check._looking
        if looking is not None:
            await looking
        check.stopService()

    async def test_observed(self) -> None:
        """A driver that is observed says what it says without that."""
        condition = self.condition()
        await self.look(condition)
        self.assertEqual(condition.hindrances(), {})
        shutil.rmtree(self.folder)
        await self.look(condition)
        self.assertEqual(condition.hindrances(), {"storage": "storage cannot be written to"})
        self.assertTrue(condition.is_well)

    async def test_read_only(self) -> None:
        """Where no one is to write it does not matter, until someone is."""
        condition = self.condition(read_only=True)
        shutil.rmtree(self.folder)
        await self.look(condition)
        self.assertEqual(condition.hindrances(), {})
        condition.read_only = False
        self.assertEqual(list(condition.hindrances()), ["storage"])
