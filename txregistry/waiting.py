"""Waiting: for threads, for several things at once, and whatever becomes of those who wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

T = TypeVar("T")


class InThread(Protocol):
    """Runs a function where it does not keep others waiting, and delivers its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run *work*."""
        ...


def in_thread(reactor: Any) -> InThread:
    """Return what runs a function on the reactor's own threads."""

    def run(work: Callable[[], T]) -> Awaitable[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return run


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


class Turns:
    """Does one thing after the other, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._last: Deferred[None] | None = None

    def run(self, work: Callable[[], Awaitable[T]]) -> Deferred[T]:
        """Return what *work* does, when its turn has come.  Who is cancelled waits no more; the work goes on."""
        return uncancelled(self.take(work))

    async def take(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what *work* does, when its turn has come.  Cancelling this may end the work."""
        before, self._last = self._last, Deferred()
        mine = self._last
        if before is not None:
            await before
        try:
            return await work()
        finally:
            mine.callback(None)


async def gathered(several: Sequence[Deferred[T]]) -> list[T]:
    """Return the results of all of them; the first that fails ends the others, and its exception is raised."""
    try:
        return await gatherResults(several, consumeErrors=True)
    except FirstError as error:
        raise error.subFailure.value from None  # type: ignore[misc]
    finally:
        for one in several:
            one.cancel()


async def by_workers(work: Callable[[T], Awaitable[object]], items: Iterable[T], workers: int) -> None:
    """Do *work* on each of *items*, by so many at once; a long one keeps the others waiting for nothing.

    The first that fails ends it, and its exception is raised.
    """
    shared = iter(items)

    async def worker() -> None:
        for item in shared:
            await work(item)

    await gathered([Deferred.fromCoroutine(worker()) for _ in range(workers)])
