"""Threads for file work: many short calls, whose results are delivered together.

:class:`twisted.python.threadpool.ThreadPool` wakes the reactor for each result.  With dozens of clients waiting for
calls of a few microseconds that is most of the work; here the results that have come in by the time the reactor
looks cost it one waking.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txregistry import errors

T = TypeVar("T")


class Threads:
    """Threads that are made when they are needed, and kept.

    All methods are for the reactor's thread.

    :param reactor: where results are delivered.
    :param limit: threads at most; further calls wait for one.
    :param name: what the threads are called.
    """

    def __init__(self, reactor: Any, limit: int, name: str) -> None:
        self._reactor = reactor
        self._limit = limit
        self._name = name
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            SimpleQueue()
        )
        self._outcomes: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._outstanding = 0
        self._woken = False

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Return what *work* makes of *args*, on a thread.  Cancelling this does not stop it.

        :raises txregistry.errors.StorageUnavailable: there is no thread, and the system has none to give.
        """
        result: Deferred[T] = Deferred()
        if self._outstanding >= len(self._threads) and len(self._threads) < self._limit:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}")
            try:
                thread.start()
            except RuntimeError:
                # There are as many as the system allows; those that are there get to it.
                if not self._threads:
                    raise errors.StorageUnavailable("", "no thread can be started") from None
            else:
                self._threads.append(thread)
        self._outstanding += 1
        self._jobs.put((result, work, args))
        return result

    def stop(self) -> None:
        """End the threads, each after the call that it is at.  This waits for them."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result, work, args = job
            try:
                outcome: tuple[Callable[[Any], object], Any] = (result.callback, work(*args))
            except BaseException:
                outcome = (result.errback, Failure())
            self._outcomes.append(outcome)
            # Looked at after the outcome is there, and lowered before outcomes are taken: none is forgotten.
            if not self._woken:
                self._woken = True
                self._reactor.callFromThread(self._deliver)
            del job, result, work, args, outcome

    def _deliver(self) -> None:
        self._woken = False
        while self._outcomes:
            fire, value = self._outcomes.popleft()
            self._outstanding -= 1
            fire(value)
