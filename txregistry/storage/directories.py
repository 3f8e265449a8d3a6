"""Directories of this machine: made when something is put into them, and durable before that is.

Everything here blocks.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from txregistry.storage.files import sync_directory
from txregistry.storage.wanted import replacing

#: Directories next above a file that need not be durable, which need not be either: it has them to itself, or shares
#: them with its like.
_OWN = 2


class Directories:
    """Makes directories, and gives files their places in them.  Safe for several threads.

    A thread that finds a directory there may be ahead of the one that made it and has yet to sync it: it waits.

    :param fresh: returns a path on the same file system where nothing is.
    """

    def __init__(self, fresh: Callable[[], str]) -> None:
        self._fresh = fresh
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def make(self, directory: str) -> None:
        """Make a directory and its parents, each synced into the one above before this returns."""
        if os.path.isdir(directory) and directory not in self._making:
            return
        parent = os.path.dirname(directory)
        if parent != directory:
            self.make(parent)
        with self._lock:
            turn = self._making.setdefault(directory, threading.Lock())
        with turn:
            try:
                os.mkdir(directory)
            except FileExistsError:
                return
            else:
                _sync_new(directory, parent)
            finally:
                self._making.pop(directory, None)

    def place(self, temporary: str, local: str, durable: bool) -> None:
        """Give a new file its place, in place of what may be there.

        Directories that are missing come into place with it, in one rename, so that no one meets them without it, not
        even after a crash: the directory of a new tag is the tag.  Where another thread or process makes one of them
        too, they are made first.

        :param durable: whether all this is synced.
        """
        directory = os.path.dirname(local)
        if not os.path.isdir(directory):
            if self._place_with_directories(temporary, local, durable):
                return
            self.make(directory)
        elif directory in self._making:
            self.make(directory)
        with replacing(local):
            os.rename(temporary, local)
        if durable:
            sync_directory(directory)

    def move(self, origin: str, local: str) -> None:
        """Give a file another place, in place of what may be there, and sync all this."""
        missing = _missing(os.path.dirname(local))
        parent = os.path.dirname(missing[-1]) if missing else os.path.dirname(local)
        self.make(parent)
        with self._made(missing) as is_ours:
            if not is_ours:
                self.make(os.path.dirname(local))
                missing = []
            try:
                for directory in reversed(missing):
                    with suppress(FileExistsError):
                        os.mkdir(directory)
                with replacing(local):
                    os.rename(origin, local)
                # From the file upwards: a journal that has taken the first has taken them all.
                for directory in [*missing, parent] if missing else [os.path.dirname(local)]:
                    sync_directory(directory)
            except OSError:
                # Else another would take them for directories that were synced.
                for directory in missing:
                    with suppress(OSError):
                        os.rmdir(directory)
                raise
        sync_directory(os.path.dirname(origin))

    def _place_with_directories(self, temporary: str, local: str, durable: bool) -> bool:
        """Put a file in place together with the directories above it that are missing, all in one rename.

        :returns: False if another thread or process is making one of them; nothing has changed then.
        """
        missing = _missing(os.path.dirname(local))
        if not durable:
            # Others will take those above for directories that were synced, and put what must last into them.
            missing = missing[:_OWN]
        if not missing:
            return False
        top, tree = missing[-1], self._fresh()
        parent = os.path.dirname(top)
        self.make(parent)
        with self._made(missing) as is_ours:
            if not is_ours:
                return False
            file = tree + local[len(top) :]
            try:
                for directory in reversed(missing):
                    os.mkdir(tree + directory[len(top) :])
                os.rename(temporary, file)
                for directory in missing[1:] if durable else ():
                    sync_directory(tree + directory[len(top) :])
                try:
                    os.rename(tree, top)
                except OSError:
                    os.rename(file, temporary)
                    shutil.rmtree(tree, ignore_errors=True)
                    return False
                if durable:
                    try:
                        sync_directory(parent)
                        sync_directory(missing[0])
                    except OSError:
                        os.rename(top, tree)
                        raise
            except BaseException:
                shutil.rmtree(tree, ignore_errors=True)
                raise
        return True

    @contextmanager
    def _made(self, missing: list[str]) -> Iterator[bool]:
        """Have others wait for directories that are made meanwhile; say whether no other makes one of them."""
        turn = threading.Lock()
        with turn:
            with self._lock:
                is_ours = self._making.keys().isdisjoint(missing)
                if is_ours:
                    self._making.update(dict.fromkeys(missing, turn))
            try:
                yield is_ours
            finally:
                if is_ours:
                    for directory in missing:
                        self._making.pop(directory, None)


def _missing(directory: str) -> list[str]:
    """Return what is missing of a directory and those above it, the lowest first."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    return missing


def _sync_new(directory: str, parent: str) -> None:
    try:
        sync_directory(parent)
    except OSError:
        os.rmdir(directory)
        raise
