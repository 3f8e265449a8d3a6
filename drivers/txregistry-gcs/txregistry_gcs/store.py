"""A bucket as a store of objects."""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.error import HTTPError

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from txregistry import errors
from txregistry.objects.checksums import md5
from txregistry.objects.first_look import first_look
from txregistry.objects.store import (
    ABSENT,
    Conflict,
    Found,
    IConditionalStore,
    ObjectInfo,
    Opened,
    Page,
    PastEnd,
    Piece,
)
from txregistry.objects.transport import Answer, Refused, Stream, date, whole_size
from txregistry.waiting import InThread, by_workers, gathered, uncancelled
from txregistry_gcs.bucket import Bucket, refuse

_log = Logger()

_TYPE = "application/octet-stream"
#: The type of an object with notes, which are its parameters: it is told with the bytes, as metadata are not.
_NOTED = "application/vnd.txregistry"
_NOTE = re.compile(r'; ([a-z0-9-]+)=([^;"\s]*)')
#: The type of what Distribution has of an upload that is under way; it takes that for no file.
_FOREIGN = "application/x-docker-upload-session"
_FIELDS = "size,updated,generation,metageneration,md5Hash,contentType"
#: Objects that one is composed of at most (Cloud Storage, "Composite objects").
_COMPOSED = 32
_COMPOSING = "/_txregistry/composing/"
_COPYING = 90.0
_DELETING = 10.0
_AT_ONCE = 16


