"""Touching, writing and discarding, in every order of their steps."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.objects.interleaving import Stage, clocks, every_way, some_ways
from tests.objects.memory_store import MemoryStore
from txregistry import errors
from txregistry.interfaces import FileInfo
from txregistry.objects.discards import Discards, Pace, mark_of

PATH = "/blobs/data"
#: Nothing is relied on, and a tombstone is stale after a minute.
LOOKING = Pace(notice=0, look=70)
#: All that was not touched lately may go.
BEFORE = 500.0
OLD, LARGE = b"old", bytes(1024 * 1024 + 1)


class Play:
    """One store, with an old object in it, and those who do something with it."""

    def __init__(self, content: bytes = OLD) -> None:
        self.stage = Stage(now=100.0)
        # What is sent is dealt with, if ever, long before a tombstone is stale.
        self.stage.limits = lambda step, path: 40.0 if step in ("delete", "late") and path == PATH else None
        self.store = MemoryStore(now=lambda: self.stage.now, step=self.stage.step)
        self._put(PATH, content)
        self.stage.now = 1000.0
        self.results: dict[str, Any] = {}

    def _put(self, path: str, content: bytes) -> None:
        assert Deferred.fromCoroutine(self.store.put(path, [content])).called

    def instance(self, pace: Pace = LOOKING) -> Discards:
        """Return another process's."""
        return Discards(self.store, clocks(self.stage), pace)

    def start(self, who: str, work: Coroutine[Any, Any, Any]) -> None:
        """Begin something."""
        self.stage.start(who, work).addBoth(lambda result: self.results.__setitem__(who, result))

    def discard(self, who: str = "discard", pace: Pace = LOOKING) -> None:
        """Begin to discard."""
        self.start(who, self.instance(pace).discard(PATH, BEFORE))

    def touch(self, who: str = "touch", pace: Pace = LOOKING) -> None:
        """Begin to touch."""
        self.start(who, self.instance(pace).touch(PATH, 0))

    def write(self, who: str = "write", pace: Pace = LOOKING) -> None:
        """Begin to write."""
        self.start(who, self.instance(pace).put(PATH, lambda: self.store.put(PATH, [b"new"])))

    @property
    def there(self) -> bool:
        """Whether the object is there."""
        return PATH in self.store.objects


class TestEveryWay(SynchronousTestCase):
    """What is promised holds, whoever's turn it is."""

    def ways(self, begin: Callable[[Play], None], content: bytes = OLD) -> list[Play]:
        """Return a play for every way in which it can be played; of a large object, for a thousand of them."""
        plays: list[Play] = []

        def play() -> Stage:
            one = Play(content)
            begin(one)
            current.append(one)
            return one.stage

        current: list[Play] = []
        for _ in every_way(play) if content == OLD else some_ways(play, 1000, seed=5):
            plays.append(current.pop())
        return plays

    def test_touch_against_discard(self) -> None:
        """Whoever is told that it is touched has it; and else it is gone."""
        for content in (OLD, LARGE):

            def begin(play: Play) -> None:
                play.touch()
                play.discard()

            plays = self.ways(begin, content)
            self.assertGreater(len(plays), 50)
            outcomes = set()
            for play in plays:
                touched, discarded = play.results.get("touch"), play.results.get("discard")
                self.assertEqual(play.there, isinstance(touched, FileInfo), play.stage.trace)
                self.assertEqual(play.there, discarded is None, play.stage.trace)
                self.assertEqual([path for path in play.store.objects if "tombstones" in path], [])
                outcomes.add(play.there)
            self.assertEqual(outcomes, {True, False}, "both are met")

    def test_write_against_discard(self) -> None:
        """What is written is there, with the new content, also where the old was discarded meanwhile."""

        def begin(play: Play) -> None:
            play.write()
            play.discard()

        plays = self.ways(begin)
        self.assertGreater(len(plays), 50)
        for play in plays:
            self.assertIsNone(play.results.get("write"))
            self.assertEqual(play.store.objects[PATH].content, b"new", play.stage.trace)

    def test_two_discarders(self) -> None:
        """Two who discard the same, and one who touches it: in a thousand orders the same holds."""
        current: list[Play] = []

        def play() -> Stage:
            one = Play()
            one.touch()
            one.discard("one")
            one.discard("two")
            current.append(one)
            return one.stage

        for _ in some_ways(play, 2000, seed=11):
            one = current.pop()
            self.assertEqual(one.there, isinstance(one.results.get("touch"), FileInfo), one.stage.trace)

    def test_discarder_that_dies(self) -> None:
        """Wherever a discarder dies, whoever touches is answered truly, and not later than its tombstone is stale."""
        for steps in range(1, 8):

            def begin(play: Play, steps: int = steps) -> None:
                play.touch()
                play.discard()
                discarding = play.stage.activities["discard"]
                taken = 0

                def count(who: str, step: str, path: str) -> None:
                    nonlocal taken
                    taken += who == "discard"
                    discarding.killed = discarding.killed or taken >= steps

                play.stage.failing = count

            for play in self.ways(begin):
                self.assertEqual(
                    play.there, isinstance(play.results.get("touch"), FileInfo), play.stage.trace
                )
                self.assertLess(play.stage.now, 1000 + 2 * LOOKING.stale)

    def test_toucher_that_dies(self) -> None:
        """Wherever a toucher dies, the discarder says truly whether it is gone."""
        for steps in range(1, 6):

            def begin(play: Play, steps: int = steps) -> None:
                play.touch()
                play.discard()
                touching = play.stage.activities["touch"]
                taken = 0

                def count(who: str, step: str, path: str) -> None:
                    nonlocal taken
                    taken += who == "touch"
                    touching.killed = touching.killed or taken >= steps

                play.stage.failing = count

            for play in self.ways(begin):
                self.assertEqual(play.there, play.results.get("discard") is None, play.stage.trace)

    def test_deletion_that_comes_late(self) -> None:
        """A deletion that is not answered, and is done later all the same, takes nothing that was touched."""

        def begin(play: Play) -> None:
            play.touch()
            play.discard()

            async def late() -> None:
                await play.stage.step("late", PATH)
                play.store.objects.pop(PATH, None)

            def fail(who: str, step: str, path: str) -> Exception | None:
                if (who, step, path) == ("discard", "delete", PATH):
                    pending.append(late)
                    return errors.StorageUnavailable(PATH, "no answer")
                return None

            pending: list[Any] = []
            play.stage.failing = fail
            go_on = play.stage.able

            def able() -> list[str]:
                if pending:
                    play.start("late", pending.pop()())
                return go_on()

            play.stage.able = able  # type: ignore[method-assign]

        plays = self.ways(begin)
        self.assertTrue(any("late late" in play.stage.trace for play in plays))
        for play in plays:
            self.assertEqual(play.there, isinstance(play.results.get("touch"), FileInfo), play.stage.trace)

    def test_notices(self) -> None:
        """Where what was seen is relied on for a while the same holds, and nothing is asked for in vain."""
        pace = Pace(notice=10, hurry=5, stale=60, look=70)
        current: list[Play] = []

        def play() -> Stage:
            one = Play()
            one.touch(pace=pace)
            one.discard(pace=pace)
            current.append(one)
            return one.stage

        outcomes = set()
        for _ in every_way(play):
            one = current.pop()
            self.assertEqual(one.there, isinstance(one.results.get("touch"), FileInfo), one.stage.trace)
            outcomes.add(one.there)
        self.assertEqual(outcomes, {True, False}, "both are met")


