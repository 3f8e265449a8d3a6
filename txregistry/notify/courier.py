"""Delivers what the outbox keeps for one endpoint.

The events of each repository wait in a lane of their own, in the order in which they happened, and the lanes take
turns.  One delivery is under way at a time.

When one fails there are two questions: when is the endpoint tried again, and when this event?  The endpoint is at
once until ``threshold`` tries in a row have failed, then after ``backoff``, and from then on after twice as long each
time.  An event that is to blame, because it was refused or because others were taken meanwhile, holds up its own lane
alone, from ``backoff`` upwards too, and is set aside after some tries.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from txregistry import errors
from txregistry.events import Event, decode
from txregistry.interfaces import INotifier
from txregistry.notify.entries import Note, Queue
from txregistry.notify.outbox import Outbox

_log = Logger()

#: Seconds that no two tries are further apart, unless ``backoff`` is longer.
LONGEST_DELAY = 300.0
_SPREAD = 0.25
#: Seconds that a delivery may still take when there are to be no more.
_GRACE = 2.0


@frozen
class Endpoint:
    """Who is told of what.

    :param name: what the outbox keeps events under.
    :param notifier: how.
    :param timeout: seconds that a delivery may take.
    :param threshold: failures in a row after which the endpoint is given time.
    :param backoff: seconds that it is given at first.
    :param tries: how often an event may fail by its own fault.
    :param ignored_media_types: what it is not told of.
    :param ignored_actions: the same.
    """

    name: str
    notifier: INotifier
    timeout: float = 1.0
    threshold: int = 10
    backoff: float = 1.0
    tries: int = 10
    ignored_media_types: frozenset[str] = frozenset()
    ignored_actions: frozenset[str] = frozenset()

    def wants(self, action: str, media_type: str) -> bool:
        """Say whether it is told of such an event."""
        return action not in self.ignored_actions and media_type not in self.ignored_media_types

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after some failures, without jitter."""
        longest = max(LONGEST_DELAY, self.backoff)
        # Beyond 2**32 of the shortest delay there is nothing that is not longer than the longest.
        return float(min(longest, self.backoff * 2 ** min(failures - 1, 32)))


@define
class Figures:
    """What an endpoint's deliveries come to, since the server was started but for the last two.

    :ivar delivered: events that were taken.
    :ivar failures: tries that failed.
    :ivar dropped: events that were removed because there was no room.
    :ivar set_aside: events that are set aside now.
    :ivar oldest: when the oldest event that waits happened, seconds since the epoch; None where none waits.  It is
        looked up every few seconds.
    :ivar problem: why the last try failed; empty if it did not.
    """

    delivered: int = 0
    failures: int = 0
    dropped: int = 0
    set_aside: int = 0
    oldest: float | None = None
    problem: str = ""


@define(eq=False)
class _Lane:
    """One repository's events.

    :ivar events: their numbers.
    :ivar tries: how often the first of them has failed by its own fault.
    :ivar taken: how many the endpoint had taken when the first failed last; None if it did not.
    :ivar queued: whether it waits for its turn, or for its time.
    """

    repository: str
    events: deque[int] = field(factory=deque)
    tries: int = 0
    taken: int | None = None
    queued: bool = False


