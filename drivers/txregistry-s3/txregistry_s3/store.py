"""A bucket as a store of objects."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from urllib.error import HTTPError
from urllib.parse import unquote
from xml.sax.saxutils import escape

from attrs import frozen
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from zope.interface import implementer

from txregistry import errors
from txregistry.objects.checksums import md5
from txregistry.objects.documents import document
from txregistry.objects.first_look import first_look
from txregistry.objects.store import (
    ABSENT,
    Conflict,
    Found,
    IObjectStore,
    ObjectInfo,
    Opened,
    Page,
    PastEnd,
    Piece,
)
from txregistry.objects.transport import Answer, Refused, date, header, whole_size
from txregistry.waiting import InThread
from txregistry_s3.answers import code_of, moment, refuse, wrong_answer
from txregistry_s3.assembling import Assembling
from txregistry_s3.bucket import Bucket, md5_of

_log = Logger()

_NOTE = "x-amz-meta-"
#: Bytes of an answer that tells of an error, at most.
_ERROR_LIMIT = 64 * 1024
#: Seconds that a deletion that is asked for once may take.
_DELETING = 10.0


@implementer(IObjectStore)
@frozen
class S3Store:
    """See :class:`~txregistry.objects.store.IObjectStore`.

    :param bucket: where the objects are.
    :param in_thread: where checksums are computed.
    """

    bucket: Bucket
    in_thread: InThread

    def prepare(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        bucket = self.bucket
        bucket.signers.prepare()
        query = {"list-type": "2", "max-keys": "1", "prefix": bucket.key("/")}
        made = bucket.signing.request(bucket.signers.frozen, "GET", "", query, {})

        def problem_of(error: HTTPError) -> str:
            code = code_of(error.read(_ERROR_LIMIT))
            if 400 <= error.code < 500 or error.code in (301, 307):
                raise errors.ConfigError(
                    "bucket", f"the store answers {error.code} {code} to the first request".replace("  ", " ")
                ) from error
            return f"it answers {error.code} {code}"

        first_look(made, f"bucket {bucket.options.bucket}", problem_of, bucket.options.skipverify)

    async def close(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.bucket.transport.close()

    async def head(self, path: str) -> ObjectInfo:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        answer = await self.bucket.ask(path, "HEAD")
        return _info(answer.headers, int(answer.header("Content-Length") or 0))

    async def get(self, path: str, start: int = 0, version: str | None = None) -> Opened:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
        if version is not None:
            headers["If-Match"] = version
        try:
            stream = await self.bucket.open(path, headers)
        except Refused as error:
            if error.answer.status == 416:
                raise PastEnd(path) from None
            raise refuse(path, error.answer) from None
        try:
            size = whole_size(path, stream, start)
        except errors.StorageFault:
            await stream.body.close()
            raise
        return Opened(_info(stream.headers, size), stream.body)

    async def put(
        self,
        path: str,
        pieces: Sequence[bytes],
        notes: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> str:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        digest = await md5(pieces, self.in_thread)
        headers = {**self.bucket.making, **_noted(notes or {})}
        headers["Content-MD5"] = base64.b64encode(digest).decode("ascii")
        if version == ABSENT:
            headers["If-None-Match"] = "*"
        elif version is not None:
            headers["If-Match"] = version

        def wrong(answer: Answer) -> str | None:
            encryption = answer.header("x-amz-server-side-encryption")
            found = md5_of(answer.header("ETag"), encryption) if answer.status < 300 else None
            return None if found in (None, digest.hex()) else "the store has other bytes than were sent"

        try:
            answer = await self.bucket.ask(path, "PUT", {}, headers, [*pieces] or [b""], wrong=wrong)
        except errors.PathUnknown:
            if version is None:
                raise
            raise Conflict(path) from None
        return answer.header("ETag") or ""

    async def refresh(self, path: str, info: ObjectInfo) -> float:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        headers = {
            **self.bucket.making,
            **_noted(info.notes),
            **Assembling(self.bucket).from_(path),
            "x-amz-metadata-directive": "REPLACE",
        }
        answer = await self.bucket.ask(
            path, "PUT", {}, headers, wrong=lambda answer: wrong_answer(answer, "CopyObjectResult")
        )
        return moment(document(path, answer.content).findtext("LastModified"))

    async def assemble(self, path: str, pieces: Sequence[Piece]) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        assembling = Assembling(self.bucket)
        if len(pieces) == 1 and pieces[0].size <= self.bucket.options.multipartcopythresholdsize:
            await assembling.copy(path, pieces[0].path)
        else:
            await assembling.assemble(path, pieces)

    async def delete(self, paths: Sequence[str], once: bool = False) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        if len(paths) == 1:
            try:
                await self.bucket.ask(paths[0], "DELETE", once=once, patience=_DELETING if once else None)
            except errors.PathUnknown:
                return
        elif paths:
            await self._delete_several(paths, once)

    async def page(
        self, prefix: str, after: str = "", deep: bool = False, limit: int = 1000, token: str | None = None
    ) -> Page:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        query = {
            "list-type": "2",
            "prefix": self.bucket.key(prefix),
            "max-keys": str(limit),
            "encoding-type": "url",
        }
        if not deep:
            query["delimiter"] = "/"
        if token is not None:
            query["continuation-token"] = token
        elif after:
            query["start-after"] = self.bucket.key(after)
        answer = await self.bucket.ask(
            prefix,
            "GET",
            query,
            of_bucket=True,
            wrong=lambda answer: wrong_answer(answer, "ListBucketResult"),
        )
        root = document(prefix, answer.content)
        found = [
            Found(
                self.bucket.path(unquote(entry.findtext("Key") or "")),
                moment(entry.findtext("LastModified")),
                int(entry.findtext("Size") or 0),
            )
            for entry in root.iterfind("Contents")
        ]
        # Some stores, and Amazon's console, have objects for folders.
        found = [one for one in found if not one.is_folder]
        found += [
            Found(self.bucket.path(unquote(entry.findtext("Prefix") or "")))
            for entry in root.iterfind("CommonPrefixes")
        ]
        more = root.findtext("IsTruncated") == "true" and root.findtext("NextContinuationToken")
        return Page(sorted(found, key=lambda one: one.path), more or None, answer.date)

    async def sign(self, path: str, method: str) -> str | None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        return self.bucket.signing.url(await self.bucket.signers.keys(), method, self.bucket.key(path))

    async def tidy(self, before: float) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        query = {"uploads": "", "prefix": self.bucket.key("/"), "encoding-type": "url"}
        while True:
            answer = await self.bucket.ask("/", "GET", query, of_bucket=True)
            root = document("/", answer.content)
            for upload in root.iterfind("Upload"):
                path = self.bucket.path(unquote(upload.findtext("Key") or ""))
                if moment(upload.findtext("Initiated")) < before:
                    _log.info("aborting what was begun of {path} and never ended", path=path)
                    await Assembling(self.bucket).abort(path, upload.findtext("UploadId") or "")
            if root.findtext("IsTruncated") != "true":
                return
            query["key-marker"] = unquote(root.findtext("NextKeyMarker") or "")
            query["upload-id-marker"] = root.findtext("NextUploadIdMarker") or ""

    async def _delete_several(self, paths: Sequence[str], once: bool) -> None:
        entries = "".join(f"<Object><Key>{escape(self.bucket.key(path))}</Key></Object>" for path in paths)
        body = f"<Delete><Quiet>true</Quiet>{entries}</Delete>".encode("ascii")
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"Content-MD5": base64.b64encode(digest).decode("ascii"), "Content-Type": "application/xml"}
        answer = await self.bucket.ask(
            paths[0],
            "POST",
            {"delete": ""},
            headers,
            [body],
            of_bucket=True,
            once=once,
            wrong=lambda answer: wrong_answer(answer, "DeleteResult"),
        )
        for error in document(paths[0], answer.content).iterfind("Error"):
            code = error.findtext("Code") or ""
            if code not in ("NoSuchKey", "NoSuchVersion"):
                path = self.bucket.path(error.findtext("Key") or "")
                kind = errors.StorageFault if code == "AccessDenied" else errors.StorageUnavailable
                raise kind(path, f"the store answers {code} to a deletion")


def _noted(notes: Mapping[str, str]) -> dict[str, str]:
    return {_NOTE + name: value for name, value in notes.items()}


def _info(headers: Headers, size: int) -> ObjectInfo:
    notes = {
        name.decode("ascii").lower()[len(_NOTE) :]: values[-1].decode("latin-1")
        for name, values in headers.getAllRawHeaders()
        if name.lower().startswith(_NOTE.encode("ascii"))
    }
    etag = header(headers, "ETag") or ""
    return ObjectInfo(
        size,
        date(header(headers, "Last-Modified")),
        etag,
        date(header(headers, "Date")),
        notes,
        md5_of(etag, header(headers, "x-amz-server-side-encryption")),
    )
