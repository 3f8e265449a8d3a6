"""Whether there is room, by what a file system says of itself."""

from __future__ import annotations

import os
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from txregistry.storage.room import check_room

MIB = 1 << 20


class RoomTests(SynchronousTestCase):
    """A folder that can be written to, on file systems of many kinds."""

    def complaint(self, **said: int) -> str | None:
        """Return what is wrong with a file system of 100 GiB that is half empty but for what a test says."""
        half = {
            "f_frsize": 4096,
            "f_blocks": 100 * 1024 * MIB // 4096,
            "f_bavail": 50 * 1024 * MIB // 4096,
            "f_files": 1_000_000,
            "f_favail": 500_000,
            "f_flag": 0,
        }
        self.patch(os, "statvfs", lambda directory: SimpleNamespace(**{**half, **said}))
        try:
            check_room(self.folder)
        except OSError as error:
            return error.strerror
        return None

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def test_room(self) -> None:
        """A file system that is half empty has room, and so has one that makes inodes as it needs them."""
        self.assertIsNone(self.complaint())
        self.assertIsNone(self.complaint(f_files=0, f_favail=0))

    def test_bytes(self) -> None:
        """Less than 64 MiB is too little, on a small file system less than a hundredth."""
        self.assertIsNone(self.complaint(f_bavail=64 * MIB // 4096 + 1))
        self.assertEqual(self.complaint(f_bavail=64 * MIB // 4096), "No space left on device")
        self.assertIsNone(self.complaint(f_blocks=1000, f_bavail=11))
        self.assertEqual(self.complaint(f_blocks=1000, f_bavail=10), "No space left on device")

    def test_files(self) -> None:
        """Fewer than 1000 files that can still be made are too few, on a small file system a hundredth."""
        self.assertIsNone(self.complaint(f_favail=1001))
        self.assertEqual(self.complaint(f_favail=1000), "No space left on device")
        self.assertIsNone(self.complaint(f_files=1000, f_favail=11))
        self.assertEqual(self.complaint(f_files=1000, f_favail=10), "No space left on device")

    def test_read_only(self) -> None:
        """A file system that is mounted read-only cannot be written to."""
        self.assertEqual(self.complaint(f_flag=os.ST_RDONLY), "Read-only file system")

    def test_no_leave(self) -> None:
        """A folder that the process may not write to is none that can be written to."""
        self.patch(os, "access", lambda path, mode, effective_ids: False)
        self.assertEqual(self.complaint(), "Permission denied")

    def test_gone(self) -> None:
        """A folder that is not there cannot be written to."""
        os.rmdir(self.folder)
        self.assertRaises(FileNotFoundError, check_room, self.folder)
