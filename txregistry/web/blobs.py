"""``/v2/<name>/blobs/<digest>`` (distribution-spec, end-2 and end-10)."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from txregistry import media
from txregistry.content.blobs import Blob
from txregistry.content.links import InThread
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.interfaces import ILocalFiles
from txregistry.ranges import ByteRange, parse_range
from txregistry.reference import RepositoryName
from txregistry.web.announcer import Announcer
from txregistry.web.answers import answer
from txregistry.web.conditions import range_applies, unchanged
from txregistry.web.drain import can_send_descriptor, send_descriptor, send_reader

#: What never changes may be kept for a year, as Distribution says.
_FOREVER = "max-age=31536000"
#: Bytes up to which a blob is read in one go.
_SMALL = 64 * 1024


@frozen
class BlobRoutes:
    """Answers for blobs.

    :param registry: what is stored.
    :param in_thread: where the kernel is made to send.
    :param announcer: who is told of what is done; None for no one.
    """

    registry: Registry
    in_thread: InThread
    announcer: Announcer | None

    async def get(self, request: Any, name: RepositoryName, digest: Digest) -> bytes | None:
        """Send a blob, or a part of it; for HEAD, what would be said of it."""
        blobs = self.registry.blobs
        blob = await (blobs.keep if request.method == b"HEAD" else blobs.find)(name, digest)
        if self.announcer is not None:
            self.announcer.blob_pulled(request, name, blob)
        request.setHeader(b"Docker-Content-Digest", str(digest).encode("ascii"))
        request.setHeader(b"Cache-Control", _FOREVER.encode("ascii"))
        request.setHeader(b"Accept-Ranges", b"bytes")
        if unchanged(request, digest):
            return b""
        part = (
            parse_range(request.text_header("Range"), blob.size) if range_applies(request, digest) else None
        )
        run = part or ByteRange(0, blob.size)
        request.setHeader(b"Content-Type", media.BYTES.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % run.length)
        if part is not None:
            request.setResponseCode(206)
            request.setHeader(b"Content-Range", part.content_range(blob.size).encode("ascii"))
        if request.method == b"HEAD" or not run.length:
            return b""
        return await self._send(request, blob, run)

    async def delete(self, request: Any, name: RepositoryName, digest: Digest) -> bytes:
        """Take a blob from a repository."""
        await self.registry.blobs.delete(name, digest)
        if self.announcer is not None:
            await self.announcer.deleted(request, name, digest)
        return answer(request, 202)

    async def _send(self, request: Any, blob: Blob, run: ByteRange) -> bytes | None:
        driver = self.registry.driver
        if blob.size <= _SMALL:
            content = await driver.read(blob.path, _SMALL)
            return content[run.start : run.stop]
        if ILocalFiles.providedBy(driver) and can_send_descriptor(request):
            descriptor = await ILocalFiles(driver).open_local(blob.path)
            await send_descriptor(request, descriptor, run, self.in_thread)
            return None
        reader = await driver.open_reader(blob.path, run.start)
        try:
            await send_reader(request, reader, run.length)
        finally:
            await reader.close()
        return None
