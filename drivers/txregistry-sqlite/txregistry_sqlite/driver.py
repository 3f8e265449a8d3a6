"""The driver: files as rows, their bytes in chunks of at most 1 MiB.

All SQL runs on one thread, one call after the other, so that no call meets half of another's work.  Each
call is one transaction, which SQLite has synced to the disk before the call returns.

A file that is replaced or deleted while someone has it open loses its path and keeps its rows until the
last of them closes it.  What a crash leaves of such files is removed by ``prepare``.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from txregistry import errors, paths
from txregistry.interfaces import FileInfo, IFileReader, IFileWriter, IStorageDriver

T = TypeVar("T")

_log = Logger()

_CHUNK = 1024 * 1024
_APPLICATION = 0x74785251
_VERSION = 1

_SCHEMA = f"""
BEGIN;
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path TEXT UNIQUE,           -- NULL: deleted, and open until its last reader closes it
    size INTEGER NOT NULL,
    modified REAL NOT NULL      -- seconds since the epoch
);
CREATE TABLE chunks (
    file INTEGER NOT NULL REFERENCES files (id),
    start INTEGER NOT NULL,     -- the offset of its first byte in the file
    content BLOB NOT NULL,
    PRIMARY KEY (file, start)
);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


def make(options: Mapping[str, Any], reactor: Any) -> SQLiteDriver:
    """Make a driver from ``storage.sqlite``, whose one option is ``path``.

    :raises txregistry.errors.ConfigError: ``path`` is missing or wrong, or there is another option.
    """
    if unknown := set(options) - {"path"}:
        raise errors.ConfigError(min(unknown), "unknown option; the one option of this driver is path")
    path = options.get("path")
    if not isinstance(path, str) or not os.path.isabs(path):
        raise errors.ConfigError("path", f"expected the absolute path of an SQLite file, found {path!r}")
    return SQLiteDriver(path, ThreadPool(1, 1, "txregistry-sqlite"), reactor)


