"""Files that the kernel can send."""

from __future__ import annotations

import os

from zope.interface.verify import verifyObject

from txregistry.interfaces import ILocalFiles
from txregistry.testing.storage.case import MIB, StorageCase, patterned, pieces


class LocalFilesContract(StorageCase):
    """The contract of :class:`txregistry.interfaces.ILocalFiles`, for drivers that provide it."""

    def _local_files(self) -> ILocalFiles:
        self.assertTrue(verifyObject(ILocalFiles, self.driver))
        return ILocalFiles(self.driver)

    async def test_local_file(self) -> None:
        """``open_local`` gives a descriptor of the whole file."""
        local = self._local_files()
        content = patterned(2 * MIB + 9)
        await self.driver.write("/a/written", content)
        await self.append("/a/appended", *pieces(content))
        await self.driver.write("/a/empty", b"")
        for path, expected in (("/a/written", content), ("/a/appended", content), ("/a/empty", b"")):
            with os.fdopen(await local.open_local(path), "rb") as file:
                self.assertEqual(os.fstat(file.fileno()).st_size, len(expected))
                self.assertTrue(file.read() == expected, f"{path}: the bytes differ")

    async def test_local_files_are_independent(self) -> None:
        """Each ``open_local`` gives a descriptor with a place of its own, for the caller alone to close."""
        local = self._local_files()
        await self.driver.write("/file", b"content")
        with os.fdopen(await local.open_local("/file"), "rb") as one:
            self.assertEqual(one.read(), b"content")
            with os.fdopen(await local.open_local("/file"), "rb") as two:
                self.assertEqual(two.read(), b"content")
            one.seek(3)
            self.assertEqual(one.read(), b"tent")
        await self.assert_content("/file", b"content")

    async def test_local_file_outlives_its_path(self) -> None:
        """A descriptor goes on with the old content when its file is replaced or deleted."""
        local = self._local_files()
        await self.driver.write("/file", b"old content")
        with os.fdopen(await local.open_local("/file"), "rb") as file:
            await self.driver.write("/file", b"new")
            self.assertEqual(file.read(), b"old content")
        with os.fdopen(await local.open_local("/file"), "rb") as file:
            await self.driver.delete("/file")
            self.assertEqual(file.read(), b"new")

    async def test_local_file_of_no_file(self) -> None:
        """``open_local`` of nothing and of a directory is PathUnknown."""
        local = self._local_files()
        await self.assert_unknown(local.open_local, "/nothing")
        await self.driver.write("/a/file", b"content")
        await self.assert_unknown(local.open_local, "/a")
        await self.assert_unknown(local.open_local, "/a/file/below")

    async def test_local_file_of_an_invalid_path(self) -> None:
        """``open_local`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(self._local_files().open_local)
