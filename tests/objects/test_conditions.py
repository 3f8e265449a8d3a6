"""Touching, writing and discarding on a store that deletes on a condition, in every order of their steps."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.objects.interleaving import Stage, every_way
from tests.objects.memory_store import MemoryStore
from tests.objects.test_driver import KIB, in_thread
from txregistry import errors
from txregistry.interfaces import FileInfo, IStorageDriver
from txregistry.objects.conditions import Conditions
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.store import Conflict, IConditionalStore, ObjectInfo
from txregistry.objects.writer import Sizes
from txregistry.testing.storage import StorageDriverContract

PATH = "/blobs/data"
BEFORE = 500.0


@implementer(IConditionalStore)
class ConditionalStore(MemoryStore):
    """A memory store whose versions are conditions of deletions, and that knows what a touch is."""

    async def refresh(self, path: str, info: ObjectInfo) -> float:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.step("refresh", path)
        self._require(path, info)
        self._make(path, self.objects[path].content, info.notes)
        return self.objects[path].info.modified

    async def remove(self, path: str, info: ObjectInfo) -> None:
        """See :class:`~txregistry.objects.store.IConditionalStore`."""
        await self.step("remove", path)
        self._require(path, info)
        del self.objects[path]

    def _require(self, path: str, info: ObjectInfo) -> None:
        if path not in self.objects:
            raise errors.PathUnknown(path)
        if self.objects[path].info.version != info.version:
            raise Conflict


class TestContract(StorageDriverContract, TestCase):
    """What every driver promises."""

    deletes_at_once = False

    def make_driver(self) -> IStorageDriver:
        """See :class:`~txregistry.testing.storage.case.StorageCase`."""
        return ObjectDriver(ConditionalStore(), reactor, in_thread, Sizes(100 * KIB, 3))


class Play:
    """One store, with an old object in it, and those who do something with it."""

    def __init__(self) -> None:
        self.stage = Stage(now=100.0)
        self.store = ConditionalStore(now=lambda: self.stage.now, step=self.stage.step)
        assert Deferred.fromCoroutine(self.store.put(PATH, [b"old"])).called
        self.stage.now = 1000.0
        self.results: dict[str, Any] = {}
        self.conditions = Conditions(self.store, lambda: self.stage.now)

    def start(self, who: str, work: Coroutine[Any, Any, Any]) -> None:
        """Begin something."""
        self.stage.start(who, work).addBoth(lambda result: self.results.__setitem__(who, result))

    def touch(self, who: str = "touch") -> None:
        """Begin to touch."""
        self.start(who, self.conditions.touch(PATH, 0))

    def discard(self, who: str = "discard") -> None:
        """Begin to discard."""
        self.start(who, self.conditions.discard(PATH, BEFORE))

    def write(self) -> None:
        """Begin to write."""
        self.start("write", self.conditions.put(PATH, lambda: self.store.put(PATH, [b"new"])))


class TestEveryWay(SynchronousTestCase):
    """What is promised holds, whoever's turn it is."""

    def ways(self, begin: Callable[[Play], None]) -> list[Play]:
        """Return a play for every way in which it can be played."""
        plays: list[Play] = []

        def play() -> Stage:
            plays.append(Play())
            begin(plays[-1])
            return plays[-1].stage

        for _ in every_way(play):
            pass
        return plays

    def test_touches_against_discards(self) -> None:
        """Whoever is told that it is touched has it; one discarder at most is told that it is gone, and it is."""

        def begin(play: Play) -> None:
            for who in ("one", "two"):
                play.touch(f"touch {who}")
                play.discard(f"discard {who}")

        outcomes = set()
        for play in self.ways(begin):
            there = PATH in play.store.objects
            touched = [isinstance(play.results[f"touch {who}"], FileInfo) for who in ("one", "two")]
            discarded = [play.results[f"discard {who}"] is not None for who in ("one", "two")]
            # With two, a touch that comes when it is gone finds nothing, and one that came before keeps it.
            self.assertEqual(there, any(touched), play.stage.trace)
            self.assertEqual(there, not any(discarded), play.stage.trace)
            self.assertLess(sum(discarded), 2, play.stage.trace)
            outcomes.add(there)
        self.assertEqual(outcomes, {True, False}, "both are met")

    def test_write_against_discard(self) -> None:
        """What is written is there, with the new content, also where the old was discarded meanwhile."""

        def begin(play: Play) -> None:
            play.write()
            play.touch()
            play.discard()

        for play in self.ways(begin):
            self.assertEqual(play.store.objects[PATH].content, b"new", play.stage.trace)

    def test_touch_against_write(self) -> None:
        """A touch does nothing to an object that was put meanwhile, its notes least of all."""

        def begin(play: Play) -> None:
            notes = {"about": "new"}
            play.start("write", play.conditions.put(PATH, lambda: play.store.put(PATH, [b"new"], notes)))
            play.touch()

        for play in self.ways(begin):
            self.assertEqual(play.store.objects[PATH].info.notes, {"about": "new"}, play.stage.trace)
            self.assertIsInstance(play.results["touch"], FileInfo)

    def test_clocks_that_differ(self) -> None:
        """What was written lately by the store's clock stays, however far the clock here is ahead or behind."""
        for skew in (-86_400.0, 0.0, 86_400.0):
            store = ConditionalStore(now=lambda skew=skew: 1000 + skew)  # type: ignore[misc]
            conditions = Conditions(store, lambda: 1000.0)
            for before, stays in ((999.0, True), (1001.0, False)):
                self.successResultOf(Deferred.fromCoroutine(store.put(PATH, [b"x"])))
                self.successResultOf(Deferred.fromCoroutine(conditions.discard(PATH, before)))
                self.assertEqual(PATH in store.objects, stays, skew)

    def test_young_ones_are_left_alone(self) -> None:
        """What is young enough is looked at and no more."""
        play = Play()
        info = evolve(play.store.objects[PATH].info)
        play.start("touch", play.conditions.touch(PATH, 10_000))
        while able := play.stage.able():
            play.stage.go_on(able[0])
        self.assertEqual(play.stage.trace, ["touch head"])
        self.assertEqual(play.store.objects[PATH].info, info)
