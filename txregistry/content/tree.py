"""The tree of what is stored, walked from end to end: for what looks after all of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from attrs import frozen

from txregistry import errors
from txregistry.content import layout
from txregistry.digest import ALGORITHMS, Digest
from txregistry.interfaces import IStorageDriver
from txregistry.reference import COMPONENT, NAME_LIMIT, RepositoryName

T = TypeVar("T")

Pause = Callable[[], Awaitable[object]]


@frozen
class Folder:
    """A folder of the tree of repositories that holds something of a repository's own.

    :param name: the repository's name.
    :param own: the names of its own directories: manifests, layers, uploads, and whatever else.
    """

    name: RepositoryName
    own: tuple[str, ...]


@frozen
class Tree:
    """Walks what is stored, a folder at a time.

    Files and folders that are none of the registry's are passed over.  What comes and goes meanwhile may be
    met or not.  Close what these methods return (``contextlib.aclosing``).

    :param driver: where it is.
    :param pause: awaited between folders, so that others can have their turn.
    """

    driver: IStorageDriver
    pause: Pause

    async def folders(self) -> AsyncGenerator[Folder, None]:
        """Yield all that may be a repository: also what holds nothing but uploads, which no catalog lists."""
        pending = [""]
        while pending:
            prefix = pending.pop()
            await self.pause()
            names = await self.names(layout.repository(prefix).rstrip("/"))
            own = tuple(name for name in names if name.startswith(layout.OWN))
            if prefix and own:
                yield Folder(RepositoryName(prefix), own)
            below = [f"{prefix}/{name}" if prefix else name for name in names if COMPONENT.fullmatch(name)]
            pending += [name for name in reversed(below) if len(name) <= NAME_LIMIT]

    async def blobs(self) -> AsyncGenerator[list[Digest], None]:
        """Yield the digests that bytes are kept by, a folder of them at a time."""
        for algorithm in ALGORITHMS:
            for folder in await self.names(f"{layout.BLOBS}/{algorithm}"):
                await self.pause()
                found = await self.digests(f"{layout.BLOBS}/{algorithm}/{folder}", algorithm)
                yield [digest for digest in found if digest.hex.startswith(folder)]

    async def digests(self, path: str, algorithm: str) -> list[Digest]:
        """Return the digests that the names in a directory spell; none where there is no directory."""
        found = []
        for name in await self.names(path):
            try:
                found.append(Digest.parse(f"{algorithm}:{name}"))
            except errors.DigestInvalid:
                continue
        return found

    async def names(self, path: str) -> list[str]:
        """Return the names in a directory; none where there is no directory, or none of a name that we give."""
        try:
            return await self.driver.list(path)
        except (errors.PathUnknown, errors.PathInvalid):
            return []
