"""The htpasswd backend: who is let in, and at what price."""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.auth.htpasswd_case import ALICE, BOB, BackendCase, attempt, write
from txregistry.access import Attempt, Identity
from txregistry.auth import htpasswd
from txregistry.auth.htpasswd import Htpasswd, make
from txregistry.auth.password_file import PasswordFile
from txregistry.auth.passwords import hash_line
from txregistry.errors import ConfigError, TooManyRequests, Unauthorized
from txregistry.interfaces import IAuthBackend
from txregistry.testing.auth import MALFORMED, AuthBackendContract


class HtpasswdContractTests(AuthBackendContract, TestCase):
    """What every backend promises, on real threads."""

    def make_backend(self) -> IAuthBackend:
        path = os.path.abspath(self.mktemp())
        write(path, ALICE)
        backend = make({"realm": "Registry", "path": path}, reactor)
        backend.prepare()
        return backend

    def good(self) -> Attempt:
        return attempt("alice", "alice's")

    def bad(self) -> Attempt:
        return attempt("alice", "not hers at all")


class OptionsTests(SynchronousTestCase):
    """What ``auth.htpasswd`` may hold."""

    def refusal(self, **options: object) -> ConfigError:
        error = self.assertRaises(ConfigError, make, options, reactor)
        assert isinstance(error, ConfigError)
        return error

    def test_required(self) -> None:
        """Both options of Distribution's are required, each missed by its name."""
        self.assertEqual(self.refusal(path="/x").where, "realm")
        self.assertEqual(self.refusal(realm="x").where, "path")

    def test_unknown(self) -> None:
        """Another option is refused by its name."""
        self.assertEqual(self.refusal(realm="x", path="/x", file="/y").where, "file")

    def test_wrong(self) -> None:
        """A realm that cannot be sent, and a path that is none, are refused."""
        for realm in ("", "caf\xe9", "a\r\nb", 1, None):
            self.assertEqual(self.refusal(realm=realm, path="/x").where, "realm")
        for path in ("", "/\0", 1, None):
            self.assertEqual(self.refusal(realm="x", path=path).where, "path")

    def test_touches_nothing(self) -> None:
        """Making a backend neither reads its file nor makes it."""
        path = os.path.abspath(self.mktemp())
        make({"realm": "x", "path": path}, reactor)
        self.assertFalse(os.path.exists(path))

    def test_A11_bad_file(self) -> None:
        """A file that cannot be used is one clean complaint before anything is served."""
        path = os.path.abspath(self.mktemp())
        write(path, ALICE, "eve:$apr1$lyRMbPvO$eiqh3dPn1PAYxHYTH2tDU1")
        backend = make({"realm": "x", "path": path}, reactor)
        error = self.assertRaises(ConfigError, backend.prepare)
        self.assertEqual(error.where, "path")
        self.assertIn("line 2: not a bcrypt hash", error.problem)

    def test_challenge(self) -> None:
        """A client is asked for a user and a password, whatever it wants."""
        backend = make({"realm": 'The "basic" realm', "path": "/x"}, reactor)
        for error in (None, "invalid_token"):
            found = backend.challenges(Attempt(), [], error)
            self.assertEqual(found, ['Basic realm="The \\"basic\\" realm"'])


class LoginTests(BackendCase):
    """Who is let in."""

    def test_identity(self) -> None:
        """A user who gives its password is known by its name, and belongs to nothing."""
        identity = self.successResultOf(self.start("alice", "alice's"))
        self.assertEqual(identity, Identity("alice"))

    def test_A08_refused(self) -> None:
        """A wrong password, an unknown user and what can be no one's password are refused alike."""
        reasons = set()
        for number, (user, password) in enumerate(
            [
                ("alice", "bob's"),
                ("alice", "ALICE'S"),
                ("Alice", "alice's"),
                ("nobody", "alice's"),
                ("", ""),
                ("alice", ""),
                ("alice", "alice's\0"),
                ("alice", "x" * 73),
                ("alice", "x" * 10_000),
                ("nobody", "x" * 73),
            ]
        ):
            failure = self.failureResultOf(self.start(user, password, f"192.0.2.{number}"), Unauthorized)
            reasons.add(repr((failure.value.args, failure.value.detail, failure.value.error)))
        self.fail_login(b"\xff", b"\xff", "192.0.2.100")
        self.assertEqual(len(reasons), 1)
        self.assertEqual(self.checks, 11)

    def test_A10_malformed(self) -> None:
        """What is malformed costs no check, and what is not costs one, whoever it names."""
        for number, authorization in enumerate(MALFORMED):
            before = self.checks
            found = self.backend.authenticate(Attempt(authorization, f"198.51.100.{number}"))
            self.failureResultOf(Deferred.fromCoroutine(found), Unauthorized)
            self.assertLessEqual(self.checks - before, 1)

    def test_nothing_is_left(self) -> None:
        """After any number of logins, good and bad, nothing is under way."""
        for number in range(20):
            self.login("alice", "alice's", f"192.0.2.{number}")
            self.fail_login("alice", "wrong", f"192.0.2.{number}")
        self.assertEqual(len(self.backend._checks), 0)
        self.assertEqual(self.backend._checkers.tokens, 2)


