"""Whether a file system can be written to, found out without writing to it."""

from __future__ import annotations

import errno
import os

#: Bytes and files that should always be free, or a hundredth of the file system if that is less.
_BYTES = 64 * 1024 * 1024
_FILES = 1000


def check_room(directory: str) -> None:
    """Return if files can be made in a directory.

    Quotas are not looked at: a write finds those.

    :raises OSError: its file system is full, or nearly, or read-only, or the directory cannot be written to.
    """
    room = os.statvfs(directory)
    if room.f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    too_few_bytes = room.f_bavail * room.f_frsize <= min(_BYTES, room.f_blocks * room.f_frsize // 100)
    # File systems that make inodes as they need them say that there are none.
    too_few_files = room.f_files > 0 and room.f_favail <= min(_FILES, room.f_files // 100)
    if too_few_bytes or too_few_files:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
