"""Directories of this machine: made when something is put into them, and durable when that is.

Everything here blocks.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from txregistry.storage.files import sync_directory
from txregistry.storage.wanted import replacing

#: Directories that are not synced, beyond which those that are gone are looked for; and seconds after which one that
#: was about to be made is made.
_MANY, _MADE_BY_NOW = 1000, 60


class _Held(threading.local):
    #: What this thread will have to sync; None where it syncs at once.
    directories: dict[str, set[str] | None] | None = None


class Directories:
    """Makes directories, and gives files their places in them.  Safe for several threads.

    A directory whose name was not synced yet is one that another thread is about to sync, or failed to: whoever puts
    something below it does so too.

    :param fresh: returns a path on the same file system where nothing is.
    """

    def __init__(self, fresh: Callable[[], str]) -> None:
        self._fresh = fresh
        #: Each with when it was made, an object that tells it from one of the same name that was made later.
        self._unsynced: dict[str, float] = {}
        self._enough = _MANY
        self._lock = threading.Lock()
        self._held = _Held()

    def hold(self) -> None:
        """Sync nothing on this thread until :meth:`let_go`."""
        self._held.directories = {}

    def let_go(self) -> Callable[[], None]:
        """Return what syncs all that was held back, from files upwards: a journal that took the first took all."""
        held, self._held.directories = self._held.directories or {}, None

        def sync() -> None:
            for directory, names in held.items():
                self._sync(directory, names)

        return sync

    def make(self, directory: str) -> None:
        """Make a directory and its parents, each synced into the one above."""
        self._make(_missing(directory))
        self._sync_names(directory)

    def place(self, temporary: str, local: str, durable: bool) -> None:
        """Give a new file its place, in place of what may be there.

        Directories that are missing come into place with it, in one rename, so that no one meets them without it, not
        even after a crash: the directory of a new tag is the tag.

        :param durable: whether all this is synced.
        """
        directory = os.path.dirname(local)
        missing = _missing(directory)
        if not missing or not self._place_with_directories(temporary, local, missing, durable):
            self._make(missing)
            with replacing(local):
                os.rename(temporary, local)
        if durable:
            self._sync(directory, set())
            self._sync_names(directory)

    def move(self, origin: str, local: str) -> None:
        """Give a file another place, in place of what may be there, and sync all this."""
        directory = os.path.dirname(local)
        self._make(_missing(directory))
        with replacing(local):
            os.rename(origin, local)
        self._sync(directory, set())
        self._sync_names(directory)
        self._sync(os.path.dirname(origin), None)

    def leaving(self, local: str) -> Callable[[], None]:
        """Return what forgets a directory, and those below it, once it is gone; not others made in its place."""
        with self._lock:
            gone = [
                (name, made)
                for name, made in list(self._unsynced.items())
                if name == local or name.startswith(local + "/")
            ]

        def forget() -> None:
            with self._lock:
                for name, made in gone:
                    if self._unsynced.get(name) is made:
                        del self._unsynced[name]

        return forget

    def _note(self, directory: str) -> None:
        """Note that a directory is about to be made."""
        now = self._unsynced[directory] = time.monotonic()
        if len(self._unsynced) > self._enough:
            with self._lock:
                # Other processes remove what this one made, and do not say so.
                for name, made in list(self._unsynced.items()):
                    if now - made > _MADE_BY_NOW and not os.path.isdir(name):
                        del self._unsynced[name]
                self._enough = max(_MANY, 2 * len(self._unsynced))

    def _make(self, missing: list[str]) -> None:
        for directory in reversed(missing):
            self._note(directory)
            with suppress(FileExistsError):
                os.mkdir(directory)

    def _place_with_directories(self, temporary: str, local: str, missing: list[str], durable: bool) -> bool:
        """Put a file in place together with the directories above it that are missing, all in one rename.

        :returns: False if another thread or process makes one of them too; nothing has changed then.
        """
        top, tree = missing[-1], self._fresh()
        file = tree + local[len(top) :]
        for directory in missing[-1:] if durable else missing:
            self._note(directory)
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
        except BaseException:
            shutil.rmtree(tree, ignore_errors=True)
            raise
        return True

    def _sync_names(self, directory: str) -> None:
        """Make the name of a directory durable, and those of the ones above it, as far as they were not yet."""
        if self._unsynced:
            while (parent := os.path.dirname(directory)) != directory:
                if directory in self._unsynced:
                    self._sync(parent, {directory})
                directory = parent

    def _sync(self, directory: str, names: set[str] | None) -> None:
        """Sync a directory, now or when all that is held back is.

        :param names: the directories in it whose names are synced by that; None if something left it: then it may be
            gone.
        """
        if self._held.directories is not None:
            noted = self._held.directories.setdefault(directory, names)
            if noted is not names:
                self._held.directories[directory] = {*(noted or ()), *(names or ())}
            return
        with self._lock:
            synced = [(name, self._unsynced[name]) for name in names or () if name in self._unsynced]
        try:
            sync_directory(directory)
        except FileNotFoundError:
            if names is not None:
                raise
        with self._lock:
            for name, made in synced:
                if self._unsynced.get(name) is made:
                    del self._unsynced[name]


def _missing(directory: str) -> list[str]:
    """Return what is missing of a directory and those above it, the lowest first."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    return missing
