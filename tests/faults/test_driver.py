"""Each call of a driver fails once, and is the last of a registry once: pushes, deletions and collections."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.content.case import NAME, image, in_thread
from tests.faults.history import History
from tests.faults.scenario import Day, look
from txregistry import errors, media
from txregistry.content.garbage import Collection, Rules, Time
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.reference import Tag
from txregistry.storage.memory import MemoryDriver
from txregistry.testing.storage import StorageDriverContract
from txregistry.testing.storage.faults import FaultyDriver, Killed, Pause, Trouble, delay, fail, kill

TROUBLES = (
    errors.StorageUnavailable("/x", "slow down"),
    errors.StorageFull("/x", "no room"),
    errors.StorageFault("/x", "I/O error"),
)


class ContractTests(StorageDriverContract, TestCase):
    """Without trouble it is as good as the driver behind it."""

    def make_driver(self) -> FaultyDriver:
        """Return one before a driver in memory."""
        driver = FaultyDriver(MemoryDriver(), Trouble(1, kill, ["nothing"]))
        driver.prepare()
        return driver


class EffectTests(SynchronousTestCase):
    """What may happen to a call."""

    def driver(self, trouble: Trouble) -> FaultyDriver:
        """Return a driver with a file in it."""
        memory = MemoryDriver()
        self.successResultOf(Deferred.fromCoroutine(memory.write("/a", b"1")))
        return FaultyDriver(memory, trouble)

    def read(self, driver: FaultyDriver) -> Deferred[bytes]:
        """Read the file."""
        return Deferred.fromCoroutine(driver.read("/a", 10))

    def test_fail(self) -> None:
        """Only the call of that number and name fails."""
        trouble = Trouble(2, fail(TROUBLES[0]), ["read"])
        driver = self.driver(trouble)
        self.assertEqual(self.successResultOf(self.read(driver)), b"1")
        self.successResultOf(Deferred.fromCoroutine(driver.stat("/a")))
        self.failureResultOf(self.read(driver), errors.StorageUnavailable)
        self.assertEqual(self.successResultOf(self.read(driver)), b"1")
        self.assertEqual(driver.calls[:2], [("read", "/a"), ("stat", "/a")])

    def test_delay(self) -> None:
        """A call waits."""
        clock = Clock()
        reading = self.read(self.driver(Trouble(1, delay(clock, 5))))
        clock.advance(4.9)
        self.assertNoResult(reading)
        clock.advance(0.1)
        self.assertEqual(self.successResultOf(reading), b"1")

    def test_pause(self) -> None:
        """A call is held until it is let go."""
        pause = Pause()
        reading = self.read(self.driver(Trouble(1, pause)))
        self.successResultOf(pause.reached)
        self.assertNoResult(reading)
        pause.go_on()
        self.assertEqual(self.successResultOf(reading), b"1")

    def test_kill(self) -> None:
        """Nothing happens after a death."""
        driver = self.driver(Trouble(1, kill))
        for _ in range(2):
            self.failureResultOf(self.read(driver), Killed)


class DriverCase(SynchronousTestCase):
    """What waits for nothing, done now."""

    def done(self, work: Any) -> Any:
        """Return the result of *work*, or raise what it raised."""
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        (result,) = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result


class DayTests(DriverCase):
    """A registry's day over a driver with trouble, whatever the driver."""

    def test_D04_error_at_each_call(self) -> None:
        """Whatever call fails, nothing that was acknowledged is lost, and another day goes well."""
        for error in TROUBLES:
            for number in itertools.count(1):
                trouble = Trouble(number, fail(error))
                memory, history = MemoryDriver(), History()
                failures: list[errors.StorageError] = []
                with capturedLogs():
                    registry = Registry.on(FaultyDriver(memory, trouble), in_thread)
                    self.done(Day(registry, history, failures.append).run())
                    self.assertLessEqual({type(failure) for failure in failures}, {type(error)})
                    self.check(memory, history)
                if not trouble.fired:
                    break
            self.assertGreater(number, 100)

    def test_D03_kill_before_each_call(self) -> None:
        """Wherever it dies, nothing that was acknowledged is lost, and another day goes well."""
        for number in itertools.count(1):
            trouble = Trouble(number, kill)
            memory, history = MemoryDriver(), History()
            with capturedLogs(), contextlib.suppress(Killed):
                self.done(
                    Day(Registry.on(FaultyDriver(memory, trouble), in_thread), history, self.fail).run()
                )
            self.check(memory, history)
            if not trouble.fired:
                break
        self.assertGreater(number, 100)

    def check(self, memory: MemoryDriver, history: History) -> None:
        """Look as a new process does, and live another day."""
        registry, again = Registry.on(memory, in_thread), History()
        self.done(look(registry, history))
        self.done(Day(registry, again, self.fail).run())
        self.done(look(registry, again))


