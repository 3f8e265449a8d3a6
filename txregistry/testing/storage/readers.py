"""Files read piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from txregistry.testing.storage.case import MIB, PIECE, StorageCase, patterned, pieces


class ReadersContract(StorageCase):
    """Of ``open_reader`` and :class:`txregistry.interfaces.IFileReader`."""

    async def test_reader_from_an_offset(self) -> None:
        """A reader begins at its offset, wherever in the file that lies."""
        content = patterned(3 * MIB + 77)
        await self.driver.write("/written", content)
        await self.append("/appended", *pieces(content))
        size = len(content)
        for path in ("/written", "/appended"):
            for offset in (0, 1, PIECE - 1, PIECE, PIECE + 1, MIB - 1, MIB, MIB + 1, size - 1):
                found = await self.contents(path, offset)
                self.assertEqual(len(found), size - offset)
                self.assertTrue(found == content[offset:], f"{path} from {offset}: the bytes differ")

    async def test_reader_at_the_end(self) -> None:
        """At the end, and opened beyond it, a reader gives no bytes, as often as it is asked."""
        await self.driver.write("/file", b"content")
        for offset in (7, 8, 10_000_000):
            reader = await self.driver.open_reader("/file", offset)
            self.assertEqual([await reader.read(10), await reader.read(10)], [b"", b""])
            await reader.close()
        self.assertEqual(await self.contents("/file"), b"content")

    async def test_reader_of_an_empty_file(self) -> None:
        """A reader of an empty file is at its end."""
        await self.driver.write("/file", b"")
        self.assertEqual(await self.contents("/file"), b"")

    async def test_reader_gives_at_most_size(self) -> None:
        """A read gives at most as many bytes as were asked for, and no byte is lost between reads."""
        content = patterned(1000)
        await self.driver.write("/file", content)
        for size in (1, 7, 999, 1000, 1001):
            reader = await self.driver.open_reader("/file")
            self.assertEqual(await self.rest(reader, size), content)
            await reader.close()

    async def test_readers_are_independent(self) -> None:
        """Two readers of one file each have a place of their own."""
        await self.driver.write("/file", b"0123456789")
        one = await self.driver.open_reader("/file")
        two = await self.driver.open_reader("/file", 5)
        first = await one.read(1)
        self.assertEqual(await self.rest(two), b"56789")
        self.assertEqual(first + await self.rest(one), b"0123456789")
        await one.close()
        await two.close()

    async def test_reader_closed_twice(self) -> None:
        """A reader may be closed more than once, at its end or before."""
        await self.driver.write("/file", b"content")
        reader = await self.driver.open_reader("/file")
        await reader.read(3)
        await reader.close()
        await reader.close()
        await self.assert_content("/file", b"content")

    async def test_reader_of_no_file(self) -> None:
        """``open_reader`` of nothing and of a directory is PathUnknown."""
        await self.assert_unknown(self.driver.open_reader, "/nothing")
        await self.driver.write("/a/file", b"content")
        await self.assert_unknown(self.driver.open_reader, "/a")
        await self.assert_unknown(self.driver.open_reader, "/a/file/below", 3)

    async def _assert_reader_goes_on(self, change: Callable[[str], Awaitable[None]]) -> None:
        content = patterned(2 * MIB + 5)
        await self.driver.write("/a/file", content)
        begun = await self.driver.open_reader("/a/file")
        fresh = await self.driver.open_reader("/a/file", 3)
        head = await begun.read(1000)
        await change("/a/file")
        self.assertTrue(head + await self.rest(begun) == content, "the reader's bytes changed")
        self.assertTrue(await self.rest(fresh) == content[3:], "the fresh reader's bytes changed")
        await begun.close()
        await fresh.close()

    async def test_reader_outlives_deletion(self) -> None:
        """A reader opened before its file is deleted goes on with the content it had."""
        await self._assert_reader_goes_on(self.driver.delete)
        await self.assert_unknown(self.driver.stat, "/a/file")

    async def test_reader_outlives_deletion_of_the_directory(self) -> None:
        """A reader opened before its directory is deleted goes on with the content it had."""
        await self._assert_reader_goes_on(lambda path: self.driver.delete("/a"))
        await self.assert_unknown(self.driver.stat, "/a")

    async def test_reader_outlives_overwriting(self) -> None:
        """A reader opened before its file is replaced goes on with the old content."""
        await self._assert_reader_goes_on(lambda path: self.driver.write(path, b"new"))
        await self.assert_content("/a/file", b"new")

    async def test_reader_outlives_being_moved_over(self) -> None:
        """A reader opened before another file is moved over its own goes on with the old content."""
        await self.driver.write("/b", b"new")
        await self._assert_reader_goes_on(lambda path: self.driver.move("/b", path))
        await self.assert_content("/a/file", b"new")

    async def test_reader_outlives_moving(self) -> None:
        """A reader opened before its file is moved goes on."""
        await self._assert_reader_goes_on(lambda path: self.driver.move(path, "/elsewhere/file"))
