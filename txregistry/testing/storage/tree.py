"""What is where."""

from __future__ import annotations

from txregistry import errors
from txregistry.interfaces import FileInfo
from txregistry.testing.storage.case import MIB, StorageCase, patterned, pieces, together


class TreeContract(StorageCase):
    """Of ``stat`` and ``list``, ``move`` and ``delete``."""

    async def test_stat_of_a_file(self) -> None:
        """``stat`` of a file tells its size and when it was written."""
        await self.driver.write("/a/file", b"content")
        info = await self.driver.stat("/a/file")
        self.assertIsInstance(info, FileInfo)
        self.assertEqual((info.size, info.is_directory), (7, False))
        self.assertApproximates(info.modified, self.now(), 3600)

    async def test_stat_of_a_directory(self) -> None:
        """``stat`` of a directory, at any depth, says so and gives no size."""
        await self.driver.write("/a/b/file", b"content")
        for path in ("/a", "/a/b"):
            info = await self.driver.stat(path)
            self.assertIsInstance(info, FileInfo)
            self.assertEqual((info.size, info.is_directory), (0, True))

    async def test_stat_of_nothing(self) -> None:
        """``stat`` where there is neither file nor directory is PathUnknown."""
        await self.assert_unknown(self.driver.stat, "/nothing")
        await self.driver.write("/a/file", b"content")
        for path in ("/a/fil", "/a/file2", "/a/file/below", "/b"):
            await self.assert_unknown(self.driver.stat, path)

    async def test_list_in_byte_order(self) -> None:
        """``list`` gives names, not paths, in the order of their bytes, files and directories together."""
        names = ["a", "b.c", "B", "b", "b-c", "a.b", "b_c", "10", "9", ".x", "-", "_", "bc", "Z", "ab"]
        for number, name in enumerate(names):
            await self.driver.write(f"/top/{name}/file" if number % 2 else f"/top/{name}", b"")
        self.assertEqual(await self.driver.list("/top"), sorted(names))

    async def test_list_names_each_once(self) -> None:
        """``list`` names a directory once, however much lies below it, and nothing deeper."""
        for path in ("/a/b/1", "/a/b/2", "/a/b/c/3", "/a/b/c/d/4", "/a/e/5", "/a/6", "/ab/7"):
            await self.driver.write(path, b"")
        self.assertEqual(await self.driver.list("/a"), ["6", "b", "e"])
        self.assertEqual(await self.driver.list("/a/b"), ["1", "2", "c"])
        self.assertEqual(await self.driver.list("/a/b/c"), ["3", "d"])

    async def test_list_of_many(self) -> None:
        """``list`` gives every name of a large directory."""
        names = [f"{number:04d}" for number in range(1200)]
        await together(self.driver.write(f"/a/{name}", b"", durable=False) for name in names)
        self.assertEqual(await self.driver.list("/a"), names)

    async def test_list_of_no_directory(self) -> None:
        """``list`` of nothing and of a file is PathUnknown."""
        await self.assert_unknown(self.driver.list, "/nothing")
        await self.driver.write("/a/file", b"content")
        await self.assert_unknown(self.driver.list, "/a/file")
        await self.assert_unknown(self.driver.list, "/a/fil")

    async def test_move(self) -> None:
        """A moved file is at its new path, in directories made for it, and no longer at its old one."""
        content = patterned(2 * MIB + 3)
        await self.append("/uploads/one/data", *pieces(content))
        await self.driver.move("/uploads/one/data", "/blobs/aa/data")
        await self.assert_content("/blobs/aa/data", content)
        await self.assert_unknown(self.driver.stat, "/uploads/one/data")
        await self.assert_unknown(self.driver.read, "/uploads/one/data", 10)
        self.assertEqual(await self.driver.list("/blobs/aa"), ["data"])

    async def test_move_within_a_directory(self) -> None:
        """A file can be given another name in its directory."""
        await self.driver.write("/a/old", b"content")
        await self.driver.move("/a/old", "/a/new")
        self.assertEqual(await self.driver.list("/a"), ["new"])
        await self.assert_content("/a/new", b"content")

    async def test_move_over_a_file(self) -> None:
        """A moved file takes the place of the one that was there, shorter or longer."""
        for old, new in ((b"old and long", b"new"), (b"old", b"new and long"), (b"old", b"")):
            await self.driver.write("/a/file", old)
            await self.driver.write("/b/file", new)
            await self.driver.move("/b/file", "/a/file")
            await self.assert_content("/a/file", new)
            await self.assert_unknown(self.driver.stat, "/b/file")

    async def test_move_onto_itself(self) -> None:
        """A file moved to where it is stays there."""
        await self.driver.write("/a/file", b"content")
        await self.driver.move("/a/file", "/a/file")
        await self.assert_content("/a/file", b"content")

    async def test_move_of_no_file(self) -> None:
        """``move`` of nothing and of a directory is PathUnknown, and the target stays as it was."""
        await self.driver.write("/target", b"content")
        await self.assert_unknown(self.driver.move, "/nothing", "/target")
        await self.assert_unknown(self.driver.move, "/nothing", "/new")
        await self.driver.write("/a/file", b"content")
        await self.assert_unknown(self.driver.move, "/a", "/b")
        await self.assert_content("/target", b"content")
        await self.assert_content("/a/file", b"content")
        await self.assert_unknown(self.driver.stat, "/new")
        await self.assert_unknown(self.driver.stat, "/b")

    async def test_move_is_seen_at_once(self) -> None:
        """Whoever reads while files are moved over another sees one of them whole at every moment."""
        contents = [bytes([64 + number]) * (20_000 + number) for number in range(20)]
        for number, content in enumerate(contents):
            await self.driver.write(f"/new/{number}", content, durable=False)
        await self.driver.write("/a/file", contents[0])

        async def replace() -> None:
            for number in range(len(contents)):
                await self.driver.move(f"/new/{number}", "/a/file")

        async def look() -> None:
            for _ in range(40):
                found = await self.driver.read("/a/file", 100_000)
                self.assertIn((found[:1], len(found)), [(content[:1], len(content)) for content in contents])
                self.assertEqual(found.count(found[:1]), len(found))

        await together([replace(), look(), look()])
        await self.assert_content("/a/file", contents[-1])

    async def test_moved_file_can_be_made_anew(self) -> None:
        """After a move its old path is free, and a new file there is another file."""
        await self.driver.write("/old", b"first")
        await self.driver.move("/old", "/new")
        await self.append("/old", b"second")
        await self.driver.write("/new", b"third")
        await self.assert_content("/old", b"second")
        await self.assert_content("/new", b"third")

    async def test_delete_of_a_file(self) -> None:
        """A deleted file is gone for every method, and those beside it stay."""
        await self.driver.write("/a/file", b"content")
        await self.driver.write("/a/file2", b"content")
        await self.driver.delete("/a/file")
        await self.assert_unknown(self.driver.stat, "/a/file")
        await self.assert_unknown(self.driver.read, "/a/file", 10)
        await self.assert_unknown(self.driver.open_reader, "/a/file")
        await self.assert_unknown(self.driver.move, "/a/file", "/b")
        await self.assert_unknown(self.driver.delete, "/a/file")
        self.assertEqual(await self.driver.list("/a"), ["file2"])
        await self.assert_content("/a/file2", b"content")

    async def test_delete_of_a_directory(self) -> None:
        """A deleted directory is gone with all below it, at every depth, and with no more than that."""
        below = ["/a/b_c/1", "/a/b_c/2", "/a/b_c/d/3", "/a/b_c/d/e/4"]
        beside = ["/a/bxc/1", "/a/b_c0", "/a/b_c.d/1", "/a/b_c-/1", "/a/B_C/1", "/a/b_", "/b_c/1"]
        for path in below + beside:
            await self.driver.write(path, path.encode())
        await self.driver.delete("/a/b_c")
        for path in ["/a/b_c", "/a/b_c/d", "/a/b_c/d/e", *below]:
            await self.assert_unknown(self.driver.stat, path)
        await self.assert_unknown(self.driver.list, "/a/b_c")
        self.assertEqual(await self.driver.list("/a"), ["B_C", "b_", "b_c-", "b_c.d", "b_c0", "bxc"])
        for path in beside:
            await self.assert_content(path, path.encode())

    async def test_delete_not_durable(self) -> None:
        """A deletion that need not be durable is seen all the same."""
        await self.driver.write("/a/b/file", b"content")
        await self.driver.write("/a/file", b"content")
        await self.driver.delete("/a/file", durable=False)
        await self.assert_unknown(self.driver.stat, "/a/file")
        self.assertEqual(await self.driver.list("/a"), ["b"])
        await self.driver.delete("/a", durable=False)
        await self.assert_unknown(self.driver.read, "/a/b/file", 10)

    async def test_delete_is_seen_at_once(self) -> None:
        """Whoever lists a directory while it is deleted sees all of it, or that it is gone; or else what is left."""
        names = [f"{number:03d}" for number in range(100)]
        seen = []

        async def look() -> None:
            for _ in range(30):
                try:
                    seen.append(await self.driver.list("/a/b"))
                except errors.PathUnknown:
                    return

        for _ in range(3):
            await together(self.driver.write(f"/a/b/{name}", b"", durable=False) for name in names)
            await together([look(), self.driver.delete("/a/b"), look()])
            await self.assert_unknown(self.driver.list, "/a/b")
        for found in seen:
            if self.deletes_at_once:
                self.assertEqual(found, names)
            self.assertLessEqual(set(found), set(names))

    async def test_delete_of_nothing(self) -> None:
        """``delete`` where there is nothing is PathUnknown, and removes nothing."""
        await self.assert_unknown(self.driver.delete, "/nothing")
        await self.driver.write("/a/file", b"content")
        for path in ("/a/fil", "/a/file2", "/a/file/below", "/b"):
            await self.assert_unknown(self.driver.delete, path)
        await self.assert_content("/a/file", b"content")

    async def test_deleted_path_can_be_used_again(self) -> None:
        """After a deletion the path, and those above and below it, are as if never used."""
        await self.driver.write("/a/b/file", b"old content")
        await self.driver.delete("/a/b/file")
        writer = await self.driver.open_writer("/a/b/file")
        self.assertEqual(writer.offset, 0)
        await writer.write([b"new"])
        await writer.close()
        await self.assert_content("/a/b/file", b"new")
        await self.driver.delete("/a")
        await self.driver.write("/a", b"a file now")
        await self.assert_content("/a", b"a file now")

    async def test_emptied_directory_lists_nothing(self) -> None:
        """A directory whose last file was deleted or moved away is gone, or else lists nothing."""
        await self.driver.write("/a/deleted/file", b"")
        await self.driver.write("/a/left/file", b"")
        await self.driver.delete("/a/deleted/file")
        await self.driver.move("/a/left/file", "/b/file")
        for path in ("/a/deleted", "/a/left"):
            try:
                self.assertEqual(await self.driver.list(path), [])
            except errors.PathUnknown:
                await self.assert_unknown(self.driver.stat, path)
