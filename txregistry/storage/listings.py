"""Listings of large directories, kept and brought up to date as long as the kernel tells of every change.

inotify notes a change inside the system call that makes it (:mod:`txregistry.storage.watches`), so a listing that is
kept is as fresh as a new one, also when other processes write, but not on network file systems.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict

from attrs import evolve, frozen

from txregistry.storage.watches import CAME, LOST, OVERFLOW, Watches

_SMALLEST = 1000
_KEPT = 64
_NETWORKS = ("nfs", "cifs", "smb", "9p", "ceph", "gluster", "lustre", "afs", "fuse")


@frozen
class _Listing:
    number: int
    inode: tuple[int, int]
    names: list[str]


class Listings:
    """Lists directories.  Safe for several threads.

    :param watches: tell of names that come and go; closed by this.  None to keep nothing.
    """

    def __init__(self, watches: Watches | None = None) -> None:
        self._watches = watches
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Listing] = OrderedDict()
        #: Directories that were large when they were listed: the next time that is worth keeping.
        self._large: set[str] = set()
        #: How many threads are listing a directory that is watched under a number.
        self._begun: Counter[int] = Counter()

    def close(self) -> None:
        """Keep nothing any more."""
        with self._lock:
            watches, self._watches = self._watches, None
            self._kept.clear()
        if watches is not None:
            watches.close()

    def names(self, directory: str) -> list[str]:
        """Return the names in a directory, in byte order.

        :raises OSError: it cannot be listed.
        """
        return list(self._names(directory))

    def after(self, directory: str, name: str, limit: int) -> list[str]:
        """Return the first names in a directory that come after *name*, in byte order.

        :raises OSError: it cannot be listed.
        """
        names = self._names(directory)
        with self._lock:
            start = bisect_right(names, name)
            return names[start : start + limit]

    def _names(self, directory: str) -> list[str]:
        found = os.stat(directory)
        inode = found.st_dev, found.st_ino
        with self._lock:
            kept = self._look(directory)
            if kept is not None and kept.inode == inode:
                return kept.names
            number = self._watch(directory)
        try:
            names = _sorted(directory)
        except BaseException:
            self._end(number, directory, None)
            raise
        if len(names) >= _SMALLEST:
            self._large.add(directory)
        self._end(number, directory, _Listing(number or 0, inode, names))
        return names

    def _watch(self, directory: str) -> int | None:
        if self._watches is None or directory not in self._large:
            return None
        self._large.discard(directory)
        try:
            number = self._watches.add(directory)
        except OSError:
            # There is no such directory, which the listing will say; or no more can be watched.
            return None
        self._begun[number] += 1
        return number

    def _end(self, number: int | None, directory: str, listing: _Listing | None) -> None:
        """Keep a listing that was made while its directory was watched, if it is of what has that name still."""
        if number is None:
            return
        with self._lock:
            self._begun[number] -= 1
            before = self._kept.pop(directory, None)
            if listing is not None and _inode(directory) == listing.inode:
                # What happened meanwhile will be told of: that a name comes that is there changes nothing.
                self._kept[directory] = evolve(listing, names=list(listing.names))
            if len(self._kept) > _KEPT:
                _, oldest = self._kept.popitem(last=False)
                self._watch_no_more(oldest.number)
            self._watch_no_more(number)
            if before is not None:
                self._watch_no_more(before.number)

    def _watch_no_more(self, number: int) -> None:
        if self._watches is None or self._begun[number]:
            return
        del self._begun[number]
        if all(kept.number != number for kept in self._kept.values()):
            self._watches.remove(number)

    def _look(self, directory: str) -> _Listing | None:
        """Bring what is kept up to date, and return it of one directory."""
        if self._watches is None or not self._kept:
            return None
        for number, mask, name in self._watches.events():
            if mask & OVERFLOW:
                self._kept.clear()
            for kept_directory, kept in list(self._kept.items()):
                if kept.number == number and not _change(kept.names, mask, name):
                    del self._kept[kept_directory]
        return self._kept.get(directory)


def _change(names: list[str], mask: int, name: str) -> bool:
    """Have a name come or go; say whether that can be said of it."""
    if not name or not name.isascii() or mask & LOST:
        return False
    at = bisect_left(names, name)
    is_there = at < len(names) and names[at] == name
    if mask & CAME and not is_there:
        names.insert(at, name)
    elif not mask & CAME and is_there:
        del names[at]
    return True


def _inode(directory: str) -> tuple[int, int] | None:
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_local(directory: str) -> bool:
    """Say whether a directory is on a file system of this machine, as far as can be known."""
    try:
        device = os.stat(directory).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                mount, _, source = line.partition(" - ")
                if mount.split(" ")[2] == f"{os.major(device)}:{os.minor(device)}":
                    return not source.startswith(_NETWORKS)
    except (OSError, IndexError):
        return False
    return False


def _sorted(directory: str) -> list[str]:
    names = os.listdir(directory)
    # All names that the registry makes are ASCII, and text then sorts as bytes do.
    names.sort(key=None if "".join(names).isascii() else os.fsencode)
    return names
