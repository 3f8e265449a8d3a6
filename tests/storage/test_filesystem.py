"""The filesystem driver keeps the contract, and writes so that nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txregistry import errors
from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriver
from txregistry.storage import directories
from txregistry.storage.filesystem import FilesystemDriver, make
from txregistry.testing.storage import LocalFilesContract, StorageDriverContract


class FilesystemContractTests(StorageDriverContract, LocalFilesContract, TestCase):
    """What every driver promises."""

    def make_driver(self) -> IStorageDriver:
        driver = make({"rootdirectory": os.path.abspath(self.mktemp())}, reactor)
        driver.prepare()
        return driver


class FilesystemOptionsTests(SynchronousTestCase):
    """What ``storage.filesystem`` may hold."""

    def refusal(self, options: dict[str, object]) -> ConfigError:
        error = self.assertRaises(ConfigError, make, options, reactor)
        assert isinstance(error, ConfigError)
        return error

    def test_unknown_key(self) -> None:
        """An unknown option is refused by its name."""
        self.assertEqual(self.refusal({"rootdir": "/x"}).where, "rootdir")

    def test_relative_root(self) -> None:
        """A root that depends on the working directory is refused."""
        self.assertIn("absolute", self.refusal({"rootdirectory": "data"}).problem)

    def test_threads(self) -> None:
        """A number of threads that is none is refused."""
        for threads in (0, -1, "4", True, 2.5):
            self.assertEqual(self.refusal({"maxthreads": threads}).where, "maxthreads")

    def test_unusable_root(self) -> None:
        """A root that cannot be made is one clean complaint before anything is served."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w"):
            driver = make({"rootdirectory": path + "/below"}, reactor)
        error = self.assertRaises(ConfigError, driver.prepare)
        self.assertEqual(error.where, "rootdirectory")
        self.assertIn("Not a directory", error.problem)


