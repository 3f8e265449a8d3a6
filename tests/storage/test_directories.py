"""Directories are durable when something in them is, whoever made them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from txregistry import errors
from txregistry.storage import directories
from txregistry.storage.batches import durably, together
from txregistry.storage.filesystem import FilesystemDriver
from txregistry.storage.threads import Threads


class DirectoriesTests(TestCase):
    """What is synced, and when.

    :ivar synced: the directories that were, below the root, in order.
    """

    def setUp(self) -> None:
        """Make a driver whose syncs are told of."""
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.driver = FilesystemDriver(self.root, Threads(reactor, 4, "test"))
        self.driver.prepare()
        self.addCleanup(self.driver.close)
        self.synced: list[str] = []
        self.failing: set[str] = set()
        original = directories.sync_directory

        def sync(directory: str) -> None:
            name = directory.removeprefix(self.root) or "/"
            if name in self.failing:
                self.failing.discard(name)
                raise OSError(5, "I/O error")
            self.synced.append(name)
            original(directory)

        self.patch(directories, "sync_directory", sync)

    async def test_unsynced(self) -> None:
        """What one write failed to sync, or need not sync, the next one that relies on it does."""
        await self.driver.write("/a/b/one", b"1", durable=False)
        self.assertEqual(self.synced, [])
        await self.driver.write("/a/b/two", b"2")
        self.assertEqual(self.synced, ["/a/b", "/a", "/"])
        await self.driver.write("/a/b/three", b"3")
        self.assertEqual(self.synced[3:], ["/a/b"])
        self.failing.add("/c")
        await self.assertFailure(
            Deferred.fromCoroutine(self.driver.move("/a/b/one", "/c/d/one")), errors.StorageFault
        )
        await self.driver.write("/c/d/two", b"2")
        self.assertEqual(self.synced[-3:], ["/c/d", "/c", "/"])

    async def test_made_again(self) -> None:
        """A directory that was synced, removed and made again is synced again."""
        for _ in range(2):
            self.synced.clear()
            await self.driver.write("/a/one", b"1")
            await self.driver.move("/a/one", "/b/one")
            self.assertEqual(self.synced, ["/a", "/", "/b", "/", "/a"])
            await self.driver.delete("/a")
            await self.driver.delete("/b")

    async def test_forgotten(self) -> None:
        """What is gone is not kept in mind: whoever removed it, and whether it was empty."""
        held = self.driver._directories._unsynced
        for number in range(3):
            await self.driver.write(f"/a/{number}/started", b"", durable=False)
            await self.driver.delete(f"/a/{number}/started", durable=False)
            await self.driver.delete(f"/a/{number}", durable=False)
        await self.driver.write("/a/4/started", b"", durable=False)
        await self.driver.delete("/a/4", durable=False)
        self.assertEqual(list(held), [f"{self.root}/a"])
        now = 1000.0
        self.patch(time, "monotonic", lambda: now)
        self.patch(directories, "_MANY", 10)
        self.driver._directories._enough = 10
        for number in range(100):
            now += 10.0
            await self.driver.write(f"/a/{number}/started", b"", durable=False)
            shutil.rmtree(f"{self.root}/a/{number}")
        self.assertLess(len(held), 30)

    async def test_left(self) -> None:
        """A file that left a directory that someone removed at once has arrived all the same."""
        await self.driver.write("/a/one", b"1")
        original = directories.replacing

        @contextmanager
        def replacing(local: str) -> Iterator[None]:
            with original(local):
                yield
            os.rmdir(f"{self.root}/a")

        self.patch(directories, "replacing", replacing)
        await self.driver.move("/a/one", "/b/one")
        self.assertEqual(await self.driver.read("/b/one", 1), b"1")

    async def test_durably(self) -> None:
        """What is to be durable together is synced when all of it is done, each directory once."""
        await self.driver.write("/new", b"n")
        await self.driver.write("/c/old", b"o")
        self.synced.clear()

        async def work() -> str:
            await self.driver.move("/new", "/a/b/data")
            await self.driver.write("/c/old", b"2")
            await self.driver.write("/c/new", b"2")
            self.assertEqual(self.synced, [])
            return "done"

        async def batch() -> str:
            done = await durably(self.driver, work())
            self.assertEqual(self.synced, ["/a/b", "/a", "/", "/c"])
            return done

        self.assertEqual(await together(self.driver, batch()), "done")
        self.synced.clear()
        await self.driver.write("/c/new", b"3")
        self.assertEqual(self.synced, ["/c"])

    async def test_durably_fails(self) -> None:
        """If not all can be made durable, that is told; and what follows is synced at once, as ever."""

        async def work() -> None:
            await self.driver.write("/a/one", b"1")

        async def batch() -> None:
            self.failing.add("/")
            with self.assertRaises(errors.StorageFault):
                await durably(self.driver, work())
            await self.driver.write("/a/two", b"2")

        await together(self.driver, batch())
        self.assertEqual(self.synced, ["/a", "/a", "/"])

    async def test_outside_a_batch(self) -> None:
        """Where there is no batch each change is durable for itself."""

        async def work() -> None:
            await self.driver.write("/a/one", b"1")
            self.assertEqual(self.synced, ["/a", "/"])

        await durably(self.driver, work())