class CollectionTests(DriverCase):
    """A collection over a driver with trouble."""

    def stored(self) -> MemoryDriver:
        """Return a storage in which an image is needed, another one not, and a third is shared."""
        self.seconds = 1e6
        memory = MemoryDriver(lambda: self.seconds)
        registry = Registry.on(memory, in_thread)
        self.done(Day(registry, History(), self.fail).run())
        for name in ("needed", "not"):
            content = image(self.blob(registry, name.encode()), self.blob(registry, b"shared"))
            self.done(registry.manifests.put(NAME, Tag(name), content, media.OCI_MANIFEST))
        self.done(registry.manifests.delete(NAME, Digest.of(content)))
        self.seconds += 1e6
        return memory

    def blob(self, registry: Registry, content: bytes) -> Digest:
        """Push a blob."""
        digest = Digest.of(content)

        async def push() -> None:
            upload = await registry.uploads.begin(NAME)
            session = await registry.uploads.open(NAME, upload.id)
            try:
                await session.append(_Body([[content]]))
                await session.commit(digest)
            finally:
                await session.close()

        self.done(push())
        return digest

    def collect(self, driver: Any) -> None:
        """Collect all that is older than a day and not needed."""
        clocks = Time(lambda: self.seconds, lambda: self.seconds)
        rules = Rules(86400, True, False)
        self.done(Collection(driver, rules, clocks, lambda: succeed(None), lambda one: None).run())

    def assert_needed_is_whole(self, memory: MemoryDriver) -> None:
        """Fail unless every tag can be pulled."""
        registry = Registry.on(memory, in_thread)
        for tag in self.done(registry.tags.names(NAME)):
            found = self.done(registry.manifests.find(NAME, Tag(tag)))
            for blob in (b"needed", b"shared"):
                if Digest.of(blob).hex.encode() in found.content:
                    self.done(registry.blobs.find(NAME, Digest.of(blob)))

    def is_there(self, memory: MemoryDriver, content: bytes) -> bool:
        """Say whether a blob is stored."""
        try:
            self.done(memory.stat(f"/docker/registry/v2/blobs/sha256/{_folder(content)}/data"))
        except errors.PathUnknown:
            return False
        return True

    def test_G04_kill_at_each_step(self) -> None:
        """Wherever a collection dies, what is needed is whole, and the next one finishes its work."""
        for number in itertools.count(1):
            trouble = Trouble(number, kill)
            memory = self.stored()
            with contextlib.suppress(Killed):
                self.collect(FaultyDriver(memory, trouble))
            self.assert_needed_is_whole(memory)
            self.collect(memory)
            self.assert_needed_is_whole(memory)
            self.assertEqual([self.is_there(memory, blob) for blob in (b"not", b"shared")], [False, True])
            if not trouble.fired:
                break
        self.assertGreater(number, 20)

    def test_G05_error_at_each_step(self) -> None:
        """Where anything cannot be read nothing is swept that might be needed; a failure is not passed over."""
        for error in TROUBLES:
            for number in itertools.count(1):
                memory = self.stored()
                trouble = Trouble(number, fail(error), ["read", "list", "stat"])
                faulty = FaultyDriver(memory, trouble)
                failed = False
                with capturedLogs():
                    try:
                        self.collect(faulty)
                    except errors.StorageError:
                        failed = True
                self.assert_needed_is_whole(memory)
                if failed and not self.is_there(memory, b"not"):
                    # It failed in the sweep, when all was marked.
                    self.assertIn("discard", {name for name, _ in faulty.calls})
                self.collect(memory)
                self.assertEqual([self.is_there(memory, blob) for blob in (b"not", b"shared")], [False, True])
                if not trouble.fired:
                    break
            self.assertGreater(number, 10)


class _Body:
    def __init__(self, batches: list[list[bytes]]) -> None:
        self._batches = batches

    async def read(self) -> list[bytes]:
        return self._batches.pop(0) if self._batches else []


def _folder(content: bytes) -> str:
    encoded = Digest.of(content).hex
    return f"{encoded[:2]}/{encoded}"
