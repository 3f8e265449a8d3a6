"""Files that are appended to, by several instances on one store."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.objects.memory_store import MemoryStore
from tests.web.client import at_once
from txregistry import errors
from txregistry.content.registry import Registry
from txregistry.content.uploads import UploadSession
from txregistry.digest import Digest
from txregistry.interfaces import IFileWriter
from txregistry.objects.discards import Pace
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.sessions import LEASE
from txregistry.objects.writer import Sizes
from txregistry.reference import RepositoryName

T = TypeVar("T")

PATH = "/uploads/one/data"
KIB = 1024
#: Bytes of which no two segments are alike.
CONTENT = b"".join(b"%08d" % number for number in range(128 * KIB))
NAME = RepositoryName("team/app")


@define
class Body:
    """A request's body that has all come."""

    pieces: list[bytes]

    async def read(self) -> list[bytes]:
        """See :class:`txregistry.content.uploads.Source`."""
        pieces, self.pieces = self.pieces, []
        return pieces


class Case(SynchronousTestCase):
    """A store, and instances that use it at the same time."""

    def setUp(self) -> None:
        """Make the store."""
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.asked: list[tuple[str, str]] = []
        self.held: dict[str, list[Deferred[None]]] = {}
        self.store = MemoryStore(now=self.clock.seconds, step=self.step)

    async def step(self, name: str, path: str) -> None:
        """Note what is asked, and keep waiting who is to wait."""
        self.asked.append((name, path))
        if name in self.held:
            gate: Deferred[None] = Deferred()
            self.held[name].append(gate)
            await gate

    def instance(self) -> ObjectDriver:
        """Return a driver of another instance."""
        driver = ObjectDriver(
            self.store,
            self.clock,
            at_once,
            Sizes(100 * KIB, 3),
            Pace(),
            now=self.clock.seconds,
            monotonic=self.clock.seconds,
        )
        self.addCleanup(lambda: self.run_now(driver.close()))
        return driver

    def run_now(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what comes of something that needs no time."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def opened(self, driver: ObjectDriver) -> IFileWriter:
        """Open the file."""
        return self.run_now(driver.open_writer(PATH))

    def refused(self, work: Coroutine[Any, Any, Any]) -> None:
        """Fail unless another has the file."""
        self.failureResultOf(Deferred.fromCoroutine(work), errors.FileBusy)

    def write(self, writer: Any, content: bytes) -> None:
        """Append."""
        self.run_now(writer.write([content]))

    def close(self, writer: Any) -> None:
        """Close."""
        self.run_now(writer.close())

    def read(self, driver: ObjectDriver, path: str = PATH) -> bytes:
        """Return what is in the file."""
        return self.run_now(driver.read(path, len(CONTENT)))


class TestInstances(Case):
    """One file, several instances."""

    def test_goes_on_elsewhere(self) -> None:
        """What one instance has begun another goes on with, and a third moves; only the last part is read again."""
        first, second, third = self.instance(), self.instance(), self.instance()
        writer = self.opened(first)
        self.write(writer, CONTENT[: 450 * KIB])
        self.close(writer)
        self.assertEqual(self.run_now(second.stat(PATH)).size, 450 * KIB)
        self.asked.clear()
        writer = self.opened(second)
        self.assertEqual(writer.offset, 450 * KIB)
        self.write(writer, CONTENT[450 * KIB :])
        self.close(writer)
        self.assertEqual(len([path for name, path in self.asked if name == "get" and path != PATH]), 1)
        self.asked.clear()
        self.run_now(third.move(PATH, "/blobs/data"))
        self.assertEqual({path for name, path in self.asked if name == "get"}, {PATH})
        self.assertEqual(self.read(first, "/blobs/data"), CONTENT)
        self.assertEqual(list(self.store.objects), ["/blobs/data"])

    def test_one_holder(self) -> None:
        """While one instance has the file open, others are refused, and get it when it is closed."""
        first, second = self.instance(), self.instance()
        writer = self.opened(first)
        self.write(writer, b"one")
        self.refused(second.open_writer(PATH))
        self.close(writer)
        writer = self.opened(second)
        self.write(writer, b"two")
        self.close(writer)
        self.assertEqual(self.read(first), b"onetwo")

    def test_opened_at_once(self) -> None:
        """Of ten instances that open it at the same moment, having all seen that it is free, one gets it."""
        drivers = [self.instance() for _ in range(10)]
        self.held["put"] = []
        opening = [Deferred.fromCoroutine(driver.open_writer(PATH)) for driver in drivers]
        gates = self.held.pop("put")
        self.assertEqual(len(gates), 10)
        for gate in gates:
            gate.callback(None)
        results: list[Any] = []
        for one in opening:
            one.addBoth(results.append)
        writers = [one for one in results if IFileWriter.providedBy(one)]
        self.assertEqual((len(results), len(writers)), (10, 1))
        self.close(writers[0])

    def test_signs_of_life(self) -> None:
        """Whoever holds it for long keeps it, writing or not."""
        first, second = self.instance(), self.instance()
        writer = self.opened(first)
        for _ in range(20):
            self.clock.advance(LEASE / 3)
            self.refused(second.open_writer(PATH))
        self.write(writer, b"content")
        self.close(writer)
        self.assertEqual(self.read(second), b"content")

    def test_taken_over(self) -> None:
        """Who is not heard of loses it: what was synced stays, and nothing that comes later from there counts."""
        first, second = self.instance(), self.instance()
        old: Any = self.opened(first)
        self.write(old, CONTENT[: 250 * KIB])
        self.run_now(old.sync())
        self.write(old, b"x" * 300 * KIB)
        old._timer.cancel()
        self.clock.advance(LEASE - 1)
        self.refused(second.open_writer(PATH))
        self.clock.advance(2)
        new = self.opened(second)
        self.assertEqual(new.offset, 250 * KIB)
        self.write(old, b"y" * 300 * KIB)
        self.refused(old.sync())
        self.write(new, CONTENT[250 * KIB :])
        self.refused(old.write([b"z"]))
        self.close(old)
        self.close(new)
        self.assertEqual(self.read(first), CONTENT)

    def test_sync_against_taking_over(self) -> None:
        """Of a sync and a taking over at the same moment the first counts, and the other is told."""
        for number, sync_first in enumerate((True, False)):
            path = f"/uploads/{number}/data"
            first, second = self.instance(), self.instance()
            old: Any = self.run_now(first.open_writer(path))
            self.write(old, b"old")
            self.run_now(old.sync())
            old._timer.cancel()
            self.clock.advance(LEASE + 1)
            self.held["put"] = []
            both = [Deferred.fromCoroutine(old.sync()), Deferred.fromCoroutine(second.open_writer(path))]
            gates = self.held.pop("put")
            for gate in gates if sync_first else reversed(gates):
                gate.callback(None)
            self.failureResultOf(both[sync_first], errors.FileBusy)
            result = self.successResultOf(both[not sync_first])
            self.close(old if sync_first else result)
            self.assertEqual(self.read(first, path), b"old")
            self.close(old)

    def test_answer_that_is_lost(self) -> None:
        """A change that came through, whose answer did not and which is made a second time, counts once."""
        first = self.instance()
        put = self.store.put

        async def twice(*args: Any, **more: Any) -> str:
            await put(*args, **more)
            return await put(*args, **more)

        writer = self.opened(first)
        self.write(writer, b"content")
        self.store.put = twice  # type: ignore[method-assign]
        self.run_now(writer.sync())
        self.write(writer, b" and more")
        self.close(writer)
        self.assertEqual(self.read(first), b"content and more")

    def test_crash_in_a_move(self) -> None:
        """Whoever dies in a move leaves the file at both paths, or at its old one, and never at none."""
        for step in ("assemble", "assemble.done", "delete"):
            driver = self.instance()
            writer = self.opened(driver)
            self.write(writer, CONTENT)
            self.close(writer)
            self.held[step] = []
            moving = Deferred.fromCoroutine(self.instance().move(PATH, "/blobs/data"))
            self.assertNoResult(moving)
            self.held.clear()
            self.assertEqual(self.read(driver), CONTENT, step)
            if step != "assemble":
                self.assertEqual(self.read(driver, "/blobs/data"), CONTENT, step)
            self.store.objects.clear()

    def test_few_segments_in_flight(self) -> None:
        """However much is written, a few segments are on their way at once, and no more is taken meanwhile."""
        writer: Any = self.opened(self.instance())
        self.held["put"] = []
        writing = Deferred.fromCoroutine(writer.write([CONTENT[: 900 * KIB]]))
        self.assertNoResult(writing)
        self.assertEqual(len(self.held["put"]), 3)
        most = 0
        while self.held["put"]:
            most = max(most, len(self.held["put"]))
            self.held["put"].pop(0).callback(None)
        self.assertEqual(most, 3)
        self.successResultOf(writing)
        self.held.clear()
        self.close(writer)

    def test_segments_grow(self) -> None:
        """Ten thousand segments of the usual size hold more than a terabyte, so no object has more."""
        sizes = Sizes()
        self.assertGreater(sum(sizes.of(number) for number in range(10_000)), 10**12)
        self.assertEqual({sizes.of(number) for number in range(500)}, {10 * 1024 * KIB})

    def test_failed_segment(self) -> None:
        """A segment that could not be stored is told of, and the file is what was synced before."""
        writer: Any = self.opened(self.instance())
        self.write(writer, b"kept")
        self.run_now(writer.sync())
        put = self.store.put

        async def fail(path: str, *args: Any, **more: Any) -> str:
            if path != PATH:
                raise errors.StorageUnavailable(path, "down")
            return await put(path, *args, **more)

        self.store.put = fail  # type: ignore[method-assign]
        failing = Deferred.fromCoroutine(_written_and_synced(writer, CONTENT))
        self.failureResultOf(failing, errors.StorageUnavailable)
        self.store.put = put  # type: ignore[method-assign]
        self.failureResultOf(Deferred.fromCoroutine(writer.sync()), errors.StorageUnavailable)
        self.close(writer)
        self.clock.advance(LEASE + 1)
        self.assertEqual(self.read(self.instance()), b"kept")


async def _written_and_synced(writer: Any, content: bytes) -> None:
    await writer.write([content])
    await writer.sync()


class TestUploads(Case):
    """Upload sessions on such files."""

    def registry(self) -> Registry:
        """Return another instance."""
        return Registry.on(self.instance(), at_once)

    def test_pushed_through_several(self) -> None:
        """Each request of an upload goes to another instance, and no bytes are read again to hash them."""
        size = 150 * KIB
        chunks = [CONTENT[start : start + size] for start in range(0, len(CONTENT), size)] * 3
        upload = self.run_now(self.registry().uploads.begin(NAME))
        for chunk in chunks:
            session = self.run_now(self.registry().uploads.open(NAME, upload.id))
            self.run_now(session.append(Body([chunk])))
            self.run_now(session.close())
        digest = Digest.of(b"".join(chunks))
        session = self.run_now(self.registry().uploads.open(NAME, upload.id))
        self.assertIsNotNone(session.digester)
        self.asked.clear()
        blob = self.run_now(session.commit(digest))
        self.run_now(session.close())
        self.assertEqual([path for name, path in self.asked if name == "get"], [])
        self.assertEqual(self.run_now(self.registry().blobs.find(NAME, digest)).size, blob.size)
        self.assertEqual(self.store.objects[blob.path].content, b"".join(chunks))
        self.assertEqual([path for path in self.store.objects if "_uploads" in path], [])

    def taken_over(self) -> tuple[UploadSession, UploadSession]:
        """Return who wrote to an upload and was not heard of for too long, and who has it now."""
        upload = self.run_now(self.registry().uploads.begin(NAME))
        old = self.run_now(self.registry().uploads.open(NAME, upload.id))
        self.run_now(old.append(Body([CONTENT])))
        writer: Any = old._writer
        writer._timer.cancel()
        self.clock.advance(LEASE + 1)
        new = self.run_now(self.registry().uploads.open(NAME, upload.id))
        return old, new

    def test_lost_upload_is_left_alone(self) -> None:
        """Who was not heard of for too long is told that the upload is another's, and does not remove it."""
        old, new = self.taken_over()
        self.run_now(new.append(Body([CONTENT])))
        self.failureResultOf(Deferred.fromCoroutine(old.close()), errors.UploadBusy)
        digest = Digest.of(CONTENT)
        blob = self.run_now(new.commit(digest))
        self.assertEqual(self.store.objects[blob.path].content, CONTENT)

    def test_lost_upload_is_not_committed(self) -> None:
        """Who lost an upload cannot make a blob of it."""
        old, new = self.taken_over()
        self.failureResultOf(Deferred.fromCoroutine(old.commit(Digest.of(CONTENT))), errors.UploadBusy)
        self.run_now(new.append(Body([b"other"])))
        blob = self.run_now(new.commit(Digest.of(b"other")))
        self.assertEqual(self.store.objects[blob.path].content, b"other")
