"""Links: the small files by which one thing points to another, and what they lead to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar, cast

from attrs import frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from txregistry import errors
from txregistry.content import layout
from txregistry.content.facts import Facts
from txregistry.digest import Digest, Digester
from txregistry.interfaces import FileInfo, IStorageDriver
from txregistry.manifest import SIZE_LIMIT
from txregistry.reference import RepositoryName
from txregistry.storage.batches import place
from txregistry.waiting import InThread

_log = Logger()

T = TypeVar("T")
R = TypeVar("R")

_LINK_LIMIT = 1024
_AT_ONCE = 16
_CHUNK = 1024 * 1024


@frozen
class Links:
    """Reads and writes links, and follows them.

    :param driver: where they are.
    """

    driver: IStorageDriver

    async def read(self, path: str) -> Digest | None:
        """Return what a link points to; None where there is no link.

        A link that holds no digest, as older registries left after a crash, is as good as none: the log tells
        of it, and a client that finds nothing pushes again, which mends it.
        """
        try:
            content = await self.driver.read(path, _LINK_LIMIT)
        except errors.PathUnknown:
            return None
        try:
            return Digest.parse(content.decode("ascii").rstrip("\n"))
        except (UnicodeDecodeError, errors.DigestInvalid):
            _log.error("the link {path} is damaged: it holds no digest", path=path)
            return None

    async def write(self, path: str, digest: Digest) -> None:
        """Make a link, or make it point elsewhere; return when it is durable."""
        await self.driver.write(path, str(digest).encode("ascii"))

    async def bytes_of(self, digest: Digest) -> FileInfo | None:
        """Return what is known of the bytes of a blob or manifest; None where there are none."""
        try:
            return await self.driver.stat(layout.blob_data(digest))
        except errors.PathUnknown:
            return None

    async def manifest(
        self, name: RepositoryName, digest: Digest, facts: Facts | None = None
    ) -> bytes | None:
        """Return a manifest's bytes; None where the repository has none of that digest.

        :param facts: where the bytes may be had from, too; None to ask the storage.
        :raises txregistry.errors.StorageFault: what is stored is not what was pushed.
        """
        target = await self.read(layout.revision_link(name, digest))
        if target is None:
            return None
        if facts is not None and (known := await facts.manifest(target, digest)) is not None:
            return known
        path = layout.blob_data(target)
        try:
            content = await self.driver.read(path, SIZE_LIMIT)
        except errors.PathUnknown:
            return None
        if Digest.of(content, digest.algorithm) != digest:
            raise errors.StorageFault(path, "a manifest whose bytes have another digest than its name")
        if facts is not None:
            await facts.note_manifest(target, content)
        return content

    async def hashed(self, path: str, algorithm: str, in_thread: InThread) -> Digest:
        """Return the digest of a file, read from end to end.

        :param in_thread: where it is hashed.
        :raises txregistry.errors.PathUnknown: there is none.
        """
        digester = Digester(algorithm)
        reader = await self.driver.open_reader(path)
        try:
            while chunk := await reader.read(_CHUNK):
                await in_thread(lambda chunk=chunk: digester.update(chunk))  # type: ignore[misc]
        finally:
            await reader.close()
        return digester.digest()

    async def delete(self, path: str) -> bool:
        """Remove a link, or a directory of links; say whether there was one."""
        try:
            await self.driver.delete(path)
        except errors.PathUnknown:
            return False
        return True


async def concurrently(work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """Return what *work* makes of each of *items*, a few at a time; in a batch, one after the other.

    The first that fails ends it, and its exception is raised.
    """

    if place() is not None:
        return [await work(item) for item in items]

    async def one(item: T) -> R:
        return await work(item)

    pending = list(items)
    results: list[R] = []
    for start in range(0, len(pending), _AT_ONCE):
        batch = [Deferred.fromCoroutine(one(item)) for item in pending[start : start + _AT_ONCE]]
        try:
            results += await gatherResults(batch, consumeErrors=True)
        except FirstError as error:
            raise cast(Exception, error.subFailure.value) from None
    return results
