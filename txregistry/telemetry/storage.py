"""A storage driver whose every operation is seen: how long it took, what it moved, how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from zope.interface import directlyProvides, implementer, providedBy

from txregistry.interfaces import FileInfo, IFileReader, IFileWriter, ILocalFiles, IStorageDriver

T = TypeVar("T")

Ended: TypeAlias = Callable[[BaseException | None, int], None]
"""Told once how an operation ended: by which exception, if by one, and how many bytes it moved."""

ACTIONS = (
    "GetContent",
    "PutContent",
    "Reader",
    "Writer",
    "Stat",
    "Touch",
    "Discard",
    "List",
    "Move",
    "Delete",
    "OpenLocal",
    "Read",
    "Write",
    "Sync",
    "Close",
)
"""What operations are called: as in Distribution where it has them.

``Read`` is of a reader, ``Write``, ``Sync`` and ``Close`` are of a writer.
"""


class StorageObserver(Protocol):
    """Sees what is asked of a storage."""

    def began(self, action: str, path: str) -> Ended:
        """Note that an operation begins.

        :param action: one of :data:`ACTIONS`.
        """
        ...


def observed(driver: IStorageDriver, observers: Sequence[StorageObserver]) -> IStorageDriver:
    """Return a driver that does what *driver* does while *observers* see it; the same one if there are none."""
    if not observers:
        return driver
    return ObservedDriver(driver, observers)


class _Observed:
    def __init__(self, observers: Sequence[StorageObserver]) -> None:
        self._observers = observers

    async def _see(
        self, action: str, path: str, work: Awaitable[T], size: Callable[[T], int] | None = None
    ) -> T:
        ends = [observer.began(action, path) for observer in self._observers]
        try:
            result = await work
        except BaseException as error:
            for ended in ends:
                ended(error, 0)
            raise
        moved = 0 if size is None else size(result)
        for ended in ends:
            ended(None, moved)
        return result


@implementer(IStorageDriver)
class ObservedDriver(_Observed):
    """Does what another driver does, and lets observers see it.

    :param driver: the other one.
    :param observers: who is told.
    """

    def __init__(self, driver: IStorageDriver, observers: Sequence[StorageObserver]) -> None:
        super().__init__(observers)
        self._driver = driver
        # What else it can do it can do still.
        directlyProvides(self, providedBy(driver))

    def __getattr__(self, name: str) -> Any:
        """Return what a capability adds to the driver, and no observer is told of."""
        return getattr(self._driver, name)

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        self._driver.prepare()

    def close(self) -> Awaitable[None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return self._driver.close()

    def read(self, path: str, limit: int) -> Awaitable[bytes]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return self._see("GetContent", path, self._driver.read(path, limit), len)

    def write(self, path: str, content: bytes, durable: bool = True) -> Awaitable[None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        writing = self._driver.write(path, content, durable)
        return self._see("PutContent", path, writing, lambda _: len(content))

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        reader = await self._see("Reader", path, self._driver.open_reader(path, offset))
        return _ObservedReader(reader, path, self._observers)

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        writer = await self._see("Writer", path, self._driver.open_writer(path))
        return _ObservedWriter(writer, path, self._observers)

    def stat(self, path: str) -> Awaitable[FileInfo]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return self._see("Stat", path, self._driver.stat(path))

    def touch(self, paths: Sequence[str], age: float = 0) -> Awaitable[Sequence[FileInfo | None]]:
        """See :class:`~txregistry.interfaces.IStorageDriver`.  It is seen with the first of the paths."""
        return self._see("Touch", paths[0] if paths else "", self._driver.touch(paths, age))

    def discard(self, path: str, before: float) -> Awaitable[FileInfo | None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return self._see("Discard", path, self._driver.discard(path, before))

    def list(self, path: str) -> Awaitable[list[str]]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return self._see("List", path, self._driver.list(path))

    def move(self, source: str, target: str) -> Awaitable[None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return self._see("Move", source, self._driver.move(source, target))

    def delete(self, path: str, durable: bool = True) -> Awaitable[None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return self._see("Delete", path, self._driver.delete(path, durable))

    def open_local(self, path: str) -> Awaitable[int]:
        """See :class:`~txregistry.interfaces.ILocalFiles`."""
        return self._see("OpenLocal", path, ILocalFiles(self._driver).open_local(path))


@implementer(IFileReader)
class _ObservedReader(_Observed):
    def __init__(self, reader: IFileReader, path: str, observers: Sequence[StorageObserver]) -> None:
        super().__init__(observers)
        self._reader = reader
        self._path = path

    def read(self, size: int) -> Awaitable[bytes]:
        return self._see("Read", self._path, self._reader.read(size), len)

    def close(self) -> Awaitable[None]:
        return self._reader.close()


@implementer(IFileWriter)
class _ObservedWriter(_Observed):
    def __init__(self, writer: IFileWriter, path: str, observers: Sequence[StorageObserver]) -> None:
        super().__init__(observers)
        self._writer = writer
        self._path = path
        self._closed = False

    @property
    def offset(self) -> int:
        return self._writer.offset

    def write(self, chunks: Iterable[bytes]) -> Awaitable[None]:
        before = self._writer.offset
        writing = self._writer.write(chunks)
        return self._see("Write", self._path, writing, lambda _: self._writer.offset - before)

    def sync(self) -> Awaitable[None]:
        return self._see("Sync", self._path, self._writer.sync())

    def close(self) -> Awaitable[None]:
        if self._closed:
            return self._writer.close()
        self._closed = True
        return self._see("Close", self._path, self._writer.close())
