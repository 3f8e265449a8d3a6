"""Storage in a directory of this machine.

The order of every durable change is: write a temporary file, sync it, rename it into place, sync the
directory.  Directories that are missing come into place with the file, by the same rename; where they cannot,
each is made in place, its parent synced before anything is put into it.  A file whose sync failed is dropped,
because a second sync that succeeds would prove nothing (PostgreSQL's "fsyncgate").
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import itertools
import os
import shutil
import stat
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.logger import Logger
from zope.interface import implementer

from txregistry import errors, paths
from txregistry.interfaces import (
    FileInfo,
    IBatching,
    IFileReader,
    IFileWriter,
    ILocalFiles,
    IOrderedListing,
    IStorageDriver,
    ITidying,
    IWritability,
)
from txregistry.storage import batches
from txregistry.storage.batches import uncancelled
from txregistry.storage.directories import Directories
from txregistry.storage.files import (
    FileReader,
    FileWriter,
    create,
    discard,
    open_regular,
    read_all,
    sync_directory,
    write_all,
)
from txregistry.storage.listings import Listings, is_local
from txregistry.storage.remembered import Forgetful, Known, Memory, Remembered
from txregistry.storage.room import check_room
from txregistry.storage.threads import Threads
from txregistry.storage.wanted import discard as discard_unwanted
from txregistry.storage.wanted import prune, touch
from txregistry.storage.watches import CHANGES, NAMES, Watches

_log = Logger()

T = TypeVar("T")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR}
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}

#: Beside what Distribution knows of, at the root, where it never looks: files that are not whole yet, and
#: directories that are being removed.
_NEW = "_txregistry/new"
_TRASH = "_txregistry/trash"

#: Where everything is if nothing else is said.
DEFAULT_ROOT = "/var/lib/registry"

_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC

_ATTEMPTS = 5
#: Seconds after which what lies in those two is taken for what a killed process left.
_LEFT_AFTER = 3600


def make(options: Mapping[str, Any], reactor: Any) -> FilesystemDriver:
    """Make a driver from ``storage.filesystem``.

    :param options: ``rootdirectory``, an absolute path, ``/var/lib/registry`` if not given; ``maxthreads``,
        how many calls may wait for the disk at once, 100 if not given.
    :raises txregistry.errors.ConfigError: another key, or a value of another kind.
    """
    rest = dict(options)
    root = rest.pop("rootdirectory", DEFAULT_ROOT)
    threads = rest.pop("maxthreads", 100)
    if rest:
        raise errors.ConfigError(min(rest), "unknown key; expected rootdirectory or maxthreads")
    if not isinstance(root, str) or not os.path.isabs(root):
        raise errors.ConfigError("rootdirectory", f"expected an absolute path, found {root!r}")
    if type(threads) is not int or threads < 1:
        raise errors.ConfigError("maxthreads", f"expected a number of at least 1, found {threads!r}")
    return FilesystemDriver(root, Threads(reactor, threads, "txregistry-filesystem"))


@implementer(IStorageDriver, IBatching, ILocalFiles, IOrderedListing, ITidying, IWritability)
class FilesystemDriver:
    """Files below a root directory.

    :param root: an absolute path of this machine.
    :param threads: where the file work is done; stopped by this driver.
    """

    def __init__(self, root: str, threads: Threads) -> None:
        self._root = root
        self._threads = threads
        self._listings = Listings()
        self._memory: Memory = Forgetful()
        # No other process has this prefix; a random name for each would be a system call for each.
        self._prefix = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._directories = Directories(lambda: self._fresh(_NEW))

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        try:
            for name in (_NEW, _TRASH):
                os.makedirs(os.path.join(self._root, name), exist_ok=True)
            probe = self._fresh(_NEW)
            os.close(create(probe))
            os.unlink(probe)
        except OSError as error:
            raise errors.ConfigError(
                "rootdirectory", f"cannot write below {self._root}: {error.strerror}"
            ) from error
        self._empty()
        if is_local(self._root):
            self._remember()

    def _remember(self) -> None:
        """Remember what is read often, and what large directories have in them."""
        try:
            self._listings = Listings(Watches(NAMES))
            self._memory = Remembered(self._root, Watches(CHANGES))
        except OSError as error:
            _log.warn(
                "what is read often cannot be remembered: {reason}", reason=error.strerror or str(error)
            )

    async def check_writable(self) -> None:
        """See :class:`~txregistry.interfaces.IWritability`."""
        await self._run("/", check_room, os.path.join(self._root, _NEW))

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        self._threads.stop()
        memory, self._memory = self._memory, Forgetful()
        memory.close()
        self._listings.close()

    async def read(self, path: str, limit: int) -> bytes:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        local = self._local(path)

        def read() -> Known:
            descriptor = open_regular(local)
            try:
                found = os.fstat(descriptor)
                if found.st_size > limit:
                    raise errors.StorageFault(path, f"longer than {limit} bytes")
                return Known(read_all(descriptor, found.st_size), found.st_mtime)
            finally:
                os.close(descriptor)

        known = self._memory.get(local)
        if known is None:
            known = await self._run(path, self._memory.read, local, read)
        if len(known.content) > limit:
            raise errors.StorageFault(path, f"longer than {limit} bytes")
        return known.content

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        local, temporary = self._local(path), self._fresh(_NEW)

        def write() -> None:
            try:
                descriptor = create(temporary)
                try:
                    write_all(descriptor, content)
                    if durable:
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                _persistently(lambda: self._directories.place(temporary, local, durable))
            except BaseException:
                discard(temporary)
                raise

        await self._run(path, write)

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        descriptor = await self.open_local(path)
        return FileReader(self._run, path, descriptor, offset)

    async def open_local(self, path: str) -> int:
        """See :class:`~txregistry.interfaces.ILocalFiles`."""
        opening = self._run(path, open_regular, self._local(path))
        return await uncancelled(opening, undo=os.close)

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        local = self._local(path)

        def lock() -> tuple[int, int]:
            try:
                descriptor = os.open(local, _APPENDING, 0o666)
            except FileNotFoundError:
                self._directories.make(os.path.dirname(local))
                descriptor = os.open(local, _APPENDING, 0o666)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise errors.FileBusy(path) from None
                held = os.fstat(descriptor)
                if not os.path.samestat(held, os.stat(local)):
                    raise FileNotFoundError(errno.ENOENT, "moved away while it was opened")
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor, held.st_size

        locking = self._run(path, _persistently, lock)
        descriptor, size = await uncancelled(locking, undo=lambda locked: os.close(locked[0]))
        return FileWriter(self._run, path, local, descriptor, size)

    async def stat(self, path: str) -> FileInfo:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        local = self._local(path)
        known = self._memory.get(local)
        if known is not None:
            return FileInfo(len(known.content), known.modified)
        return _info(await self._run(path, os.stat, local))

    async def touch(self, paths: Sequence[str], age: float = 0) -> list[FileInfo | None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        if not paths:
            return []
        locals_ = [self._local(path) for path in paths]

        def touch_all() -> list[FileInfo | None]:
            found = [touch(local, age) for local in locals_]
            return [None if each is None else _info(each) for each in found]

        return await self._run(paths[0], touch_all)

    async def discard(self, path: str, before: float) -> FileInfo | None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        local = self._local(path)

        def remove() -> FileInfo | None:
            found = discard_unwanted(local, before)
            if found is None:
                return None
            prune(os.path.dirname(local), self._root)
            return _info(found)

        return await self._run(path, remove)

    async def list(self, path: str) -> list[str]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        local = self._local(path)
        return await self._run(path, self._listings.names, local)

    async def list_after(self, path: str, after: str, limit: int) -> builtins.list[str]:
        """See :class:`~txregistry.interfaces.IOrderedListing`."""
        local = self._local(path)
        try:
            return await self._run(path, self._listings.after, local, after, limit)
        except errors.PathUnknown:
            return []

    async def move(self, source: str, target: str) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        origin, local = self._local(source), self._local(target)

        def move() -> None:
            if not stat.S_ISREG(os.stat(origin).st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a file")
            _persistently(lambda: self._directories.move(origin, local))

        await self._run(source, move)

    async def delete(self, path: str, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        local = self._local(path)
        trash = self._fresh(_TRASH)

        def delete() -> None:
            # A directory leaves in one rename, so that no one meets half of it.
            forget = self._directories.leaving(local)
            is_tree = not _removed(local)
            if is_tree:
                os.rename(local, trash)
            forget()
            if durable:
                sync_directory(os.path.dirname(local))
            if is_tree:
                shutil.rmtree(trash, ignore_errors=True)

        await self._run(path, delete)

    async def tidy(self) -> None:
        """See :class:`~txregistry.interfaces.ITidying`."""
        await self._run(f"/{_NEW}", self._empty)

    def _empty(self) -> None:
        for name in (_NEW, _TRASH):
            _empty(os.path.join(self._root, name))

    def _local(self, path: str) -> str:
        return self._root + paths.check(path)

    def _fresh(self, folder: str) -> str:
        return os.path.join(self._root, folder, f"{self._prefix}-{next(self._numbers):x}")

    def batch(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """See :class:`~txregistry.interfaces.IBatching`."""
        return batches.run(self._threads, work)

    async def durably(self, work: Coroutine[Any, Any, T]) -> T:
        """See :class:`~txregistry.interfaces.IBatching`."""
        if batches.place() is batches.Place.REACTOR:
            await batches.Blocking(lambda: None)
        self._directories.hold()
        try:
            result = await work
        finally:
            sync = self._directories.let_go()
        await self._run("/", sync)
        return result

    async def _run(self, path: str, work: Callable[..., T], *args: Any) -> T:
        place = batches.place()
        if place is None:
            return await self._threads.run(_translated, path, work, *args)
        if place is batches.Place.THREAD:
            return _translated(path, work, *args)
        result: T = await batches.Blocking(partial(_translated, path, work, *args))
        return result


def _info(found: os.stat_result) -> FileInfo:
    is_directory = stat.S_ISDIR(found.st_mode)
    return FileInfo(0 if is_directory else found.st_size, found.st_mtime, is_directory)


def _translated(path: str, work: Callable[..., T], *args: Any) -> T:
    try:
        return work(*args)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "I/O error"
        if error.errno in _MISSING:
            raise errors.PathUnknown(path) from None
        if error.errno in _FULL:
            raise errors.StorageFull(path, reason) from error
        if error.errno in _PASSING:
            raise errors.StorageUnavailable(path, reason) from error
        raise errors.StorageFault(path, reason) from error


def _persistently(work: Callable[[], T]) -> T:
    """Do *work* again if a directory was removed under it by a deletion that ran beside it."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except FileNotFoundError:
            continue
    return work()


def _removed(local: str) -> bool:
    """Remove a file, or a directory in which nothing is; say whether it was one of these."""
    try:
        os.unlink(local)
    except IsADirectoryError:
        try:
            os.rmdir(local)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
    return True


def _empty(directory: str) -> None:
    """Remove what a process that was killed left behind, and nothing of one that runs on the same root."""
    for entry in os.scandir(directory):
        try:
            if time.time() - entry.stat(follow_symlinks=False).st_ctime < _LEFT_AFTER:
                continue
        except FileNotFoundError:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            discard(entry.path)
