"""Storage in this process's memory: for tests, and for registries that may forget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zope.interface import implementer

from txregistry import errors, paths
from txregistry.interfaces import FileInfo, IFileReader, IFileWriter, IOneProcess, IStorageDriver


def make(options: Mapping[str, Any], reactor: Any) -> MemoryDriver:
    """Make a driver from ``storage.inmemory``, which has no options.

    :raises txregistry.errors.ConfigError: there is an option all the same.
    """
    if options:
        raise errors.ConfigError(min(options), "unknown key; this driver has no options")
    return MemoryDriver()


class _File:
    def __init__(self, content: bytes, modified: float) -> None:
        self.content = bytearray(content)
        self.modified = modified
        self.busy = False


class _Directory:
    def __init__(self, modified: float) -> None:
        self.children: dict[str, _Directory | _File] = {}
        self.modified = modified


@implementer(IStorageDriver, IOneProcess)
class MemoryDriver:
    """A tree of files in memory.  Every method answers without waiting.

    :param now: the time, in seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._root = _Directory(now())

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""

    async def read(self, path: str, limit: int) -> bytes:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        content = self._file(path).content
        if len(content) > limit:
            raise errors.StorageFault(path, f"longer than {limit} bytes")
        return bytes(content)

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        self._put(path, _File(content, self._now()))

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return MemoryReader(self._file(path), offset)

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        try:
            file = self._file(path)
        except errors.PathUnknown:
            file = _File(b"", self._now())
            self._put(path, file)
        if file.busy:
            raise errors.FileBusy(path)
        return MemoryWriter(file, self._now)

    async def stat(self, path: str) -> FileInfo:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        node = self._node(path)
        if isinstance(node, _Directory):
            return FileInfo(0, node.modified, is_directory=True)
        return FileInfo(len(node.content), node.modified)

    async def touch(self, paths: Sequence[str], age: float = 0) -> list[FileInfo | None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return [self._touch(path, age) for path in paths]

    async def discard(self, path: str, before: float) -> FileInfo | None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        try:
            file = self._file(path)
        except errors.PathUnknown:
            return None
        if file.modified >= before:
            return None
        self._remove(path)
        parent = path.rpartition("/")[0]
        while parent and not self._children(parent):
            self._remove(parent)
            parent = parent.rpartition("/")[0]
        return FileInfo(len(file.content), file.modified)

    async def list(self, path: str) -> list[str]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        node = self._node(path)
        if isinstance(node, _File):
            raise errors.PathUnknown(path)
        return sorted(node.children)

    async def move(self, source: str, target: str) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        paths.check(target)
        file = self._file(source)
        self._put(target, file)
        if source != target:
            self._remove(source)

    async def delete(self, path: str, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        self._remove(path)

    def _node(self, path: str) -> _Directory | _File:
        node: _Directory | _File | None = self._root
        for part in paths.check(path).split("/")[1:]:
            node = node.children.get(part) if isinstance(node, _Directory) else None
        if node is None:
            raise errors.PathUnknown(path)
        return node

    def _file(self, path: str) -> _File:
        node = self._node(path)
        if isinstance(node, _Directory):
            raise errors.PathUnknown(path)
        return node

    def _children(self, path: str) -> dict[str, _Directory | _File]:
        node = self._node(path)
        assert isinstance(node, _Directory)
        return node.children

    def _touch(self, path: str, age: float) -> FileInfo | None:
        try:
            file = self._file(path)
        except errors.PathUnknown:
            return None
        if self._now() - file.modified >= age:
            file.modified = self._now()
        return FileInfo(len(file.content), file.modified)

    def _put(self, path: str, file: _File) -> None:
        *parents, name = paths.check(path).split("/")[1:]
        node = self._root
        for part in parents:
            child = node.children.setdefault(part, _Directory(self._now()))
            if isinstance(child, _File):
                raise errors.StorageFault(path, "a part of the path is a file")
            node = child
        if isinstance(node.children.get(name), _Directory):
            raise errors.StorageFault(path, "a directory is in the way")
        node.children[name] = file

    def _remove(self, path: str) -> None:
        self._node(path)
        parent, _, name = path.rpartition("/")
        children = self._children(parent) if parent else self._root.children
        del children[name]


@implementer(IFileReader)
class MemoryReader:
    """See :class:`~txregistry.interfaces.IFileReader`."""

    def __init__(self, file: _File, offset: int) -> None:
        self._file = file
        self._offset = offset

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.interfaces.IFileReader`."""
        content = bytes(self._file.content[self._offset : self._offset + size])
        self._offset += len(content)
        return content

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileReader`."""


@implementer(IFileWriter)
class MemoryWriter:
    """See :class:`~txregistry.interfaces.IFileWriter`."""

    def __init__(self, file: _File, now: Callable[[], float]) -> None:
        file.busy = True
        self._now = now
        self._file = file
        self._open = True
        self.offset = len(file.content)

    async def write(self, chunks: Iterable[bytes]) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        for chunk in chunks:
            self._file.content += chunk
            self.offset += len(chunk)
        self._file.modified = self._now()

    async def sync(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        self._file.modified = self._now()

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        if self._open:
            self._open = self._file.busy = False
