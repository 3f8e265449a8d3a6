"""Batches: coroutines that wait for one driver many times, carried to its threads and back once.

A hop to a thread and back costs several times what reading a small file does.  What awaits call after call of a
driver is therefore begun on the reactor's thread, and goes on there for as long as nothing has to be waited for; the
first call that must be, takes the coroutine with it to the driver's thread, where that call and all that follow are
made in place.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from enum import Enum
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from txregistry import waiting
from txregistry.interfaces import IBatching
from txregistry.storage.threads import Threads

T = TypeVar("T")


class Place(Enum):
    """Where a batch is."""

    #: On the reactor's thread: a call that blocks must not be made here.
    REACTOR = "reactor"
    #: On a thread of the driver's: it may be.
    THREAD = "thread"


class _Here(threading.local):
    place: Place | None = None


_here = _Here()


def place() -> Place | None:
    """Return where the batch is that runs now; None if none does."""
    return _here.place


class Blocking:
    """Awaited in a batch on the reactor's thread: a call that blocks, whose result the batch needs."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        """Have the batch carried to where *work* may be done, and return what it makes."""
        return (yield self)


class _Back:
    def __await__(self) -> Generator[Any, Any, None]:
        yield self


async def leave() -> None:
    """Return on the reactor's thread: for what a batch does that is not its driver's."""
    if _here.place is Place.THREAD:
        await _Back()


async def together(driver: Any, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*, as a batch if *driver* knows of batches and this is none yet.

    *work* awaits calls of *driver* and, after :func:`leave`, anything else.
    """
    if _here.place is None and IBatching.providedBy(driver):
        return await IBatching(driver).batch(work)
    return await work


async def durably(driver: Any, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*, whose changes need be durable only then; in a batch it is quicker for that."""
    if _here.place is not None:
        return await IBatching(driver).durably(work)
    return await work


async def run(threads: Threads, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*: see :meth:`txregistry.interfaces.IBatching.batch`."""
    done, outcome = _go_on(Place.REACTOR, _sender(work, None))
    return outcome if done else await uncancelled(_rest(threads, work, outcome))


async def _rest(threads: Threads, work: Coroutine[Any, Any, T], outcome: Any) -> T:
    done = False
    while not done:
        if isinstance(outcome, Blocking):
            carried = threads.run(copy_context().run, _block, work, outcome)
            done, outcome = await carried
        elif isinstance(outcome, Deferred):
            try:
                send = _sender(work, await outcome)
            except BaseException as error:
                send = _thrower(work, error)
            done, outcome = _go_on(Place.REACTOR, send)
        else:
            done, outcome = _go_on(Place.REACTOR, _sender(work, None))
    result: T = outcome
    return result


def uncancelled(work: Coroutine[Any, Any, T], undo: Callable[[T], None] | None = None) -> Awaitable[T]:
    """Return the result of *work*, which goes on to its end even if that is cancelled.

    :param undo: what is then done with the result.
    """
    if _here.place is not None:
        # A batch goes on to its end anyway.
        return work
    return waiting.uncancelled(work, undo)


def _block(work: Coroutine[Any, Any, T], awaited: Blocking) -> tuple[bool, Any]:
    """Make the call that *work* awaits, and go on with it here."""
    try:
        value = awaited.work()
    except BaseException as error:
        return _go_on(Place.THREAD, _thrower(work, error))
    return _go_on(Place.THREAD, _sender(work, value))


def _go_on(there: Place, send: Callable[[], Any]) -> tuple[bool, Any]:
    """Take a coroutine a step further: to its end, and what it returns, or to what it awaits."""
    before, _here.place = _here.place, there
    try:
        return False, send()
    except StopIteration as end:
        return True, end.value
    finally:
        _here.place = before


def _sender(work: Coroutine[Any, Any, T], value: Any) -> Callable[[], Any]:
    return lambda: work.send(value)


def _thrower(work: Coroutine[Any, Any, T], error: BaseException) -> Callable[[], Any]:
    return lambda: work.throw(error)
