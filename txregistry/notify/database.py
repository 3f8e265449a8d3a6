"""The outbox's database: events, and for each endpoint those that it has not been given yet.

Everything here blocks.  Each method is one transaction, which SQLite has synced to the disk before it returns.
A server and ``txregistry events`` may work on one file at the same time; of servers there is one, by a lock
beside it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from txregistry import errors
from txregistry.notify.entries import Delivery, Entry, Note, Queue, Written

_APPLICATION = 0x74784E4F
_VERSION = 1
#: Seconds that another process may hold the file: a command removes a hundred thousand events in less.
_PATIENCE = 30
#: What a row takes beside its event's bytes, and a little more.
OVERHEAD = 256
#: Bytes of the write-ahead log that are kept between two checkpoints.
_LOG_LIMIT = 4 * 1024 * 1024
#: Events that are removed in one statement where there is no room.
_STEP = 64

WAITING = 0
SET_ASIDE = 1

_SCHEMA = f"""
BEGIN;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,       -- in the order in which they happened
    time REAL NOT NULL,                         -- seconds since the epoch
    repository TEXT NOT NULL,
    content BLOB NOT NULL
);
CREATE TABLE deliveries (
    endpoint TEXT NOT NULL,
    event INTEGER NOT NULL REFERENCES events (id),
    size INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT {WAITING},   -- {SET_ASIDE}: set aside
    tries INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (endpoint, event)
) WITHOUT ROWID;
CREATE INDEX deliveries_by_event ON deliveries (event);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_ORPHANS = "DELETE FROM events WHERE id = ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = id)"