class FilesystemTests(TestCase):
    """What this driver does beyond the contract."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.driver = self.make()

    def make(self) -> FilesystemDriver:
        driver = make({"rootdirectory": self.root}, reactor)
        driver.prepare()
        self.addCleanup(driver.close)
        return driver

    async def test_new_directories(self) -> None:
        """Wherever a write is broken off, the directories that it makes are not there, or hold its file."""

        class Killed(Exception):
            pass

        for at in range(20):
            calls = iter(range(at))

            def sync(directory: str, calls: Iterator[int] = calls) -> None:
                if next(calls, None) is None:
                    raise Killed

            self.patch(directories, "sync_directory", sync)
            try:
                await self.driver.write(f"/{at}/tag/current/link", b"x")
            except Killed:
                made = os.path.exists(f"{self.root}/{at}")
                self.assertEqual(os.path.exists(f"{self.root}/{at}/tag/current/link"), made)
            else:
                break
        self.assertTrue(3 < at < 10, at)

    async def test_no_leftovers(self) -> None:
        """A start leaves nothing, a write nothing but its file, and a deletion nothing at all."""
        self.assertEqual(os.listdir(self.root + "/_txregistry/new"), [])
        await self.driver.write("/a/b/link", b"1")
        await self.driver.write("/a/b/link", b"2")
        self.assertEqual(os.listdir(self.root + "/a/b"), ["link"])
        self.assertEqual(os.listdir(self.root + "/_txregistry/new"), [])
        await self.driver.delete("/a")
        self.assertEqual(os.listdir(self.root), ["_txregistry"])
        self.assertEqual(os.listdir(self.root + "/_txregistry/trash"), [])

    async def test_leftovers_of_the_dead(self) -> None:
        """What a killed process left is gone after a start an hour later; what another one is at stays."""
        left = [self.root + "/_txregistry/trash/x/y", self.root + "/_txregistry/new/x"]
        os.makedirs(left[0])
        with open(left[1], "w"):
            pass
        self.make()
        self.assertEqual([os.path.exists(path) for path in left], [True, True])
        now = time.time()
        self.patch(time, "time", lambda: now + 3601)
        self.make()
        self.assertEqual([os.path.exists(path) for path in left], [False, False])

    async def test_bytes_are_those_of_the_file(self) -> None:
        """A file holds exactly what was written, so that Distribution can read it."""
        await self.driver.write("/x", b"sha256:0")
        with open(self.root + "/x", "rb") as file:
            self.assertEqual(file.read(), b"sha256:0")

    async def test_lock_holds_across_processes(self) -> None:
        """A file that another process writes to cannot be opened for writing."""
        writer = await self.driver.open_writer("/upload")
        try:
            script = f"import fcntl,os; fcntl.flock(os.open({self.root + '/upload'!r}, os.O_WRONLY), 6)"
            held = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
            self.assertIn(b"BlockingIOError", held.stderr)
        finally:
            await writer.close()

    async def test_special_files_are_not_files(self) -> None:
        """A pipe in the tree is passed over, and does not hang a reader."""
        os.mkfifo(self.root + "/pipe")
        with self.assertRaises(errors.PathUnknown):
            await self.driver.read("/pipe", 10)

    async def test_too_long_a_name(self) -> None:
        """What the file system itself refuses is a storage error and no other."""
        with self.assertRaises(errors.StorageError):
            await self.driver.write("/" + "/".join(["x" * 250] * 20), b"")

    async def test_L06_forgotten(self) -> None:
        """Nothing is remembered of directories that were made without a sync, once they are deleted."""
        for number in range(20):
            await self.driver.write(f"/uploads/{number}/startedat", b"now", durable=False)
            await self.driver.write(f"/uploads/{number}/states/sha256/0", b"x", durable=False)
            await self.driver.delete(f"/uploads/{number}", durable=False)
        self.assertLessEqual(set(self.driver._directories._unsynced), {f"{self.root}/uploads"})


class DurabilityTests(SynchronousTestCase):
    """The order of system calls, seen by tracing a process."""

    SCRIPT = textwrap.dedent(
        """
        import sys
        from twisted.internet import reactor, task
        from txregistry.storage.filesystem import make
        from twisted.internet.defer import Deferred

        async def main():
            driver = make({"rootdirectory": sys.argv[1], "maxthreads": 1}, reactor)
            driver.prepare()
            await driver.write("/one/two/link", b"content")
            writer = await driver.open_writer("/up/data")
            await writer.write([b"x" * 10])
            await writer.sync()
            await driver.move("/up/data", "/blobs/data")
            await writer.close()
            await driver.close()

        task.react(lambda reactor: Deferred.fromCoroutine(main()))
        """
    )

    def test_order(self) -> None:
        """A file is synced, then renamed, then its directory synced, and what new directories are in.

        What a write needs of new directories comes into place with it, in one rename.
        """
        calls = self._calls()
        self.assertEqual(
            [call for call in calls if call[0] != "close"],
            [
                ("fsync", "/_txregistry/new/file"),
                ("mkdir", "/_txregistry/new/file"),
                ("mkdir", "/_txregistry/new/file/two"),
                ("rename", "/_txregistry/new/file/two/link"),
                ("fsync", "/_txregistry/new/file"),
                ("rename", "/one"),
                ("fsync", "/one/two"),
                ("fsync", ""),
                ("mkdir", "/up"),
                ("fsync", ""),
                ("fsync", "/up/data"),
                ("mkdir", "/blobs"),
                ("rename", "/blobs/data"),
                ("fsync", "/blobs"),
                ("fsync", ""),
                ("fsync", "/up"),
            ],
        )

    def _calls(self) -> list[tuple[str, str]]:
        """Run the script with :mod:`os` made to tell what it is asked for."""
        root = os.path.abspath(self.mktemp())
        recorder = textwrap.dedent(
            """
            import os, re, sys, json
            root, calls = sys.argv[1], []
            def told(path):
                return re.sub(r"[0-9a-f]{32}-[0-9a-f]+", "file", path.removeprefix(root))
            def record(name, describe):
                original = getattr(os, name)
                def called(*args, **kwargs):
                    where = describe(*args)
                    result = original(*args, **kwargs)
                    if started:
                        calls.append((name, where))
                    return result
                setattr(os, name, called)
            started = []
            record("fsync", lambda descriptor: told(os.readlink(f"/proc/self/fd/{descriptor}")))
            record("rename", lambda source, target: told(target))
            record("mkdir", lambda path, *rest: told(path))
            from txregistry.storage import filesystem
            prepare = filesystem.FilesystemDriver.prepare
            def prepared(self):
                prepare(self)
                started.append(True)
            filesystem.FilesystemDriver.prepare = prepared
            """
        )
        ending = "\nimport atexit; atexit.register(lambda: print(json.dumps(calls)))\n"
        done = subprocess.run(
            [sys.executable, "-c", recorder + ending + self.SCRIPT, root],
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        return [tuple(call) for call in json.loads(done.stdout)]
