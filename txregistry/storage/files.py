"""Open files of this machine, and the system calls that a driver makes whole of.

Everything here blocks, but for what returns an awaitable.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from zope.interface import implementer

from txregistry.interfaces import IFileReader, IFileWriter
from txregistry.storage.batches import uncancelled
from txregistry.waiting import Turns

T = TypeVar("T")


class Run(Protocol):
    """Runs work that blocks on a driver's own threads, its errors translated."""

    def __call__(self, path: str, work: Callable[[], T], /) -> Awaitable[T]:
        """Run *work*, which concerns the storage path *path*."""
        ...


class _OpenFile:
    """A descriptor, and calls on it that happen one after the other, in the order in which they were made.

    That holds whatever becomes of those who made them: a request that is cancelled cannot stop the thread
    that writes for it, and the file must not be closed under that thread.
    """

    def __init__(self, run: Run, path: str, descriptor: int) -> None:
        self._run = run
        self._path = path
        self._descriptor: int | None = descriptor
        self._turns = Turns()

    async def call(self, work: Callable[[int], T]) -> T:
        """Return what *work* makes of the descriptor, when its turn has come."""
        return await self._do(lambda: work(self._held()))

    async def close(self) -> None:
        """Close the descriptor, when all that was called before has ended."""
        await self._do(self._close)

    async def _do(self, work: Callable[[], T]) -> T:
        return await uncancelled(self._turns.take(lambda: self._run(self._path, work)))

    def _held(self) -> int:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "closed")
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


@implementer(IFileReader)
class FileReader:
    """See :class:`~txregistry.interfaces.IFileReader`."""

    def __init__(self, run: Run, path: str, descriptor: int, offset: int) -> None:
        self._file = _OpenFile(run, path, descriptor)
        self._offset = offset

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""

        content = await self._file.call(lambda descriptor: os.pread(descriptor, size, self._offset))
        self._offset += len(content)
        return content

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        await self._file.close()


@implementer(IFileWriter)
class FileWriter:
    """See :class:`~txregistry.interfaces.IFileWriter`."""

    def __init__(self, run: Run, path: str, local: str, descriptor: int, offset: int) -> None:
        self._local = local
        self._file = _OpenFile(run, path, descriptor)
        self.offset = offset

    async def write(self, chunks: Iterable[bytes]) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

        def write(descriptor: int) -> None:
            for chunk in chunks:
                write_all(descriptor, chunk)
                self.offset += len(chunk)

        await self._file.call(write)

    async def sync(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

        def sync(descriptor: int) -> None:
            os.utime(descriptor)
            os.fsync(descriptor)

        await self._file.call(sync)

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        await self._file.close()


def create(local: str) -> int:
    """Make a file that is not there yet, and return its descriptor."""
    return os.open(local, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def open_regular(local: str) -> int:
    """Open a file to be read, and return its descriptor.  What is no ordinary file counts as none."""
    descriptor = os.open(local, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_all(descriptor: int, size: int) -> bytes:
    """Return the next *size* bytes, or all there are."""
    content = os.read(descriptor, size + 1)
    while len(content) < size:
        more = os.read(descriptor, size - len(content))
        if not more:
            break
        content += more
    return content


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of *content*."""
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, memoryview(content)[written:])


def sync_directory(directory: str) -> None:
    """Make what was done to the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(local: str) -> None:
    """Remove a file if that can be done."""
    try:
        os.unlink(local)
    except OSError:
        # The failure that led here is the one to report.
        return
