"""``/v2/<name>/blobs/<digest>`` (distribution-spec, end-2 and end-10)."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.defer import Deferred

from txregistry import errors, media
from txregistry.content.blobs import Blob
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.interfaces import IFileReader, ILocalFiles, IRedirects
from txregistry.ranges import ByteRange, parse_range
from txregistry.reference import RepositoryName
from txregistry.storage.batches import together, uncancelled
from txregistry.waiting import InThread
from txregistry.web.announcer import Announcer
from txregistry.web.answers import answer
from txregistry.web.conditions import is_conditional, is_wanted, range_applies, unchanged
from txregistry.web.drain import can_send_descriptor, send_descriptor, send_reader

#: What never changes may be kept for a year, as Distribution says.
_FOREVER = "max-age=31536000"
#: Bytes up to which a blob is read in one go.
_SMALL = 64 * 1024

#: All of a blob, an open file's descriptor, or a reader.
_Source: TypeAlias = bytes | int | IFileReader


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
        """Send a blob, or a part of it, or say where it is; for HEAD, what would be said of it."""
        if self.registry.redirects is not None and request.method != b"HEAD" and is_wanted(request, digest):
            elsewhere = await self._elsewhere(request, self.registry.redirects, name, digest)
            if elsewhere is not None:
                return elsewhere
        source: _Source = b""
        if request.method == b"HEAD":
            blob = await self.registry.blobs.keep(name, digest)
        elif not is_wanted(request, digest):
            blob = await self.registry.blobs.find(name, digest)
        else:
            # Before anything is said: the bytes may be gone.
            opening = self._open(request, name, digest, not is_conditional(request))
            blob, source = await uncancelled(together(self.registry.driver, opening), undo=_let_go)
        if self.announcer is not None:
            self.announcer.blob_pulled(request, name, blob)
        if _describe(request, digest):
            return b""
        part = _part(request, blob)
        run = part or ByteRange(0, blob.size)
        request.setHeader(b"Content-Type", media.BYTES.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % run.length)
        if part is not None:
            request.setResponseCode(206)
            request.setHeader(b"Content-Range", part.content_range(blob.size).encode("ascii"))
        return await self._send(request, source, run)

    async def delete(self, request: Any, name: RepositoryName, digest: Digest) -> bytes:
        """Take a blob from a repository."""
        await self.registry.blobs.delete(name, digest)
        if self.announcer is not None:
            await self.announcer.deleted(request, name, digest)
        return answer(request, 202)

    async def _elsewhere(
        self, request: Any, redirects: IRedirects, name: RepositoryName, digest: Digest
    ) -> bytes | None:
        """Say where a blob can be had from; None if it can be had from nowhere but here.

        Who asks with ``HEAD`` is answered here: it is as quick, and the store would not tell the digest.
        """
        blob = await self.registry.blobs.find(name, digest)
        url = await redirects.redirect(blob.path, "GET")
        if url is None:
            return None
        if self.announcer is not None:
            self.announcer.blob_pulled(request, name, blob)
        request.setHeader(b"Docker-Content-Digest", str(digest).encode("ascii"))
        # The URL is for this client, and for a while.
        request.setHeader(b"Cache-Control", b"no-store")
        return answer(request, 307, headers={"Location": url})

    async def _open(
        self, request: Any, name: RepositoryName, digest: Digest, remembered: bool
    ) -> tuple[Blob, _Source]:
        """Return a blob, and what its bytes come from, or a part's.

        :param remembered: whether its size may come from what is remembered.
        :raises txregistry.errors.BlobUnknown: the repository has none of that digest.
        """
        blobs = self.registry.blobs
        blob = await blobs.find(name, digest, remembered)
        try:
            return blob, await self._source(request, blob)
        except errors.RangeUnsatisfiable:
            _describe(request, digest)
            raise
        except errors.PathUnknown:
            await blobs.forget(blob)
            raise errors.BlobUnknown({"digest": str(digest)}) from None
        except errors.StorageFault:
            if blob.remembered is None:
                raise
            await blobs.forget(blob)
        return await self._open(request, name, digest, remembered=False)

    async def _source(self, request: Any, blob: Blob) -> _Source:
        """Return all of a small blob, an open file, or a reader that begins where the part does.

        :raises txregistry.errors.PathUnknown: it has no bytes.
        :raises txregistry.errors.StorageFault: it has not as many as was said.
        """
        driver = self.registry.driver
        if blob.size <= _SMALL:
            content = await driver.read(blob.path, _SMALL)
            _require_size(blob, len(content))
            return content
        if ILocalFiles.providedBy(driver) and can_send_descriptor(request):
            descriptor = await ILocalFiles(driver).open_local(blob.path)
            try:
                # Of a file just opened: this does not wait for a disk.
                _require_size(blob, os.fstat(descriptor).st_size)
                _part(request, blob)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor
        if blob.remembered is not None:
            _require_size(blob, (await driver.stat(blob.path)).size)
        part = _part(request, blob)
        return await driver.open_reader(blob.path, part.start if part else 0)

    async def _send(self, request: Any, source: _Source, run: ByteRange) -> bytes | None:
        if isinstance(source, bytes):
            return source[run.start : run.stop]
        if isinstance(source, int):
            await send_descriptor(request, source, run, self.in_thread)
            return None
        try:
            await send_reader(request, source, run.length)
        finally:
            await source.close()
        return None


def _let_go(opened: tuple[Blob, _Source]) -> None:
    """Close what a client that is gone has no use for."""
    _, source = opened
    if isinstance(source, int):
        os.close(source)
    elif not isinstance(source, bytes):
        Deferred.fromCoroutine(_close(source))


async def _close(reader: IFileReader) -> None:
    await reader.close()


def _describe(request: Any, digest: Digest) -> bool:
    """Say of a blob what does not depend on the part that is sent; say whether the client has it already."""
    request.setHeader(b"Docker-Content-Digest", str(digest).encode("ascii"))
    request.setHeader(b"Cache-Control", _FOREVER.encode("ascii"))
    request.setHeader(b"Accept-Ranges", b"bytes")
    return unchanged(request, digest)


def _part(request: Any, blob: Blob) -> ByteRange | None:
    """Return the part of a blob that is asked for; None for all of it.

    :raises txregistry.errors.RangeUnsatisfiable: it has no such part.
    """
    if not range_applies(request, blob.digest):
        return None
    return parse_range(request.text_header("Range"), blob.size)


def _require_size(blob: Blob, size: int) -> None:
    if size != blob.size:
        raise errors.StorageFault(blob.path, "a blob whose bytes are not as many as they were")
