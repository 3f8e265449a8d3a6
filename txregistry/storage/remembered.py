"""Small files that are asked for again and again, remembered until anyone changes them.

Links, manifests and small blobs are read for every pull.  What is remembered here is as fresh as a read of the disk:
it counts only if the kernel, asked at that moment, has no event about the file or a directory above it
(:mod:`txregistry.storage.watches`).  That holds for changes by other processes too, but not for those that other
machines make on a network file system.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol

from attrs import frozen

from txregistry.storage.watches import OVERFLOW, Watches

#: Files, and bytes in them, that are remembered at most; and bytes of one of them.
_FILES, _BYTES, _LARGEST = 4096, 16 * 1024 * 1024, 64 * 1024
#: How often a file must be asked for, of late, to be worth watching.
_OFTEN = 3
_ASKED = 8192


@frozen
class Known:
    """A file as it is.

    :param content: all that is in it.
    :param modified: when it was last written, in seconds since the epoch.
    """

    content: bytes
    modified: float


class Memory(Protocol):
    """Remembers files, or does not."""

    def get(self, local: str) -> Known | None:
        """Return a file as it is now; None where that is not known."""
        ...

    def read(self, local: str, read: Callable[[], Known]) -> Known:
        """Return what *read* reads from a file, and perhaps remember it.  This blocks."""
        ...

    def close(self) -> None:
        """Remember nothing any more."""
        ...


class Forgetful:
    """Remembers nothing: for file systems of which one is not told."""

    def get(self, local: str) -> Known | None:
        """See :class:`Memory`."""
        return None

    def read(self, local: str, read: Callable[[], Known]) -> Known:
        """See :class:`Memory`."""
        return read()

    def close(self) -> None:
        """See :class:`Memory`."""


class Remembered:
    """Files below a directory.  Safe for several threads.

    :param root: the directory.
    :param watches: tell of changes; closed by this.
    :param files: how many are remembered at most.
    """

    def __init__(self, root: str, watches: Watches, files: int = _FILES) -> None:
        self._root = root
        self._watches = watches
        self._files = files
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._bytes = 0
        #: What is being read to be remembered, and by whom.
        self._reading: dict[str, object] = {}
        #: What is known, or watched, in each watched directory.
        self._below: dict[str, set[str]] = {}
        self._numbers: dict[str, int] = {}
        self._directories: dict[int, set[str]] = {}
        self._asked: dict[str, int] = {}

    def close(self) -> None:
        """See :class:`Memory`."""
        with self._lock:
            self._forget_all()
            self._watches.close()

    def get(self, local: str) -> Known | None:
        """See :class:`Memory`."""
        if local not in self._known:
            return None
        with self._lock:
            self._look()
            return self._known.get(local)

    def read(self, local: str, read: Callable[[], Known]) -> Known:
        """See :class:`Memory`."""
        if not self._is_asked_often(local):
            return read()
        mine = object()
        with self._lock:
            self._reading[local] = mine
        known = None
        try:
            self._watch(local, mine)
            known = read()
            return known
        finally:
            with self._lock:
                # What happened meanwhile and was not told of yet is told of at the next look at it.
                if self._reading.get(local) is mine:
                    del self._reading[local]
                    if known is not None and len(known.content) <= _LARGEST:
                        self._remember(local, known)
                if local not in self._known and local not in self._reading:
                    self._drop(local)

    def _is_asked_often(self, local: str) -> bool:
        times = self._asked.pop(local, 0) + 1
        if times >= _OFTEN:
            return True
        if len(self._asked) >= _ASKED:
            self._asked.clear()
        self._asked[local] = times
        return False

    def _watch(self, local: str, mine: object) -> None:
        """Watch the directories from the root down to a file's: who moves one of them is noticed, then or earlier."""
        for child in _above(local, self._root):
            directory = os.path.dirname(child)
            with self._lock:
                self._below.setdefault(directory, set()).add(child)
                if directory in self._numbers:
                    continue
            try:
                number = self._watches.add(directory)
            except OSError:
                # There is no such directory, which the reading will say; or no more can be watched.
                with self._lock:
                    self._reading.pop(local, None)
                    self._forget_some()
                return
            with self._lock:
                if self._reading.get(local) is not mine:
                    # What is watched may not be what has that name any more.
                    if number not in self._directories:
                        self._watches.remove(number)
                    self._reading.pop(local, None)
                    return
                self._numbers[directory] = number
                self._directories.setdefault(number, set()).add(directory)

    def _look(self) -> None:
        for number, mask, name in self._watches.events():
            if mask & OVERFLOW:
                self._forget_all()
                continue
            for directory in list(self._directories.get(number, ())):
                self._drop(f"{directory}/{name}" if name else directory)

    def _remember(self, local: str, known: Known) -> None:
        self._forget(local)
        self._known[local] = known
        self._bytes += len(known.content)
        while len(self._known) > self._files or self._bytes > _BYTES:
            self._drop(next(iter(self._known)))

    def _forget(self, local: str) -> None:
        known = self._known.pop(local, None)
        if known is not None:
            self._bytes -= len(known.content)

    def _forget_some(self) -> None:
        for local in list(self._known)[: len(self._known) // 8 + 1]:
            self._drop(local)

    def _forget_all(self) -> None:
        self._drop(self._root)
        self._reading.clear()

    def _drop(self, path: str) -> None:
        """Forget a file or directory, all below it, and the directories above it in which nothing else is known."""
        self._drop_below(path)
        while path != self._root:
            directory = os.path.dirname(path)
            siblings = self._below.get(directory)
            if siblings is None:
                break
            siblings.discard(path)
            if siblings:
                break
            self._drop_below(directory)
            path = directory
        # What is being read there is not watched any more, or was never: the highest of what was dropped is above it.
        for local in [each for each in self._reading if each == path or each.startswith(f"{path}/")]:
            del self._reading[local]

    def _drop_below(self, path: str) -> None:
        self._forget(path)
        for child in self._below.pop(path, ()):
            self._drop_below(child)
        number = self._numbers.pop(path, None)
        if number is not None:
            directories = self._directories[number]
            directories.discard(path)
            if not directories:
                del self._directories[number]
                self._watches.remove(number)


def _above(local: str, root: str) -> list[str]:
    """Return a path and those of the directories above it, up to but without the root; the highest first."""
    found = []
    while local != root:
        found.append(local)
        local = os.path.dirname(local)
    return found[::-1]
