"""Files that are wanted and files that are not: touching and discarding, each whole against the other.

Who touches a file, or puts another in its place, holds a shared lock on it meanwhile; who discards it holds it
alone from the look at its time to the removal.  The locks are Linux's open file description locks: they count
between threads and between processes, go when their holder dies, and are not those by which uploads are held.

Everything here blocks.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from txregistry.storage.files import open_regular, sync_directory

#: A ``struct flock`` of the whole file, but for the kind of lock.
_WHOLE = (os.SEEK_SET, 0, 0, 0)


def touch(local: str, age: float) -> os.stat_result | None:
    """Give a file the present time unless its own is less than *age* seconds ago; None if there is no file."""
    while True:
        try:
            descriptor = open_regular(local)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            found = os.fstat(descriptor)
            if age and time.time() - found.st_mtime < age:
                return found
            _lock(descriptor, fcntl.F_RDLCK)
            os.utime(descriptor)
            found = os.fstat(descriptor)
            if found.st_nlink:
                return found
            # It was discarded or replaced before the lock was ours: look again.
        finally:
            os.close(descriptor)


def discard(local: str, before: float) -> os.stat_result | None:
    """Remove a file whose time is before *before*, seconds since the epoch; return what it was, None if it stays."""
    try:
        descriptor = os.open(local, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    try:
        try:
            _lock(descriptor, fcntl.F_WRLCK, wait=False)
        except BlockingIOError:
            return None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not found.st_nlink or found.st_mtime >= before:
            return None
        # What a touch that waits for the lock will see is that the file has no name any more.
        os.unlink(local)
        return found
    finally:
        os.close(descriptor)


@contextmanager
def replacing(local: str) -> Iterator[None]:
    """Hold what is at *local*, if anything is, while something else is put there."""
    try:
        descriptor = open_regular(local)
    except (FileNotFoundError, NotADirectoryError):
        # What is put where nothing is has the present time, and is not discarded.
        yield
        return
    try:
        _lock(descriptor, fcntl.F_RDLCK)
        yield
    finally:
        os.close(descriptor)


def prune(directory: str, root: str) -> None:
    """Remove a directory and those above it as far as they are empty, up to *root*; make that durable."""
    while directory != root:
        try:
            os.rmdir(directory)
        except OSError:
            break
        directory = os.path.dirname(directory)
    try:
        sync_directory(directory)
    except FileNotFoundError:
        # Another has removed this one too, and synced what it was in.
        return


def _lock(descriptor: int, kind: int, wait: bool = True) -> None:
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    fcntl.fcntl(descriptor, command, struct.pack("hhqqi4x", kind, *_WHOLE))