class TestAlone(SynchronousTestCase):
    """What it costs, and what is left."""

    def trace(self, play: Play, who: str) -> list[str]:
        """Run one alone and return its steps."""
        while able := play.stage.able():
            play.stage.go_on(able[0])
        return [step.removeprefix(f"{who} ") for step in play.stage.trace if step.startswith(who)]

    def test_cost_of_a_touch(self) -> None:
        """Touching what is young is one look, and what is old a look and a copy, where nobody discards."""
        play = Play()
        instance = play.instance(Pace())
        play.start("look", instance.touch(PATH, 10_000))
        self.assertEqual(self.trace(play, "look"), ["head"])
        play.start("touch", instance.touch(PATH, 10))
        self.assertEqual(self.trace(play, "touch"), ["head", "page", "refresh"])
        play.start("again", instance.touch(PATH, 0))
        self.assertEqual(self.trace(play, "again"), ["head", "refresh"])

    def test_cost_of_a_write(self) -> None:
        """Writing is one request, but for a look each few seconds at whether anybody discards."""
        play = Play()
        instance = play.instance(Pace())
        for number in range(3):
            play.start(f"write{number}", instance.put(PATH, lambda: play.store.put(PATH, [b"new"])))
        self.trace(play, "write")
        play.start("later", instance.put(PATH, lambda: play.store.put(PATH, [b"new"])))
        self.assertEqual(self.trace(play, "later"), ["put"])

    def test_large_objects_are_not_copied(self) -> None:
        """A large object is touched by a mark beside it, which goes when it is discarded."""
        play = Play(LARGE)
        play.touch()
        self.assertNotIn("refresh", self.trace(play, "touch"))
        self.assertIn(mark_of(PATH), play.store.objects)
        play.discard()
        self.trace(play, "discard")
        self.assertTrue(play.there, "its mark is young")
        play.stage.now += 1000
        play.start("later", play.instance().discard(PATH, play.stage.now - 10))
        self.trace(play, "later")
        self.assertFalse(play.there)
        self.assertNotIn(mark_of(PATH), play.store.objects)

    def test_clocks_that_differ(self) -> None:
        """What was written lately by the store's clock stays, however far the clock here is ahead or behind."""
        for skew in (-86_400.0, 0.0, 86_400.0):
            play = Play()
            play.store.now = lambda play=play, skew=skew: play.stage.now + skew  # type: ignore[misc]
            play.start("write", play.instance().put(PATH, lambda play=play: play.store.put(PATH, [b"x"])))
            self.trace(play, "write")
            play.start("early", play.instance().discard(PATH, play.stage.now - 1))
            self.trace(play, "early")
            self.assertTrue(play.there, skew)
            play.stage.now += 100
            play.start("late", play.instance().discard(PATH, play.stage.now - 1))
            self.trace(play, "late")
            self.assertFalse(play.there, skew)

    def test_nothing_is_left(self) -> None:
        """When the discarder is closed nothing of it is left in the store."""
        play = Play()
        instance = play.instance()
        play.start("discard", instance.discard(PATH, BEFORE))
        self.trace(play, "discard")
        play.start("close", instance.close())
        self.trace(play, "close")
        self.assertEqual(list(play.store.objects), [])

    def test_tidying(self) -> None:
        """What a killed discarder has left is removed when it is an hour old, and not before."""
        play = Play()
        play._put("/_txregistry/discarding/one", b"")
        play._put("/_txregistry/tombstones/a/one", b"")
        for seconds, left in ((3000, 2), (700, 0)):
            play.stage.now += seconds
            play.start(f"tidy{seconds}", play.instance().tidy())
            self.trace(play, "tidy")
            self.assertEqual(len(play.store.objects) - 1, left)
