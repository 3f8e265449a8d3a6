"""Where a driver does what blocks, or computes for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool

from txregistry.objects.writer import InThread

T = TypeVar("T")


def threads_of(reactor: Any) -> InThread:
    """Return what runs functions on the threads of a reactor."""

    def run(work: Callable[[], T]) -> Awaitable[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return run
