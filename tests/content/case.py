"""What the tests of the registry's content stand on."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from attrs import field, mutable
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txregistry import errors, media
from txregistry.content import layout
from txregistry.content.registry import Registry
from txregistry.content.uploads import Upload
from txregistry.digest import Digest
from txregistry.interfaces import IFileReader, IFileWriter
from txregistry.reference import RepositoryName
from txregistry.storage.memory import MemoryDriver

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

NAME = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
CONTENT = bytes(range(256)) * 40


def in_thread(work: Callable[[], T], /) -> Awaitable[T]:
    """Run *work* at once."""
    return succeed(work())


def descriptor(digest: Digest, media_type: str = "application/vnd.oci.image.layer.v1.tar") -> dict[str, Any]:
    """Return a descriptor of something that is stored, or not."""
    return {"mediaType": media_type, "digest": str(digest), "size": 1}


def image(config: Digest, *layers: Digest, note: str = "") -> bytes:
    """Return an OCI image manifest."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": descriptor(config),
            "layers": [descriptor(layer) for layer in layers],
            "annotations": {"note": note},
        }
    ).encode()


def index(*children: Digest) -> bytes:
    """Return an OCI index."""
    manifests = [descriptor(child, media.OCI_MANIFEST) for child in children]
    return json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests}).encode()


@mutable
class Pieces:
    """A body that arrives in batches; afterwards it ends, or fails.

    :param batches: what each read returns.
    :param failure: what the read after them raises.
    """

    batches: list[Sequence[bytes]]
    failure: Exception | None = None

    async def read(self) -> Sequence[bytes]:
        """Return the next batch."""
        if self.batches:
            return self.batches.pop(0)
        if self.failure is not None:
            raise self.failure
        return []


def pieces(content: bytes, size: int = 1000, failure: Exception | None = None) -> Pieces:
    """Return *content* as a body of chunks of *size* bytes, two to a batch."""
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    return Pieces([chunks[start : start + 2] for start in range(0, len(chunks), 2)], failure)


class ToldDriver(MemoryDriver):
    """A driver in memory that tells what it was asked for, and can be told to fail.

    :ivar calls: each change as (operation, path), in order.
    :ivar opened: the path of each reader that was opened.
    :ivar listed: the path of each directory that was listed.
    :ivar failing: operations that raise, with what: ``sync`` or ``write`` at a path that contains the text.
    :ivar room: bytes that writers can still write.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__(now)
        self.calls: list[tuple[str, str]] = []
        self.opened: list[str] = []
        self.listed: list[str] = []
        self.failing: dict[tuple[str, str], errors.StorageError] = {}
        self.room = 2**63

    def tell(self, operation: str, path: str) -> None:
        """Note a call, or fail as was wished."""
        for (kind, text), error in self.failing.items():
            if kind == operation and text in path:
                raise error
        self.calls.append((operation, path))

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        self.tell("write", path)
        await super().write(path, content, durable)

    async def move(self, source: str, target: str) -> None:
        self.tell("move", target)
        await super().move(source, target)

    async def delete(self, path: str, durable: bool = True) -> None:
        self.tell("delete", path)
        await super().delete(path, durable)

    async def list(self, path: str) -> builtins.list[str]:
        self.listed.append(path)
        return await super().list(path)

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        self.opened.append(path)
        return await super().open_reader(path, offset)

    async def open_writer(self, path: str) -> IFileWriter:
        writer = await super().open_writer(path)
        return _ToldWriter(self, path, writer)


@implementer(IFileWriter)
@mutable(eq=False)
class _ToldWriter:
    _driver: ToldDriver
    _path: str
    _writer: IFileWriter
    offset: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.offset = self._writer.offset

    async def write(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            fits = chunk[: self._driver.room]
            await self._writer.write([fits])
            self._driver.room -= len(fits)
            self.offset = self._writer.offset
            if len(fits) < len(chunk):
                raise errors.StorageFull(self._path, "no room")

    async def sync(self) -> None:
        self._driver.tell("sync", self._path)
        await self._writer.sync()

    async def close(self) -> None:
        await self._writer.close()


class SlowDriver(MemoryDriver):
    """A driver in memory that answers, while it is told to, only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        self.waiting: list[Deferred[None]] = []

    async def _turn(self) -> None:
        if self.slow:
            self.waiting.append(Deferred())
            await self.waiting[-1]

    def finish(self, random: Any) -> None:
        """Answer all that waits and all that comes of it, in an order that *random* chooses."""
        while self.waiting:
            self.waiting.pop(random.randrange(len(self.waiting))).callback(None)
        self.slow = False

    async def read(self, path: str, limit: int) -> bytes:
        await self._turn()
        return await super().read(path, limit)

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        await self._turn()
        await super().write(path, content, durable)

    async def delete(self, path: str, durable: bool = True) -> None:
        await self._turn()
        await super().delete(path, durable)


