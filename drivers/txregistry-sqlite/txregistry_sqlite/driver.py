"""The driver, its readers and its writers: what is asked of them is done by the database, on a thread.

There is one thread, which does one call after the other, so that no call meets half of another's work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from txregistry import errors
from txregistry.interfaces import FileInfo, IFileReader, IFileWriter, IOneProcess, IStorageDriver
from txregistry.paths import check
from txregistry_sqlite.database import Database

T = TypeVar("T")


def make(options: Mapping[str, Any], reactor: Any) -> SQLiteDriver:
    """Make a driver from ``storage.sqlite``, whose one option is ``path``.

    :raises txregistry.errors.ConfigError: ``path`` is missing or wrong, or there is another option.
    """
    if unknown := set(options) - {"path"}:
        raise errors.ConfigError(min(unknown), "unknown option; the one option of this driver is path")
    path = options.get("path")
    if not isinstance(path, str) or not os.path.isabs(path):
        raise errors.ConfigError("path", f"expected the absolute path of an SQLite file, found {path!r}")
    return SQLiteDriver(Database(path), ThreadPool(1, 1, "txregistry-sqlite"), reactor)


@implementer(IStorageDriver, IOneProcess)
class SQLiteDriver:
    """Files in one SQLite database.

    :param database: where they are; opened and closed by this driver.
    :param thread: a pool of exactly one thread, started and stopped by this driver.
    :param reactor: where results are delivered.
    """

    def __init__(self, database: Database, thread: ThreadPool, reactor: Any) -> None:
        self._database = database
        self._thread = thread
        self._reactor = reactor
        self._writing: set[str] = set()

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        self._database.open()
        self._thread.start()

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        if self._thread.started:
            await self._run(self._database.close)
            self._thread.stop()

    async def read(self, path: str, limit: int) -> bytes:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return await self._run(self._database.read, check(path), limit)

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self._run(self._database.write, check(path), content)

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        reader = SQLiteReader(self._run, self._database, check(path), offset)
        try:
            await self._run(reader.open)
        except BaseException:
            await reader.close()  # a caller that was cancelled must not leave the file held
            raise
        return reader

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        if check(path) in self._writing:
            raise errors.FileBusy(path, "another writer has it open")
        self._writing.add(path)
        writer = SQLiteWriter(self._run, self._database, path, lambda: self._writing.discard(path))
        try:
            await self._run(writer.open)
        except BaseException:
            await writer.close()
            raise
        return writer

    async def stat(self, path: str) -> FileInfo:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return await self._run(self._database.stat, check(path))

    async def touch(self, paths: Sequence[str], age: float = 0) -> list[FileInfo | None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return await self._run(self._database.touch, [check(path) for path in paths], age)

    async def discard(self, path: str, before: float) -> FileInfo | None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return await self._run(self._database.discard, check(path), before)

    async def list(self, path: str) -> list[str]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return await self._run(self._database.names, check(path))

    async def move(self, source: str, target: str) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self._run(self._database.move, check(source), check(target))

    async def delete(self, path: str, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self._run(self._database.delete, check(path))

    def _run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do *work* on the driver's thread, after all that was asked before."""
        return deferToThreadPool(self._reactor, self._thread, work, *args)


class _Open:
    """A file that is open: it keeps its rows, whatever becomes of its path.

    :param run: does work on the driver's thread.
    """

    def __init__(self, run: Callable[..., Deferred[Any]], database: Database, path: str) -> None:
        self._run = run
        self._database = database
        self._path = path
        self._file: int | None = None

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._database.release(self._path, file)


@implementer(IFileReader)
class SQLiteReader(_Open):
    """A file being read."""

    def __init__(self, run: Callable[..., Deferred[Any]], database: Database, path: str, offset: int) -> None:
        super().__init__(run, database, path)
        self._offset = offset

    def open(self) -> None:
        """Find the file; on the driver's thread."""
        self._file, _ = self._database.hold(self._path, make=False)

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        content: bytes = await self._run(self._database.piece, self._path, self._file, self._offset, size)
        self._offset += len(content)
        return content

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        await self._run(self._release)


@implementer(IFileWriter)
class SQLiteWriter(_Open):
    """A file being appended to.  Each write is one transaction: of one that fails, nothing is kept.

    :param closed: called when another writer may open it.
    """

    offset = 0
    _closed = False

    def __init__(
        self,
        run: Callable[..., Deferred[Any]],
        database: Database,
        path: str,
        closed: Callable[[], None],
    ) -> None:
        super().__init__(run, database, path)
        self._when_closed = closed

    def open(self) -> None:
        """Find the file or make it; on the driver's thread."""
        self._file, self.offset = self._database.hold(self._path, make=True)

    async def write(self, chunks: Iterable[bytes]) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

        def write() -> None:
            assert self._file is not None
            self.offset = self._database.append(self._path, self._file, self.offset, chunks)

        await self._run(write)

    async def sync(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`: each write has been synced before it returned."""
        await self._run(self._database.touch, [self._path], 0)

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        closing, self._closed = not self._closed, True
        if closing:
            try:
                await self._run(self._release)
            finally:
                self._when_closed()
