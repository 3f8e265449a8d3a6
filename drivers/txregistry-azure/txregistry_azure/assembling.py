"""Blobs made of others by the store itself, block by block."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from xml.etree import ElementTree

from attrs import frozen

from txregistry import errors
from txregistry.objects.store import Piece
from txregistry.waiting import by_workers
from txregistry_azure.answers import Refusal
from txregistry_azure.container import Container

MIB = 1024 * 1024
#: Bytes of a blob that is copied in one request at most (Azure Storage, "Copy Blob From URL").
COPIED_WHOLE = 256 * MIB
#: Bytes of a block that the store copies, and of one that goes through here.
_COPIED, _CARRIED = 128 * MIB, 8 * MIB
#: Blocks of a blob at most (Azure Storage, "Scalability and performance targets for Blob storage").
_MOST_BLOCKS = 50_000
#: Blocks that are copied at once; of those that go through here, the memory of each is taken.
_AT_ONCE, _CARRIED_AT_ONCE = 16, 2
#: Seconds that the store may copy, and put a blob together, without a word.
_COPYING = 90.0
#: Answers to copying a blob whole after which it may still be copied by blocks: of another type, or too long.
_NOT_WHOLE = frozenset({400, 409, 413, 501})
#: The answer of a store that does not know the operation.
_NOT_IMPLEMENTED = 501
#: Codes with which a blob refuses blocks that are staged on it, though each was taken.
_LOST = frozenset({"InvalidBlockList", "InvalidBlobOrBlock", "InvalidBlockId", "BlockListTooLong"})
_ATTEMPTS = 3

Read = Callable[[str, int, int], Awaitable[list[bytes]]]
"""Returns so many bytes of a blob, from some offset on."""


@frozen
class Block:
    """A block of a blob that another blob has.

    :param path: the other one.
    :param start: its first byte.
    :param size: its bytes.
    """

    path: str
    start: int
    size: int


def blocks_of(pieces: Sequence[Piece], size: int) -> list[Block]:
    """Return what a blob is made of in blocks.

    :param size: bytes of a block at most.  It is made larger where there would be too many.
    """
    while True:
        blocks = [
            Block(piece.path, start, min(size, piece.size - start))
            for piece in pieces
            for start in range(0, piece.size, size)
        ]
        if len(blocks) <= _MOST_BLOCKS or size >= sum(piece.size for piece in pieces):
            return blocks
        size *= 2


class Assembling:
    """Makes blobs of others.

    The store copies by itself.  One that cannot (Azurite cannot, but for whole blobs) is noticed at the first try,
    and from then on given the bytes from here.

    :param container: where.
    :param read: reads what has to go through here.
    """

    def __init__(self, container: Container, read: Read) -> None:
        self._container = container
        self._read = read
        self._copies = True

    async def assemble(self, path: str, pieces: Sequence[Piece], headers: dict[str, str]) -> None:
        """Make a blob.

        :param headers: what the blob is to be put with.
        """
        if len(pieces) == 1 and pieces[0].size <= COPIED_WHOLE and await self._copy(path, pieces[0]):
            return
        for attempt in range(_ATTEMPTS):
            try:
                await self._in_blocks(path, pieces, headers)
                break
            except Refusal as error:
                # Who has just put a blob there took all blocks with it that waited to be one.
                if error.code not in _LOST:
                    raise
                if attempt == _ATTEMPTS - 1:
                    raise errors.StorageUnavailable(path, error.reason) from error
        await self._verify(path, sum(piece.size for piece in pieces))

    async def _copy(self, path: str, piece: Piece) -> bool:
        """Copy a whole blob; return whether the store does that."""
        headers = {**await self._container.source(piece.path), "x-ms-requires-sync": "true"}
        try:
            answer = await self._container.ask(path, "PUT", None, headers, [b""], patience=_COPYING)
        except errors.PathUnknown:
            raise errors.PathUnknown(piece.path) from None
        except Refusal as error:
            if error.status not in _NOT_WHOLE:
                raise
            return False
        if answer.header("x-ms-copy-status") != "success":
            raise errors.StorageUnavailable(path, "the store has not copied it")
        return True

    async def _in_blocks(self, path: str, pieces: Sequence[Piece], headers: dict[str, str]) -> None:
        blocks = blocks_of(pieces, _COPIED if self._copies else _CARRIED)
        # All identifiers of the blocks of a blob are of one length; no one else gives these.
        prefix = uuid.uuid4().hex[:16]
        names = [
            base64.b64encode(f"{prefix}-{number:06d}".encode("ascii")).decode("ascii")
            for number in range(len(blocks))
        ]

        async def stage(named: tuple[str, Block]) -> None:
            await (self._stage if self._copies else self._carry)(path, *named)

        count = min(_AT_ONCE if self._copies else _CARRIED_AT_ONCE, len(blocks))
        try:
            await by_workers(stage, list(zip(names, blocks, strict=True)), count)
        except _CannotCopy:
            self._copies = False
            await self._in_blocks(path, pieces, headers)
            return
        await self._commit(path, names, headers)

    async def _stage(self, path: str, name: str, block: Block) -> None:
        headers = {
            **await self._container.source(block.path),
            "x-ms-source-range": f"bytes={block.start}-{block.start + block.size - 1}",
        }
        query = {"comp": "block", "blockid": name}
        try:
            await self._container.ask(path, "PUT", query, headers, [b""], patience=_COPYING)
        except errors.PathUnknown:
            raise errors.PathUnknown(block.path) from None
        except Refusal as error:
            if error.status != _NOT_IMPLEMENTED:
                raise
            raise _CannotCopy from None

    async def _carry(self, path: str, name: str, block: Block) -> None:
        content = await self._read(block.path, block.start, block.size)
        digest = hashlib.md5(usedforsecurity=False)
        for piece in content:
            digest.update(piece)
        headers = {"Content-MD5": base64.b64encode(digest.digest()).decode("ascii")}
        await self._container.ask(path, "PUT", {"comp": "block", "blockid": name}, headers, content)

    async def _commit(self, path: str, names: Sequence[str], headers: dict[str, str]) -> None:
        root = ElementTree.Element("BlockList")
        for name in names:
            # The latest of that name: also the one that a first try has committed, whose answer was lost.
            ElementTree.SubElement(root, "Latest").text = name
        body = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        await self._container.ask(
            path,
            "PUT",
            {"comp": "blocklist"},
            {**headers, "Content-Type": "application/xml"},
            [body],
            patience=_COPYING,
        )

    async def _verify(self, path: str, size: int) -> None:
        found = (await self._container.ask(path, "HEAD")).header("Content-Length")
        if found != str(size):
            raise errors.StorageFault(path, f"assembled, it has {found} bytes instead of {size}")


class _CannotCopy(Exception):
    """The store does not copy blocks."""
