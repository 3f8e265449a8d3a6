"""Listings of large directories, kept as long as they are true.

A directory's modification time changes with every name that comes or goes.  Where it was quiet for a while before
it was listed, the same time later means the same names: the clock that stamps it ticks every few milliseconds.
That is as fresh as listing it again, also when other processes write, but not on network file systems, whose
attributes may be old.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict

from attrs import frozen

_SMALLEST = 1000
_KEPT = 64
_QUIET = 1_000_000_000
_NETWORKS = ("nfs", "cifs", "smb", "9p", "ceph", "gluster", "lustre", "afs", "fuse")


@frozen
class _Listing:
    modified: int
    names: list[str]


class Listings:
    """Lists directories.  Safe for several threads.

    :param keep: whether listings may be kept at all.
    """

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._kept: OrderedDict[str, _Listing] = OrderedDict()

    def names(self, directory: str) -> list[str]:
        """Return the names in a directory, in byte order.

        :raises OSError: it cannot be listed.
        """
        if not self._keep:
            return _sorted(directory)
        modified = os.stat(directory).st_mtime_ns
        kept = self._kept.get(directory)
        if kept is not None and kept.modified == modified:
            return list(kept.names)
        names = _sorted(directory)
        if len(names) >= _SMALLEST and time.time_ns() - modified > _QUIET:
            self._kept[directory] = _Listing(modified, names)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return list(names)
        return names


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
