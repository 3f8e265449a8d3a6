"""Reading objects: from wherever, on over failures, and over several objects as if they were one."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger
from zope.interface import implementer

from txregistry import errors
from txregistry.interfaces import IFileReader
from txregistry.objects.store import Conflict, IObjectStore, Opened, PastEnd, Piece

_log = Logger()

#: Times that a body is asked for again without a byte in between.
_RESUMED = 3


@implementer(IFileReader)
class ObjectReader:
    """Reads one object, and asks for the rest of it again where its body is cut off.

    :param opened: the object, opened at *offset*.
    """

    def __init__(self, store: IObjectStore, path: str, opened: Opened, offset: int) -> None:
        self._store = store
        self._path = path
        self._opened: Opened | None = opened
        self._info = opened.info
        self._offset = offset
        self._resumed = 0

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        while self._opened is not None and self._offset < self._info.size:
            try:
                content = await self._opened.body.read(size)
                if content:
                    self._offset += len(content)
                    self._resumed = 0
                    return content
                raise errors.StorageUnavailable(self._path, "the answer is shorter than it says")
            except errors.StorageUnavailable as error:
                await self._resume(error)
        return b""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.body.close()

    async def _resume(self, error: errors.StorageUnavailable) -> None:
        self._resumed += 1
        if self._opened is None or self._resumed > _RESUMED:
            raise error
        await self._opened.body.close()
        _log.debug(
            "{path}: {reason}; reading on from {at}", path=self._path, reason=error.reason, at=self._offset
        )
        try:
            opened = await self._store.get(self._path, self._offset, self._info.version)
        except (Conflict, PastEnd, errors.PathUnknown):
            raise errors.StorageUnavailable(self._path, "it was replaced while it was read") from error
        if self._opened is None:
            await opened.body.close()
            raise errors.StorageUnavailable(self._path, "closed")
        self._opened = opened


@implementer(IFileReader)
class PiecesReader:
    """Reads objects one after the other.

    :param pieces: which.
    :param offset: from where, in bytes of them all.
    """

    def __init__(self, store: IObjectStore, pieces: Sequence[Piece], offset: int) -> None:
        self._store = store
        self._left = list(pieces)
        self._skip = offset
        self._reader: ObjectReader | None = None

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        while True:
            if self._reader is None:
                while self._left and self._skip >= self._left[0].size:
                    self._skip -= self._left.pop(0).size
                if not self._left:
                    return b""
                piece, start, self._skip = self._left.pop(0), self._skip, 0
                opened = await self._store.get(piece.path, start)
                self._reader = ObjectReader(self._store, piece.path, opened, start)
            content = await self._reader.read(size)
            if content:
                return content
            await self._reader.close()
            self._reader = None

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        self._left.clear()
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()


@implementer(IFileReader)
class NothingReader:
    """Reads a file from its end, or from beyond it."""

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        return b""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""
