"""What the contracts of things that are closed stand on."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

T = TypeVar("T")


class Closable(Protocol):
    """Has threads or connections until it is closed."""

    def close(self) -> Awaitable[None]:
        """Let go of them."""
        ...


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def started(awaitable: Awaitable[T]) -> Deferred[T]:
    """Begin to wait for *awaitable* at once, while the caller does something else."""
    return Deferred.fromCoroutine(_awaited(awaitable))


if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object


class ClosingCase(_Base):
    """Closes what is tested, once, and sees what is left of it."""

    def setUp(self) -> None:
        """Note which threads there are."""
        super().setUp()
        self._threads_before = set(threading.enumerate())

    def closing(self, subject: Closable) -> None:
        """Close something when the test ends, if the test has not."""
        self._subject: Closable | None = subject
        self.addCleanup(self.close)

    def close(self) -> Deferred[None]:
        """Close it now."""

        async def close() -> None:
            subject, self._subject = self._subject, None
            if subject is not None:
                await subject.close()

        return Deferred.fromCoroutine(close())

    def assert_no_threads_left(self) -> None:
        """Fail if there are threads that the test did not begin with, beside the reactor's own."""
        left = [
            thread
            for thread in threading.enumerate()
            if thread not in self._threads_before and "twisted.internet.reactor" not in thread.name
        ]
        self.assertEqual(left, [])
