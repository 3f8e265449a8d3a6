"""A driver as a whole."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TypeVar

from zope.interface.verify import verifyObject

from txregistry.interfaces import IFileReader, IFileWriter, ILocalFiles, IStorageDriver, IWritability
from txregistry.testing.storage.case import StorageCase

T = TypeVar("T")


class DriverContract(StorageCase):
    """Of :class:`txregistry.interfaces.IStorageDriver`: what it is, where it answers, what it leaves."""

    async def test_provides_interfaces(self) -> None:
        """The driver, its readers and its writers provide what their interfaces declare."""
        verifyObject(IStorageDriver, self.driver)
        await self.driver.write("/a/file", b"content")
        reader = await self.driver.open_reader("/a/file")
        verifyObject(IFileReader, reader)
        await reader.close()
        writer = await self.driver.open_writer("/a/file")
        verifyObject(IFileWriter, writer)
        await writer.close()
        if ILocalFiles.providedBy(self.driver):
            verifyObject(ILocalFiles, self.driver)
        if IWritability.providedBy(self.driver):
            verifyObject(IWritability, self.driver)

    async def test_answers_on_the_callers_thread(self) -> None:
        """Whatever threads do the work, each answer comes back on the thread that asked."""
        here = threading.get_ident()
        seen = set()

        async def noted(awaitable: Awaitable[T]) -> T:
            result = await awaitable
            seen.add(threading.get_ident())
            return result

        await noted(self.driver.write("/a/file", b"content"))
        await noted(self.driver.read("/a/file", 7))
        await noted(self.driver.stat("/a/file"))
        await noted(self.driver.list("/a"))
        reader = await noted(self.driver.open_reader("/a/file"))
        await noted(reader.read(7))
        await noted(reader.close())
        writer = await noted(self.driver.open_writer("/a/file"))
        await noted(writer.write([b"more"]))
        await noted(writer.sync())
        await noted(writer.close())
        await noted(self.driver.move("/a/file", "/b/file"))
        await noted(self.driver.delete("/b"))
        self.assertEqual(seen, {here})

    async def test_close_lets_go_of_threads(self) -> None:
        """A closed driver has left no thread of its own behind."""
        await self.driver.write("/a/file", b"content")
        await self.append("/a/file", b"more")
        self.assertEqual(await self.contents("/a/file"), b"contentmore")
        await self.close()
        self.assert_no_threads_left()
