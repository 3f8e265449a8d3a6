"""A container as a store of objects."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import unquote
from xml.etree import ElementTree

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from zope.interface import implementer

from txregistry import errors
from txregistry.objects.documents import document
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
from txregistry.objects.transport import Answer, Refused, Stream, date, header
from txregistry.objects.writer import InThread
from txregistry_azure.answers import Refusal, refuse
from txregistry_azure.assembling import Assembling
from txregistry_azure.container import Container

T = TypeVar("T")

_log = Logger()

_NOTE = "x-ms-meta-"
#: What the names of this driver's notes begin with, here and there: no hyphen may be in those of the store.
_OURS, _THEIRS = "txregistry-", "txregistry_"
#: The note that tells blobs apart whose MD5 the store does not know; it outlives a touch.
_ID = "txregistry-id"
_TYPE = "application/octet-stream"
#: Bytes beyond which an MD5 is computed in a thread.
_QUICK = 64 * 1024
#: Seconds that a deletion that is asked for once may take, and the first look at the container.
_DELETING = 10.0
_FIRST_LOOK = 5.0
_DELETED_AT_ONCE = 16
#: Entries of a page at most (Azure Storage, "List Blobs").
_MOST = 5000
#: What begins a token that is the path after which the next page begins; no marker of the store's does.
_AFTER = "/"
_MEGABYTE = 1024 * 1024


@implementer(IConditionalStore)
class AzureStore:
    """See :class:`~txregistry.objects.store.IConditionalStore`.

    The version of a blob is its ETag, and what tells its content from others: a touch changes the first alone.

    :param container: where the blobs are.
    :param in_thread: where checksums are computed.
    """

    def __init__(self, container: Container, in_thread: InThread) -> None:
        self._container = container
        self._in_thread = in_thread
        self._assembling = Assembling(container, self._read)

    def prepare(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        container = self._container
        container.access.prepare()
        shown = Deferred.fromCoroutine(container.access.ask()).result
        query = {"restype": "container", "comp": "list", "maxresults": "1", "prefix": container.name("/")}
        made = container.request(shown, "", "GET", query)
        request = urllib.request.Request(made.url, headers=dict(made.headers))  # noqa: S310 (http or https)
        context = ssl.create_default_context()
        if container.options.skipverify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=_FIRST_LOOK, context=context):  # nosec B310 # noqa: S310
                return
        except urllib.error.HTTPError as error:
            code = error.headers.get("x-ms-error-code", "")
            problem = f"the store answers {error.code} {code} to the first request".replace("  ", " ")
            if 400 <= error.code < 500 and error.code not in (408, 429):
                raise errors.ConfigError("container", problem) from error
        except OSError as error:
            problem = str(getattr(error, "reason", error))
        _log.warn(
            "the store of container {container} cannot be reached yet: {why}",
            container=container.options.container,
            why=problem,
        )

    async def close(self) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        await self._container.transport.close()

    async def head(self, path: str) -> ObjectInfo:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        answer = await self._container.ask(path, "HEAD")
        return _info(answer.headers, int(answer.header("Content-Length") or 0))

    async def get(self, path: str, start: int = 0, version: str | None = None) -> Opened:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        try:
            stream = await self._container.open(path, {"Range": f"bytes={start}-"} if start else {})
        except Refused as error:
            if error.answer.status == 416:
                raise PastEnd(path) from None
            raise refuse(path, error.answer) from None
        size = _size(stream, start)
        if size is None or stream.status != (206 if start else 200):
            await stream.body.close()
            raise errors.StorageFault(
                path, f"the store answers {stream.status}, and not with what was asked for"
            )
        info = _info(stream.headers, size)
        if version is not None and not _same(version, info.version):
            await stream.body.close()
            raise Conflict(path)
        return Opened(info, stream.body)

    async def put(
        self,
        path: str,
        pieces: Sequence[bytes],
        notes: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> str:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        digest = await self._md5(pieces)
        md5 = base64.b64encode(digest).decode("ascii")
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": _TYPE, "Content-MD5": md5}
        headers |= _noted(notes or {})

        def wrong(answer: Answer) -> str | None:
            other = answer.status < 300 and answer.header("Content-MD5") not in (None, md5)
            return "the store has other bytes than were sent" if other else None

        async def put(version: str | None) -> Answer:
            return await self._container.ask(
                path, "PUT", None, headers | _condition(version), [*pieces] or [b""], wrong=wrong
            )

        try:
            answer = await self._replacing(path, put, version)
        except errors.PathUnknown:
            raise Conflict(path) from None
        return _version(answer.header("ETag"), digest.hex())

    async def refresh(self, path: str, info: ObjectInfo) -> float:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        headers = _noted(info.notes) | _condition(info.version)
        answer = await self._container.ask(path, "PUT", {"comp": "metadata"}, headers, [b""])
        return date(answer.header("Last-Modified"))

    async def remove(self, path: str, info: ObjectInfo) -> None:
        """See :class:`~txregistry.objects.store.IConditionalStore`."""
        headers = _condition(info.version) | {"x-ms-delete-snapshots": "include"}
        tries = 0

        def count(answer: Answer) -> None:
            nonlocal tries
            tries = answer.tries

        try:
            await self._container.ask(path, "DELETE", None, headers, wrong=count)
        except (Conflict, errors.PathUnknown):
            # A first try may have come through, whose answer did not.
            if tries < 2 or await self._is_there(path):
                raise

    async def assemble(self, path: str, pieces: Sequence[Piece]) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        headers = {"x-ms-blob-content-type": _TYPE} | _noted({_ID: uuid.uuid4().hex})
        await self._replacing(path, lambda _: self._assembling.assemble(path, pieces, headers))

    async def delete(self, paths: Sequence[str], once: bool = False) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        waiting = iter(paths)

        async def worker() -> None:
            for path in waiting:
                await self._delete(path, once)

        working = [Deferred.fromCoroutine(worker()) for _ in range(min(_DELETED_AT_ONCE, len(paths)))]
        try:
            await gatherResults(working, consumeErrors=True)
        except FirstError as error:
            raise error.subFailure.value from None  # type: ignore[misc]
        finally:
            for one in working:
                one.cancel()

    async def page(
        self, prefix: str, after: str = "", deep: bool = False, limit: int = 1000, token: str | None = None
    ) -> Page:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        if token is not None and token.startswith(_AFTER):
            after, token = token, None
        if not after or token is not None:
            return await self._page(prefix, deep, limit, token)
        return await self._page_after(prefix, after, deep, limit)

    async def sign(self, path: str, method: str) -> str | None:
        """See :class:`~txregistry.objects.store.IObjectStore`."""
        access, name = self._container.access, self._container.name(path)
        return self._container.url(name, await access.reading(name)) if access.may_be_given else None

    async def tidy(self, before: float) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`.

        Azure itself forgets blocks that were staged and are no part of a blob, a week after the last of them.
        """

    async def _page(self, prefix: str, deep: bool, limit: int, token: str | None) -> Page:
        query = {
            "restype": "container",
            "comp": "list",
            "prefix": self._container.name(prefix),
            "maxresults": str(min(limit, _MOST)),
        }
        if not deep:
            query["delimiter"] = "/"
        if token is not None:
            query["marker"] = token
        answer = await self._container.ask(prefix, "GET", query, of_container=True)
        root = document(prefix, answer.content)
        if root.tag != "EnumerationResults":
            raise errors.StorageUnavailable(prefix, "the answer is no listing")
        found = []
        for entry in root.iterfind("Blobs/Blob"):
            one = Found(
                self._container.path(_name(entry)),
                date(entry.findtext("Properties/Last-Modified")),
                int(entry.findtext("Properties/Content-Length") or 0),
            )
            # Where folders are kept, as in Data Lake Storage, they are listed as well.
            if not one.is_folder and entry.findtext("Properties/ResourceType") != "directory":
                found.append(one)
        found += [Found(self._container.path(_name(entry))) for entry in root.iterfind("Blobs/BlobPrefix")]
        marker = root.findtext("NextMarker") or None
        return Page(sorted(found, key=lambda one: one.path), marker, answer.date)

    async def _page_after(self, prefix: str, after: str, deep: bool, limit: int) -> Page:
        """List what comes after a path.

        The store cannot begin in the middle.  But what comes next has most of its name in common with *after*: so
        first those with all of it are listed, then those with all but its last character, and so on.  Each time
        some are met again, not more than there are names with one character more or less.
        """
        name = after[len(prefix) :].rstrip("/")
        last, found, now = after, list[Found](), 0.0
        for length in range(len(name), -1, -1):
            token: str | None = None
            while True:
                page = await self._page(prefix + name[:length], deep, _MOST, token)
                now, token = page.now, page.token
                found += [one for one in page.found if one.path > last]
                last = max(last, found[-1].path if found else last)
                if len(found) >= limit:
                    more = length > 0 or token is not None or len(found) > limit
                    return Page(found[:limit], found[limit - 1].path if more else None, now)
                if token is None:
                    break
        return Page(found, None, now)

    async def _delete(self, path: str, once: bool) -> None:
        patience = _DELETING if once else None
        headers = {"x-ms-delete-snapshots": "include"}
        try:
            await self._container.ask(path, "DELETE", None, headers, once=once, patience=patience)
        except errors.PathUnknown:
            return

    async def _is_there(self, path: str) -> bool:
        try:
            await self.head(path)
        except errors.PathUnknown:
            return False
        return True

    async def _replacing(
        self, path: str, make: Callable[[str | None], Awaitable[T]], version: str | None = None
    ) -> T:
        """Make a blob, also in the place of one of another type, as Distribution makes for uploads.

        The store lets no blob become one of another type: that one has to go first.

        :param make: makes it, if there is one of a version.
        """
        try:
            return await make(version)
        except Refusal as error:
            if error.code != "InvalidBlobType":
                raise
        info = await self.head(path)
        if version is not None and not _same(version, info.version):
            raise Conflict(path)
        await self.remove(path, info)
        return await make(None if version is None else ABSENT)

    async def _read(self, path: str, start: int, size: int) -> list[bytes]:
        opened = await self.get(path, start)
        found = []
        try:
            while size and (piece := await opened.body.read(min(size, _MEGABYTE))):
                found.append(piece)
                size -= len(piece)
        finally:
            await opened.body.close()
        if size:
            raise errors.StorageUnavailable(path, "the answer is shorter than it says")
        return found

    async def _md5(self, pieces: Sequence[bytes]) -> bytes:
        def digest() -> bytes:
            hashing = hashlib.md5(usedforsecurity=False)
            for piece in pieces:
                hashing.update(piece)
            return hashing.digest()

        if sum(map(len, pieces)) > _QUICK:
            return await self._in_thread(digest)
        return digest()


