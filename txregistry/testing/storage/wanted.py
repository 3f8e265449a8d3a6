"""Which files are wanted."""

from __future__ import annotations

from txregistry.errors import PathUnknown
from txregistry.testing.closing import started
from txregistry.testing.storage.case import StorageCase, together


class WantedContract(StorageCase):
    """Of ``touch`` and ``discard``, which keep what is wanted and remove what is not."""

    def long_ago(self) -> float:
        """Return a time that no file is from."""
        return self.now() - 3600

    def soon(self) -> float:
        """Return a time that every file is before."""
        return self.now() + 3600

    async def test_touch(self) -> None:
        """``touch`` tells what ``stat`` does of each file, in order, and None where there is none."""
        await self.driver.write("/a/file", b"content")
        await self.driver.write("/b", b"")
        found = await self.driver.touch(["/a/file", "/a/none", "/b", "/a", "/a/file/below"])
        self.assertEqual([None if each is None else each.size for each in found], [7, None, 0, None, None])
        self.assertEqual(found[0], await self.driver.stat("/a/file"))
        self.assertEqual(list(await self.driver.touch([])), [])

    async def test_touch_makes_the_time_the_present(self) -> None:
        """A file that was touched is as if written then; one that is young enough stays as it is."""
        await self.driver.write("/file", b"content")
        (first,) = await self.driver.touch(["/file"])
        (same,) = await self.driver.touch(["/file"], 3600)
        self.assertEqual(first, same)
        assert first is not None
        while True:
            (later,) = await self.driver.touch(["/file"])
            assert later is not None
            if later.modified > first.modified:
                break
        self.assertApproximates(later.modified, self.now(), 3600)
        await self.assert_content("/file", b"content")

    async def test_touch_of_an_invalid_path(self) -> None:
        """``touch`` refuses what is not a storage path."""
        await self.assert_path_checked(lambda path: self.driver.touch([path]))

    async def test_discard_of_an_invalid_path(self) -> None:
        """``discard`` refuses what is not a storage path."""
        await self.assert_path_checked(lambda path: self.driver.discard(path, 0))

    async def test_discard(self) -> None:
        """``discard`` removes an old file and tells what it was; what lies beside it stays."""
        await self.driver.write("/a/b/c/old", b"content")
        await self.driver.write("/a/other", b"")
        info = await self.driver.stat("/a/b/c/old")
        self.assertEqual(await self.driver.discard("/a/b/c/old", self.soon()), info)
        await self.assert_unknown(self.driver.stat, "/a/b/c/old")
        self.assertEqual(await self.driver.list("/a"), ["other"])

    async def test_discard_keeps_the_young(self) -> None:
        """``discard`` leaves a file that was written or touched at the given time or later."""
        await self.driver.write("/file", b"content")
        self.assertIsNone(await self.driver.discard("/file", self.long_ago()))
        info = await self.driver.stat("/file")
        self.assertIsNone(await self.driver.discard("/file", info.modified))
        await self.assert_content("/file", b"content")

    async def test_discard_of_nothing(self) -> None:
        """``discard`` where there is no file does nothing."""
        await self.driver.write("/a/file", b"content")
        for path in ("/none", "/a", "/a/file/below"):
            self.assertIsNone(await self.driver.discard(path, self.soon()))
        await self.assert_content("/a/file", b"content")

    async def test_sync_makes_the_time_the_present(self) -> None:
        """A file that was synced counts as written then, however long ago its bytes came."""
        writer = await self.driver.open_writer("/file")
        try:
            await writer.write([b"content"])
            before = (await self.driver.stat("/file")).modified
            while (await self.driver.stat("/file")).modified == before:
                await writer.sync()
        finally:
            await writer.close()

    async def test_discarded_file_can_be_read_on(self) -> None:
        """A reader that was opened before goes on."""
        await self.driver.write("/a/file", b"content")
        reader = await self.driver.open_reader("/a/file")
        try:
            self.assertIsNotNone(await self.driver.discard("/a/file", self.soon()))
            self.assertEqual(await self.rest(reader), b"content")
        finally:
            await reader.close()

    async def test_discard_against_touch(self) -> None:
        """Of a touch and a discard at once, either the touch finds nothing or the file stays."""
        for number in range(60):
            await self.driver.write(f"/race/{number}/data", b"content", durable=False)
        moment = await self._moment_after("/race/59/data")
        for number in range(60):
            path = f"/race/{number}/data"
            touching = started(self.driver.touch([path]))
            discarding = started(self.driver.discard(path, moment))
            (touched,), discarded = await touching, await discarding
            there = await self._names(f"/race/{number}") == ["data"]
            self.assertTrue(there or discarded is not None, "left, and gone all the same")
            self.assertTrue(there or touched is None, "touched, and gone all the same")
            if not self.touch_brings_back:
                self.assertEqual(there, discarded is None)

    async def test_discard_against_write(self) -> None:
        """A file that is put in the place of another while that is discarded is there afterwards."""
        for number in range(60):
            await self.driver.write(f"/race/{number}/data", b"old", durable=False)
        moment = await self._moment_after("/race/59/data")
        for number in range(60):
            path = f"/race/{number}/data"
            await self.driver.write("/race/new", b"new", durable=False)
            putting = (
                self.driver.write(path, b"new", durable=False)
                if number % 2
                else self.driver.move("/race/new", path)
            )
            await together([putting, self.driver.discard(path, moment)])
            self.assertEqual(await self.driver.read(path, 3), b"new")

    async def _moment_after(self, path: str) -> float:
        """Return a time, past already, that a file is before."""
        time = (await self.driver.stat(path)).modified
        while True:
            await self.driver.write("/race/clock", b"", durable=False)
            moment = (await self.driver.stat("/race/clock")).modified
            if moment > time:
                return moment

    async def _names(self, path: str) -> list[str]:
        try:
            return list(await self.driver.list(path))
        except PathUnknown:
            return []
