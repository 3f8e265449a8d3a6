"""Files appended to."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from twisted.internet.defer import CancelledError

from txregistry import errors
from txregistry.interfaces import IFileWriter
from txregistry.testing.closing import started
from txregistry.testing.storage.case import MIB, PIECE, StorageCase, patterned, pieces, together


class WritersContract(StorageCase):
    """Of ``open_writer`` and :class:`txregistry.interfaces.IFileWriter`."""

    async def test_writer_makes_the_file(self) -> None:
        """A writer makes the file, and the directories above it, where there is none."""
        writer = await self.driver.open_writer("/a/b/file")
        self.assertEqual(writer.offset, 0)
        await writer.write([b"some ", b"content"])
        await writer.close()
        await self.assert_content("/a/b/file", b"some content")
        self.assertEqual(await self.driver.list("/a/b"), ["file"])

    async def test_writer_appends(self) -> None:
        """A writer goes on where the file ends, and its offset says where that is."""
        await self.driver.write("/file", b"12345")
        writer = await self.driver.open_writer("/file")
        self.assertEqual(writer.offset, 5)
        await writer.write([b"67"])
        self.assertEqual(writer.offset, 7)
        await writer.write([b"8", b"", b"9"])
        self.assertEqual(writer.offset, 9)
        await writer.close()
        again = await self.driver.open_writer("/file")
        self.assertEqual(again.offset, 9)
        await again.write([b"0"])
        await again.close()
        await self.assert_content("/file", b"1234567890")

    async def test_writer_of_no_bytes(self) -> None:
        """A writer may be given no chunks, or empty ones; the file is there all the same."""
        writer = await self.driver.open_writer("/none")
        await writer.close()
        await self.assert_content("/none", b"")
        writer = await self.driver.open_writer("/empty")
        await writer.write([])
        await writer.write(iter(()))
        await writer.write([b"", b""])
        self.assertEqual(writer.offset, 0)
        await writer.sync()
        await writer.close()
        await self.assert_content("/empty", b"")

    async def test_writer_consumes_once_in_order(self) -> None:
        """Chunks are taken from their iterable one by one, in order, to its end, and once only."""
        taken = []

        def chunks() -> Iterator[bytes]:
            for number in range(100):
                taken.append(number)
                yield b"%03d " % number
            taken.append(-1)

        writer = await self.driver.open_writer("/file")
        await writer.write(chunks())
        self.assertEqual(taken, [*range(100), -1])
        await writer.close()
        self.assertEqual(taken, [*range(100), -1])
        await self.assert_content("/file", b"".join(b"%03d " % number for number in range(100)))

    async def test_writer_of_a_large_file(self) -> None:
        """Eight mebibytes written in pieces of 64 KiB, over many calls and openings, come back the same."""
        content = patterned(8 * MIB)
        expected = hashlib.sha256(content).hexdigest()
        passed = hashlib.sha256()

        def hashed(chunks: Iterable[bytes]) -> Iterator[bytes]:
            for chunk in chunks:
                passed.update(chunk)
                yield chunk

        everything = pieces(content)
        for start in range(0, len(everything), 32):
            writer = await self.driver.open_writer("/large")
            self.assertEqual(writer.offset, start * PIECE)
            await writer.write(hashed(everything[start : start + 5]))
            await writer.write(hashed(everything[start + 5 : start + 32]))
            await writer.sync()
            await writer.close()
        self.assertEqual(passed.hexdigest(), expected)
        self.assertEqual((await self.driver.stat("/large")).size, len(content))
        self.assertEqual(hashlib.sha256(await self.contents("/large")).hexdigest(), expected)

    async def test_writer_of_uneven_chunks(self) -> None:
        """Chunks of any size, from one byte to some mebibytes, are joined without a seam."""
        content = patterned(4 * MIB)
        chunks = [content[:1], content[1:MIB], content[MIB : 3 * MIB + 1], content[3 * MIB + 1 :]]
        await self.append("/file", *chunks)
        await self.assert_content("/file", content)

    async def test_writer_holds_the_file_alone(self) -> None:
        """While one writer has a file open a second is FileBusy, and the first is not disturbed."""
        writer = await self.driver.open_writer("/a/file")
        await writer.write([b"one "])
        error = await self.assert_raises(errors.FileBusy, self.driver.open_writer, "/a/file")
        self.assertEqual(error.path, "/a/file")
        await writer.write([b"two "])
        await self.assert_raises(errors.FileBusy, self.driver.open_writer, "/a/file")
        other = await self.driver.open_writer("/a/other")
        await other.close()
        await writer.write([b"three"])
        await writer.close()
        await self.assert_content("/a/file", b"one two three")

    async def test_writers_opened_at_once(self) -> None:
        """Of many who open one file at the same time exactly one gets it."""
        opened: list[IFileWriter] = []
        busy = []

        async def attempt() -> None:
            try:
                opened.append(await self.driver.open_writer("/file"))
            except errors.FileBusy as error:
                busy.append(error)

        await together(attempt() for _ in range(20))
        self.assertEqual((len(opened), len(busy)), (1, 19))
        await opened[0].close()

    async def test_writer_closed_frees_the_file(self) -> None:
        """A closed file can be opened again; closing its old writer once more does not take it away."""
        first = await self.driver.open_writer("/file")
        await first.write([b"one "])
        await first.close()
        await first.close()
        second = await self.driver.open_writer("/file")
        self.assertEqual(second.offset, 4)
        await first.close()
        await self.assert_raises(errors.FileBusy, self.driver.open_writer, "/file")
        await second.write([b"two"])
        await second.close()
        await self.assert_content("/file", b"one two")

    async def test_writer_closed_during_a_write(self) -> None:
        """A close waits for the write under way, all of which is then in the file."""
        taken = []

        def slowly() -> Iterator[bytes]:
            for number in range(10):
                time.sleep(0.01)
                taken.append(number)
                yield bytes([65 + number]) * 10_000

        writer = await self.driver.open_writer("/file")
        writing = started(writer.write(slowly()))
        await writer.close()
        self.assertEqual(taken, list(range(10)))
        await writing
        await self.assert_content("/file", b"".join(bytes([65 + number]) * 10_000 for number in range(10)))
        await self.append("/file", b"more")
        self.assertEqual((await self.driver.stat("/file")).size, 100_004)

    async def test_writer_closed_after_its_caller_was_cancelled(self) -> None:
        """When the caller of a write is cancelled, close still waits: nothing is appended after it."""
        content = patterned(160_000)
        after_close = []
        closed = False

        def slowly() -> Iterator[bytes]:
            for piece in pieces(content, 10_000):
                time.sleep(0.01)
                after_close.append(closed)
                yield piece

        writer = await self.driver.open_writer("/file")
        writing = started(writer.write(slowly()))
        writing.cancel()
        await writer.close()
        closed = True
        with suppress(CancelledError):
            await writing
        again = await self.driver.open_writer("/file")
        size = again.offset
        await again.write([b"the end"])
        await again.close()
        self.assertNotIn(True, after_close)
        await self.assert_content("/file", content[:size] + b"the end")

    async def test_sync(self) -> None:
        """``sync`` may be called before, between and after writes."""
        writer = await self.driver.open_writer("/a/file")
        await writer.sync()
        await writer.write([b"one "])
        await writer.sync()
        await writer.sync()
        await writer.write([b"two"])
        await writer.sync()
        self.assertEqual(writer.offset, 7)
        await writer.close()
        await self.assert_content("/a/file", b"one two")

    async def test_many_writers(self) -> None:
        """Fifty writers at once, each to a file of its own, do not mix their bytes."""

        async def fill(number: int) -> None:
            writer = await self.driver.open_writer(f"/{number % 7}/{number}")
            try:
                for part in range(4):
                    content = patterned(20_000 + number, seed=number * 4 + part)
                    await writer.write(iter(pieces(content, 6_000)))
                await writer.sync()
            finally:
                await writer.close()

        await together(fill(number) for number in range(50))
        for number in range(50):
            parts = [patterned(20_000 + number, seed=number * 4 + part) for part in range(4)]
            await self.assert_content(f"/{number % 7}/{number}", b"".join(parts))
