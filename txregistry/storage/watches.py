"""Linux's inotify: being told what happens to the names in directories.

The kernel notes an event inside the system call that causes it, whichever process makes that: who reads all events
there are, and finds none about a file, knows that no change of it was over before.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import TypeAlias

_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_ONLYDIR = 0x0100_0000

#: What is to be told of: that a name comes or goes; that, or what has it changes, but not that it is new.
NAMES = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
CHANGES = _MODIFY | _ATTRIB | _MOVED_FROM | _MOVED_TO | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
#: What an event says: a name has come; the directory, or the watch, is no more.
CAME = _MOVED_TO | _CREATE
LOST = _DELETE_SELF | _MOVE_SELF | 0x8000

#: And: the queue was too long, and events are lost.
OVERFLOW = 0x4000

_HEAD = struct.Struct("iIII")
_BUFFER = 64 * 1024
#: Bytes of the longest event: its head and a name.
_LONGEST = _HEAD.size + 256

Event: TypeAlias = tuple[int, int, str]
"""The watch's number, what happened, and the name in the watched directory, empty where it is about that itself."""


class Watches:
    """Directories that are watched, each under a number.

    :param wanted: what is to be told of, :data:`NAMES` or :data:`CHANGES`.
    :raises OSError: the system does not have this, or no more of it.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            self._add, self._remove, init = (
                libc.inotify_add_watch,
                libc.inotify_rm_watch,
                libc.inotify_init1,
            )
        except AttributeError as error:
            raise OSError("no inotify here") from error
        self._descriptor: int = init(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _failure()

    def close(self) -> None:
        """Watch nothing any more."""
        os.close(self._descriptor)

    def add(self, directory: str) -> int:
        """Watch a directory, and return its number: the one that it has, if it is watched already.

        :raises OSError: there is no such directory, or no more can be watched.
        """
        number: int = self._add(self._descriptor, os.fsencode(directory), ctypes.c_uint32(self._wanted))
        if number < 0:
            raise _failure()
        return number

    def remove(self, number: int) -> None:
        """Watch a directory no more, if it still is."""
        self._remove(self._descriptor, number)

    def events(self) -> Iterator[Event]:
        """Return all that has happened and was not told of yet."""
        while True:
            try:
                data = os.read(self._descriptor, _BUFFER)
            except BlockingIOError:
                return
            start = 0
            while start < len(data):
                number, mask, _, length = _HEAD.unpack_from(data, start)
                start += _HEAD.size
                yield number, mask, os.fsdecode(data[start : start + length].rstrip(b"\0"))
                start += length
            if len(data) <= _BUFFER - _LONGEST:
                return


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
