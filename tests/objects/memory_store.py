"""An object store in memory, whose every step a test can see, delay and fail."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import evolve, field, frozen, mutable
from zope.interface import implementer

from txregistry import errors
from txregistry.objects.store import (
    ABSENT,
    Conflict,
    Found,
    IBody,
    IObjectStore,
    ObjectInfo,
    Opened,
    Page,
    PastEnd,
    Piece,
)


async def _at_once(step: str, path: str) -> None:
    """Keep no one waiting."""


@frozen
class _Object:
    content: bytes
    info: ObjectInfo


@implementer(IBody)
class MemoryBody:
    """The bytes of an object as they were when it was opened."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.objects.store.IBody`."""
        first, self._content = self._content[:size], self._content[size:]
        return first

    async def close(self) -> None:
        """See :class:`~txregistry.objects.store.IBody`."""


@implementer(IObjectStore)
@mutable(eq=False, slots=False)
class MemoryStore:
    """Keeps objects in a dictionary.  Each operation takes effect at one moment.

    :param now: the store's clock.
    :param step: awaited before an operation takes effect, and again before its answer comes; told which, as
        ``put`` and ``put.done``, and of what path.
    """

    now: Callable[[], float] = time.time
    step: Callable[[str, str], Awaitable[None]] = _at_once
    objects: dict[str, _Object] = field(factory=dict)
    _versions: itertools.count[int] = field(factory=itertools.count)

    def prepare(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""

    async def close(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""

    async def head(self, path: str) -> ObjectInfo:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.step("head", path)
        info = self._info(path)
        await self.step("head.done", path)
        if info is None:
            raise errors.PathUnknown(path)
        return info

    async def get(self, path: str, start: int = 0, version: str | None = None) -> Opened:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.step("get", path)
        info = self._info(path)
        if info is None:
            raise errors.PathUnknown(path)
        if version not in (None, info.version):
            raise Conflict
        if start and start >= info.size:
            raise PastEnd
        content = self.objects[path].content[start:]
        await self.step("get.done", path)
        return Opened(info, MemoryBody(content))

    async def put(
        self,
        path: str,
        pieces: Sequence[bytes],
        notes: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> str:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.step("put", path)
        there = self._info(path)
        if version is not None and version != (ABSENT if there is None else there.version):
            raise Conflict
        made = self._make(path, b"".join(pieces), notes or {})
        await self.step("put.done", path)
        return made

    async def refresh(self, path: str, info: ObjectInfo) -> float:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.step("refresh", path)
        if path not in self.objects:
            raise errors.PathUnknown(path)
        self._make(path, self.objects[path].content, info.notes)
        modified = self.objects[path].info.modified
        await self.step("refresh.done", path)
        return modified

    async def assemble(self, path: str, pieces: Sequence[Piece]) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.step("assemble", path)
        for piece in pieces:
            if piece.path not in self.objects:
                raise errors.PathUnknown(piece.path)
        self._make(path, b"".join(self.objects[piece.path].content for piece in pieces), {})
        await self.step("assemble.done", path)

    async def delete(self, paths: Sequence[str], once: bool = False) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        for path in paths:
            await self.step("delete", path)
            self.objects.pop(path, None)
            await self.step("delete.done", path)

    async def page(
        self, prefix: str, after: str = "", deep: bool = False, limit: int = 1000, token: str | None = None
    ) -> Page:
        """See :class:`~txregistry.objects.store.IObjectStore`: in S3's order, folders with their slash."""
        await self.step("page", prefix)
        found: dict[str, Found] = {}
        for path in sorted(self.objects):
            if path.startswith(prefix) and path > after:
                below, slash, _ = path[len(prefix) :].partition("/")
                if slash and not deep:
                    found[prefix + below + "/"] = Found(prefix + below + "/")
                else:
                    info = self.objects[path].info
                    found[path] = Found(path, info.modified, info.size)
        entries = [one for one in found.values() if token is None or one.path > token]
        page = Page(entries[:limit], entries[limit - 1].path if len(entries) > limit else None, self.now())
        await self.step("page.done", prefix)
        return page

    async def sign(self, path: str, method: str) -> str | None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        return None

    async def tidy(self, before: float) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`: nothing is begun here that does not end."""

    def _info(self, path: str) -> ObjectInfo | None:
        found = self.objects.get(path)
        return None if found is None else evolve(found.info, now=self.now())

    def _make(self, path: str, content: bytes, notes: Mapping[str, str]) -> str:
        version = str(next(self._versions))
        modified = self.now()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self.objects[path] = _Object(
            content, ObjectInfo(len(content), modified, version, modified, dict(notes), md5)
        )
        return version
