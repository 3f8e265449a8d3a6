"""Touching and discarding, each whole against the other, on stores that can do only one thing at a time.

Who *discards* an object looks at its time and then deletes it, two requests between which anything may happen.  Who
makes an object young (puts another in its place, or touches it) must not believe that it is there when it was deleted
by someone who had looked before.  Three kinds of small objects below ``/_txregistry`` see to that:

``discarding/<id>``
    A *notice*: someone discards.  It is put, and then nothing is discarded for longer than anyone relies on there
    being none.
``tombstones/<path>/<id>``
    Someone is about to delete this object.  It is put before the look at its time that decides, and removed when the
    deletion has been answered.
``touched/<path>``
    A *mark*: its time is when a large object was last touched.  A small one is copied onto itself instead.

Why it is right is told in ``docs/s3.rst``; ``tests/objects/test_discards.py`` tries every interleaving.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import field, frozen, mutable
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from txregistry import errors
from txregistry.interfaces import FileInfo
from txregistry.objects.sessions import size_of
from txregistry.objects.store import IObjectStore, ObjectInfo
from txregistry.waiting import Turns

_log = Logger()

_NOTICES = "/_txregistry/discarding/"
_TOMBSTONES = "/_txregistry/tombstones"
_MARKS = "/_txregistry/touched"

#: Bytes beyond which an object is not copied to give it another time.
_LARGE = 1024 * 1024
#: Seconds after which a notice is put again, and after which one that was not is not relied on.
_RENEWED = 600.0
_EXPIRED = 1800.0
#: Seconds without a discard after which a notice is taken back.
_IDLE = 60.0
#: Seconds after which what is left of a process that was killed is removed.
_LEFT = 3600.0
_ATTEMPTS = 5
#: Folders above an object that may be empty without it.
_LEVELS = 3


@frozen
class Pace:
    """How long is waited, in seconds.

    :param notice: for how long a look that found no notice is relied on; a discarder waits half as long again
        after putting one.  0 to look each time.
    :param hurry: from a tombstone's being put, how long its discarder may take until it sends the deletion.
    :param stale: after which a tombstone counts for nothing.  Much longer than *hurry* and what a single request
        can take.
    :param look: between two looks at whether a tombstone is gone.
    """

    notice: float = 10.0
    hurry: float = 5.0
    stale: float = 60.0
    look: float = 0.1


@frozen
class Clocks:
    """What time it is.

    :param reactor: what waits.
    :param now: seconds since the epoch.
    :param monotonic: seconds since some moment, whatever is done to the clock.
    """

    reactor: Any
    now: Callable[[], float]
    monotonic: Callable[[], float]

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self.reactor, seconds, lambda: None)


@mutable(eq=False, slots=False)
class Discards:
    """Makes objects young, and discards those that are not.

    :param store: where they are.
    :param clocks: what time it is here.
    :param pace: how long is waited.
    :param prunes: whether the folders that are empty then are removed with an object.
    """

    _store: IObjectStore
    _clocks: Clocks
    _pace: Pace = field(factory=Pace)
    _prunes: bool = False
    #: When it was last looked for notices, and whether there were none.
    _looked: float = field(default=float("-inf"), init=False)
    _quiet: bool = field(default=False, init=False)
    #: Those who wait for the look under way; None if there is none.
    _waiting: list[Deferred[None]] | None = field(default=None, init=False)
    _noticing: Turns = field(factory=Turns, init=False)
    _notice: str | None = field(default=None, init=False)
    _noticed: float = field(default=float("-inf"), init=False)
    _in_use: int = field(default=0, init=False)
    _used: float = field(default=float("-inf"), init=False)
    _idle: Any = field(default=None, init=False)

    async def put(self, path: str, make: Callable[[], Awaitable[object]]) -> None:
        """Do what puts an object at *path*, as often as it takes until it is there.

        :raises txregistry.errors.StorageError: it cannot be done.
        """
        for _ in range(_ATTEMPTS):
            if await self._young(path, make):
                return
        raise errors.StorageUnavailable(path, "it is removed again and again")

    async def touch(self, path: str, age: float) -> FileInfo | None:
        """See :meth:`txregistry.interfaces.IStorageDriver.touch`, of one path."""
        try:
            info = await self._store.head(path)
            mark = mark_of(path) if info.size > _LARGE else None
            if age:
                if info.age < age:
                    return _told(info, info.modified)
                marked = None if mark is None else await self._head(mark)
                if marked is not None and marked.age < age:
                    return _told(info, max(info.modified, marked.modified))
            modified = info.now

            async def make() -> None:
                nonlocal modified
                if mark is None:
                    modified = await self._store.refresh(path, info)
                else:
                    await self._store.put(mark, [path.encode("ascii")])

            there = await self._young(path, make)
        except errors.PathUnknown:
            return None
        return _told(info, modified) if there else None

    async def discard(self, path: str, before: float) -> FileInfo | None:
        """See :meth:`txregistry.interfaces.IStorageDriver.discard`."""
        if await self._old(path, before) is None:
            return None
        self._in_use += 1
        try:
            await self._give_notice()
            return await self._discard(path, before)
        finally:
            self._in_use -= 1
            self._used = self._clocks.monotonic()

    async def tidy(self) -> None:
        """Remove what processes that were killed have left."""
        for prefix in (_NOTICES, f"{_TOMBSTONES}/"):
            token = None
            while True:
                page = await self._store.page(prefix, deep=True, token=token)
                left = [one.path for one in page.found if page.now - one.modified > _LEFT]
                if left:
                    await self._store.delete(left)
                if page.token is None:
                    break
                token = page.token

    async def close(self) -> None:
        """Take back the notice, if there is one."""
        await self._noticing.run(self._take_back)

    async def _young(self, path: str, make: Callable[[], Awaitable[object]]) -> bool:
        """Make an object young; say whether it is there then."""
        pace = self._pace.notice
        if pace:
            await self._look_since(self._clocks.monotonic() - pace / 2)
        await make()
        if self._quiet and self._clocks.monotonic() - self._looked < pace:
            return True
        # From now on: who has taken back the notice by then has deleted what he wanted to.
        await self._look_since(self._clocks.monotonic())
        if not self._quiet:
            await self._await_deletions(path)
        return await self._head(path) is not None

    async def _look_since(self, since: float) -> None:
        """Look for notices, unless that was begun by someone at that time or later."""
        while self._looked < since:
            if self._waiting is not None:
                waiter: Deferred[None] = Deferred()
                self._waiting.append(waiter)
                await waiter
                continue
            self._waiting = []
            try:
                began = self._clocks.monotonic()
                page = await self._store.page(_NOTICES, deep=True, limit=1)
                self._quiet, self._looked = not page.found, began
            finally:
                waiting, self._waiting = self._waiting, None
                for one in waiting:
                    if not one.called:
                        one.callback(None)

    async def _await_deletions(self, path: str) -> None:
        """Wait until none of those who are about to delete an object now is any more."""
        folder = _tombstones(path)
        pending: set[str] | None = None
        deadline = self._clocks.monotonic() + self._pace.stale + self._pace.hurry
        while True:
            page = await self._store.page(folder, deep=True)
            live = {one.path for one in page.found if page.now - one.modified < self._pace.stale}
            pending = live if pending is None else pending & live
            if not pending:
                return
            if self._clocks.monotonic() > deadline:
                raise errors.StorageUnavailable(path, "someone has been about to remove it for too long")
            await self._clocks.sleep(self._pace.look)

    async def _discard(self, path: str, before: float) -> FileInfo | None:
        tombstone = f"{_tombstones(path)}{uuid.uuid4().hex}"
        began = self._clocks.monotonic()
        settled = True
        try:
            await self._store.put(tombstone, [path.encode("ascii")])
            info = await self._old(path, before)
            if info is None or self._clocks.monotonic() - began > self._pace.hurry:
                return None
            settled = False
            await self._store.delete([path], once=True)
            settled = True
        finally:
            # Where the deletion was not answered it may still come: the tombstone stays until it is stale.
            if settled:
                await self._remove(tombstone)
        if info.size > _LARGE:
            await self._remove(mark_of(path))
        if self._prunes:
            await self._remove(*folders_above(path))
        return _told(info, info.modified)

    async def _old(self, path: str, before: float) -> ObjectInfo | None:
        """Return what is known of an object that was not made young since *before*; None of any other."""
        info = await self._head(path)
        if info is None:
            return None
        limit = info.by_its_clock(before, self._clocks.now())
        if info.modified >= limit:
            return None
        marked = await self._head(mark_of(path)) if info.size > _LARGE else None
        return None if marked is not None and marked.modified >= limit else info

    async def _head(self, path: str) -> ObjectInfo | None:
        try:
            return await self._store.head(path)
        except errors.PathUnknown:
            return None

    async def _remove(self, *paths: str) -> None:
        try:
            await self._store.delete(paths)
        except errors.StorageError as error:
            _log.warn("cannot remove {path}: {error}", path=paths[0], error=error)

    async def _give_notice(self) -> None:
        """Return when everyone knows that someone discards."""
        if self._notice is None or self._clocks.monotonic() - self._noticed > _RENEWED:
            await self._noticing.run(self._notice_all)

    async def _notice_all(self) -> None:
        age = self._clocks.monotonic() - self._noticed
        if self._notice is not None and age > _EXPIRED:
            # Another may be removing it now.
            self._notice = None
        if self._notice is None:
            name, began = f"{_NOTICES}{uuid.uuid4().hex}", self._clocks.monotonic()
            await self._store.put(name, [b""])
            if self._pace.notice:
                await self._clocks.sleep(self._pace.notice * 1.5)
            self._notice, self._noticed = name, began
            self._watch()
        elif age > _RENEWED:
            began = self._clocks.monotonic()
            await self._store.put(self._notice, [b""])
            self._noticed = began

    def _watch(self) -> None:
        if self._idle is None:
            self._idle = self._clocks.reactor.callLater(_IDLE, self._look_at_idle)

    def _look_at_idle(self) -> None:
        self._idle = None
        if self._in_use or self._clocks.monotonic() - self._used < _IDLE:
            self._watch()
        else:
            ending: Deferred[None] = self._noticing.run(self._take_back)
            ending.addErrback(lambda failure: _log.failure("a notice cannot be taken back", failure))

    async def _take_back(self) -> None:
        if self._in_use:
            self._watch()
            return
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        notice, self._notice = self._notice, None
        if notice is not None:
            await self._remove(notice)


def _told(info: ObjectInfo, modified: float) -> FileInfo:
    return FileInfo(size_of(info), modified)


def _key(path: str) -> str:
    # Of a path's length and characters nothing is asked of the store a second time.
    return hashlib.sha256(path.encode("ascii")).hexdigest()[:40]


def _tombstones(path: str) -> str:
    return f"{_TOMBSTONES}/{_key(path)}/"


def folders_above(path: str) -> list[str]:
    """Return the folders that an object is in, but for those of all objects, the innermost first."""
    parts = path.split("/")[1:-1]
    return [f"/{'/'.join(parts[:count])}/" for count in range(len(parts), max(0, len(parts) - _LEVELS), -1)]


def mark_of(path: str) -> str:
    """Return the mark of an object."""
    return f"{_MARKS}/{_key(path)}"
