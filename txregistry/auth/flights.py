"""Work that is shared by those who want it at the same time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()

T = TypeVar("T")


class Flights(Generic[T]):
    """Work under way, by key.

    It goes on to its end when those who wait for it leave: its outcome counts all the same, and no one has it
    done over and over by leaving early.
    """

    def __init__(self) -> None:
        self._waiters: dict[Hashable, list[Deferred[T]]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._waiters

    def __len__(self) -> int:
        return len(self._waiters)

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the work of that key, which is begun if it is not under way."""
        mine: Deferred[T] = Deferred()
        if key in self._waiters:
            self._waiters[key].append(mine)
        else:
            self._waiters[key] = [mine]
            flight = Deferred.fromCoroutine(work())
            flight.addCallbacks(self._landed, self._crashed, callbackArgs=(key,), errbackArgs=(key,))
        try:
            return await mine
        except CancelledError:
            if mine in self._waiters.get(key, ()):
                self._waiters[key].remove(mine)
            raise

    def _landed(self, result: T, key: Hashable) -> None:
        for waiter in self._waiters.pop(key):
            waiter.callback(result)

    def _crashed(self, failure: Failure, key: Hashable) -> None:
        waiters = self._waiters.pop(key)
        if not waiters and not failure.check(CancelledError):
            _log.failure("work that no one waits for any more has failed", failure)
        for waiter in waiters:
            waiter.errback(failure)
