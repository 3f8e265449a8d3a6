"""File systems of a test's own, on which a disk can be full, read-only, or lose its power.  Needs root."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

from tests.processes import find_program

#: ``EXT4_IOC_SHUTDOWN``, and its flag that leaves what is in the journal but not on the disk unwritten.
_SHUTDOWN = 0x8004587D
_WITHOUT_LOG = 2


def _run(*command: str) -> None:
    done = subprocess.run(
        [find_program(command[0]), *command[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


class Disk:
    """A file system that is mounted until the test ends.

    :ivar path: where.
    """

    def __init__(self, cleanup: Callable[..., Any]) -> None:
        self.path = tempfile.mkdtemp(prefix="txregistry-disk-")
        cleanup(os.rmdir, self.path)
        cleanup(self._unmount_if_mounted)

    def remount(self, options: str) -> None:
        """Mount it with other options, in use as it is."""
        _run("mount", "-o", f"remount,{options}", self.path)

    def unmount(self) -> None:
        """Unmount it."""
        _run("umount", self.path)

    def _unmount_if_mounted(self) -> None:
        if os.path.ismount(self.path):
            self.unmount()


class Memory(Disk):
    """A file system in memory.

    :param options: ``size=8m``, ``nr_inodes=20``.
    """

    def __init__(self, cleanup: Callable[..., Any], options: str) -> None:
        super().__init__(cleanup)
        _run("mount", "-t", "tmpfs", "-o", options, "txregistry", self.path)


class Ext4(Disk):
    """An ext4 file system with a journal, in a file.

    :param size: MiB.
    """

    def __init__(self, cleanup: Callable[..., Any], size: int) -> None:
        folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
        descriptor, self._image = tempfile.mkstemp(dir=folder)
        cleanup(os.unlink, self._image)
        os.truncate(descriptor, size << 20)
        os.close(descriptor)
        super().__init__(cleanup)
        _run("mkfs.ext4", "-q", "-F", self._image)
        self.mount()

    def mount(self) -> None:
        """Mount it, as the machine would when it is on again."""
        _run("mount", "-o", "loop", self._image, self.path)

    def cut_power(self) -> None:
        """Let nothing come to the disk any more, not even what is in the journal already."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG))
        finally:
            os.close(descriptor)
