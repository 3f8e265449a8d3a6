"""Batches: what awaits a driver several times is done with one hop to a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from txregistry import errors
from txregistry.storage.batches import leave, place, together, uncancelled
from txregistry.storage.filesystem import FilesystemDriver
from txregistry.storage.threads import Threads

T = TypeVar("T")


class CountingThreads(Threads):
    """Threads that count how often they were asked for one."""

    hops = 0

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Count, and run."""
        self.hops += 1
        return super().run(work, *args)


class BatchTests(TestCase):
    """Batches of a driver with files."""

    def setUp(self) -> None:
        """Make the driver."""
        root = self.mktemp()
        os.mkdir(root)
        self.threads = CountingThreads(reactor, 4, "test")
        self.driver = FilesystemDriver(os.path.abspath(root), self.threads)
        self.driver.prepare()
        self.addCleanup(self.driver.close)
        self.main = threading.get_ident()

    def together(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Run *work* as a batch."""
        return Deferred.fromCoroutine(together(self.driver, work))

    async def test_one_hop(self) -> None:
        """However often a batch awaits its driver, it goes to a thread once; its result comes back from there."""

        async def work() -> tuple[bytes, list[str]]:
            self.assertEqual(threading.get_ident(), self.main)
            for name in ("one", "two", "three"):
                await self.driver.write(f"/a/{name}", name.encode())
            self.assertNotEqual(threading.get_ident(), self.main)
            writer = await self.driver.open_writer("/a/four")
            await writer.write([b"4"])
            await writer.sync()
            await writer.close()
            return await self.driver.read("/a/two", 100), await self.driver.list("/a")

        self.assertEqual(await self.together(work()), (b"two", ["four", "one", "three", "two"]))
        self.assertEqual(self.threads.hops, 1)
        self.assertIsNone(place())

    async def test_nothing_to_wait_for(self) -> None:
        """A batch that awaits nothing that blocks has its result at once."""

        async def work() -> int:
            return 7

        self.assertEqual(self.successResultOf(self.together(work())), 7)
        self.assertEqual(self.threads.hops, 0)

    async def test_errors(self) -> None:
        """What a driver raises is raised where it is awaited, and what a batch raises comes out of it."""

        async def work() -> None:
            with self.assertRaises(errors.PathUnknown):
                await self.driver.read("/nowhere", 1)
            await self.driver.stat("/nowhere")

        await self.assertFailure(self.together(work()), errors.PathUnknown)
        self.assertEqual(self.threads.hops, 1)

    async def test_leave(self) -> None:
        """A batch can go back to the reactor's thread, await anything there, and go on with its driver."""
        waited: Deferred[str] = Deferred()

        async def work() -> tuple[str, bytes]:
            await self.driver.write("/a", b"a")
            await leave()
            self.assertEqual(threading.get_ident(), self.main)
            reactor.callLater(0, waited.callback, "waited")  # type: ignore[attr-defined]
            return await waited, await self.driver.read("/a", 1)

        self.assertEqual(await self.together(work()), ("waited", b"a"))
        self.assertEqual(self.threads.hops, 2)

    async def test_failure_awaited(self) -> None:
        """What is awaited beside the driver may fail; the batch is told."""
        failing: Deferred[None] = Deferred()

        async def work() -> str:
            reactor.callLater(0, failing.errback, ValueError("as was wished"))  # type: ignore[attr-defined]
            try:
                await failing
            except ValueError as error:
                return str(error)
            return ""

        self.assertEqual(await self.together(work()), "as was wished")

    async def test_nested(self) -> None:
        """A batch in a batch is part of it."""

        async def inner() -> bytes:
            return await self.driver.read("/a", 10)

        async def work() -> bytes:
            await self.driver.write("/a", b"a")
            return await uncancelled(together(self.driver, inner()))

        self.assertEqual(await self.together(work()), b"a")
        self.assertEqual(self.threads.hops, 1)

    async def test_cancelled(self) -> None:
        """A batch whose caller is gone is done to its end, and undone if its caller wished so."""
        undone: Deferred[str] = Deferred()

        async def work() -> str:
            await self.driver.write("/a", b"a")
            await leave()
            await self.driver.write("/b", b"b")
            return "done"

        async def wait() -> str:
            return await uncancelled(together(self.driver, work()), undo=undone.callback)

        waiting = Deferred.fromCoroutine(wait())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(await undone, "done")
        self.assertEqual(await self.driver.read("/b", 1), b"b")
