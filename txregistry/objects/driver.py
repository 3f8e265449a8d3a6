"""A storage driver over an object store."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredSemaphore
from zope.interface import implementer

from txregistry import errors
from txregistry.interfaces import (
    FileInfo,
    IFileReader,
    IFileWriter,
    IOrderedListing,
    IRedirects,
    IStorageDriver,
    ITidying,
)
from txregistry.objects import listing
from txregistry.objects.conditions import Conditions
from txregistry.objects.discards import Clocks, Discards, Pace, folders_above
from txregistry.objects.reader import NothingReader, ObjectReader, PiecesReader
from txregistry.objects.sessions import (
    Session,
    is_session,
    load,
    numbered,
    save,
    segment,
    segments_of,
    size_of,
)
from txregistry.objects.store import (
    ABSENT,
    Conflict,
    Found,
    IConditionalStore,
    IObjectStore,
    Opened,
    Page,
    PastEnd,
    Piece,
)
from txregistry.objects.writer import ObjectWriter, Sizes
from txregistry.paths import check
from txregistry.waiting import InThread, gathered, uncancelled

#: Segments that are put at once, of all files.
_PUT_AT_ONCE = 32
#: Paths that are touched at once.
_TOUCHED_AT_ONCE = 16
_BATCH = 1000
#: Seconds after which what was begun and not ended is taken for what a killed process left.
_LEFT = 24 * 3600
_READ = 1024 * 1024
_READ_TRIES = 2


@implementer(IStorageDriver, IOrderedListing, IRedirects, ITidying)
class ObjectDriver:
    """Files that are objects.

    :param store: where the objects are; closed by this driver.
    :param reactor: what waits.
    :param in_thread: where chunks are taken from who has them.
    :param sizes: how files are cut that are appended to.
    :param pace: how long discarding waits for others, where the store does not delete on a condition.
    :param now: the time, in seconds since the epoch.
    :param monotonic: seconds since some moment, whatever is done to the clock.
    :param prunes: whether folders are removed with what is in them.  Some stores keep empty ones, and list them;
        they do not remove one that is not empty.
    """

    def __init__(
        self,
        store: IObjectStore,
        reactor: Any,
        in_thread: InThread,
        sizes: Sizes | None = None,
        pace: Pace | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        prunes: bool = False,
    ) -> None:
        self._store = store
        self._reactor = reactor
        self._in_thread = in_thread
        self._sizes = sizes or Sizes()
        self._now = now
        self._discards: Conditions | Discards
        if IConditionalStore.providedBy(store):
            self._discards = Conditions(store, now)
        else:
            self._discards = Discards(store, Clocks(reactor, now, monotonic), pace or Pace(), prunes)
        self._prunes = prunes
        self._slots = DeferredSemaphore(_PUT_AT_ONCE)
        #: The files that are open in this process; None while one is being opened.
        self._writers: dict[str, ObjectWriter | None] = {}

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        self._store.prepare()

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self._discards.close()
        await self._store.close()

    async def read(self, path: str, limit: int) -> bytes:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        check(path)
        tries = 0
        while True:
            tries += 1
            opened = await self._store.get(path)
            if size_of(opened.info) > limit:
                await opened.body.close()
                raise errors.StorageFault(path, f"longer than {limit} bytes")
            content = await _rest(await self._reader(path, opened, 0))
            md5 = None if is_session(opened.info) else opened.info.md5
            if md5 is None or hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
                return content
            if tries == _READ_TRIES:
                raise errors.StorageFault(path, "what came is not what the store says it has")

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        check(path)
        await self._discards.put(path, lambda: self._store.put(path, [content]))

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        check(path)
        try:
            opened = await self._store.get(path, offset)
        except PastEnd:
            if not is_session(await self._store.head(path)):
                return NothingReader()
            opened = await self._store.get(path)
        return await self._reader(path, opened, offset)

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        if check(path) in self._writers:
            raise errors.FileBusy(path)
        self._writers[path] = None

        return await uncancelled(
            self._open_writer(path), undo=lambda writer: Deferred.fromCoroutine(writer.close())
        )

    async def stat(self, path: str) -> FileInfo:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        try:
            info = await self._store.head(check(path))
        except errors.PathUnknown:
            first = await self._first(f"{path}/")
            if first is None:
                raise
            return FileInfo(0, first.modified, is_directory=True)
        return FileInfo(size_of(info), info.modified)

    async def touch(self, paths: Sequence[str], age: float = 0) -> list[FileInfo | None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        found: list[FileInfo | None] = []
        for start in range(0, len(paths), _TOUCHED_AT_ONCE):
            batch = [check(path) for path in paths[start : start + _TOUCHED_AT_ONCE]]
            found += await gathered([Deferred.fromCoroutine(self._discards.touch(one, age)) for one in batch])
        return found

    async def discard(self, path: str, before: float) -> FileInfo | None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return await self._discards.discard(check(path), before)

    async def list_after(self, path: str, after: str, limit: int) -> list[str]:
        """See :class:`~txregistry.interfaces.IOrderedListing`."""
        return await listing.names_after(self._store, check(path), after, limit)

    async def list(self, path: str) -> list[str]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return await listing.names(self._store, check(path))

    async def redirect(self, path: str, method: str) -> str | None:
        """See :class:`~txregistry.interfaces.IRedirects`."""
        return await self._store.sign(check(path), method)

    async def move(self, source: str, target: str) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`.

        First the target is there, then the source is not: a crash leaves both, never neither.
        """
        check(target)
        writer = self._writers.get(check(source))
        pieces = await self._pieces(source) if writer is None else await writer.pieces()
        if source == target:
            return
        if pieces:
            await self._discards.put(target, lambda: self._store.assemble(target, pieces))
        else:
            await self._discards.put(target, lambda: self._store.put(target, [b""]))
        if writer is not None:
            writer.lose()
        # The session before its segments: what is left of a file without them is not taken for a file.
        await self._delete([source, *(piece.path for piece in pieces if piece.path != source)])

    async def delete(self, path: str, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`.

        Of a directory, a thousand files go at a time, in the order of their paths.
        """
        prefix = f"{check(path)}/"
        info, page = await gathered(
            [
                Deferred.fromCoroutine(self._head(path)),
                Deferred.fromCoroutine(_of(self._store.page(prefix, deep=True))),
            ]
        )
        if info is None and not page.found:
            raise errors.PathUnknown(path)
        if info is not None:
            await self._store.delete([path])
            if is_session(info):
                await self._delete_below(segments_of(path), None)
        if page.found:
            await self._delete_below(prefix, page)

    async def tidy(self) -> None:
        """See :class:`~txregistry.interfaces.ITidying`."""
        await self._store.tidy(self._now() - _LEFT)
        await self._discards.tidy()

    async def _head(self, path: str) -> Any:
        try:
            return await self._store.head(path)
        except errors.PathUnknown:
            return None

    async def _reader(self, path: str, opened: Opened, offset: int) -> IFileReader:
        if not is_session(opened.info):
            return ObjectReader(self._store, path, opened, offset)
        if offset:
            await opened.body.close()
            opened = await self._store.get(path)
        session = await load(path, opened)
        return PiecesReader(self._store, session.pieces(path), offset)

    async def _open_writer(self, path: str) -> ObjectWriter:
        holder = uuid.uuid4().hex
        try:
            session, version = await self._taken(path, holder)
        except BaseException:
            self._writers.pop(path, None)
            raise
        writer = ObjectWriter(
            self._store,
            path,
            session,
            version,
            self._sizes,
            self._slots,
            self._in_thread,
            self._reactor,
            lambda: self._free(path, writer),
        )
        self._writers[path] = writer
        return writer

    def _free(self, path: str, writer: ObjectWriter) -> None:
        if self._writers.get(path) is writer:
            del self._writers[path]

    async def _taken(self, path: str, holder: str) -> tuple[Session, str]:
        """Take a file, and return its session and the version of that.

        :raises txregistry.errors.FileBusy: another has it, or takes it at this moment.
        """
        session, version = Session(), ABSENT
        try:
            opened = await self._store.get(path)
        except errors.PathUnknown:
            opened = None
        if opened is not None:
            version = opened.info.version
            if is_session(opened.info):
                session = await load(path, opened)
                if session.held(opened.info):
                    raise errors.FileBusy(path, "another process has it open")
            else:
                await opened.body.close()
                if opened.info.size:
                    # What is a file already becomes the first segment.
                    name, size = f"{holder}-00000", opened.info.size
                    await self._store.assemble(segment(path, name), [Piece(path, size)])
                    session = evolve(session, segments=((name, size),))
        session = numbered(session, holder, session.segments)
        try:
            return session, await save(self._store, path, session, version)
        except Conflict:
            raise errors.FileBusy(path, "another process opens it") from None

    async def _pieces(self, path: str) -> Sequence[Piece]:
        """Return the objects that have the bytes of a file."""
        info = await self._store.head(path)
        if not is_session(info):
            return [Piece(path, info.size)] if info.size else []
        return (await load(path, await self._store.get(path))).pieces(path)

    async def _delete(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _BATCH):
            await self._store.delete(paths[start : start + _BATCH])

    async def _delete_below(self, prefix: str, page: Page | None) -> None:
        """Remove all objects whose paths begin with *prefix*.

        :param page: the first page of them; None to ask for it.
        """
        while True:
            page = page or await self._store.page(prefix, deep=True)
            paths = [one.path for one in page.found]
            if self._prunes and prefix.endswith("/"):
                folders = {
                    folder for path in paths for folder in folders_above(path) if folder.startswith(prefix)
                }
                paths += sorted(folders, key=lambda folder: (-folder.count("/"), folder))
            await self._delete(paths)
            if page.token is None:
                return
            page = None

    async def _first(self, prefix: str) -> Found | None:
        """Return one of the objects whose paths begin with *prefix*; None if there are none."""
        token = None
        while True:
            page = await self._store.page(prefix, deep=True, limit=2, token=token)
            if page.found or page.token is None:
                return page.found[0] if page.found else None
            token = page.token


async def _rest(reader: IFileReader) -> bytes:
    found = []
    try:
        while chunk := await reader.read(_READ):
            found.append(chunk)
    finally:
        await reader.close()
    return b"".join(found)


async def _of(awaitable: Any) -> Any:
    return await awaitable