class PriceTests(BackendCase):
    """What a login costs."""

    def test_remembered(self) -> None:
        """A pull of fifty layers within a minute costs one check, from wherever they are pulled."""
        for number in range(50):
            self.reactor.advance(1)
            self.login("alice", "alice's", f"192.0.2.{number % 3}")
        self.assertEqual(self.checks, 1)

    def test_forgotten(self) -> None:
        """A password is checked again a minute after it was, in use or not."""
        for _ in range(4):
            self.login("alice", "alice's")
            self.reactor.advance(30)
        self.assertEqual(self.checks, 2)

    def test_clock_set_back(self) -> None:
        """A clock that is set back makes nothing hold for longer."""
        self.reactor.advance(3600)
        self.login("alice", "alice's")
        self.reactor.rightNow = 0.0
        self.login("alice", "alice's")
        self.assertEqual(self.checks, 2)
        self.reactor.rightNow = -3600.0
        write(self.path, BOB)
        self.fail_login("alice", "alice's")
        self.login("bob", "bob's")

    def test_only_what_was_right(self) -> None:
        """That a user was let in lets in no other password, and no other user with that one."""
        self.login("alice", "alice's")
        self.fail_login("alice", "alice's ")
        self.fail_login("bob", "alice's")
        self.assertEqual(self.checks, 3)

    def test_wrong_is_not_remembered(self) -> None:
        """A password that was wrong is checked each time."""
        self.fail_login("alice")
        self.fail_login("alice")
        self.assertEqual(self.checks, 2)

    def test_at_once(self) -> None:
        """Those who say the same at the same time share one check, good or bad."""
        for password, kind in (("alice's", None), ("wrong", Unauthorized)):
            self.threads.held = True
            waiting = [self.start("alice", password) for _ in range(50)]
            self.assertEqual(len(self.threads.waiting), 1)
            self.threads.release()
            for each in waiting:
                if kind is None:
                    self.assertEqual(self.successResultOf(each).name, "alice")
                else:
                    self.failureResultOf(each, kind)
        self.assertEqual(self.checks, 2)

    def test_memory(self) -> None:
        """However many users log in, few are remembered."""
        self.patch(htpasswd, "_REMEMBERED_USERS", 1)
        self.login("alice", "alice's")
        self.login("bob", "bob's")
        self.login("bob", "bob's")
        self.assertEqual(self.checks, 2)
        self.login("alice", "alice's")
        self.assertEqual(self.checks, 3)
        self.assertEqual(len(self.backend._remembered), 1)

    def test_A17_nothing_of_a_password_is_kept(self) -> None:
        """What is remembered is neither a password nor a hash that another process could try passwords on."""
        other = Htpasswd("x", PasswordFile(self.path), self.threads, self.reactor, b"K" * 32)  # type: ignore[arg-type]
        other.prepare()
        self.login("alice", "alice's")
        self.successResultOf(Deferred.fromCoroutine(other.authenticate(attempt("alice", "alice's"))))
        (mine, _), (others, _) = self.backend._remembered[b"alice"], other._remembered[b"alice"]
        self.assertNotIn(b"alice's", mine)
        self.assertEqual(len(mine), 32)
        self.assertNotEqual(mine, others)
        self.assertNotEqual(self.backend._digest(b"a", b"bc"), self.backend._digest(b"ab", b"c"))


