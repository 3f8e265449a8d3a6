"""Locks that processes of one machine share, though they have nothing in common but an open file.

They are Linux's open file description locks on single bytes of that file, which may be one that is in memory
alone.  To take one that is free, and to give it back, is a system call of a microsecond, which waits for no disk; so
that is done where it is asked for.  A process that dies gives back what it held.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import threading
from types import TracebackType

from txregistry.storage.threads import Threads

#: Beyond every byte that stands for a name.
_LAST = 1 << 62


def make_shared_file() -> int:
    """Return the descriptor of a file in memory, for processes that are given it to share."""
    return os.memfd_create("txregistry-locks", os.MFD_CLOEXEC)


class SharedLocks:
    """Keeps other processes from what this one holds.  See :class:`txregistry.content.locks.Exclusion`.

    :param file: the descriptor of the file that they share.
    :param threads: where it is waited for those that others hold; stopped by these locks.
    """

    def __init__(self, file: int, threads: Threads) -> None:
        self._descriptor = _opened_anew(file)
        self._threads = threads

    async def acquire(self, name: str) -> None:
        """Return when no other process holds *name*.  Must not be cancelled: a thread cannot be."""
        place = _place(name)
        if not _take(self._descriptor, place, wait=False):
            await self._threads.run(_take, self._descriptor, place, True)

    def release(self, name: str) -> None:
        """Let another process hold it."""
        _lock(self._descriptor, fcntl.F_UNLCK, _place(name))

    def close(self) -> None:
        """Give back everything."""
        self._threads.stop()
        os.close(self._descriptor)


class SharedTurn:
    """A context in which one thread of all processes is at a time.  It is waited for, so it must be short.

    :param file: the descriptor of the file that they share.
    """

    def __init__(self, file: int) -> None:
        self._descriptor = _opened_anew(file)
        self._here = threading.Lock()

    def __enter__(self) -> None:
        """Wait for the turn."""
        self._here.acquire()
        _take(self._descriptor, _LAST, wait=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the next one have it."""
        _lock(self._descriptor, fcntl.F_UNLCK, _LAST)
        self._here.release()


def _opened_anew(file: int) -> int:
    """Return a descriptor of the same file whose locks are its own."""
    return os.open(f"/proc/self/fd/{file}", os.O_RDWR | os.O_CLOEXEC)


def _place(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def _take(descriptor: int, place: int, wait: bool) -> bool:
    try:
        _lock(descriptor, fcntl.F_WRLCK, place, wait)
    except BlockingIOError:
        return False
    return True


def _lock(descriptor: int, kind: int, place: int, wait: bool = False) -> None:
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    fcntl.fcntl(descriptor, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, place, 1, 0))
