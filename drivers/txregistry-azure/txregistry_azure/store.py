"""A container as a store of objects."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import unquote
from xml.etree import ElementTree

from twisted.internet.defer import Deferred
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
    IConditionalStore,
    ObjectInfo,
    Opened,
    Page,
    PastEnd,
    Piece,
)
from txregistry.objects.transport import Answer, Refused, date, header, whole_size
from txregistry.waiting import InThread, by_workers
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
#: Seconds that a deletion that is asked for once may take.
_DELETING = 10.0
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
        query = {"restype": "container", "comp": "list", "maxresults": "1", "prefix": container.key("/")}
        made = container.request(shown, "", "GET", query)

        def problem_of(error: HTTPError) -> str:
            code = error.headers.get("x-ms-error-code", "")
            problem = f"the store answers {error.code} {code} to the first request".replace("  ", " ")
            if 400 <= error.code < 500 and error.code not in (408, 429):
                raise errors.ConfigError("container", problem) from error
            return problem

        options = container.options
        first_look(made, f"container {options.container}", problem_of, options.skipverify)

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
        try:
            size = whole_size(path, stream, start)
        except errors.StorageFault:
            await stream.body.close()
            raise
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
        digest = await md5(pieces, self._in_thread)
        encoded = base64.b64encode(digest).decode("ascii")
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": _TYPE, "Content-MD5": encoded}
        headers |= _noted(notes or {})

        def wrong(answer: Answer) -> str | None:
            other = answer.status < 300 and answer.header("Content-MD5") not in (None, encoded)
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
        await by_workers(lambda path: self._delete(path, once), paths, min(_DELETED_AT_ONCE, len(paths)))

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
        access, name = self._container.access, self._container.key(path)
        return self._container.url(name, await access.reading(name)) if access.may_be_given else None

    async def tidy(self, before: float) -> None:
        """See :class:`~txregistry.objects.store.IObjectStore`.

        Azure itself forgets blocks that were staged and are no part of a blob, a week after the last of them.
        """

    async def _page(self, prefix: str, deep: bool, limit: int, token: str | None) -> Page:
        query = {
            "restype": "container",
            "comp": "list",
            "prefix": self._container.key(prefix),
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
        known = base64.b64decode(text or "", validate=True).hex() or None
    except binascii.Error:
        known = None
    return ObjectInfo(
        size,
        date(header(headers, "Last-Modified")),
        _version(header(headers, "ETag"), notes.get(_ID) or known or ""),
        date(header(headers, "Date")),
        notes,
        known,
    )
