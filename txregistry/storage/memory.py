"""Storage in this process's memory: for tests, and for registries that may forget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from zope.interface import implementer

from txregistry import errors, paths
from txregistry.interfaces import FileInfo, IFileReader, IFileWriter, IStorageDriver


def make(options: Mapping[str, Any], reactor: Any) -> MemoryDriver:
    """Make a driver from ``storage.inmemory``, which has no options.

    :raises txregistry.errors.ConfigError: there is an option all the same.
    """
    if options:
        raise errors.ConfigError(min(options), "unknown key; this driver has no options")
    return MemoryDriver()


class _File:
    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.modified = time.time()
        self.busy = False


class _Directory:
    def __init__(self) -> None:
        self.children: dict[str, _Directory | _File] = {}
        self.modified = time.time()


@implementer(IStorageDriver)
class MemoryDriver:
    """A tree of files in memory.  Every method answers without waiting."""

    def __init__(self) -> None:
        self._root = _Directory()

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
        self._put(path, _File(content))

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        return MemoryReader(self._file(path), offset)

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        try:
            file = self._file(path)
        except errors.PathUnknown:
            file = _File(b"")
            self._put(path, file)
        if file.busy:
            raise errors.FileBusy(path)
        return MemoryWriter(file)

    async def stat(self, path: str) -> FileInfo:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        node = self._node(path)
        if isinstance(node, _Directory):
            return FileInfo(0, node.modified, is_directory=True)
        return FileInfo(len(node.content), node.modified)

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

    def _put(self, path: str, file: _File) -> None:
        *parents, name = paths.check(path).split("/")[1:]
        node = self._root
        for part in parents:
            child = node.children.setdefault(part, _Directory())
            if isinstance(child, _File):
                raise errors.StorageFault(path, "a part of the path is a file")
            node = child
        if isinstance(node.children.get(name), _Directory):
            raise errors.StorageFault(path, "a directory is in the way")
        node.children[name] = file

    def _remove(self, path: str) -> None:
        self._node(path)
        parent, _, name = path.rpartition("/")
        directory = self._node(parent) if parent else self._root
        assert isinstance(directory, _Directory)
        del directory.children[name]


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

    def __init__(self, file: _File) -> None:
        file.busy = True
        self._file = file
        self._open = True
        self.offset = len(file.content)

    async def write(self, chunks: Iterable[bytes]) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        for chunk in chunks:
            self._file.content += chunk
            self.offset += len(chunk)
        self._file.modified = time.time()

    async def sync(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IFileWriter`."""
        if self._open:
            self._open = self._file.busy = False