@implementer(IStorageDriver)
class SQLiteDriver:
    """Files in one SQLite database, which this process holds alone.

    :param location: the absolute path of the database, a path of this machine.
    :param thread: a pool of exactly one thread, started and stopped by this driver.
    :param reactor: where results are delivered.
    """

    def __init__(self, location: str, thread: ThreadPool, reactor: Any) -> None:
        self._location = location
        self._thread = thread
        self._reactor = reactor
        self._writing: set[str] = set()  # used on the reactor's thread only
        self._holders: Counter[int] = Counter()  # of files that are open; used on the SQL thread only
        self._database: sqlite3.Connection

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        try:
            # check_same_thread: this method uses the connection, and after it only the SQL thread does.
            self._database = sqlite3.connect(
                self._location, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up(self._database)
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as error:
            busy = _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            problem = "in use by another process" if busy else str(error)
            raise errors.ConfigError("path", f"{self._location}: {problem}") from error
        self._thread.start()

    def _set_up(self, database: sqlite3.Connection) -> None:
        """Lock the file, make its tables if it is new, and remove what a crash has left."""
        # In this mode a lock is kept until the connection is closed, and no shared memory is needed.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN IMMEDIATE")
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute("COMMIT")
        if tables and (application, version) != (_APPLICATION, _VERSION):
            raise sqlite3.DatabaseError(
                "the database of another program, or of another version of this driver"
            )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if not tables:
            database.executescript(_SCHEMA)
        database.execute("BEGIN")
        self._purge(database.execute("SELECT id FROM files WHERE path IS NULL"))
        database.execute("COMMIT")

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        if self._thread.started:
            await self._run(self._database.close)
            self._thread.stop()

    async def read(self, path: str, limit: int) -> bytes:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

        def read() -> bytes:
            with self._transaction(path) as database:
                file, size = self._find(path)
                if size > limit:
                    raise errors.StorageFault(path, f"{size} bytes, more than {limit}")
                rows = database.execute("SELECT content FROM chunks WHERE file = ? ORDER BY start", (file,))
                return b"".join(content for (content,) in rows)

        paths.check(path)
        return await self._run(read)

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

        def write() -> None:
            with self._transaction(path):
                self._unlink("path = ?", path)
                self._append(self._create(path), 0, [content])

        paths.check(path)
        await self._run(write)

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        reader = SQLiteReader(self, paths.check(path), offset)
        try:
            await self._run(reader.open)
        except BaseException:
            await reader.close()  # a caller that was cancelled must not leave the file held
            raise
        return reader

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        if paths.check(path) in self._writing:
            raise errors.FileBusy(path, "another writer has it open")
        self._writing.add(path)
        writer = SQLiteWriter(self, path)
        try:
            await self._run(writer.open)
        except BaseException:
            await writer.close()
            raise
        return writer

    async def stat(self, path: str) -> FileInfo:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

        def stat() -> FileInfo:
            with self._transaction(path) as database:
                query = "SELECT size, modified FROM files WHERE path = ?"
                if row := database.execute(query, (path,)).fetchone():
                    return FileInfo(*row)
                query = "SELECT max(modified) FROM files WHERE path > ? AND path < ?"
                (modified,) = database.execute(query, _below(path)).fetchone()
                if modified is None:
                    raise errors.PathUnknown(path)
                return FileInfo(0, modified, is_directory=True)

        paths.check(path)
        return await self._run(stat)

    async def list(self, path: str) -> list[str]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

        def names() -> list[str]:
            found = []
            after, end = _below(path)
            with self._transaction(path) as database:
                # One look into the index for each name: what lies deeper is stepped over.
                query = "SELECT path FROM files WHERE path > ? AND path < ? ORDER BY path LIMIT 1"
                while row := database.execute(query, (after, end)).fetchone():
                    name, below, _ = row[0][len(path) + 1 :].partition("/")
                    found.append(name)
                    after = _below(f"{path}/{name}")[1] if below else row[0]
            if not found:
                raise errors.PathUnknown(path)
            return sorted(found)

        paths.check(path)
        return await self._run(names)

    async def move(self, source: str, target: str) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

        def move() -> None:
            with self._transaction(source) as database:
                file, _ = self._find(source)
                self._unlink("path = ? AND id <> ?", target, file)
                database.execute("UPDATE files SET path = ? WHERE id = ?", (target, file))

        paths.check(source)
        paths.check(target)
        await self._run(move)

    async def delete(self, path: str, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

        def delete() -> None:
            with self._transaction(path):
                if not self._unlink("path = ? OR path > ? AND path < ?", path, *_below(path)):
                    raise errors.PathUnknown(path)

        paths.check(path)
        await self._run(delete)

    def _run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do *work* on the SQL thread, after all that was asked before."""
        return deferToThreadPool(self._reactor, self._thread, work, *args)

    # What follows runs on the SQL thread.

    @contextmanager
    def _transaction(self, path: str) -> Iterator[sqlite3.Connection]:
        """Make all that is done within it happen at once, or not at all."""
        try:
            self._database.execute("BEGIN")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _translated(path, error) from error

    def _find(self, path: str) -> tuple[int, int]:
        """Return the id and the size of the file at *path*."""
        row: tuple[int, int] | None = self._database.execute(
            "SELECT id, size FROM files WHERE path = ?", (path,)
        ).fetchone()
        if row is None:
            raise errors.PathUnknown(path)
        return row

    def _create(self, path: str) -> int:
        """Make an empty file and return its id."""
        query = "INSERT INTO files (path, size, modified) VALUES (?, 0, ?) RETURNING id"
        (file,) = self._database.execute(query, (path, time.time())).fetchone()
        return int(file)

    def _append(self, file: int, size: int, chunks: Iterable[bytes]) -> int:
        """Append *chunks* to a file of *size* bytes and return its new size."""
        for chunk in _cut(chunks):
            self._database.execute("INSERT INTO chunks VALUES (?, ?, ?)", (file, size, chunk))
            size += len(chunk)
        self._database.execute(
            "UPDATE files SET size = ?, modified = ? WHERE id = ?", (size, time.time(), file)
        )
        return size

    def _unlink(self, where: str, *values: Any) -> int:
        """Take their paths from files, remove those that no one has open, and return how many there were."""
        query = f"UPDATE files SET path = NULL WHERE {where} RETURNING id"  # noqa: S608 (our own words)
        rows = self._database.execute(query, values).fetchall()
        self._purge(row for row in rows if row[0] not in self._holders)
        return len(rows)

    def _purge(self, rows: Iterable[tuple[int]]) -> None:
        for row in list(rows):
            self._database.execute("DELETE FROM chunks WHERE file = ?", row)
            self._database.execute("DELETE FROM files WHERE id = ?", row)


class _Open:
    """A file that is open: it keeps its rows, whatever becomes of its path."""

    def __init__(self, driver: SQLiteDriver, path: str) -> None:
        self._driver = driver
        self._path = path
        self._file: int | None = None

    def _hold(self, file: int) -> None:
        self._driver._holders[file] += 1
        self._file = file

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        holders = self._driver._holders
        holders[file] -= 1
        if holders[file] == 0:
            del holders[file]
            try:
                with self._driver._transaction(self._path) as database:
                    query = "SELECT id FROM files WHERE id = ? AND path IS NULL"
                    self._driver._purge(database.execute(query, (file,)))
            except errors.StorageError:
                _log.failure("could not remove a deleted file; the next start will: {path}", path=self._path)


@implementer(IFileReader)
class SQLiteReader(_Open):
    """A file being read."""

    def __init__(self, driver: SQLiteDriver, path: str, offset: int) -> None:
        super().__init__(driver, path)
        self._offset = offset

    def open(self) -> None:
        """Find the file; on the SQL thread."""
        with self._driver._transaction(self._path):
            self._hold(self._driver._find(self._path)[0])

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""

        def read() -> bytes:
            with self._driver._transaction(self._path) as database:
                query = (
                    "SELECT substr(content, :offset - start + 1, :size) FROM chunks"
                    " WHERE file = :file AND start <= :offset ORDER BY start DESC LIMIT 1"
                )
                row = database.execute(
                    query, {"file": self._file, "offset": self._offset, "size": size}
                ).fetchone()
                return row[0] if row else b""

        content = await self._driver._run(read)
        self._offset += len(content)
        return content

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        await self._driver._run(self._release)


@implementer(IFileWriter)
class SQLiteWriter(_Open):
    """A file being appended to.  Each write is one transaction: of one that fails, nothing is kept."""

    offset = 0
    _closed = False

    def open(self) -> None:
        """Find the file or make it; on the SQL thread."""
        with self._driver._transaction(self._path):
            try:
                file, self.offset = self._driver._find(self._path)
            except errors.PathUnknown:
                file = self._driver._create(self._path)
            self._hold(file)

    async def write(self, chunks: Iterable[bytes]) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

        def write() -> None:
            with self._driver._transaction(self._path):
                assert self._file is not None
                size = self._driver._append(self._file, self.offset, chunks)
            self.offset = size

        await self._driver._run(write)

    async def sync(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`: each write has been synced before it returned."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        closing, self._closed = not self._closed, True
        if closing:
            try:
                await self._driver._run(self._release)
            finally:
                self._driver._writing.discard(self._path)


def _below(path: str) -> tuple[str, str]:
    """Return what the paths below a directory lie between; ``0`` is the character after ``/``."""
    return f"{path}/", f"{path}0"


def _cut(chunks: Iterable[bytes]) -> Iterator[bytearray]:
    """Gather and divide *chunks* so that each has the size of a row, but for the last."""
    gathered = bytearray()
    for chunk in chunks:
        gathered += chunk
        while len(gathered) >= _CHUNK:
            yield gathered[:_CHUNK]
            del gathered[:_CHUNK]
    if gathered:
        yield gathered


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; the upper bits are details of it."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _translated(path: str, error: sqlite3.Error) -> errors.StorageError:
    """Return the error of ours that says what SQLite's said."""
    match _code(error):
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_READONLY:
            return errors.StorageFull(path, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return errors.StorageUnavailable(path, str(error))
    return errors.StorageFault(path, str(error))
