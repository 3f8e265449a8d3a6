"""The database: files as rows, their bytes in chunks of at most 1 MiB.

Everything here blocks.  Each method that takes a path or an open file is one transaction, which SQLite has
synced to the disk before it returns, and no two may run at the same time.

A file that is replaced or deleted while someone has it open loses its path and keeps its rows until the
last of them closes it.  What a crash leaves of such files is removed at the next opening.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.logger import Logger

from txregistry import errors
from txregistry.interfaces import FileInfo

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


class Database:
    """One SQLite file, which this process holds alone.

    :param location: its absolute path, a path of this machine.
    """

    connection: sqlite3.Connection

    def __init__(self, location: str) -> None:
        self._location = location
        self._holders: Counter[int] = Counter()

    def open(self) -> None:
        """Lock the file, make its tables if it is new, and remove what a crash has left.

        :raises txregistry.errors.ConfigError: it cannot be used.
        """
        try:
            # check_same_thread: this method uses the connection, and after it only the driver's thread does.
            self.connection = sqlite3.connect(
                self._location, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up()
            except BaseException:
                self.connection.close()
                raise
        except sqlite3.Error as error:
            busy = _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            problem = "in use by another process" if busy else str(error)
            raise errors.ConfigError("path", f"{self._location}: {problem}") from error

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole of a file of at most *limit* bytes."""
        with self._transaction(path):
            file, size = self._find(path)
            if size > limit:
                raise errors.StorageFault(path, f"{size} bytes, more than {limit}")
            rows = self.connection.execute(
                "SELECT content FROM chunks WHERE file = ? ORDER BY start", (file,)
            )
            return b"".join(content for (content,) in rows)

    def write(self, path: str, content: bytes) -> None:
        """Make *content* the whole of the file at *path*."""
        with self._transaction(path):
            self._unlink("path = ?", path)
            self._append(self._create(path), 0, [content])

    def stat(self, path: str) -> FileInfo:
        """Return what is known of a file, or of the directory that the paths below it make."""
        with self._transaction(path):
            query = "SELECT size, modified FROM files WHERE path = ?"
            if row := self.connection.execute(query, (path,)).fetchone():
                return FileInfo(*row)
            query = "SELECT max(modified) FROM files WHERE path > ? AND path < ?"
            (modified,) = self.connection.execute(query, _below(path)).fetchone()
            if modified is None:
                raise errors.PathUnknown(path)
            return FileInfo(0, modified, is_directory=True)

    def touch(self, paths: Sequence[str], age: float) -> list[FileInfo | None]:
        """Give files the present time if theirs is *age* seconds ago or more; return what is known of each."""
        if not paths:
            return []
        with self._transaction(paths[0]):
            now = time.time()
            self.connection.executemany(
                "UPDATE files SET modified = ? WHERE path = ? AND modified <= ?",
                [(now, path, now - age) for path in paths],
            )
            query = "SELECT size, modified FROM files WHERE path = ?"
            rows = [self.connection.execute(query, (path,)).fetchone() for path in paths]
            return [None if row is None else FileInfo(*row) for row in rows]

    def discard(self, path: str, before: float) -> FileInfo | None:
        """Remove a file whose time is before *before*; return what it was, None if it stays."""
        with self._transaction(path):
            query = "SELECT size, modified FROM files WHERE path = ? AND modified < ?"
            row = self.connection.execute(query, (path, before)).fetchone()
            if row is None:
                return None
            self._unlink("path = ?", path)
            return FileInfo(*row)

    def names(self, path: str) -> list[str]:
        """Return the names directly below a directory."""
        found = []
        after, end = _below(path)
        with self._transaction(path):
            # One look into the index for each name: what lies deeper is stepped over.
            query = "SELECT path FROM files WHERE path > ? AND path < ? ORDER BY path LIMIT 1"
            while row := self.connection.execute(query, (after, end)).fetchone():
                name, below, _ = row[0][len(path) + 1 :].partition("/")
                found.append(name)
                after = _below(f"{path}/{name}")[1] if below else row[0]
        if not found:
            raise errors.PathUnknown(path)
        return sorted(found)

    def move(self, source: str, target: str) -> None:
        """Give a file another path, in place of what is there."""
        with self._transaction(source):
            file, _ = self._find(source)
            self._unlink("path = ? AND id <> ?", target, file)
            self.connection.execute("UPDATE files SET path = ? WHERE id = ?", (target, file))

    def delete(self, path: str) -> None:
        """Remove a file, or a directory with all below it."""
        with self._transaction(path):
            if not self._unlink("path = ? OR path > ? AND path < ?", path, *_below(path)):
                raise errors.PathUnknown(path)

    def hold(self, path: str, make: bool) -> tuple[int, int]:
        """Open a file: return its id, under which it keeps its rows until it is released, and its size.

        :param make: whether to make one where there is none.
        """
        with self._transaction(path):
            try:
                file, size = self._find(path)
            except errors.PathUnknown:
                if not make:
                    raise
                file, size = self._create(path), 0
        self._holders[file] += 1
        return file, size

    def release(self, path: str, file: int) -> None:
        """Close a file that was opened; remove its rows if it was the last time and its path is gone."""
        self._holders[file] -= 1
        if self._holders[file] == 0:
            del self._holders[file]
            try:
                with self._transaction(path):
                    query = "SELECT id FROM files WHERE id = ? AND path IS NULL"
                    self._purge(self.connection.execute(query, (file,)))
            except errors.StorageError:
                _log.failure("could not remove a deleted file; the next start will: {path}", path=path)

    def piece(self, path: str, file: int, offset: int, size: int) -> bytes:
        """Return some bytes of an open file, at most *size*, from an offset on."""
        with self._transaction(path):
            query = (
                "SELECT substr(content, :offset - start + 1, :size) FROM chunks"
                " WHERE file = :file AND start <= :offset ORDER BY start DESC LIMIT 1"
            )
            row = self.connection.execute(query, {"file": file, "offset": offset, "size": size}).fetchone()
            return row[0] if row else b""

    def append(self, path: str, file: int, size: int, chunks: Iterable[bytes]) -> int:
        """Append *chunks* to an open file of *size* bytes, all or none, and return its new size."""
        with self._transaction(path):
            return self._append(file, size, chunks)

    def _set_up(self) -> None:
        # In this mode a lock is kept until the connection is closed, and no shared memory is needed.
        self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.connection.execute("BEGIN IMMEDIATE")
        (tables,) = self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self.connection.execute("PRAGMA application_id").fetchone()
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        self.connection.execute("COMMIT")
        if tables and (application, version) != (_APPLICATION, _VERSION):
            raise sqlite3.DatabaseError(
                "the database of another program, or of another version of this driver"
            )
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        if not tables:
            self.connection.executescript(_SCHEMA)
        self.connection.execute("BEGIN")
        self._purge(self.connection.execute("SELECT id FROM files WHERE path IS NULL"))
        self.connection.execute("COMMIT")

    @contextmanager
    def _transaction(self, path: str) -> Iterator[None]:
        """Make all that is done within it happen at once, or not at all."""
        try:
            self.connection.execute("BEGIN")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _translated(path, error) from error

    # What follows is done within a transaction.

    def _find(self, path: str) -> tuple[int, int]:
        """Return the id and the size of the file at *path*."""
        row: tuple[int, int] | None = self.connection.execute(
            "SELECT id, size FROM files WHERE path = ?", (path,)
        ).fetchone()
        if row is None:
            raise errors.PathUnknown(path)
        return row

    def _create(self, path: str) -> int:
        """Make an empty file and return its id."""
        query = "INSERT INTO files (path, size, modified) VALUES (?, 0, ?) RETURNING id"
        (file,) = self.connection.execute(query, (path, time.time())).fetchone()
        return int(file)

    def _append(self, file: int, size: int, chunks: Iterable[bytes]) -> int:
        for chunk in _cut(chunks):
            self.connection.execute("INSERT INTO chunks VALUES (?, ?, ?)", (file, size, chunk))
            size += len(chunk)
        self.connection.execute(
            "UPDATE files SET size = ?, modified = ? WHERE id = ?", (size, time.time(), file)
        )
        return size

    def _unlink(self, where: str, *values: Any) -> int:
        """Take their paths from files, remove those that no one has open, and return how many there were."""
        query = f"UPDATE files SET path = NULL WHERE {where} RETURNING id"  # nosec B608 # noqa: S608 (our own words)
        rows = self.connection.execute(query, values).fetchall()
        self._purge(row for row in rows if row[0] not in self._holders)
        return len(rows)

    def _purge(self, rows: Iterable[tuple[int]]) -> None:
        for row in list(rows):
            self.connection.execute("DELETE FROM chunks WHERE file = ?", row)
            self.connection.execute("DELETE FROM files WHERE id = ?", row)


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
