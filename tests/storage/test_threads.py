"""Threads for file work."""

from __future__ import annotations

import threading
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.trial.unittest import TestCase

from txregistry import errors
from txregistry.storage.threads import Threads


class CountingReactor:
    """The reactor, and how often it was woken from a thread."""

    def __init__(self) -> None:
        self.woken = 0

    def callFromThread(self, work: Callable[[], None]) -> None:
        self.woken += 1
        reactor.callFromThread(work)


class ThreadsTests(TestCase):
    """Calls on threads, and their results."""

    def setUp(self) -> None:
        self.reactor = CountingReactor()
        self.threads = Threads(self.reactor, 3, "test")
        self.addCleanup(self.threads.stop)

    async def test_result(self) -> None:
        """A call's result is delivered on the reactor's thread, what it raised too."""
        self.assertNotEqual(await self.threads.run(threading.get_ident), threading.get_ident())
        with self.assertRaises(ZeroDivisionError):
            await self.threads.run(divmod, 1, 0)
        self.assertEqual(await self.threads.run(divmod, 7, 2), (3, 1))

    async def test_limit(self) -> None:
        """No more threads are made than the limit, and none before it is needed."""
        self.assertEqual(self.names(), set())
        await self.threads.run(int)
        self.assertEqual(self.names(), {"test-0"})
        gate = threading.Barrier(3)
        await gatherResults([self.threads.run(gate.wait, 30) for _ in range(30)])
        self.assertEqual(self.names(), {"test-0", "test-1", "test-2"})

    async def test_F04_no_more_threads(self) -> None:
        """Where the system gives no more threads those that are there do the work, and later others help again."""
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", refuse)
        with self.assertRaises(errors.StorageUnavailable):
            await self.threads.run(int)
        self.patch(threading.Thread, "start", start)
        await self.threads.run(int)
        self.patch(threading.Thread, "start", refuse)
        self.assertEqual(
            await gatherResults([self.threads.run(divmod, 7, 2) for _ in range(5)]), [(3, 1)] * 5
        )
        self.assertEqual(self.names(), {"test-0"})
        self.patch(threading.Thread, "start", start)
        gate = threading.Barrier(3)
        await gatherResults([self.threads.run(gate.wait, 30) for _ in range(3)])
        self.assertEqual(self.names(), {"test-0", "test-1", "test-2"})

    async def test_together(self) -> None:
        """Results that came in before the reactor looks wake it once."""
        held, done = threading.Event(), threading.Event()
        first = self.threads.run(held.wait, 30)
        rest = [self.threads.run(int) for _ in range(50)] + [self.threads.run(done.set) for _ in range(1)]
        # The reactor is kept from looking until all of them are done.
        self.assertTrue(done.wait(30))
        held.set()
        await gatherResults([first, *rest])
        self.assertLess(self.reactor.woken, 10)

    async def test_cancelled(self) -> None:
        """A call that no one waits for any more goes on, and harms no one."""
        gate = threading.Event()
        ended = threading.Event()

        def work() -> None:
            gate.wait(30)
            ended.set()

        result = self.threads.run(work)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        gate.set()
        await self.threads.run(ended.wait, 30)
        self.assertTrue(ended.is_set())

    async def test_stop(self) -> None:
        """Stopping waits for the calls that are under way, and leaves no thread."""
        ended: list[int] = []
        for number in range(20):
            self.threads.run(ended.append, number)
        self.threads.stop()
        self.assertEqual(sorted(ended), list(range(20)))
        self.assertEqual(self.names(), set())

    def names(self) -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("test-")}
