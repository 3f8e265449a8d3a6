"""The file of passwords: made, read, and read again."""

from __future__ import annotations

import os
import stat

from twisted.logger import LogLevel, formatEvent
from twisted.logger import globalLogPublisher as publisher
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.htpasswd_case import ALICE, BOB, write
from txregistry.auth.password_file import PasswordFile
from txregistry.errors import ConfigError


class PasswordFileTests(SynchronousTestCase):
    """A file and its owner."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.file = PasswordFile(self.path)

    def loaded(self, *lines: str) -> None:
        write(self.path, *lines)
        self.file.load()

    def problem(self) -> str:
        error = self.assertRaises(ConfigError, self.file.load)
        self.assertEqual(error.where, "path")
        self.assertNotIn("\n", error.problem)
        return str(error.problem)

    def test_load(self) -> None:
        """A file is read as it is, and left as it is."""
        write(self.path, ALICE, BOB)
        before = os.stat(self.path)
        self.assertEqual(set(self.file.load().hashes), {b"alice", b"bob"})
        self.assertEqual(os.stat(self.path), before)

    def test_bad_line(self) -> None:
        """A line that is wrong is named by its number, and not repeated."""
        write(self.path, ALICE, "# the next", "eve:hunter2")
        problem = self.problem()
        self.assertIn(f"{self.path}, line 3: ", problem)
        self.assertNotIn("hunter2", problem)

    def test_unusable(self) -> None:
        """What is no file of passwords is one complaint, and hangs nothing."""
        os.mkdir(self.path)
        self.assertIn("Is a directory", self.problem())
        os.rmdir(self.path)
        os.mkfifo(self.path)
        self.assertIn("is not a file", self.problem())
        os.unlink(self.path)
        os.symlink(self.path + ".gone", self.path)
        self.assertIn("No such file", self.problem())
        os.unlink(self.path)
        with open(self.path, "wb") as file:
            file.truncate(1 << 30)
        self.assertIn("larger than", self.problem())

    def test_unchanged(self) -> None:
        """A file that has not changed is not read again."""
        self.loaded(ALICE)
        self.assertIsNone(self.file.changed())

    def test_changed(self) -> None:
        """A file that was replaced, rewritten, or only touched is read again, once."""
        self.loaded(ALICE)
        write(self.path, BOB)
        found = self.file.changed()
        assert found is not None
        self.assertEqual(set(found.hashes), {b"bob"})
        self.assertIsNone(self.file.changed())
        with open(self.path, "a") as file:
            file.write(ALICE + "\n")
        found = self.file.changed()
        assert found is not None
        self.assertEqual(set(found.hashes), {b"alice", b"bob"})
        os.utime(self.path, ns=(1, 1))
        self.assertIsNotNone(self.file.changed())
        self.assertIsNone(self.file.changed())

    def test_changed_for_the_worse(self) -> None:
        """A change to what cannot be used is said once, and the mending of it is seen."""
        self.loaded(ALICE)
        write(self.path, BOB, "eve:hunter2")
        error = self.assertRaises(ConfigError, self.file.changed)
        self.assertIn("line 2", error.problem)
        self.assertIsNone(self.file.changed())
        write(self.path, BOB)
        self.assertIsNotNone(self.file.changed())

    def test_gone(self) -> None:
        """That a file is gone is said once, and that it is back is seen, even if it is the same."""
        self.loaded(ALICE)
        os.rename(self.path, self.path + ".away")
        self.assertIn("No such file", self.assertRaises(ConfigError, self.file.changed).problem)
        self.assertIsNone(self.file.changed())
        self.assertFalse(os.path.exists(self.path))
        os.rename(self.path + ".away", self.path)
        self.assertIsNotNone(self.file.changed())


class MissingFileTests(SynchronousTestCase):
    """What is done where there is no file yet."""

    def setUp(self) -> None:
        self.top = os.path.abspath(self.mktemp())
        self.path = os.path.join(self.top, "registry", "auth", "htpasswd")
        self.events: list[dict[str, object]] = []
        publisher.addObserver(self.events.append)
        self.addCleanup(publisher.removeObserver, self.events.append)

    def test_made(self) -> None:
        """A missing file is made with one user, whose random password is logged once, as a warning."""
        found = PasswordFile(self.path).load()
        self.assertEqual(list(found.hashes), [b"docker"])
        (event,) = (event for event in self.events if "password" in formatEvent(event))
        self.assertEqual(event["log_level"], LogLevel.warn)
        password = str(event["password"])
        self.assertRegex(password, r"\A[A-Za-z0-9_-]{43}\Z")
        self.assertTrue(found.check(b"docker", password.encode()))
        with open(self.path) as file:
            self.assertNotIn(password, file.read())

    def test_made_once(self) -> None:
        """The file that was made is the one that is read at the next start, and nothing lies beside it."""
        found = PasswordFile(self.path).load()
        self.assertEqual(PasswordFile(self.path).load(), found)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["htpasswd"])

    def test_for_its_owner_alone(self) -> None:
        """The file, and each directory that is made for it, is open to its owner alone, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        PasswordFile(self.path).load()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        for directory in (self.top, self.top + "/registry", self.top + "/registry/auth"):
            self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o700)

    def test_two_at_once(self) -> None:
        """Of two processes that find no file, one makes it and both use it."""
        os.makedirs(os.path.dirname(self.path))
        link = os.link

        def late(source: str, target: str) -> None:
            write(self.path, ALICE)
            link(source, target)

        self.patch(os, "link", late)
        self.assertEqual(list(PasswordFile(self.path).load().hashes), [b"alice"])
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["htpasswd"])
        self.assertEqual([event for event in self.events if "password" in event], [])

    def test_cannot_be_made(self) -> None:
        """A file that cannot be made is one complaint."""
        with open(self.top, "w"):
            error = self.assertRaises(ConfigError, PasswordFile(self.path).load)
        self.assertEqual(error.where, "path")
        self.assertIn("Not a directory", error.problem)