class Courier:
    """Gives one endpoint its events.

    :param endpoint: to whom.
    :param outbox: from where.
    :param figures: what it counts.
    :param reactor: where time comes from.
    :param random: returns a number from 0 to 1, by which delays are spread.
    """

    def __init__(
        self, endpoint: Endpoint, outbox: Outbox, figures: Figures, reactor: Any, random: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint
        self.figures = figures
        self._outbox = outbox
        self._reactor = reactor
        self._random = random
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._delayed: list[tuple[float, int, _Lane]] = []
        self._numbers = itertools.count()
        self._tries: dict[int, int] = {}
        self._failures = 0
        self._taken = 0
        self._due = 0.0
        self._timer: IDelayedCall | None = None
        self._delivery: Deferred[None] | None = None
        self._running = False

    @property
    def pending(self) -> int:
        """How many events wait."""
        return sum(len(lane.events) for lane in self._lanes.values())

    def load(self, queue: Queue) -> None:
        """Have these events to deliver, and no others.  Lanes that wait for their time go on waiting."""
        self.figures.set_aside = queue.set_aside
        heads = {repository: lane.events[0] for repository, lane in self._lanes.items() if lane.events}
        for lane in self._lanes.values():
            lane.events.clear()
        for event, repository, tries in queue.waiting:
            if not self._outbox.is_noted(self.endpoint.name, event):
                self._lane(repository).events.append(event)
                if tries:
                    self._tries[event] = tries
        for repository, lane in list(self._lanes.items()):
            if not lane.events:
                del self._lanes[repository]
            elif heads.get(repository) != lane.events[0]:
                self._reset(lane)
            else:
                self._queue(lane)
        self._go_on()

    def add(self, event: int, repository: str) -> None:
        """Have one more to deliver."""
        lane = self._lane(repository)
        lane.events.append(event)
        if len(lane.events) == 1:
            self._queue(lane)
        self._go_on()

    def drop(self, event: int, repository: str) -> None:
        """Have one less: there was no room for it."""
        self.figures.dropped += 1
        if not self._remove(event, repository):
            self.figures.set_aside -= 1

    def start(self) -> None:
        """Begin to deliver."""
        self._running = True
        self._go_on()

    async def stop(self) -> None:
        """Deliver no more.  What is under way may end, if it does soon; else it comes again next time."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._delivery is not None:
            ended: Deferred[None] = Deferred()
            self._delivery.addBoth(lambda _: ended.callback(None))
            timer = self._reactor.callLater(_GRACE, self._delivery.cancel)
            await ended
            if timer.active():
                timer.cancel()

    def _lane(self, repository: str) -> _Lane:
        lane = self._lanes.get(repository)
        if lane is None:
            lane = self._lanes[repository] = _Lane(repository)
        return lane

    def _queue(self, lane: _Lane) -> None:
        if not lane.queued:
            lane.queued = True
            self._ready.append(lane)

    def _reset(self, lane: _Lane) -> None:
        """Begin with the first of a lane's events."""
        lane.tries = self._tries.get(lane.events[0], 0)
        lane.taken = None
        self._queue(lane)

    def _remove(self, event: int, repository: str) -> bool:
        """Forget an event; say whether it was there."""
        self._tries.pop(event, None)
        lane = self._lanes.get(repository)
        if lane is None or event not in lane.events:
            return False
        first = lane.events[0] == event
        lane.events.remove(event)
        if not lane.events:
            del self._lanes[repository]
        elif first:
            self._reset(lane)
        return True

    def _go_on(self) -> None:
        """Deliver the next event if it is time to."""
        if not self._running or self._delivery is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._reactor.seconds()
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heapq.heappop(self._delayed)[2])
        lane = self._next() if self._due <= now else None
        if lane is not None:
            delivery = self._delivery = Deferred.fromCoroutine(self._deliver(lane, lane.events[0]))
            if delivery.called:
                self._delivery = None
            return
        moments = [self._due] if self._ready else []
        moments += [max(self._due, self._delayed[0][0])] if self._delayed else []
        if moments:
            self._timer = self._reactor.callLater(max(0.0, min(moments) - now), self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._go_on()

    def _next(self) -> _Lane | None:
        """Return the lane whose turn it is."""
        while self._ready:
            lane = self._ready.popleft()
            lane.queued = False
            # One that was emptied may have been replaced by another of the same repository.
            if self._lanes.get(lane.repository) is lane:
                return lane
        return None

    async def _deliver(self, lane: _Lane, event: int) -> None:
        try:
            await self._try(lane, event)
        except CancelledError:
            self._queue(lane)
        finally:
            # Not from within: a notifier that answers at once would make this as deep as there are events.
            self._delivery = None
            if self._running:
                self._timer = self._reactor.callLater(0, self._timed)

    async def _try(self, lane: _Lane, event: int) -> None:
        name = self.endpoint.name
        try:
            content = await self._outbox.content(name, event)
        except errors.StorageError as error:
            self._failed(lane, event, error.__class__.__name__, blamed=False)
            return
        if content is None:
            self._remove(event, lane.repository)
            return
        try:
            decoded = decode(content)
        except ValueError:
            self._set_aside(lane, event, "it cannot be read")
            return
        try:
            await self._within_time(decoded)
        except errors.EventRefused as error:
            self._failed(lane, event, error.reason, blamed=True)
        except errors.EndpointFailed as error:
            taken, lane.taken = lane.taken, self._taken
            self._failed(lane, event, error.reason, blamed=taken is not None and taken < self._taken)
        except CancelledError:
            raise
        except Exception as error:
            _log.failure("the notifier of endpoint {name} failed", Failure(), name=name)
            self._failed(lane, event, f"{type(error).__name__} in the notifier", blamed=True)
        else:
            self._delivered(lane, event)

    async def _within_time(self, event: Event) -> None:
        async def notify() -> None:
            await self.endpoint.notifier.notify(event)

        delivery = Deferred.fromCoroutine(notify())
        timer = self._reactor.callLater(self.endpoint.timeout, delivery.cancel)
        try:
            await delivery
        except (CancelledError, errors.EndpointFailed):
            if timer.active():
                raise
            # Clients of others may say by an error of their own that they were cancelled.
            raise errors.EndpointFailed(f"no answer within {self.endpoint.timeout:g} s") from None
        finally:
            if timer.active():
                timer.cancel()

    def _delivered(self, lane: _Lane, event: int) -> None:
        self._outbox.note(Note(self.endpoint.name, event, delivered=True))
        self._taken += 1
        self.figures.delivered += 1
        self.figures.problem = ""
        if self._failures >= self.endpoint.threshold:
            _log.info("endpoint {name} takes events again", name=self.endpoint.name)
            # Those that were thought to be to blame may not have been.
            self._ready.extend(delayed for *_, delayed in self._delayed)
            self._delayed.clear()
        self._failures, self._due = 0, 0.0
        self._remove(event, lane.repository)

    def _failed(self, lane: _Lane, event: int, problem: str, blamed: bool) -> None:
        self._failures += 1
        self.figures.failures += 1
        self.figures.problem = problem
        name, now = self.endpoint.name, self._reactor.seconds()
        if self._failures == 1 or self._failures >= self.endpoint.threshold:
            _log.warn(
                "endpoint {name} did not take event {event}: {problem}",
                name=name,
                event=event,
                problem=problem,
            )
        if self._failures >= self.endpoint.threshold:
            self._due = now + self._spread(self.endpoint.delay(self._failures - self.endpoint.threshold + 1))
        if not blamed:
            self._outbox.note(Note(name, event, tries=lane.tries, problem=problem))
            self._requeue(lane)
            return
        lane.tries += 1
        if lane.tries >= self.endpoint.tries:
            self._set_aside(lane, event, problem)
            return
        self._tries[event] = lane.tries
        self._outbox.note(Note(name, event, tries=lane.tries, problem=problem))
        if not lane.queued:
            lane.queued = True
            due = now + self._spread(self.endpoint.delay(lane.tries))
            heapq.heappush(self._delayed, (due, next(self._numbers), lane))

    def _requeue(self, lane: _Lane) -> None:
        if lane.events and self._lanes.get(lane.repository) is lane:
            self._queue(lane)

    def _set_aside(self, lane: _Lane, event: int, problem: str) -> None:
        name = self.endpoint.name
        _log.error(
            "event {event} for endpoint {name} is set aside: {problem}",
            event=event,
            name=name,
            problem=problem,
        )
        self.figures.set_aside += 1
        self._outbox.note(Note(name, event, set_aside=True, tries=lane.tries, problem=problem))
        self._remove(event, lane.repository)

    def _spread(self, delay: float) -> float:
        return delay * (1 - _SPREAD * self._random())


def wanting(endpoints: Iterable[Endpoint], action: str, media_type: str) -> list[str]:
    """Return the names of those that are told of such an event."""
    return [endpoint.name for endpoint in endpoints if endpoint.wants(action, media_type)]