def _name(entry: ElementTree.Element) -> str:
    element = entry.find("Name")
    text = "" if element is None else element.text or ""
    return unquote(text) if element is not None and element.get("Encoded") == "true" else text


def _version(etag: str | None, content: str) -> str:
    return f"{etag or ''} {content}"


def _same(one: str, other: str) -> bool:
    """Say whether two versions are of the same content."""
    etag, content = one.split(" ")
    return etag == other.split(" ")[0] or (content != "" and content == other.split(" ")[1])


def _condition(version: str | None) -> dict[str, str]:
    if version is None:
        return {}
    return {"If-None-Match": "*"} if version == ABSENT else {"If-Match": version.split(" ")[0]}


def _noted(notes: Mapping[str, str]) -> dict[str, str]:
    return {
        _NOTE + (_THEIRS + name[len(_OURS) :] if name.startswith(_OURS) else name): value
        for name, value in notes.items()
    }


def _size(stream: Stream, start: int) -> int | None:
    """Return the bytes of a whole object, of which the answer has those from *start* on."""
    if not start:
        return stream.length
    whole = (stream.header("Content-Range") or "").rpartition("/")[2]
    return int(whole) if whole.isdigit() else None


def _info(headers: Headers, size: int) -> ObjectInfo:
    notes = {}
    for raw, values in headers.getAllRawHeaders():
        name = raw.decode("latin-1").lower()
        if name.startswith(_NOTE):
            name = name[len(_NOTE) :]
            note = _OURS + name[len(_THEIRS) :] if name.startswith(_THEIRS) else name
            notes[note] = values[-1].decode("latin-1")
    text = header(headers, "x-ms-blob-content-md5") or header(headers, "Content-MD5")
    try:
        md5 = base64.b64decode(text or "", validate=True).hex() or None
    except binascii.Error:
        md5 = None
    return ObjectInfo(
        size,
        date(header(headers, "Last-Modified")),
        _version(header(headers, "ETag"), notes.get(_ID) or md5 or ""),
        date(header(headers, "Date")),
        notes,
        md5,
    )