class ContentCase(SynchronousTestCase):
    """A registry in memory, made anew for each test."""

    def setUp(self) -> None:
        """Make the registry."""
        self.driver = ToldDriver()
        self.registry = self.another()

    def another(self) -> Registry:
        """Return another registry, of another process say, on the same storage."""
        return Registry.on(self.driver, in_thread)

    def run_now(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of *work*, which waits for nothing."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def raises(self, kind: type[E], work: Coroutine[Any, Any, Any]) -> E:
        """Fail unless *work* raises *kind*; return what it raised."""
        error = self.failureResultOf(Deferred.fromCoroutine(work), kind).value
        assert isinstance(error, kind)
        return error

    def tree(self) -> dict[str, bytes | None]:
        """Return all that is stored, by path; None for a directory."""

        async def walk(path: str) -> dict[str, bytes | None]:
            found: dict[str, bytes | None] = {}
            for name in await self.driver.list(path):
                below = f"{path}/{name}"
                if (await self.driver.stat(below)).is_directory:
                    found[below] = None
                    found.update(await walk(below))
                else:
                    found[below] = await self.driver.read(below, 2**40)
            return found

        async def walk_all() -> dict[str, bytes | None]:
            try:
                return await walk("/docker")
            except errors.PathUnknown:
                return {}

        return self.run_now(walk_all())

    def files(self) -> set[str]:
        """Return the paths of all files."""
        return {path for path, content in self.tree().items() if content is not None}

    def stored(self, path: str) -> bytes:
        """Return a file."""
        return self.run_now(self.driver.read(path, 2**40))

    def store(self, path: str, content: bytes) -> None:
        """Put a file in place, past the registry."""
        self.run_now(MemoryDriver.write(self.driver, path, content))

    def upload(self, content: bytes = b"", name: RepositoryName = NAME) -> Upload:
        """Begin an upload, and send a part of it in one request."""

        async def begin() -> Upload:
            upload = await self.registry.uploads.begin(name)
            session = await self.registry.uploads.open(name, upload.id)
            try:
                await session.append(pieces(content))
            finally:
                await session.close()
            return session.upload

        return self.run_now(begin())

    def push(self, content: bytes, name: RepositoryName = NAME, algorithm: str = "sha256") -> Digest:
        """Push a blob."""

        async def push() -> Digest:
            digest = Digest.of(content, algorithm)
            upload = await self.registry.uploads.begin(name)
            session = await self.registry.uploads.open(name, upload.id, algorithm)
            try:
                await session.append(pieces(content))
                await session.commit(digest)
            finally:
                await session.close()
            return digest

        return self.run_now(push())

    def bytes_of(self, digest: Digest, name: RepositoryName = NAME) -> bytes:
        """Return a blob as a client would get it."""
        blob = self.run_now(self.registry.blobs.find(name, digest))
        content = self.stored(blob.path)
        self.assertEqual(len(content), blob.size)
        return content

    def complains(self, path: str, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of *work*; fail unless the log told of a damaged file, and of nothing else."""
        with capturedLogs() as told:
            result = self.run_now(work)
        self.assertEqual({(event["log_level"], event["path"]) for event in told}, {(LogLevel.error, path)})
        return result

    def damage(self, path: str) -> None:
        """Flip one bit in the middle of a file."""
        content = bytearray(self.stored(path))
        content[len(content) // 2] ^= 1
        self.store(path, bytes(content))

    def damage_blob(self, digest: Digest) -> None:
        """Flip one bit of a blob or manifest."""
        self.damage(layout.blob_data(digest))
