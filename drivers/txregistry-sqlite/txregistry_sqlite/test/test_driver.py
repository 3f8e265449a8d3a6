"""The driver keeps the storage contract, and some promises of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txregistry import errors
from txregistry.interfaces import IStorageDriverMaker
from txregistry.plugins import find
from txregistry.testing.storage import StorageDriverContract
from txregistry_sqlite.driver import SQLiteDriver, make

_PREPARE = """
import os, sys
from txregistry.errors import ConfigError
from txregistry_sqlite.driver import make
try:
    make({"path": sys.argv[1]}, None).prepare()
except ConfigError as error:
    sys.exit(str(error))
os._exit(0)  # with its thread running
"""


class TestContract(StorageDriverContract, TestCase):
    """What every storage driver promises."""

    def make_driver(self) -> SQLiteDriver:
        """See :meth:`txregistry.testing.storage.StorageDriverContract.make_driver`."""
        driver = make({"path": os.path.abspath(self.mktemp())}, reactor)
        driver.prepare()
        return driver


class TestFile(TestCase):
    """What becomes of the SQLite file."""

    def setUp(self) -> None:
        """Make a driver."""
        self.path = os.path.abspath(self.mktemp())
        self.driver = self.start()

    def start(self) -> SQLiteDriver:
        """Return a driver for the file, made ready."""
        driver = make({"path": self.path}, reactor)
        driver.prepare()
        self.addCleanup(driver.close)
        return driver

    async def restart(self) -> None:
        """Close the driver and make another for the same file."""
        await self.driver.close()
        self.driver = self.start()

    async def rows(self, query: str) -> list[Any]:
        """Return what is in the database; this closes the driver."""
        await self.driver.close()
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(query).fetchall()

    async def test_content_outlives_the_driver(self) -> None:
        """What one driver has stored, the next one on the same file finds."""
        await self.driver.write("/a/file", b"content")
        await self.restart()
        self.assertEqual(await self.driver.read("/a/file", 10), b"content")

    async def test_rows_are_small(self) -> None:
        """However it was written, no more than 1 MiB of a file is in one row."""
        content = bytes(3 * 1024 * 1024 + 5)
        await self.driver.write("/written", content)
        writer = await self.driver.open_writer("/appended")
        await writer.write([content[:10], content[10:]])
        await writer.close()
        rows = await self.rows("SELECT length(content) FROM chunks ORDER BY file, start")
        self.assertEqual(rows, 2 * [*3 * [(1024 * 1024,)], (5,)])

    async def test_move_touches_no_content(self) -> None:
        """A move changes one row, however large the file."""
        await self.driver.write("/old", bytes(3 * 1024 * 1024))
        before = self.driver._database.connection.total_changes
        await self.driver.move("/old", "/new")
        self.assertEqual(self.driver._database.connection.total_changes - before, 1)

    async def test_deleted_is_removed(self) -> None:
        """Of a deleted or replaced file no row is left."""
        await self.driver.write("/a", b"content")
        await self.driver.write("/b", b"content")
        await self.driver.write("/b", b"")
        await self.driver.delete("/a")
        self.assertEqual(await self.rows("SELECT file FROM chunks"), [])

    async def test_deleted_is_removed_when_it_is_closed(self) -> None:
        """A file deleted while it was open leaves no row once the last of its readers closes it."""
        await self.driver.write("/a", b"content")
        readers = [await self.driver.open_reader("/a") for _ in range(2)]
        await self.driver.delete("/a")
        await readers[0].close()
        await readers[0].close()
        self.assertEqual(await readers[1].read(10), b"content")
        await readers[1].close()
        self.assertEqual(await self.rows("SELECT id FROM files"), [])

    async def test_deleted_is_removed_at_the_next_start(self) -> None:
        """A file that was deleted, and open when the process ended, is removed at the next start."""
        await self.driver.write("/a", b"content")
        await self.driver.open_reader("/a")
        await self.driver.delete("/a")
        self.assertEqual(await self.rows("SELECT path FROM files"), [(None,)])
        self.driver = self.start()
        self.assertEqual(await self.rows("SELECT id FROM files"), [])

    async def test_cancelled_opening_holds_nothing(self) -> None:
        """Who is cancelled while a file is opened for him leaves it neither busy nor kept."""
        await self.driver.write("/a", b"content")
        for opening in (self.driver.open_reader("/a"), self.driver.open_writer("/a")):
            waiting = Deferred.fromCoroutine(opening)
            waiting.cancel()
            with self.assertRaises(CancelledError):
                await waiting
        writer = await self.driver.open_writer("/a")
        await writer.close()
        await self.driver.delete("/a")
        self.assertEqual(await self.rows("SELECT id FROM files"), [])

    async def test_a_failed_write_leaves_no_trace(self) -> None:
        """A write whose chunks end in an exception stores none of them, and the writer can go on."""

        def broken() -> Any:
            yield bytes(2 * 1024 * 1024)
            raise ZeroDivisionError

        writer = await self.driver.open_writer("/a")
        await writer.write([b"one "])
        with self.assertRaises(ZeroDivisionError):
            await writer.write(broken())
        self.assertEqual(writer.offset, 4)
        await writer.write([b"two"])
        await writer.close()
        self.assertEqual(await self.driver.read("/a", 10), b"one two")

    async def test_full(self) -> None:
        """Where there is no room the answer is StorageFull, and what was there is still there."""
        await self.driver.write("/a", b"content")
        self.driver._database.connection.execute("PRAGMA max_page_count = 20")
        with self.assertRaises(errors.StorageFull):
            await self.driver.write("/a", bytes(200_000))
        self.assertEqual(await self.driver.read("/a", 10), b"content")

    async def test_read_only(self) -> None:
        """Where nothing can be written the answer is StorageFull, and reading goes on."""
        await self.driver.write("/a", b"content")
        self.driver._database.connection.execute("PRAGMA query_only = ON")
        with self.assertRaises(errors.StorageFull):
            await self.driver.write("/a", b"new")
        self.assertEqual(await self.driver.read("/a", 10), b"content")

    async def test_other_failures(self) -> None:
        """Whatever else SQLite complains of is a StorageFault."""
        await self.driver.write("/a", b"content")
        self.driver._database.connection.execute("DROP TABLE chunks")
        with self.assertRaises(errors.StorageFault):
            await self.driver.read("/a", 10)

    def test_held_by_one_process(self) -> None:
        """A second process is refused in one line, and let in once the first has closed the file."""
        command = [sys.executable, "-c", _PREPARE, self.path]
        second = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(second.stderr, f"path: {self.path}: in use by another process\n")
        with self.assertRaises(errors.ConfigError):
            make({"path": self.path}, reactor).prepare()


class TestPreparing(SynchronousTestCase):
    """What the driver says of a configuration it cannot use."""

    def problem(self, path: str) -> str:
        """Return what ``prepare`` complains of."""
        error = self.assertRaises(errors.ConfigError, make({"path": path}, reactor).prepare)
        self.assertEqual(error.where, "path")
        self.assertNotIn("\n", str(error))
        return str(error.problem)

    def test_no_directory(self) -> None:
        """A file whose directory is missing cannot be made."""
        path = os.path.abspath(os.path.join(self.mktemp(), "registry.sqlite3"))
        self.assertEqual(self.problem(path), f"{path}: unable to open database file")

    def test_not_a_database(self) -> None:
        """A file that is not SQLite's is left as it is."""
        path = os.path.abspath(self.mktemp())
        content = b"something else altogether" * 1000
        with open(path, "wb") as file:
            file.write(content)
        self.assertEqual(self.problem(path), f"{path}: file is not a database")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)

    def test_the_database_of_another_program(self) -> None:
        """An SQLite file of another program is left as it is."""
        path = os.path.abspath(self.mktemp())
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE files (name TEXT)")
        with open(path, "rb") as file:
            content = file.read()
        self.assertIn("another program", self.problem(path))
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)

    def test_options(self) -> None:
        """``path`` is needed, absolute, and the only option; the complaint names the one that is wrong."""
        for options, where in (
            ({}, "path"),
            ({"path": ""}, "path"),
            ({"path": "relative"}, "path"),
            ({"path": ":memory:"}, "path"),
            ({"path": 5}, "path"),
            ({"path": "/a", "paht": "/b"}, "paht"),
        ):
            error = self.assertRaises(errors.ConfigError, make, options, reactor)
            self.assertEqual(error.where, where)

    def test_making_touches_nothing(self) -> None:
        """A driver that was only made has left no file, and can be closed."""
        path = os.path.abspath(self.mktemp())
        driver = make({"path": path}, reactor)
        self.successResultOf(Deferred.fromCoroutine(driver.close()))
        self.assertFalse(os.path.exists(path))

    def test_announced(self) -> None:
        """``storage: {sqlite: …}`` in a configuration leads to this driver."""
        maker = find(IStorageDriverMaker, "sqlite", "storage driver", "storage")
        self.assertIsInstance(maker.make({"path": "/a"}, reactor), SQLiteDriver)
