"""Appending to files: segments are put while more bytes come, a few at once, and the session says which count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.logger import Logger
from zope.interface import implementer

from txregistry import errors
from txregistry.interfaces import IFileWriter
from txregistry.objects.reader import PiecesReader
from txregistry.objects.sessions import RENEWAL, Session, numbered, save, segment
from txregistry.objects.store import Conflict, IObjectStore, Piece
from txregistry.waiting import InThread, Turns

T = TypeVar("T")

_log = Logger()

#: Segments after which they become longer, so that no object is assembled of more than a store takes (10,000).
_GROWING = 500


@frozen
class Sizes:
    """How files are cut.

    :param segment: bytes of a segment, but for the last one; of the first few hundred, and then they grow.
    :param in_flight: segments of one file that are put at once.  So the memory of a writer is bounded.
    """

    segment: int = 10 * 1024 * 1024
    in_flight: int = 4

    def of(self, number: int) -> int:
        """Return the bytes of the segment of that number, from 0.

        With segments of 10 MiB 10,000 of them are a tebibyte.
        """
        return self.segment * (1 + number // _GROWING)


@implementer(IFileWriter)
class ObjectWriter:
    """Appends to a file.

    :param path: the file's.
    :param session: what it is now, held by this writer.
    :param version: the version of that.
    :param sizes: how it is cut.
    :param slots: how many segments of all files are put at once.
    :param in_thread: where chunks are taken from who has them.
    :param reactor: what tells when it is time for a sign of life.
    :param closed: called when this writer holds the file no more.
    """

    def __init__(
        self,
        store: IObjectStore,
        path: str,
        session: Session,
        version: str,
        sizes: Sizes,
        slots: DeferredSemaphore,
        in_thread: InThread,
        reactor: Any,
        closed: Callable[[], None],
    ) -> None:
        self._store = store
        self._path = path
        self._session = session
        self._version = version
        self._sizes = sizes
        self._slots = slots
        self._in_thread = in_thread
        self._reactor = reactor
        self._when_closed = closed
        self._turns = Turns()
        self._saves = Turns()
        self._holder = session.holder
        self._segments = list(session.segments)
        self._count = 0
        #: Bytes that are in no whole segment yet, and the segment that has them all if one does.
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._kept_tail: tuple[str, int] | None = None
        self._loaded = False
        self._putting: set[Deferred[None]] = set()
        self._garbage: list[str] = []
        self._problem: errors.StorageError | None = None
        self._dirty = False
        self._closed = False
        self.offset = session.size
        self._timer = reactor.callLater(RENEWAL, self._renew)

    async def write(self, chunks: Iterable[bytes]) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

        async def write() -> None:
            self._require_well()
            await self._load_tail()
            taken, raised = await self._in_thread(lambda: _taken(chunks))
            for chunk in taken:
                self._tail.append(chunk)
                self._tail_size += len(chunk)
                self.offset += len(chunk)
                self._dirty = True
                while self._tail_size >= (size := self._sizes.of(len(self._segments))):
                    await self._put_segment(size)
            if raised is not None:
                raise raised

        await self._turns.run(write)

    async def sync(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        await self._turns.run(lambda: self._sync(self._holder))

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        await self._turns.run(self._close)

    async def pieces(self) -> list[Piece]:
        """Return the objects that have all that was written, when it is durable."""

        async def pieces() -> list[Piece]:
            if self._dirty:
                await self._sync(self._holder)
            self._require_well()
            return self._session.pieces(self._path)

        return await self._turns.run(pieces)

    def lose(self) -> None:
        """Note that the file is at another path now: there is nothing to hold, and nothing to let go of."""
        self._problem = errors.FileBusy(self._path, "moved away")

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._timer.active():
                self._timer.cancel()
            if self._problem is None:
                await self._release()
            await self._settle()
        finally:
            self._when_closed()

    async def _release(self) -> None:
        try:
            await self._sync("")
        except errors.StorageError as error:
            if self._dirty:
                raise
            # Nothing is lost; until the lease has run out no one else can open it.
            _log.debug("cannot let go of {path}: {error}", path=self._path, error=error)
            return
        garbage, self._garbage = self._garbage, []
        if garbage:
            try:
                await self._store.delete(garbage)
            except errors.StorageError as error:
                # They go with the file's directory.
                _log.debug("cannot remove old segments of {path}: {error}", path=self._path, error=error)

    async def _sync(self, holder: str) -> None:
        await self._settle()
        self._require_well()
        segments = list(self._segments)
        if self._tail_size:
            if self._kept_tail is None or self._kept_tail[1] != self._tail_size:
                name = self._name()
                await self._store.put(segment(self._path, name), self._tail)
                self._drop_tail()
                self._kept_tail = (name, self._tail_size)
            segments.append(self._kept_tail)
        await self._saves.run(lambda: self._save(holder, segments))
        self._dirty = False

    async def _save(self, holder: str, segments: list[tuple[str, int]]) -> None:
        session = numbered(self._session, holder, segments)
        try:
            self._version = await save(self._store, self._path, session, self._version)
        except Conflict:
            self._problem = errors.FileBusy(self._path, "another writer has taken it over")
            raise self._problem from None
        self._session = session

    def _renew(self) -> None:
        async def renew() -> None:
            if self._closed or self._problem is not None:
                return
            try:
                await self._save(self._holder, list(self._session.segments))
            except errors.FileBusy:
                return
            except errors.StorageError as error:
                _log.warn("cannot renew the hold on {path}: {error}", path=self._path, error=error)
            if not self._closed:
                self._timer = self._reactor.callLater(RENEWAL, self._renew)

        self._saves.run(renew).addErrback(lambda failure: _log.failure("renewing failed", failure))

    async def _load_tail(self) -> None:
        """Bring back what is in a segment that is not as long as it is to be."""
        if self._loaded:
            return
        if self._segments:
            name, size = self._segments[-1]
            if size < self._sizes.segment:
                reader = PiecesReader(self._store, [Piece(segment(self._path, name), size)], 0)
                found = []
                try:
                    while chunk := await reader.read(size):
                        found.append(chunk)
                finally:
                    await reader.close()
                self._segments.pop()
                self._tail, self._tail_size, self._kept_tail = found, size, (name, size)
        self._loaded = True

    async def _put_segment(self, size: int) -> None:
        """Begin to put the first bytes of the tail as a segment, once there is room for one more."""
        pieces, self._tail = _cut(self._tail, size)
        self._tail_size -= size
        self._drop_tail()
        name = self._name()
        self._segments.append((name, size))
        most = max(1, self._sizes.in_flight * self._sizes.segment // size)
        while len(self._putting) >= most:
            await _first(self._putting)
        self._require_well()
        putting = Deferred.fromCoroutine(self._put(name, pieces))
        self._putting.add(putting)
        putting.addBoth(lambda _: self._putting.discard(putting))

    async def _put(self, name: str, pieces: list[bytes]) -> None:
        try:
            await self._slots.acquire()
            try:
                await self._store.put(segment(self._path, name), pieces)
            finally:
                self._slots.release()
        except errors.StorageError as error:
            self._problem = self._problem or error
        except CancelledError:
            self._problem = self._problem or errors.StorageUnavailable(self._path, "given up")
        except Exception as error:
            _log.failure("putting a segment of {path} failed", path=self._path)
            self._problem = self._problem or errors.StorageFault(self._path, str(error))

    async def _settle(self) -> None:
        while self._putting:
            await _first(self._putting)

    def _drop_tail(self) -> None:
        if self._kept_tail is not None:
            self._garbage.append(segment(self._path, self._kept_tail[0]))
            self._kept_tail = None

    def _name(self) -> str:
        self._count += 1
        return f"{self._holder}-{self._count:05d}"

    def _require_well(self) -> None:
        if self._problem is not None:
            raise self._problem


def _taken(chunks: Iterable[bytes]) -> tuple[list[bytes], BaseException | None]:
    """Return what an iterable has, and what it raised in the end."""
    taken = []
    try:
        for chunk in chunks:
            if chunk:
                taken.append(chunk)
    except BaseException as error:
        return taken, error
    return taken, None


def _cut(pieces: list[bytes], size: int) -> tuple[list[bytes], list[bytes]]:
    """Return the first *size* bytes, and the rest."""
    first: list[bytes] = []
    for number, piece in enumerate(pieces):
        if len(piece) >= size:
            rest = [piece[size:]] if len(piece) > size else []
            return [*first, piece[:size]], rest + pieces[number + 1 :]
        first.append(piece)
        size -= len(piece)
    return first, []


def _first(several: set[Deferred[None]]) -> Deferred[None]:
    """Return what fires when the first of them has ended."""
    ended: Deferred[None] = Deferred()

    def note(result: Any) -> Any:
        if not ended.called:
            ended.callback(None)
        return result

    for one in list(several):
        one.addBoth(note)
    return ended
