"""Who may change a repository: one at a time, in this process and among those that share its storage."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import DeferredLock


class Exclusion(Protocol):
    """Keeps processes from doing the same thing at the same time."""

    def acquire(self, name: str) -> Awaitable[None]:
        """Return when no other process holds *name*.

        This process asks for it only when it neither holds it nor waits for it, and does not cancel that.
        """
        ...

    def release(self, name: str) -> None:
        """Let another process hold it."""
        ...


@frozen
class Locks:
    """One lock for each repository in which something changes.

    :param exclusion: keeps other processes from it, too; None where there are none.
    """

    exclusion: Exclusion | None = None
    _locks: weakref.WeakValueDictionary[str, DeferredLock] = field(
        factory=weakref.WeakValueDictionary, init=False
    )

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Hold a repository's lock.  What waits for it must not be cancelled."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = DeferredLock()
        async with lock:
            if self.exclusion is None:
                yield
                return
            await self.exclusion.acquire(name)
            try:
                yield
            finally:
                self.exclusion.release(name)
