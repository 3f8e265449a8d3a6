"""Locks that processes share: each set of locks has its own descriptor, and is to the kernel as a process is."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.processes import CHECKOUT
from txregistry.content.locks import Locks
from txregistry.storage.exclusion import SharedLocks, SharedTurn, make_shared_file
from txregistry.storage.threads import Threads

#: Takes the lock of a name, says so, and waits to be killed.
HOLDER = """
import sys
from txregistry.storage.exclusion import SharedLocks
from txregistry.storage.threads import Threads
locks = SharedLocks(int(sys.argv[1]), Threads(None, 1, "x"))
try:
    locks.acquire("a").send(None)
except StopIteration:
    print("held", flush=True)
    sys.stdin.read()
"""


class SharedLocksTests(TestCase):
    """Two who share a file."""

    def setUp(self) -> None:
        self.file = make_shared_file()
        self.addCleanup(os.close, self.file)

    def locks(self) -> SharedLocks:
        """Return what one of them has."""
        locks = SharedLocks(self.file, Threads(reactor, 2, "locks"))
        self.addCleanup(locks.close)
        return locks

    async def test_one_at_a_time(self) -> None:
        """What one holds another waits for; what no one holds no one waits for."""
        one, other = self.locks(), self.locks()
        await one.acquire("a")
        await other.acquire("b")
        waiting = Deferred.fromCoroutine(other.acquire("a"))
        self.assertNoResult(waiting)
        one.release("a")
        await waiting
        again = Deferred.fromCoroutine(one.acquire("a"))
        self.assertNoResult(again)
        other.release("a")
        await again
        one.release("a")
        other.release("b")

    async def test_death(self) -> None:
        """What a process held that was killed is free."""
        os.set_inheritable(self.file, True)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(self.file)],
            cwd=CHECKOUT,
            pass_fds=[self.file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            self.assertEqual(holder.stdout.readline(), b"held\n")
            waiting = Deferred.fromCoroutine(self.locks().acquire("a"))
            self.assertNoResult(waiting)
        finally:
            holder.kill()
            holder.communicate()
        await waiting

    async def test_locks(self) -> None:
        """Changes of one repository exclude each other, within a process and among several; others do not."""
        inside: list[str] = []
        most = 0

        async def change(locks: Locks, name: str) -> None:
            nonlocal most
            for _ in range(20):
                async with locks.hold(name):
                    inside.append(name)
                    most = max(most, len(inside))
                    self.assertEqual(inside.count(name), 1)
                    await deferLater(reactor, 0, lambda: None)
                    inside.remove(name)

        both = [Locks(self.locks()) for _ in range(2)]
        work = [
            Deferred.fromCoroutine(change(locks, name)) for locks in both for name in ("a", "b") for _ in "12"
        ]
        for one in work:
            await one
        self.assertEqual(most, 2)

    def test_turn(self) -> None:
        """A turn is one process's at a time, and no repository's lock is in its way."""
        locks = self.locks()
        with SharedTurn(self.file):
            self.assertRaises(StopIteration, locks.acquire("a").send, None)
        locks.release("a")
