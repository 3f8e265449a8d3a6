"""Files that are remembered are as fresh as files that are read."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txregistry.storage.remembered import Known, Remembered
from txregistry.storage.watches import CHANGES, Watches


class RememberedCase(SynchronousTestCase):
    """A directory of files that can be remembered.

    :ivar reads: how often a file was read.
    """

    files = 4096

    def setUp(self) -> None:
        """Make the directory."""
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.watches = Watches(CHANGES)
        self.memory = Remembered(self.root, self.watches, self.files)
        self.addCleanup(self.memory.close)
        self.reads = 0

    def path(self, name: str) -> str:
        """Return where a file is."""
        return os.path.join(self.root, name)

    def write(self, name: str, content: bytes = b"one") -> str:
        """Put a file in its place, as the registry does."""
        local = self.path(name)
        os.makedirs(os.path.dirname(local), exist_ok=True)
        with open(local + "~", "wb") as file:
            file.write(content)
        os.rename(local + "~", local)
        return local

    def read(self, local: str, meanwhile: Callable[[], object] = lambda: None) -> bytes:
        """Return what is in a file: what is known of it, or else what is read."""

        def read() -> Known:
            self.reads += 1
            with open(local, "rb") as file:
                found = Known(file.read(), os.fstat(file.fileno()).st_mtime)
            meanwhile()
            return found

        return (self.memory.get(local) or self.memory.read(local, read)).content

    def learn(self, local: str) -> None:
        """Read a file as often as it takes to have it remembered."""
        for _ in range(3):
            self.read(local)
        self.assertIsNotNone(self.memory.get(local))

    def watched(self) -> int:
        """Return how many directories the kernel watches."""
        with open(f"/proc/self/fdinfo/{self.watches._descriptor}") as info:
            return info.read().count("inotify wd:")


class FreshTests(RememberedCase):
    """What is remembered, and until when."""

    def test_read_once(self) -> None:
        """A file that is read often is read from the disk three times, and then no more."""
        local = self.write("a/b/link")
        for _ in range(10):
            self.assertEqual(self.read(local), b"one")
        self.assertEqual(self.reads, 3)

    def test_read_seldom(self) -> None:
        """What is read once or twice is not watched."""
        for number in range(50):
            local = self.write(f"{number}/link")
            self.read(local)
            self.read(local)
        self.assertEqual(self.watched(), 0)

    def test_large(self) -> None:
        """A large file is not remembered."""
        local = self.write("large", bytes(64 * 1024 + 1))
        for _ in range(10):
            self.read(local)
        self.assertEqual(self.reads, 10)
        self.assertEqual(self.watched(), 0)

    def _assert_noticed(self, change: Callable[[str], object], left: bytes | None) -> None:
        shutil.rmtree(self.root)
        os.mkdir(self.root)
        self.memory.close()
        self.watches = Watches(CHANGES)
        self.memory = Remembered(self.root, self.watches)
        local = self.write("a/b/c/link")
        self.learn(local)
        change(local)
        if left is None:
            self.assertRaises(OSError, self.read, local)
        else:
            self.assertEqual(self.read(local), left)

    def test_changes(self) -> None:
        """Whatever happens to a file, or to a directory above it, is noticed at the next look."""

        def in_place(local: str) -> None:
            with open(local, "wb") as file:
                file.write(b"two")

        def by_another_process(local: str) -> None:
            code = "import os, sys; new = sys.argv[1] + '~'; open(new, 'w').write('two'); os.rename(new, sys.argv[1])"
            subprocess.run([sys.executable, "-c", code, local], check=True, timeout=60)

        def move_above(depth: int) -> Callable[[str], None]:
            def move(local: str) -> None:
                for _ in range(depth):
                    local = os.path.dirname(local)
                os.rename(local, self.path("elsewhere"))

            return move

        def replace_above(local: str) -> None:
            self.write("other/c/link", b"two")
            os.rename(self.path("a/b"), self.path("elsewhere"))
            os.rename(self.path("other"), self.path("a/b"))

        def replace_root(local: str) -> None:
            os.rename(self.root, f"{self.root}-away")
            self.addCleanup(shutil.rmtree, f"{self.root}-away")
            self.write("a/b/c/link", b"two")

        def truncate(local: str) -> None:
            os.truncate(local, 2)

        self._assert_noticed(in_place, b"two")
        self._assert_noticed(by_another_process, b"two")
        self._assert_noticed(truncate, b"on")
        self._assert_noticed(os.unlink, None)
        self._assert_noticed(replace_above, b"two")
        self._assert_noticed(replace_root, b"two")
        for depth in (0, 1, 2, 3):
            self._assert_noticed(move_above(depth), None)
        self._assert_noticed(lambda local: shutil.rmtree(self.path("a")), None)
        self._assert_noticed(lambda local: shutil.rmtree(self.root), None)

    def test_time(self) -> None:
        """The time of a file that is touched is known."""
        local = self.write("a/link")
        self.learn(local)
        os.utime(local, (5, 5))
        self.learn(local)
        known = self.memory.get(local)
        assert known is not None
        self.assertEqual(known.modified, 5)

    def test_behind_a_link(self) -> None:
        """Where a directory is a symbolic link, it is noticed that it leads elsewhere, and what changes behind it."""
        self.write("disk/link")
        self.write("other/link", b"two")
        os.symlink("disk", self.path("a"))
        local = self.path("a/link")
        self.learn(local)
        self.write("disk/link", b"new")
        self.assertEqual(self.read(local), b"new")
        self.learn(local)
        os.symlink("other", self.path("b"))
        os.rename(self.path("b"), self.path("a"))
        self.assertEqual(self.read(local), b"two")

    def test_changed_while_read(self) -> None:
        """What changes while it is being read to be remembered is not remembered."""
        local = self.write("a/b/link")
        self.read(local)
        self.read(local)
        self.assertEqual(self.read(local, lambda: self.write("a/b/link", b"two")), b"one")
        self.assertEqual(self.read(local), b"two")

    def test_moved_while_watched(self) -> None:
        """A directory that is put in the place of another while the watching begins is not taken for that one."""
        self._replace_while_watched(lambda: None)

    def test_noticed_while_watched(self) -> None:
        """Nor is it if another thread is told of that before the watching is noted."""
        known = self.write("known/link")
        self.learn(known)
        self._replace_while_watched(lambda: self.memory.get(known))

    def _replace_while_watched(self, look: Callable[[], object]) -> None:
        local = self.write("a/b/link")
        self.write("disk/link", b"two")
        os.mkdir(self.path("other"))
        os.symlink("../disk", self.path("other/b"))
        self.read(local)
        self.read(local)
        add, seen = self.watches.add, []

        def moving(directory: str) -> int:
            number = add(directory)
            if directory == self.path("a"):
                seen.append(directory)
                os.rename(directory, self.path("elsewhere"))
                os.rename(self.path("other"), directory)
                look()
            return number

        self.patch(self.watches, "add", moving)
        self.assertEqual(self.read(local), b"two")
        self.assertEqual(len(seen), 1)
        self.patch(self.watches, "add", add)
        self.learn(local)
        os.unlink(self.path("a/b"))
        self.assertRaises(OSError, self.read, local)

    def test_overflow(self) -> None:
        """When more has happened than the kernel could note, nothing is known any more."""
        local, other = self.write("a/link"), self.write("b/other")
        self.learn(local)
        with open("/proc/sys/fs/inotify/max_queued_events") as file:
            limit = int(file.read())
        self.learn(other)
        for number in range(limit + 10):
            # Each beside the one before: the same event twice in a row is noted once.
            os.utime(other if number % 2 else self.path("b"))
        os.unlink(local)
        self.assertRaises(OSError, self.read, local)

    def test_no_more_watches(self) -> None:
        """Where the system lets no more be watched, files are read as ever."""
        local = self.write("a/link")

        def add(directory: str) -> int:
            raise OSError(28, "no space left on device")

        self.patch(self.watches, "add", add)
        for number in range(10):
            self.write("a/link", b"%d" % number)
            self.assertEqual(self.read(local), b"%d" % number)

    def test_anything(self) -> None:
        """Whatever is done to a tree, in whatever order, a look tells what is there."""
        source = random.Random(7)
        names = [f"{a}/{b}/{c}" for a in "xy" for b in "pq" for c in "kl"]
        directories = ["x", "y", "x/p", "x/q", "y/p", "y/q"]
        hits = 0
        for number in range(6000):
            kind, name = source.randrange(12), source.choice(names)
            local = self.path(name)
            try:
                if kind < 7:
                    hits += self.memory.get(local) is not None
                    with open(local, "rb") as file:
                        truth = file.read()
                    self.assertEqual(self.read(local), truth)
                elif kind == 7:
                    self.write(name, b"%d" % number)
                elif kind == 8:
                    with open(local, "r+b") as file:
                        file.write(b"%d" % number)
                elif kind == 9:
                    os.unlink(local)
                elif kind == 10:
                    os.rename(self.path(source.choice(directories)), self.path(source.choice(directories)))
                else:
                    if source.randrange(4) == 0:
                        shutil.rmtree(self.path(source.choice(directories)))
            except OSError:
                if not os.path.exists(local):
                    self.assertIsNone(self.memory.get(local))
        self.assertGreater(hits, 200)

    def test_never_back(self) -> None:
        """While one thread writes, no reader sees a number lower than one that was written before it looked."""
        local = self.write("a/b/link", b"0")
        written, stop, problems = [0], threading.Event(), []

        def look() -> None:
            while not stop.is_set():
                before = written[0]
                seen = int(self.read(local))
                if seen < before:
                    problems.append((before, seen))

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, 400):
            self.write("a/b/link", b"%d" % number)
            written[0] = number
            # Long enough for it to be remembered in between.
            for _ in range(5):
                self.read(local)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])


class BoundTests(RememberedCase):
    """How much is remembered."""

    files = 10

    def test_bounded(self) -> None:
        """The oldest is forgotten for the newest, and watched no more."""
        for number in range(40):
            self.learn(self.write(f"{number}/link"))
        self.assertEqual(self.watched(), 11)
        self.assertIsNone(self.memory.get(self.path("29/link")))
        self.assertIsNotNone(self.memory.get(self.path("30/link")))

    def test_forgotten(self) -> None:
        """What is gone is not watched."""
        for number in range(10):
            self.learn(self.write(f"{number}/a/b/link"))
        self.assertEqual(self.watched(), 31)
        for number in range(10):
            shutil.rmtree(self.path(f"{number}"))
            self.assertIsNone(self.memory.get(self.path(f"{number}/a/b/link")))
        self.assertEqual(self.watched(), 0)
