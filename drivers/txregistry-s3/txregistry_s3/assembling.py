"""Objects made of others by the store itself, in parts that are copied at the same time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import quote
from xml.etree import ElementTree

from attrs import frozen
from twisted.logger import Logger

from txregistry import errors
from txregistry.objects.documents import document
from txregistry.objects.store import Piece
from txregistry.waiting import by_workers, uncancelled
from txregistry_s3.answers import wrong_answer
from txregistry_s3.bucket import Bucket

_log = Logger()

#: Parts of an object at most (Amazon S3, "Multipart upload limits").
MOST_PARTS = 10_000
#: Parts that are copied at once, whatever the configuration allows: others want to be served meanwhile.
_AT_ONCE = 48
#: Seconds that the store may copy, and put an object together, without a word.
_COPYING = 60.0
_COMPLETING = 120.0
#: Seconds after which what was given up should have ended.
_STRAGGLING = 1.0


@frozen
class Part:
    """A part of an object that another object has.

    :param path: the other one.
    :param start: its first byte.
    :param size: its bytes.
    :param whole: whether this is all of it.
    """

    path: str
    start: int
    size: int
    whole: bool


def parts_of(pieces: Sequence[Piece], size: int) -> list[Part]:
    """Return what an object is made of in parts.

    :param size: bytes of a part; none has fewer but the last, and an object's own last part may have nearly twice
        as many.  It is made larger where there would be too many parts.
    """
    while True:
        parts = []
        for piece in pieces:
            count = max(1, piece.size // size)
            for number in range(count):
                start = number * size
                length = size if number < count - 1 else piece.size - start
                parts.append(Part(piece.path, start, length, count == 1))
        if len(parts) <= MOST_PARTS or size >= sum(piece.size for piece in pieces):
            return parts
        size *= 2


@frozen
class Assembling:
    """Makes objects of others.

    :param bucket: where.
    """

    bucket: Bucket

    async def copy(self, path: str, source: str) -> None:
        """Make an object that is like another one."""
        await self.bucket.ask(
            path,
            "PUT",
            headers={**self.bucket.making, **self.from_(source), "x-amz-metadata-directive": "REPLACE"},
            patience=_COPYING,
            wrong=lambda answer: wrong_answer(answer, "CopyObjectResult"),
        )

    async def assemble(self, path: str, pieces: Sequence[Piece]) -> None:
        """Make an object of parts."""
        parts = parts_of(pieces, self.bucket.options.multipartcopychunksize)
        answer = await self.bucket.ask(path, "POST", {"uploads": ""}, self.bucket.making)
        upload = document(path, answer.content).findtext("UploadId") or ""
        done = False
        try:
            etags = await self._copy_parts(path, upload, parts)
            await self._complete(path, upload, etags)
            done = True
            await self._verify(path, sum(piece.size for piece in pieces))
        finally:
            if not done:
                # Whoever waited may be gone; what was begun must not stay.
                await uncancelled(self._abandon(path, upload))

    async def _abandon(self, path: str, upload: str) -> None:
        """Abort what was begun, twice: a part that was still being copied may come after the first time."""
        await self.abort(path, upload)
        await self.bucket.transport.sleep(_STRAGGLING)
        await self.abort(path, upload)

    async def abort(self, path: str, upload: str) -> None:
        """Remove the parts of an object that was not completed."""
        try:
            await self.bucket.ask(path, "DELETE", {"uploadId": upload})
        except errors.PathUnknown:
            return
        except errors.StorageError as error:
            if "NoSuchUpload" not in error.reason:
                _log.warn("cannot abort an upload of {path}: {error}", path=path, error=error)

    def from_(self, source: str) -> dict[str, str]:
        """Return the header that names an object to copy."""
        key = quote(self.bucket.key(source), safe="/-_.~")
        return {"x-amz-copy-source": f"/{self.bucket.options.bucket}/{key}"}

    async def _copy_parts(self, path: str, upload: str, parts: Sequence[Part]) -> list[str]:
        etags = [""] * len(parts)

        async def copy(part: tuple[int, Part]) -> None:
            index, source = part
            etags[index] = await self._copy_part(path, upload, index + 1, source)

        count = min(self.bucket.options.multipartcopymaxconcurrency, _AT_ONCE, len(parts))
        await by_workers(copy, enumerate(parts), count)
        return etags

    async def _copy_part(self, path: str, upload: str, number: int, part: Part) -> str:
        headers = self.from_(part.path)
        if not part.whole:
            headers["x-amz-copy-source-range"] = f"bytes={part.start}-{part.start + part.size - 1}"
        try:
            answer = await self.bucket.ask(
                path,
                "PUT",
                {"partNumber": str(number), "uploadId": upload},
                headers,
                patience=_COPYING,
                wrong=lambda answer: wrong_answer(answer, "CopyPartResult"),
            )
        except errors.PathUnknown:
            raise errors.PathUnknown(part.path) from None
        return document(path, answer.content).findtext("ETag") or ""

    async def _complete(self, path: str, upload: str, etags: Sequence[str]) -> None:
        root = ElementTree.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for number, etag in enumerate(etags, 1):
            part = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(part, "PartNumber").text = str(number)
            ElementTree.SubElement(part, "ETag").text = etag
        try:
            await self.bucket.ask(
                path,
                "POST",
                {"uploadId": upload},
                {"Content-Type": "application/xml"},
                [ElementTree.tostring(root)],
                patience=_COMPLETING,
                # A status of 200 is sent before the work is done, and says nothing of how it ended.
                wrong=lambda answer: wrong_answer(answer, "CompleteMultipartUploadResult"),
            )
        except (errors.PathUnknown, errors.StorageFault) as error:
            # A first try may have come through, whose answer did not.
            if "NoSuchUpload" in error.reason and await self._etag(path) == etag_of(etags):
                return
            raise errors.StorageUnavailable(path, error.reason) from error

    async def _etag(self, path: str) -> str:
        answer = await self.bucket.ask(path, "HEAD")
        return (answer.header("ETag") or "").strip('"')

    async def _verify(self, path: str, size: int) -> None:
        answer = await self.bucket.ask(path, "HEAD")
        found = answer.header("Content-Length")
        if found != str(size):
            raise errors.StorageFault(path, f"assembled, it has {found} bytes instead of {size}")


def etag_of(etags: Sequence[str]) -> str:
    """Return the ETag that an object of parts has; empty where that cannot be told."""
    try:
        digests = b"".join(bytes.fromhex(etag.strip('"')) for etag in etags)
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"