@implementer(IConditionalStore)
@frozen
class GCSStore:
    """See :class:`~txregistry.objects.store.IConditionalStore`.

    The version of an object is its generation, which is the content's, and its metageneration, which a touch changes.

    :param bucket: where the objects are.
    :param in_thread: where checksums are computed.
    """

    bucket: Bucket
    in_thread: InThread

    def prepare(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        bucket = self.bucket
        bucket.access.prepare()
        query = {"maxResults": "1", "prefix": bucket.key("/")}
        made = bucket.request(bucket.access.present, "GET", bucket.objects, query)

        def problem_of(error: HTTPError) -> str:
            problem = f"the store answers {error.code} to the first request"
            if 400 <= error.code < 500 and error.code not in (408, 429):
                raise errors.ConfigError("bucket", problem) from error
            return problem

        first_look(made, f"bucket {bucket.options.bucket}", problem_of)

    async def close(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self.bucket.transport.close()

    async def head(self, path: str) -> ObjectInfo:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        answer = await self.bucket.ask(path, "GET", self.bucket.place(path), {"fields": _FIELDS})
        found = _document(path, answer)
        kind = str(found.get("contentType", ""))
        if kind == _FOREIGN:
            raise errors.PathUnknown(path)
        return ObjectInfo(
            int(found["size"]),
            _moment(found.get("updated")),
            f"{found['generation']} {found.get('metageneration', '')}",
            answer.date,
            _notes(kind),
            _hexadecimal(found.get("md5Hash")),
        )

    async def get(self, path: str, start: int = 0, version: str | None = None) -> Opened:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        try:
            stream = await self.bucket.open(path, {"Range": f"bytes={start}-"} if start else {})
        except Refused as error:
            if error.answer.status == 416:
                raise PastEnd(path) from None
            raise refuse(path, error.answer) from None
        try:
            info = _info_of(path, stream, start)
            if version is not None and version.split(" ")[0] != info.version.split(" ")[0]:
                raise Conflict(path)
        except BaseException:
            await stream.body.close()
            raise
        return Opened(info, stream.body)

    async def put(
        self,
        path: str,
        pieces: Sequence[bytes],
        notes: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> str:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        encoded = base64.b64encode(await md5(pieces, self.in_thread)).decode("ascii")
        kind = "; ".join([_NOTED, *(f"{name}={value}" for name, value in notes.items())]) if notes else _TYPE
        key = self.bucket.key(path)
        about = json.dumps({"name": key, "contentType": kind, "md5Hash": encoded})
        boundary = uuid.uuid4().hex
        head = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{about}\r\n"
            f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n"
        )
        body = [head.encode("ascii"), *pieces, f"\r\n--{boundary}--\r\n".encode("ascii")]
        query = {"uploadType": "multipart", "name": key} | _condition(version)

        def wrong(answer: Answer) -> str | None:
            if answer.status >= 300:
                # What came was not what its MD5 says.
                return (
                    "the bytes changed on the way"
                    if answer.status == 400 and b"MD5" in answer.content
                    else None
                )
            other = _document(path, answer).get("md5Hash") not in (None, encoded)
            return "the store has other bytes than were sent" if other else None

        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        place = f"/upload{self.bucket.objects}"
        try:
            answer = await self.bucket.ask(path, "POST", place, query, headers, body, wrong=wrong)
        except errors.PathUnknown:
            raise Conflict(path) from None
        found = _document(path, answer)
        return f"{found['generation']} {found.get('metageneration', '')}"

    async def refresh(self, path: str, info: ObjectInfo) -> float:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        body = json.dumps({"metadata": {"txregistry-touched": uuid.uuid4().hex}}).encode("ascii")
        query = _exactly(info) | {"fields": "updated"}
        headers = {"Content-Type": "application/json"}
        answer = await self.bucket.ask(path, "PATCH", self.bucket.place(path), query, headers, [body])
        return _moment(_document(path, answer).get("updated"))

    async def remove(self, path: str, info: ObjectInfo) -> None:
        """See :class:`~txregistry.objects.store.IConditionalStore`."""
        tries = 0

        def count(answer: Answer) -> None:
            nonlocal tries
            tries = answer.tries

        try:
            await self.bucket.ask(path, "DELETE", self.bucket.place(path), _exactly(info), wrong=count)
        except errors.PathUnknown:
            # A first try may have come through, whose answer did not.
            if tries < 2:
                raise

    async def assemble(self, path: str, pieces: Sequence[Piece]) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        if len(pieces) == 1:
            await self._copy(path, pieces[0])
            return
        made: list[str] = []
        left = list(pieces)
        try:
            while len(left) > _COMPOSED:
                groups = [left[start : start + _COMPOSED] for start in range(0, len(left), _COMPOSED)]
                left = [
                    Piece(_COMPOSING + uuid.uuid4().hex, sum(one.size for one in group)) for group in groups
                ]
                made += [one.path for one in left]
                composing = zip(left, groups, strict=True)
                await gathered(
                    [Deferred.fromCoroutine(self._compose(one.path, group)) for one, group in composing]
                )
            await self._compose(path, left)
        finally:
            if made:
                await uncancelled(self._forget(made))

    async def delete(self, paths: Sequence[str], once: bool = False) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""

        async def delete(path: str) -> None:
            patience = _DELETING if once else None
            try:
                await self.bucket.ask(path, "DELETE", self.bucket.place(path), once=once, patience=patience)
            except errors.PathUnknown:
                return

        await by_workers(delete, paths, min(_AT_ONCE, len(paths)))

    async def page(
        self, prefix: str, after: str = "", deep: bool = False, limit: int = 1000, token: str | None = None
    ) -> Page:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        query = {
            "prefix": self.bucket.key(prefix),
            "maxResults": str(limit),
            "fields": "nextPageToken,prefixes,items(name,size,updated)",
        }
        if not deep:
            query["delimiter"] = "/"
        if after:
            query["startOffset"] = self.bucket.key(after)
        if token is not None:
            query["pageToken"] = token
        answer = await self.bucket.ask(prefix, "GET", self.bucket.objects, query)
        root = _document(prefix, answer)
        found = [
            Found(self.bucket.path(one["name"]), _moment(one.get("updated")), int(one.get("size", 0)))
            for one in root.get("items", ())
        ]
        # Google's console has objects for folders.
        found = [one for one in found if not one.is_folder]
        found += [Found(self.bucket.path(name)) for name in root.get("prefixes", ())]
        found = sorted((one for one in found if one.path > after), key=lambda one: one.path)
        return Page(found, root.get("nextPageToken") or None, answer.date)

    async def sign(self, path: str, method: str) -> str | None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        return self.bucket.access.url(self.bucket.key(path), method)

    async def tidy(self, before: float) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        token = None
        while True:
            page = await self.page(_COMPOSING, deep=True, token=token)
            await self.delete([one.path for one in page.found if one.modified < before])
            token = page.token
            if token is None:
                return

    async def _copy(self, path: str, piece: Piece) -> None:
        target = f"/rewriteTo{self.bucket.place(path).removeprefix('/storage/v1')}"
        query: dict[str, str] = {}
        headers = {"Content-Type": "application/json"}
        place = self.bucket.place(piece.path) + target
        while True:
            try:
                answer = await self.bucket.ask(
                    path, "POST", place, query, headers, [b"{}"], patience=_COPYING
                )
            except errors.PathUnknown:
                raise errors.PathUnknown(piece.path) from None
            found = _document(path, answer)
            if found.get("done"):
                return
            query["rewriteToken"] = found["rewriteToken"]

    async def _compose(self, path: str, pieces: Sequence[Piece]) -> None:
        sources = [{"name": self.bucket.key(piece.path)} for piece in pieces]
        body = json.dumps({"destination": {"contentType": _TYPE}, "sourceObjects": sources}).encode("ascii")
        headers = {"Content-Type": "application/json"}
        place = f"{self.bucket.place(path)}/compose"
        answer = await self.bucket.ask(path, "POST", place, {}, headers, [body], patience=_COPYING)
        found, size = _document(path, answer).get("size"), sum(piece.size for piece in pieces)
        if found != str(size):
            raise errors.StorageFault(path, f"assembled, it has {found} bytes instead of {size}")

    async def _forget(self, paths: Sequence[str]) -> None:
        try:
            await self.delete(paths)
        except errors.StorageError as error:
            _log.warn("cannot remove what objects were composed of: {error}", error=error)


def _document(path: str, answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise errors.StorageUnavailable(path, "the answer makes no sense")
    return found


def _info_of(path: str, stream: Stream, start: int) -> ObjectInfo:
    size = whole_size(path, stream, start)
    kind = stream.header("Content-Type") or ""
    if kind == _FOREIGN:
        raise errors.PathUnknown(path)
    hashes = ",".join(stream.headers.getRawHeaders("X-Goog-Hash") or ())
    sent = next((text[4:] for text in hashes.replace(" ", "").split(",") if text.startswith("md5=")), None)
    version = f"{stream.header('X-Goog-Generation')} {stream.header('X-Goog-Metageneration') or ''}"
    modified = date(stream.header("Last-Modified"))
    return ObjectInfo(size, modified, version, date(stream.header("Date")), _notes(kind), _hexadecimal(sent))


def _notes(kind: str) -> dict[str, str]:
    return dict(_NOTE.findall(kind)) if kind.startswith(_NOTED) else {}


def _hexadecimal(md5: str | None) -> str | None:
    try:
        return base64.b64decode(md5 or "", validate=True).hex() or None
    except binascii.Error:
        return None


def _moment(text: str | None) -> float:
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _condition(version: str | None) -> dict[str, str]:
    if version is None:
        return {}
    return {"ifGenerationMatch": "0" if version == ABSENT else version.split(" ")[0]}


def _exactly(info: ObjectInfo) -> dict[str, str]:
    generation, metageneration = info.version.split(" ")
    return {"ifGenerationMatch": generation, "ifMetagenerationMatch": metageneration}
