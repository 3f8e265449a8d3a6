"""The htpasswd backend: who has to wait, and who has not."""

from __future__ import annotations

import os
import time

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase

from tests.auth.htpasswd_case import BackendCase, attempt, write
from txregistry.auth.htpasswd import make
from txregistry.auth.passwords import hash_line
from txregistry.errors import TooManyRequests, Unauthorized


class LimitTests(BackendCase):
    """Who guesses has to wait."""

    def test_A19_one_user(self) -> None:
        """After ten wrong passwords in a minute a client has to wait before it tries that user again."""
        for _ in range(10):
            self.fail_login("alice")
        self.assertEqual(self.wait("alice"), 6)
        self.assertEqual(self.wait("alice", "alice's"), 6)
        self.assertEqual(self.checks, 10)
        self.reactor.advance(6)
        self.login("alice", "alice's")

    def test_A19_hundred(self) -> None:
        """A hundred failed logins from one address, whoever they name, are thirty, and thirty more in a minute."""
        for number in range(100):
            self.failureResultOf(self.start(f"user{number}", "wrong"), Unauthorized, TooManyRequests)
        self.assertEqual(self.checks, 30)
        self.assertEqual(self.wait("someone"), 2)
        for number in range(100):
            self.reactor.advance(0.6)
            self.failureResultOf(self.start(f"user{number}", "wrong"), Unauthorized, TooManyRequests)
        self.assertIn(self.checks, (59, 60))

    def test_A19_others(self) -> None:
        """One who has to wait is alone in that: other addresses are not, nor that one's other users."""
        for _ in range(10):
            self.fail_login("alice")
        self.wait("alice")
        self.login("bob", "bob's")
        self.login("alice", "alice's", "192.0.2.2")

    def test_who_is_in_stays_in(self) -> None:
        """A client whose password was checked is let in while another at its address guesses."""
        self.login("alice", "alice's")
        for number in range(50):
            self.failureResultOf(self.start(f"user{number}", "wrong"), Unauthorized, TooManyRequests)
            self.failureResultOf(self.start("alice", "wrong"), Unauthorized, TooManyRequests)
            self.login("alice", "alice's")

    def test_A08_unknown_users_alike(self) -> None:
        """Whether there is such a user makes no difference to how many guesses there are."""
        for user in ("alice", "nobody"):
            for _ in range(10):
                self.fail_login(user)
            self.assertEqual(self.wait(user), 6)

    def test_right_ones_do_not_count(self) -> None:
        """Any number of logins that succeed bring no one nearer to waiting."""
        for _ in range(100):
            self.login("alice", "alice's")
            self.reactor.advance(0.5)
            self.login("bob", "bob's")
            self.backend._remembered.clear()
        self.assertEqual(self.checks, 200)

    def test_at_once(self) -> None:
        """Guesses that are made all at once are as many as those that are made one by one."""
        self.threads.held = True
        guesses = [self.start("alice", f"guess {number}") for number in range(40)]
        for guess in guesses[10:]:
            self.failureResultOf(guess, TooManyRequests)
        self.threads.release()
        self.assertEqual(self.checks, 10)
        for guess in guesses[:10]:
            self.failureResultOf(guess, Unauthorized)

    def test_last_attempt(self) -> None:
        """The last attempt that a client has is enough for all that it asks for at once."""
        for _ in range(9):
            self.fail_login("alice")
        self.threads.held = True
        layers = [self.start("alice", "alice's") for _ in range(50)]
        self.threads.release()
        for layer in layers:
            self.assertEqual(self.successResultOf(layer).name, "alice")

    def test_leaving_does_not_help(self) -> None:
        """A guess counts when the client has left before the answer."""
        self.threads.held = True
        for number in range(10):
            guess = self.start("alice", f"guess {number}")
            guess.cancel()
            self.failureResultOf(guess, CancelledError)
        self.threads.release()
        self.assertEqual(self.wait("alice"), 6)
        self.assertEqual(len(self.backend._checks), 0)

    def test_leaving_wastes_nothing(self) -> None:
        """A client that left before it was told it may come in finds that known when it comes again."""
        self.threads.held = True
        login = self.start("alice", "alice's")
        login.cancel()
        self.failureResultOf(login, CancelledError)
        self.threads.release()
        self.threads.held = False
        self.login("alice", "alice's")
        self.assertEqual(self.checks, 1)

    def test_ipv6(self) -> None:
        """The many addresses of one IPv6 network are one client."""
        for number in range(10):
            self.fail_login("alice", address=f"2001:db8::{number}")
        self.assertEqual(self.wait("alice", address="2001:db8::ffff"), 6)
        self.fail_login("alice", address="2001:db8:0:1::1")


