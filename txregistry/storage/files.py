"""Open files of this machine, and the system calls that a driver makes whole of.

Everything here blocks, but for what returns an awaitable.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from zope.interface import implementer

from txregistry.interfaces import IFileReader, IFileWriter

T = TypeVar("T")


class Run(Protocol):
    """Runs work that blocks on a driver's own threads, its errors translated."""

    def __call__(self, path: str, work: Callable[[], T], /) -> Awaitable[T]:
        """Run *work*, which concerns the storage path *path*."""
        ...


@implementer(IFileReader)
class FileReader:
    """See :class:`~txregistry.interfaces.IFileReader`."""

    def __init__(self, run: Run, path: str, descriptor: int, offset: int) -> None:
        self._run = run
        self._path = path
        self._descriptor = Descriptor(descriptor)
        self._offset = offset

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""

        def read() -> bytes:
            with self._descriptor as descriptor:
                return os.pread(descriptor, size, self._offset)

        content = await self._run(self._path, read)
        self._offset += len(content)
        return content

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        await self._run(self._path, self._descriptor.close)


@implementer(IFileWriter)
class FileWriter:
    """See :class:`~txregistry.interfaces.IFileWriter`."""

    def __init__(self, run: Run, path: str, local: str, descriptor: int, offset: int) -> None:
        self._run = run
        self._path = path
        self._local = local
        self._descriptor = Descriptor(descriptor)
        self.offset = offset

    async def write(self, chunks: Iterable[bytes]) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

        def write() -> None:
            with self._descriptor as descriptor:
                for chunk in chunks:
                    write_all(descriptor, chunk)
                    self.offset += len(chunk)

        await self._run(self._path, write)

    async def sync(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

        def sync() -> None:
            with self._descriptor as descriptor:
                os.fsync(descriptor)
            sync_directory(os.path.dirname(self._local))

        await self._run(self._path, sync)

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        await self._run(self._path, self._descriptor.close)


class Descriptor:
    """A file descriptor that is not closed under a thread that uses it, as a cancelled request would do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._lock = threading.Lock()

    def __enter__(self) -> int:
        self._lock.acquire()
        if self._descriptor is None:
            self._lock.release()
            raise OSError(errno.EBADF, "closed")
        return self._descriptor

    def __exit__(self, *exc: object) -> None:
        self._lock.release()

    def close(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def create(local: str) -> int:
    """Make a file that is not there yet, and return its descriptor."""
    return os.open(local, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def open_regular(local: str) -> int:
    """Open a file to be read, and return its descriptor.  What is no ordinary file counts as none."""
    descriptor = os.open(local, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a file")
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
