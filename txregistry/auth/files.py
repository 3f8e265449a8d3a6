"""Files of the operator's that hold keys and passwords.  Everything here blocks."""

from __future__ import annotations

import os
import tempfile
from typing import TypeAlias

from txregistry.errors import ConfigError

#: What changes when a file does: its inode, its size, the time of its last change in nanoseconds.
State: TypeAlias = tuple[int, int, int]


def state(path: str) -> State:
    """Return what changes when a file does.

    :raises OSError: it cannot be known.
    """
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def read(path: str, where: str) -> bytes:
    """Return what is in a file.

    :param where: the configuration's key that named it.
    :raises txregistry.errors.ConfigError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(where, f"cannot read {path}: {error.strerror}") from None


def create(path: str, content: bytes) -> bool:
    """Make a file, durably and whole, for its owner's eyes only; say whether this was the one who made it.

    What another process has put there meanwhile is left alone.

    :raises OSError: it cannot be made.
    """
    directory = os.path.dirname(os.path.abspath(path))
    # mkstemp's files have mode 0600.
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".txregistry-")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename this does not take the place of a file that is there.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
    return True