class OutboxDatabase:
    """One SQLite file.

    :param location: its absolute path, a path of this machine.
    :param limit: bytes that are kept for each endpoint.
    """

    _connection: sqlite3.Connection

    def __init__(self, location: str, limit: int) -> None:
        self.location = location
        self._limit = limit
        self._sizes: dict[str, int] = {}
        self._version = 0
        self._lock: int | None = None

    def open(self, serve: bool) -> None:
        """Open the file, making it if need be.

        :param serve: whether to keep other servers from it until it is closed.
        :raises txregistry.errors.ConfigError: it cannot be used; its ``where`` is ``path``.
        """
        try:
            os.makedirs(os.path.dirname(self.location), exist_ok=True)
            if serve:
                self._lock = os.open(f"{self.location}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._unlock()
            raise self._unusable("in use by another server; each needs its own") from None
        except OSError as error:
            self._unlock()
            raise self._unusable(error.strerror or "cannot be made") from error
        try:
            # check_same_thread: this method uses the connection, and after it only the outbox's thread does.
            self._connection = sqlite3.connect(
                self.location, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            self._unlock()
            raise self._unusable("no space left on its disk" if self._is_full() else str(error)) from error
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
        self._unlock()

    def write(self, entries: Sequence[Entry], notes: Sequence[Note]) -> Written:
        """Store events, and what became of others.

        :raises txregistry.errors.StorageError: nothing of it is stored.
        """
        numbers: list[int] = []
        dropped: dict[str, list[tuple[int, str]]] = {}
        sizes = dict(self._sizes)
        with self._transaction():
            for note in notes:
                self._note(note, sizes)
            for entry in entries:
                numbers.append(self._insert(entry, sizes))
            for endpoint in {endpoint for entry in entries for endpoint in entry.endpoints}:
                if sizes[endpoint] > self._limit:
                    dropped[endpoint] = self._make_room(endpoint, sizes)
        self._sizes = sizes
        return Written(numbers, dropped)

    def content(self, endpoint: str, event: int) -> bytes | None:
        """Return an event that waits for an endpoint; None if it does not wait any more."""
        query = (
            "SELECT content FROM deliveries JOIN events ON id = event"
            " WHERE endpoint = ? AND event = ? AND state = ?"
        )
        with _translated():
            row = self._connection.execute(query, (endpoint, event, WAITING)).fetchone()
        return None if row is None else bytes(row[0])

    def is_changed(self) -> bool:
        """Say whether another process has written since this was asked last."""
        with _translated():
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        changed, self._version = version != self._version, version
        return bool(changed)

    def queues(self) -> dict[str, Queue]:
        """Return what is kept, by endpoint."""
        found: dict[str, Queue] = {}
        query = (
            "SELECT endpoint, event, repository, state, tries, deliveries.size FROM deliveries"
            " JOIN events ON id = event ORDER BY endpoint, event"
        )
        sizes: dict[str, int] = {}
        names: dict[str, str] = {}  # one string for each repository, not for each event
        with _translated():
            for endpoint, event, repository, state, tries, size in self._connection.execute(query):
                queue = found.setdefault(endpoint, Queue())
                sizes[endpoint] = sizes.get(endpoint, 0) + size
                if state == SET_ASIDE:
                    queue.set_aside += 1
                    continue
                queue.waiting.append((event, names.setdefault(repository, repository), tries))
        self._sizes = sizes
        return found

    def oldest(self) -> dict[str, float]:
        """Return by endpoint when the oldest event that waits happened, seconds since the epoch."""
        found = {}
        query = (
            "SELECT time FROM deliveries JOIN events ON id = event WHERE endpoint = ? AND state = ?"
            " ORDER BY event LIMIT 1"
        )
        with _translated():
            for endpoint in self._sizes:
                row = self._connection.execute(query, (endpoint, WAITING)).fetchone()
                if row is not None:
                    found[endpoint] = float(row[0])
        return found

    # What ``txregistry events`` does.

    def deliveries(self, endpoint: str | None, waiting: bool) -> Iterator[Delivery]:
        """Yield what is kept, oldest first.

        :param endpoint: for whom; None for everyone.
        :param waiting: whether also what is still to be tried.
        """
        query = (
            "SELECT endpoint, event, time, repository, content, state, tries, problem FROM deliveries"
            " JOIN events ON id = event WHERE endpoint = ifnull(?, endpoint) AND state >= ?"
            " ORDER BY event, endpoint"
        )
        parameters = (endpoint, WAITING if waiting else SET_ASIDE)
        with _translated():
            for name, event, time, repository, content, state, tries, problem in self._connection.execute(
                query, parameters
            ):
                aside = state == SET_ASIDE
                yield Delivery(name, event, time, repository, bytes(content), aside, tries, problem)

    def retry(self, endpoint: str | None, events: Iterable[int] | None) -> int:
        """Have events that were set aside tried again; return how many there were.

        :param endpoint: whose; None for everyone's.
        :param events: their numbers; None for all.
        """
        return self._each("UPDATE deliveries SET state = 0, tries = 0 WHERE state = 1", endpoint, events)

    def drop(self, endpoint: str | None, events: Iterable[int] | None) -> int:
        """Remove events for good, also those that are still to be tried; return how many there were.

        :param endpoint: whose; None for everyone's.
        :param events: their numbers; None for all.
        """
        return self._each("DELETE FROM deliveries WHERE TRUE", endpoint, events)

    def _each(self, query: str, endpoint: str | None, events: Iterable[int] | None) -> int:
        query += " AND endpoint = ifnull(?, endpoint)"
        with self._transaction():
            if events is None:
                count = self._connection.execute(query, (endpoint,)).rowcount
            else:
                count = sum(
                    self._connection.execute(f"{query} AND event = ?", (endpoint, event)).rowcount
                    for event in set(events)
                )
            self._connection.execute("DELETE FROM events WHERE id NOT IN (SELECT event FROM deliveries)")
        return count

    def _set_up(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        self._connection.execute("COMMIT")
        if tables and (application, version) != (_APPLICATION, _VERSION):
            raise sqlite3.DatabaseError("the database of another program, or of another version of this one")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        if not tables:
            self._connection.executescript(_SCHEMA)
        self.is_changed()

    def _unusable(self, problem: str) -> errors.ConfigError:
        return errors.ConfigError("path", f"{self.location}: {problem}")

    def _is_full(self) -> bool:
        """Say whether the disk is full: SQLite speaks of an I/O error where its shared memory does not fit."""
        try:
            room = os.statvfs(os.path.dirname(self.location))
        except OSError:
            return False
        return room.f_bavail == 0

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Make all that is done within it happen at once, or not at all."""
        with _translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # What follows is done within a transaction.

    def _insert(self, entry: Entry, sizes: dict[str, int]) -> int:
        query = "INSERT INTO events (time, repository, content) VALUES (?, ?, ?)"
        event = self._connection.execute(query, (entry.time, entry.repository, entry.content)).lastrowid
        assert event is not None
        size = len(entry.content) + OVERHEAD
        for endpoint in entry.endpoints:
            query = "INSERT INTO deliveries (endpoint, event, size) VALUES (?, ?, ?)"
            self._connection.execute(query, (endpoint, event, size))
            sizes[endpoint] = sizes.get(endpoint, 0) + size
        return event

    def _note(self, note: Note, sizes: dict[str, int]) -> None:
        where = "WHERE endpoint = ? AND event = ?"
        if note.delivered:
            self._remove(note.endpoint, [note.event], sizes)
        else:
            state = SET_ASIDE if note.set_aside else WAITING
            self._connection.execute(
                f"UPDATE deliveries SET state = ?, tries = ?, problem = ? {where}",  # nosec B608 # noqa: S608 (our own words)
                (state, note.tries, note.problem, note.endpoint, note.event),
            )

    def _make_room(self, endpoint: str, sizes: dict[str, int]) -> list[tuple[int, str]]:
        """Remove an endpoint's oldest events, but not its last one, until the others fit; return them."""
        dropped: list[tuple[int, str]] = []
        query = (
            "SELECT event, deliveries.size, repository FROM deliveries JOIN events ON id = event"
            " WHERE endpoint = ? ORDER BY event LIMIT ?"
        )
        while sizes[endpoint] > self._limit:
            over = sizes[endpoint] - self._limit
            removed: list[tuple[int, str]] = []
            for event, size, repository in self._connection.execute(query, (endpoint, _STEP)).fetchall()[:-1]:
                if over > 0:
                    removed.append((event, repository))
                    over -= size
            if not removed:
                break
            self._remove(endpoint, [event for event, _ in removed], sizes)
            dropped += removed
        return dropped

    def _remove(self, endpoint: str, events: Iterable[int], sizes: dict[str, int]) -> None:
        query = "DELETE FROM deliveries WHERE endpoint = ? AND event = ? RETURNING size"
        for event in events:
            for (size,) in self._connection.execute(query, (endpoint, event)).fetchall():
                sizes[endpoint] = sizes.get(endpoint, size) - size
            self._connection.execute(_ORPHANS, (event,))


@contextmanager
def _translated() -> Iterator[None]:
    """Say what SQLite says by errors of ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
            raise errors.StorageFull("the outbox of notifications", str(error)) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise errors.StorageUnavailable("the outbox of notifications", str(error)) from error
        raise errors.StorageFault("the outbox of notifications", str(error)) from error
