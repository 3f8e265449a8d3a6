"""The outbox: events are in it, on disk, until they are delivered.

One thread does all its work.  What is asked of it while a commit is under way shares the next one, so the price
of a commit does not grow with the number of clients that push.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from txregistry import errors
from txregistry.notify.entries import Entry, Note, Queue, Written

if TYPE_CHECKING:
    from txregistry.notify.database import OutboxDatabase

T = TypeVar("T")

_log = Logger()

#: Seconds after which what need not be on disk at once is.
INTERVAL = 0.5
#: Events that need not be on disk at once are when they are so many.
_MANY = 1000
#: So many of them are kept while nothing can be written.
_MOST = 10_000


class Thread(Protocol):
    """One thread, which does one call after the other."""

    def run(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Return what *work* makes of *args*, on the thread."""
        ...

    def stop(self) -> None:
        """End the thread after what it was asked for."""
        ...


class Outbox:
    """Keeps events.

    :param database: where; opened and closed by this outbox.
    :param thread: what works on it.
    :param reactor: where time comes from.
    :param written: is told of every commit: its entries, and what came of it.
    """

    def __init__(
        self,
        database: OutboxDatabase,
        thread: Thread,
        reactor: Any,
        written: Callable[[Sequence[Entry], Written], None],
    ) -> None:
        self._database = database
        self._thread = thread
        self._reactor = reactor
        self._written = written
        self._entries: list[tuple[Sequence[Entry], Deferred[None] | None]] = []
        self._notes: dict[tuple[str, int], Note] = {}
        self._noted: Mapping[tuple[str, int], Note] = {}
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None

    def open(self) -> None:
        """Open the database.  This blocks for a moment.

        :raises txregistry.errors.ConfigError: it cannot be used.
        """
        self._database.open(serve=True)

    async def close(self) -> None:
        """Write what is to be written, and let go of the database."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            await self._flush()
            if self._entries or self._notes:
                _log.error("events of pulls could not be written to the outbox, and are lost")
        finally:
            await self._thread.run(self._database.close)
            self._thread.stop()

    async def add(self, entries: Sequence[Entry]) -> None:
        """Return when events are on disk.

        :raises txregistry.errors.StorageError: they are not, and will not be.
        """
        waiting: Deferred[None] = Deferred()
        self._entries.append((entries, waiting))
        self._start()
        await waiting

    def add_soon(self, entry: Entry) -> bool:
        """Have an event on disk within :data:`INTERVAL`, or with what is added next.

        :returns: whether that is possible: it is not if nothing could be written for long.
        """
        if len(self._entries) >= _MOST:
            return False
        self._entries.append(([entry], None))
        if len(self._entries) >= _MANY:
            self._start()
        else:
            self._start_soon()
        return True

    def note(self, note: Note) -> None:
        """Have what became of an event on disk soon.  Lost in a crash, it is found out once more."""
        self._notes[note.endpoint, note.event] = note
        self._start_soon()

    def is_noted(self, endpoint: str, event: int) -> bool:
        """Say whether an event is done with, though the database may not know it yet."""
        note = self._notes.get((endpoint, event)) or self._noted.get((endpoint, event))
        return note is not None and (note.delivered or note.set_aside)

    def content(self, endpoint: str, event: int) -> Awaitable[bytes | None]:
        """Return an event that waits for an endpoint; None if it does not wait any more."""
        return self._thread.run(self._database.content, endpoint, event)

    def queues(self) -> Awaitable[dict[str, Queue]]:
        """Return what is kept, by endpoint."""
        return self._thread.run(self._database.queues)

    def look(self) -> Awaitable[tuple[bool, dict[str, float]]]:
        """Say whether another process has changed something, and since when each endpoint's oldest waits."""
        return self._thread.run(lambda: (self._database.is_changed(), self._database.oldest()))

    def _start_soon(self) -> None:
        if self._timer is None and self._writing is None:
            self._timer = self._reactor.callLater(INTERVAL, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._start()

    def _start(self) -> None:
        if self._writing is None:
            Deferred.fromCoroutine(self._flush())

    async def _flush(self) -> None:
        """Write all that there is; what comes meanwhile too, if someone waits for it."""
        while self._writing is not None:
            ended: Deferred[None] = Deferred()
            self._writing.chainDeferred(ended)
            await ended
        self._writing = Deferred()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            while True:
                if not await self._write():
                    break
                if not any(waiting for _, waiting in self._entries) and len(self._entries) < _MANY:
                    break
        finally:
            ended, self._writing = self._writing, None
            if self._entries or self._notes:
                self._start_soon()
            ended.callback(None)

    async def _write(self) -> bool:
        """Make one commit of what has gathered; say whether it could be."""
        gathered, self._entries = self._entries, []
        self._noted, self._notes = self._notes, {}
        if not gathered and not self._noted:
            return True
        entries = [entry for group, _ in gathered for entry in group]
        try:
            written = await self._thread.run(self._database.write, entries, list(self._noted.values()))
        except errors.StorageError as error:
            _log.error("cannot write to the outbox: {error}", error=error)
            self._notes = {**self._noted, **self._notes}
            self._noted = {}
            # Whoever waits is told, and tries again; what no one waits for is kept for the next time.
            self._entries = [one for one in gathered if one[1] is None] + self._entries
            for _, waiting in gathered:
                if waiting is not None:
                    waiting.errback(error)
            return False
        self._noted = {}
        self._written(entries, written)
        for _, waiting in gathered:
            if waiting is not None:
                waiting.callback(None)
        return True