class QueueTests(BackendCase):
    """There are two threads for bcrypt, and no more than so many wait for them."""

    def test_A09_full(self) -> None:
        """Two checks run and 64 wait; a client that comes then is told to wait, and is let in when it does."""
        self.threads.held = True
        flood = [self.start(f"user{number}", "x", f"192.0.2.{number}") for number in range(66)]
        self.assertEqual(len(self.threads.waiting), 2)
        self.assertEqual(self.wait("alice", "alice's", "198.51.100.1"), 1)
        self.threads.release()
        self.threads.held = False
        for each in flood:
            self.failureResultOf(each, Unauthorized)
        self.login("alice", "alice's", "198.51.100.1")

    def test_A09_no_client_fills_it(self) -> None:
        """One client alone cannot fill the queue: there is room for others however much it asks."""
        self.threads.held = True
        flood = [self.start(f"user{number}", "x") for number in range(200)]
        other = self.start("alice", "alice's", "198.51.100.1")
        self.threads.release()
        self.assertEqual(self.successResultOf(other).name, "alice")
        refused = [self.failureResultOf(each, Unauthorized, TooManyRequests) for each in flood]
        self.assertEqual(sum(failure.check(Unauthorized) is not None for failure in refused), 30)

    def test_A09_known_ones_pass(self) -> None:
        """While the queue is full, a client whose password was checked is let in."""
        self.login("alice", "alice's")
        self.threads.held = True
        flood = [self.start(f"user{number}", "x", f"192.0.2.{number}") for number in range(66)]
        self.login("alice", "alice's")
        self.threads.release()
        for each in flood:
            self.failureResultOf(each, Unauthorized)

    def test_close(self) -> None:
        """Closing waits for no check that has not begun."""
        self.threads.held = True
        flood = [self.start(f"user{number}", "x", f"192.0.2.{number}") for number in range(10)]
        self.successResultOf(Deferred.fromCoroutine(self.backend.close()))
        self.assertFalse(self.threads.started)
        for each in flood[2:]:
            self.failureResultOf(each, CancelledError)
        self.threads.release()
        for each in flood[:2]:
            self.failureResultOf(each, Unauthorized)
        self.assertEqual(self.checks, 2)


class FloodTests(TestCase):
    """Guessing on real threads."""

    async def test_A09_reactor_goes_on(self) -> None:
        """While clients guess as fast as they can, the reactor turns and a client that is known is let in."""
        path = os.path.abspath(self.mktemp())
        write(path, hash_line("alice", "alice's", 9))
        backend = make({"realm": "x", "path": path}, reactor)
        backend.prepare()
        self.addCleanup(backend.close)
        await backend.authenticate(attempt("alice", "alice's"))

        turns: list[float] = []
        beat = LoopingCall(lambda: turns.append(time.monotonic()))
        beating = beat.start(0.005)
        flood = [
            Deferred.fromCoroutine(
                backend.authenticate(attempt("alice", f"guess {number}", f"192.0.2.{number}"))
            )
            for number in range(40)
        ]
        over = DeferredList(flood, consumeErrors=True)
        known = 0
        while not over.called:
            waiting: Deferred[None] = Deferred()
            reactor.callLater(0.01, waiting.callback, None)  # type: ignore[attr-defined]
            await waiting
            self.assertEqual((await backend.authenticate(attempt("alice", "alice's"))).name, "alice")
            known += 1
        for success, failure in await over:
            self.assertFalse(success)
            failure.trap(Unauthorized)
        beat.stop()
        await beating
        # 40 checks of some 30 ms: with bcrypt on the reactor's thread there would have been no turn at all.
        self.assertGreater(known, 5)
        self.assertGreater(len(turns), 10)
