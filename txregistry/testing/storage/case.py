"""What the tests of the storage contract stand on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import DeferredList

from txregistry import errors
from txregistry.interfaces import IFileReader, IStorageDriver
from txregistry.testing.closing import ClosingCase, started

E = TypeVar("E", bound=Exception)

KIB = 1024
MIB = 1024 * KIB
PIECE = 64 * KIB

INVALID_PATHS = (
    "",
    "/",
    "//",
    "a",
    "a/b",
    "./a",
    "/a/",
    "//a",
    "/a//b",
    "/.",
    "/..",
    "/a/.",
    "/a/..",
    "/../a",
    "/a/../b",
    "/a/./b",
    "/a\0b",
    "/a\n",
    "\n/a",
    "/a\n/b",
    "/a b",
    "/a%2fb",
    "/a%",
    "/a\\b",
    "/a:b",
    "/a*",
    "/caf\xe9",
    "/\u0661",
    "/\ud800",
    "/" + "a" * 256,
    "/a/" + "b" * 256 + "/c",
)
"""Strings that are not storage paths (:mod:`txregistry.paths`)."""


def patterned(size: int, seed: int = 0) -> bytes:
    """Return *size* bytes in which no two places look alike for long."""
    block = b"".join(
        hashlib.sha256(b"%d %d" % (seed, number)).digest() for number in range(-(-min(size, MIB) // 32))
    )
    rounds = (b"%08d" % number + block[8:] for number in range(-(-size // max(len(block), 1))))
    return b"".join(rounds)[:size]


def pieces(content: bytes, size: int = PIECE) -> list[bytes]:
    """Return *content* cut in pieces of *size* bytes, the last one as it comes."""
    return [content[start : start + size] for start in range(0, len(content), size)]


async def together(awaitables: Iterable[Awaitable[Any]]) -> None:
    """Wait for all of them at once; then raise what the first to fail has raised."""
    results = await DeferredList([started(each) for each in awaitables], consumeErrors=True)
    for success, result in results:
        if not success:
            raise result.value


class StorageCase(ClosingCase):
    """A driver made anew for each test, and what the tests of the contract are written with."""

    driver: IStorageDriver
    #: Whether a directory goes in one step.  A driver over a store that removes objects one by one sets this to
    #: False, and those who list the directory meanwhile see what is left of it.
    deletes_at_once = True
    #: Whether a touch may put back what a discard at the same time has removed.  A driver that touches by copying,
    #: over a store that knows no conditions, sets this to True; never may what was touched be gone.
    touch_brings_back = False
    #: Characters of a path at most, where the store has a limit of its own: no fewer than 700, which is more than
    #: what the registry needs.
    longest_path = 2000

    def make_driver(self) -> IStorageDriver:
        """Return a driver that is prepared and holds nothing.  It is closed when the test ends."""
        raise NotImplementedError(f"{type(self).__name__}.make_driver")

    def now(self) -> float:
        """Return the time by which the driver dates its files; override it where that is a test's clock."""
        return time.time()

    def setUp(self) -> None:
        """Make the driver."""
        super().setUp()
        self.driver = self.make_driver()
        self.closing(self.driver)

    async def assert_raises(self, kind: type[E], call: Callable[..., Awaitable[Any]], *args: Any) -> E:
        """Fail unless ``await call(*args)`` raises *kind*; return what it raised."""
        try:
            result = await call(*args)
        except kind as error:
            return error
        except Exception as error:
            raise self.failureException(f"{args!r}: {kind.__name__} expected, got {error!r}") from error
        raise self.failureException(f"{args!r}: {kind.__name__} expected, got {result!r}")

    async def assert_unknown(self, call: Callable[..., Awaitable[Any]], path: str, *args: Any) -> None:
        """Fail unless the call raises :exc:`~txregistry.errors.PathUnknown` that names *path*."""
        error = await self.assert_raises(errors.PathUnknown, call, path, *args)
        self.assertEqual(error.path, path)

    async def assert_path_checked(self, call: Callable[[str], Awaitable[Any]]) -> None:
        """Fail unless *call* refuses every string that is not a storage path."""
        for path in INVALID_PATHS:
            error = await self.assert_raises(errors.PathInvalid, call, path)
            self.assertEqual(error.path, path)

    async def assert_content(self, path: str, content: bytes) -> None:
        """Fail unless the file is *content*, by ``read``, by a reader and by ``stat``."""
        found = await self.driver.read(path, len(content))
        self.assertEqual(len(found), len(content))
        self.assertTrue(found == content, f"{path}: the bytes differ")
        self.assertTrue(await self.contents(path) == content, f"{path}: the bytes of a reader differ")
        info = await self.driver.stat(path)
        self.assertEqual((info.size, info.is_directory), (len(content), False))

    async def rest(self, reader: IFileReader, size: int = PIECE) -> bytes:
        """Return all that a reader has left, read *size* bytes at a time."""
        found = []
        while chunk := await reader.read(size):
            self.assertIsInstance(chunk, bytes)
            self.assertLessEqual(len(chunk), size)
            found.append(chunk)
        return b"".join(found)

    async def contents(self, path: str, offset: int = 0) -> bytes:
        """Return the bytes of a file from *offset* on, through a reader."""
        reader = await self.driver.open_reader(path, offset)
        try:
            return await self.rest(reader)
        finally:
            await reader.close()

    async def append(self, path: str, *chunks: bytes) -> None:
        """Append to a file through a writer, durably."""
        writer = await self.driver.open_writer(path)
        try:
            await writer.write(chunks)
            await writer.sync()
        finally:
            await writer.close()
