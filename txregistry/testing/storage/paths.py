"""How files are named, and how what is not a name is refused."""

from __future__ import annotations

from txregistry.testing.storage.case import StorageCase

VALID_PATHS = (
    "/a",
    "/...",
    "/.a",
    "/..a",
    "/a..",
    "/-",
    "/_",
    "/0",
    "/" + "n" * 255,
    "/deep/" + "/".join("d" * 255 for _ in range(4)),
    "/deeper/" + "/".join("d" * 255 for _ in range(3)),
    "/deep/" + "/".join("abcdefghijklmnopqrstuvwxyz"),
    "/docker/registry/v2/repositories/Some_Name/_layers/sha256/0123/link",
)
"""Storage paths at the edges of the grammar; all of them can exist together."""


class PathsContract(StorageCase):
    """Of every method that takes a path."""

    async def test_paths_of_the_grammar(self) -> None:
        """Every path of the grammar can be written, appended to, read, found and deleted."""
        valid = [path for path in VALID_PATHS if len(path) <= self.longest_path]
        self.assertGreaterEqual(self.longest_path, 700)
        for path in valid:
            await self.driver.write(path, path.encode())
            await self.append(path, b" and more")
        for path in valid:
            await self.assert_content(path, path.encode() + b" and more")
            parent, _, name = path.rpartition("/")
            if parent:
                self.assertIn(name, await self.driver.list(parent))
        for path in valid:
            await self.driver.delete(path)
            await self.assert_unknown(self.driver.stat, path)

    async def test_paths_differ_by_case(self) -> None:
        """Two paths that differ only in case are two files."""
        await self.driver.write("/a/Name", b"upper")
        await self.driver.write("/a/name", b"lower")
        await self.driver.write("/A/name", b"elsewhere")
        self.assertEqual(await self.driver.read("/a/Name", 10), b"upper")
        self.assertEqual(await self.driver.read("/a/name", 10), b"lower")
        self.assertEqual(await self.driver.read("/A/name", 10), b"elsewhere")
        self.assertEqual(await self.driver.list("/a"), ["Name", "name"])

    async def test_read_of_an_invalid_path(self) -> None:
        """``read`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(lambda path: self.driver.read(path, 10))

    async def test_write_to_an_invalid_path(self) -> None:
        """``write`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(lambda path: self.driver.write(path, b""))

    async def test_reader_of_an_invalid_path(self) -> None:
        """``open_reader`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(lambda path: self.driver.open_reader(path))

    async def test_writer_to_an_invalid_path(self) -> None:
        """``open_writer`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(lambda path: self.driver.open_writer(path))

    async def test_stat_of_an_invalid_path(self) -> None:
        """``stat`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(lambda path: self.driver.stat(path))

    async def test_list_of_an_invalid_path(self) -> None:
        """``list`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(lambda path: self.driver.list(path))

    async def test_delete_of_an_invalid_path(self) -> None:
        """``delete`` refuses a path that is not of the grammar."""
        await self.assert_path_checked(lambda path: self.driver.delete(path))

    async def test_move_from_an_invalid_path(self) -> None:
        """``move`` refuses a source that is not of the grammar and leaves the target alone."""
        await self.driver.write("/target", b"content")
        await self.assert_path_checked(lambda path: self.driver.move(path, "/target"))
        await self.assert_content("/target", b"content")

    async def test_move_to_an_invalid_path(self) -> None:
        """``move`` refuses a target that is not of the grammar and leaves the source alone."""
        await self.driver.write("/source", b"content")
        await self.assert_path_checked(lambda path: self.driver.move("/source", path))
        await self.assert_content("/source", b"content")
