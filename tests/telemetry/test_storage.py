"""A driver that is observed is the driver that it was, and nothing that is asked of it goes unseen."""

from __future__ import annotations

import os
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import Interface, implementer

from tests.web.edge import HeldDriver
from txregistry import errors
from txregistry.interfaces import ILocalFiles, IStorageDriver
from txregistry.storage import filesystem
from txregistry.storage.memory import MemoryDriver
from txregistry.telemetry.storage import ACTIONS, Ended, ObservedDriver, observed
from txregistry.testing.storage import LocalFilesContract, StorageDriverContract


@define
class Witness:
    """Notes every operation: its action, what it ended with and how many bytes it moved."""

    seen: list[tuple[str, str, BaseException | None, int]] = field(factory=list)
    under_way: int = 0

    def began(self, action: str, path: str) -> Ended:
        """See :class:`~txregistry.telemetry.storage.StorageObserver`."""
        assert action in ACTIONS, action
        self.under_way += 1

        def ended(error: BaseException | None, size: int) -> None:
            self.under_way -= 1
            self.seen.append((action, path, error, size))

        return ended

    def actions(self) -> list[str]:
        """Return what was done since the last call."""
        seen, self.seen = self.seen, []
        return [action for action, *_ in seen]


class ObservedMemoryTests(StorageDriverContract, TestCase):
    """An observed driver without local files keeps the contract."""

    def make_driver(self) -> IStorageDriver:
        driver = observed(MemoryDriver(), [Witness()])
        driver.prepare()
        return driver


class ObservedFilesystemTests(StorageDriverContract, LocalFilesContract, TestCase):
    """An observed driver with local files keeps both contracts."""

    def make_driver(self) -> IStorageDriver:
        options = {"rootdirectory": os.path.abspath(self.mktemp())}
        driver = observed(filesystem.make(options, reactor), [Witness(), Witness()])
        driver.prepare()
        return driver


class ObservedDriverTests(SynchronousTestCase):
    """What is seen."""

    def setUp(self) -> None:
        self.witness = Witness()
        self.inner = HeldDriver()
        self.driver = observed(self.inner, [self.witness])

    def result(self, awaitable: Any) -> Any:
        """Return what a call has come to."""

        async def wait() -> Any:
            return await awaitable

        return self.successResultOf(Deferred.fromCoroutine(wait()))

    def test_unobserved(self) -> None:
        """Where no one looks there is nothing in between."""
        self.assertIs(observed(self.inner, []), self.inner)

    def test_local_files(self) -> None:
        """Local files are offered where the driver has them, and nowhere else."""
        self.assertFalse(ILocalFiles.providedBy(self.driver))
        local = filesystem.make({"rootdirectory": os.path.abspath(self.mktemp())}, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(local.close()))  # type: ignore[arg-type]
        self.assertTrue(ILocalFiles.providedBy(observed(local, [self.witness])))

    def test_capabilities(self) -> None:
        """Whatever else a driver can do, it can still."""

        class IWarming(Interface):
            def warm(degrees: int) -> str:
                """Warm."""

        @implementer(IWarming)
        class WarmDriver(MemoryDriver):
            def warm(self, degrees: int) -> str:
                return f"{degrees} degrees"

        driver: Any = observed(WarmDriver(), [self.witness])
        self.assertTrue(IWarming.providedBy(driver))
        self.assertTrue(IStorageDriver.providedBy(driver))
        self.assertEqual(driver.warm(20), "20 degrees")

    def test_every_method(self) -> None:
        """Every method that the interface has is passed on."""
        missing = set(IStorageDriver.names(all=True)) - set(vars(ObservedDriver))
        self.assertEqual(missing, set())

    def test_small_files(self) -> None:
        """What is done to whole files is seen with its bytes."""
        self.result(self.driver.write("/a/b", b"12345"))
        self.result(self.driver.read("/a/b", 10))
        self.result(self.driver.stat("/a/b"))
        self.result(self.driver.list("/a"))
        self.result(self.driver.move("/a/b", "/a/c"))
        self.result(self.driver.delete("/a/c"))
        self.assertEqual(
            self.witness.seen,
            [
                ("PutContent", "/a/b", None, 5),
                ("GetContent", "/a/b", None, 5),
                ("Stat", "/a/b", None, 0),
                ("List", "/a", None, 0),
                ("Move", "/a/b", None, 0),
                ("Delete", "/a/c", None, 0),
            ],
        )

    def test_writer_and_reader(self) -> None:
        """Writers and readers are seen too: each piece with its bytes, and the first closing of a writer."""
        writer = self.result(self.driver.open_writer("/a"))
        self.result(writer.write([b"12", b"345"]))
        self.assertEqual(writer.offset, 5)
        self.result(writer.sync())
        self.result(writer.close())
        self.result(writer.close())
        reader = self.result(self.driver.open_reader("/a", 1))
        self.result(reader.read(3))
        self.result(reader.close())
        moved = [(action, size) for action, _, _, size in self.witness.seen]
        self.assertEqual(
            moved, [("Writer", 0), ("Write", 5), ("Sync", 0), ("Close", 0), ("Reader", 0), ("Read", 3)]
        )

    def test_failure(self) -> None:
        """A failure is seen, and comes through as it was."""
        failing = Deferred.fromCoroutine(self.driver.read("/a", 1))  # type: ignore[arg-type]
        error = self.failureResultOf(failing, errors.PathUnknown).value
        self.assertEqual(self.witness.seen, [("GetContent", "/a", error, 0)])

    def test_cancelled(self) -> None:
        """An operation that is cancelled is seen to end."""
        self.inner.hold_opening()
        opening = Deferred.fromCoroutine(self.driver.open_writer("/a"))  # type: ignore[arg-type]
        self.assertEqual(self.witness.under_way, 1)
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        self.assertEqual(self.witness.under_way, 0)
        self.assertIsInstance(self.witness.seen[0][2], CancelledError)
