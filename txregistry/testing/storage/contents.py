"""Small files, written and read whole."""

from __future__ import annotations

from txregistry import errors
from txregistry.testing.storage.case import MIB, StorageCase, patterned, together


class ContentsContract(StorageCase):
    """Of ``read`` and ``write``."""

    async def test_written_is_read(self) -> None:
        """What was written is read back, every value a byte can have."""
        content = bytes(range(256))
        await self.driver.write("/a/b/c", content)
        await self.assert_content("/a/b/c", content)

    async def test_write_not_durable(self) -> None:
        """A write that need not be durable is seen all the same."""
        await self.driver.write("/a/file", b"first", durable=False)
        await self.assert_content("/a/file", b"first")
        await self.driver.write("/a/file", b"second", durable=False)
        await self.assert_content("/a/file", b"second")

    async def test_write_nothing(self) -> None:
        """A file may be empty."""
        await self.driver.write("/a/empty", b"")
        await self.assert_content("/a/empty", b"")
        await self.driver.write("/a/full", b"content")
        await self.driver.write("/a/full", b"")
        await self.assert_content("/a/full", b"")

    async def test_write_longer(self) -> None:
        """A longer content replaces a shorter one whole."""
        await self.driver.write("/file", b"short")
        content = patterned(2 * MIB + 11)
        await self.driver.write("/file", content)
        await self.assert_content("/file", content)

    async def test_write_shorter(self) -> None:
        """A shorter content replaces a longer one whole; none of the old bytes remain."""
        await self.driver.write("/file", patterned(2 * MIB + 11))
        await self.driver.write("/file", b"short")
        await self.assert_content("/file", b"short")

    async def test_write_over_appended(self) -> None:
        """A file made by a writer can be replaced by ``write``."""
        await self.append("/file", b"one", b"two")
        await self.driver.write("/file", b"new")
        await self.assert_content("/file", b"new")

    async def test_read_within_the_limit(self) -> None:
        """A file exactly as long as the limit is read; one byte more is a StorageFault."""
        await self.driver.write("/file", b"12345")
        self.assertEqual(await self.driver.read("/file", 5), b"12345")
        self.assertEqual(await self.driver.read("/file", 1000), b"12345")
        error = await self.assert_raises(errors.StorageFault, self.driver.read, "/file", 4)
        self.assertEqual(error.path, "/file")
        await self.assert_raises(errors.StorageFault, self.driver.read, "/file", 0)
        await self.driver.write("/empty", b"")
        self.assertEqual(await self.driver.read("/empty", 0), b"")

    async def test_read_of_no_file(self) -> None:
        """``read`` of nothing, of a directory and of a path below a file is PathUnknown."""
        await self.assert_unknown(self.driver.read, "/nothing", 10)
        await self.driver.write("/a/b/file", b"content")
        await self.assert_unknown(self.driver.read, "/a/b/other", 10)
        await self.assert_unknown(self.driver.read, "/a/b", 10)
        await self.assert_unknown(self.driver.read, "/a/b/file/below", 10)

    async def test_concurrent_writes_of_one_path(self) -> None:
        """Of twenty writes to one path at once, exactly one content is left, whole."""
        contents = [bytes([64 + number]) * (100_000 + 7 * number) for number in range(20)]
        await together(self.driver.write("/a/file", content) for content in contents)
        found = await self.driver.read("/a/file", 200_000)
        self.assertIn((found[:1], len(found)), [(content[:1], len(content)) for content in contents])
        await self.assert_content("/a/file", found[:1] * len(found))
        self.assertEqual(await self.driver.list("/a"), ["file"])

    async def test_write_is_seen_at_once(self) -> None:
        """Whoever reads while a file is replaced sees the old content or the new, and no other name."""
        contents = [bytes([64 + number]) * (50_000 + number) for number in range(20)]
        await self.driver.write("/a/file", contents[0])

        async def overwrite() -> None:
            for number, content in enumerate(contents):
                await self.driver.write("/a/file", content, durable=number % 2 == 0)

        async def look() -> None:
            for _ in range(20):
                found = await self.driver.read("/a/file", 100_000)
                self.assertIn((found[:1], len(found)), [(content[:1], len(content)) for content in contents])
                self.assertEqual(found.count(found[:1]), len(found))
                self.assertEqual(await self.driver.list("/a"), ["file"])

        await together([overwrite(), look(), look()])
        await self.assert_content("/a/file", contents[-1])
