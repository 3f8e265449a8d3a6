"""All ways in which the steps of several activities can follow one another."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from txregistry.objects.discards import Clocks

#: Who passes while somebody sleeps.
TIME = "time"


@define
class Activity:
    """Something that stops before each of its steps until it is told to go on.

    :ivar due: by when the step that it is about to take is taken; None for whenever.
    :ivar wakes: until when it sleeps; None while it is awake.
    :ivar killed: whether it will take no more steps.
    """

    gate: Deferred[None] | None = None
    done: Deferred[Any] | None = None
    due: float | None = None
    wakes: float | None = None
    killed: bool = False

    @property
    def ended(self) -> bool:
        """Whether there are no more steps."""
        return self.killed or self.gate is None


@define(slots=False)
class Stage:
    """Runs activities, a step of one at a time.

    :ivar now: what all clocks show.
    :ivar trace: who took which step.
    """

    now: float = 1000.0
    activities: dict[str, Activity] = field(factory=dict)
    current: str = ""
    trace: list[str] = field(factory=list)
    #: Within how many seconds a request is dealt with that was sent; None for whenever.
    limits: Callable[[str, str], float | None] = lambda step, path: None
    #: Told of each step as it is taken; returns an exception that it is to end with.
    failing: Callable[[str, str, str], Exception | None] = lambda who, step, path: None

    async def step(self, name: str, path: str) -> None:
        """Stop whoever is about to do something; an answer is not waited for: what counts is what follows it."""
        if name.endswith(".done") or not self.current:
            return
        who = self.current
        limit = self.limits(name, path)
        self.activities[who].due = None if limit is None else self.now + limit
        await self._wait(who)
        self.activities[who].due = None
        self.trace.append(f"{who} {name}")
        error = self.failing(who, name, path)
        if error is not None:
            raise error

    async def sleep(self, seconds: float) -> None:
        """Stop whoever goes to sleep."""
        who = self.current
        self.activities[who].wakes = self.now + seconds
        await self._wait(who)

    def start(self, who: str, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Begin an activity, which stops before its first step."""
        activity = self.activities[who] = Activity()
        self.current = who
        activity.done = Deferred.fromCoroutine(work)
        self.current = ""
        return activity.done

    def go_on(self, who: str) -> None:
        """Let one take a step, or time pass until the next one wakes."""
        if who == TIME:
            self.now = min(self._asleep().values())
            self.trace.append(f"{self.now:g} s")
            for sleeper, wakes in self._asleep().items():
                if wakes <= self.now:
                    self.activities[sleeper].wakes = None
            return
        activity = self.activities[who]
        gate, activity.gate = activity.gate, None
        assert gate is not None
        self.current = who
        gate.callback(None)
        self.current = ""

    def able(self) -> list[str]:
        """Return who can take a step now; time is one of them where somebody sleeps."""
        asleep = self._asleep()
        awake = [who for who, one in self.activities.items() if not one.ended and who not in asleep]
        late = [one.due for one in self.activities.values() if not one.ended and one.due is not None]
        passes = asleep and min(asleep.values()) <= min(late, default=self.now + 1e9)
        return [*awake, TIME] if passes else awake

    def _asleep(self) -> dict[str, float]:
        return {
            who: one.wakes for who, one in self.activities.items() if not one.ended and one.wakes is not None
        }

    async def _wait(self, who: str) -> None:
        gate = self.activities[who].gate = Deferred()
        await gate


def clocks(stage: Stage) -> Clocks:
    """Return clocks that are the stage's."""

    class StageClocks(Clocks):
        async def sleep(self, seconds: float) -> None:
            await stage.sleep(seconds)

    return StageClocks(Clock(), lambda: stage.now, lambda: stage.now)


def every_way(play: Callable[[], Stage], most: int = 20_000) -> Iterator[Stage]:
    """Play it in every way, and yield the stage after each.

    :param play: begins the activities.
    :param most: ways beyond which there are too many.
    """
    pending: list[list[str]] = [[]]
    count = 0
    while pending:
        chosen = pending.pop()
        stage = play()
        for who in chosen:
            stage.able()
            stage.go_on(who)
        while able := stage.able():
            pending += [[*chosen, other] for other in able[1:]]
            chosen = [*chosen, able[0]]
            stage.go_on(able[0])
        count += 1
        assert count <= most, f"more than {most} ways"
        yield stage


def some_ways(play: Callable[[], Stage], count: int, seed: int) -> Iterator[Stage]:
    """Play it in so many ways, chosen at random, and yield the stage after each."""
    chance = random.Random(seed)
    for _ in range(count):
        stage = play()
        while able := stage.able():
            stage.go_on(chance.choice(able))
        yield stage
