"""Work that is done to its end, piece after piece, whatever becomes of those who asked for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Turns:
    """Does one thing after the other, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._last: Deferred[None] | None = None

    def run(self, work: Callable[[], Awaitable[T]]) -> Deferred[T]:
        """Return what *work* does, when its turn has come.  Who is cancelled waits no more; the work goes on."""
        return uncancelled(self._in_turn(work))

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        before, self._last = self._last, Deferred()
        mine = self._last
        if before is not None:
            await before
        try:
            return await work()
        finally:
            mine.callback(None)


def uncancelled(work: Coroutine[Any, Any, T], undo: Callable[[T], object] | None = None) -> Deferred[T]:
    """Return the result of *work*, which goes on to its end even if that is cancelled.

    :param undo: what is then done with the result.
    """
    result: Deferred[T] = Deferred()

    def succeeded(value: T) -> None:
        if not result.called:
            result.callback(value)
        elif undo is not None:
            undo(value)

    def failed(failure: Failure) -> None:
        if not result.called:
            result.errback(failure)

    Deferred.fromCoroutine(work).addCallbacks(succeeded, failed)
    return result
