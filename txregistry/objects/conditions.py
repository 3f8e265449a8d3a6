"""Touching and discarding, each whole against the other, on stores that delete on a condition.

Who discards an object looks at it, and has it deleted if it is still as it was seen.  Who puts another in its place,
or touches it, changes it.  So whichever of the two comes first at the store makes the other do nothing, and there is
nothing to wait for and nothing to leave behind: a deletion that was sent and comes late finds another object, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import evolve, frozen

from txregistry import errors
from txregistry.interfaces import FileInfo
from txregistry.objects.sessions import size_of
from txregistry.objects.store import Conflict, IConditionalStore


@frozen
class Conditions:
    """Makes objects young, and discards those that are not.

    :param store: where they are.
    :param now: the time, in seconds since the epoch.
    """

    store: IConditionalStore
    now: Callable[[], float]

    async def put(self, path: str, make: Callable[[], Awaitable[object]]) -> None:
        """Do what puts an object at *path*."""
        await make()

    async def touch(self, path: str, age: float) -> FileInfo | None:
        """See :meth:`txregistry.interfaces.IStorageDriver.touch`, of one path."""
        try:
            info = await self.store.head(path)
            if not age or info.age >= age:
                try:
                    info = evolve(info, modified=await self.store.refresh(path, info))
                except Conflict:
                    # It was put or touched after that look, and so is as young as it was to be.
                    info = await self.store.head(path)
        except errors.PathUnknown:
            return None
        return FileInfo(size_of(info), info.modified)

    async def discard(self, path: str, before: float) -> FileInfo | None:
        """See :meth:`txregistry.interfaces.IStorageDriver.discard`."""
        try:
            info = await self.store.head(path)
            if info.modified >= info.by_its_clock(before, self.now()):
                return None
            await self.store.remove(path, info)
        except (Conflict, errors.PathUnknown):
            return None
        return FileInfo(size_of(info), info.modified)

    async def tidy(self) -> None:
        """Do nothing: nothing is left by anyone."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""