class FileTests(BackendCase):
    """The file is edited while it is in use."""

    def test_looked_at(self) -> None:
        """The file is looked at no more than once a second, however many log in."""
        for _ in range(30):
            self.login("alice", "alice's")
            self.reactor.advance(0.1)
        self.assertIn(self.threads.count("changed"), (2, 3))

    def test_reread(self) -> None:
        """Who asks for it has the file looked at, however lately it was."""
        self.fail_login("carol", "alice's")
        write(self.path, ALICE.replace("alice", "carol"))
        self.fail_login("carol", "alice's")
        self.successResultOf(Deferred.fromCoroutine(self.backend.reread()))
        self.assertEqual(self.login("carol", "alice's"), "carol")

    def test_looked_at_once(self) -> None:
        """Those who come while the file is looked at wait for it, and share what it says."""
        self.reactor.advance(1)
        write(self.path, BOB)
        self.threads.held = True
        waiting = [self.start("alice", "alice's") for _ in range(3)]
        self.threads.release()
        for each in waiting:
            self.failureResultOf(each, Unauthorized)
        self.assertEqual(self.threads.count("changed"), 1)

    def test_A16_new_password(self) -> None:
        """A password that was changed holds a second later, and the old one does not, though it was remembered."""
        self.login("alice", "alice's")
        write(self.path, hash_line("alice", "new", 4))
        self.reactor.advance(1)
        self.fail_login("alice", "alice's")
        self.login("alice", "new")

    def test_A16_removed(self) -> None:
        """A user who was removed is let in no more, and one who was added is."""
        self.login("alice", "alice's")
        write(self.path, hash_line("carol", "carol's", 4))
        self.reactor.advance(1)
        self.fail_login("alice", "alice's")
        self.login("carol", "carol's")

    def test_A11_bad_file(self) -> None:
        """A file that was broken leaves in force what it said before, and is logged once, by its line."""
        write(self.path, BOB, "alice:hunter2")
        for _ in range(3):
            self.reactor.advance(1)
            self.login("alice", "alice's")
        (problem,) = self.logged(LogLevel.error)
        self.assertIn(f"{self.path}, line 2: not a bcrypt hash", problem)
        self.assertNotIn("hunter2", problem)
        write(self.path, BOB)
        self.reactor.advance(1)
        self.fail_login("alice", "alice's")
        self.assertEqual(len(self.logged(LogLevel.error)), 1)

    def test_gone(self) -> None:
        """A file that is gone is not made anew while the registry runs, and is logged once."""
        os.unlink(self.path)
        for _ in range(3):
            self.reactor.advance(1)
            self.login("alice", "alice's")
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual(len(self.logged(LogLevel.error)), 1)


class SecretsTests(BackendCase):
    """What is told of credentials."""

    def test_A17_logs(self) -> None:
        """No password, right or wrong or typed as the user, is in any event that is logged, nor is a hash."""
        planted = ["planted-wrong", "planted-user", "planted-password", "planted-plain"]
        hashed = hash_line("carol", "planted-password", 4)
        write(self.path, ALICE, BOB, hashed)
        self.reactor.advance(1)
        self.login("carol", "planted-password")
        for _ in range(15):
            start = self.start("carol", "planted-wrong")
            self.failureResultOf(start, Unauthorized, TooManyRequests)
        self.fail_login("planted-user")
        write(self.path, "carol:planted-plain", "planted-plain")
        self.reactor.advance(1)
        self.login("carol", "planted-password")
        self.threads.held = True
        left = self.start("bob", "planted-wrong")
        left.cancel()
        self.failureResultOf(left)
        self.threads.release()
        self.assertGreater(len(self.events), 10)
        for event in self.events:
            for secret in [*planted, ALICE[-31:], BOB[-31:], hashed[-31:], "Basic"]:
                self.assertNotIn(secret, f"{formatEvent(event)} {event!r}")

    def test_failure_is_logged(self) -> None:
        """The log says from where a login failed, and as whom if there is such a user."""
        self.fail_login("alice", address="192.0.2.9")
        self.fail_login("nobody", address="192.0.2.9")
        self.assertEqual(
            self.logged(LogLevel.info),
            [
                "login from 192.0.2.9 as alice failed",
                "login from 192.0.2.9 as an unknown user failed",
            ],
        )
