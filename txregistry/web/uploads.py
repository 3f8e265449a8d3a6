"""``/v2/<name>/blobs/uploads/`` (distribution-spec, end-4 to end-6, end-11, end-13 and end-14)."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from attrs import evolve, frozen, mutable
from twisted.internet.task import deferLater

from txregistry import errors
from txregistry.auth.throttle import network
from txregistry.content.blobs import Blob
from txregistry.content.registry import Registry
from txregistry.content.uploads import Upload, UploadSession
from txregistry.digest import CANONICAL, Digest, Digester
from txregistry.interfaces import IBatching
from txregistry.ranges import ByteRange, parse_chunk_range
from txregistry.reference import RepositoryName
from txregistry.storage.batches import together
from txregistry.web.announcer import Announcer
from txregistry.web.answers import answer
from txregistry.web.body import Body
from txregistry.web.guard import Guard
from txregistry.web.locations import Locations
from txregistry.web.states import State, UploadStates
from txregistry.web.tally import UploadTally

T = TypeVar("T")

_UPLOAD_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def parse_upload_id(text: str) -> str:
    """Return *text* as the id of an upload session.

    :raises txregistry.errors.BlobUploadUnknown: no session can have it.
    """
    if _UPLOAD_ID.fullmatch(text) is None:
        raise errors.BlobUploadUnknown({"id": text[:40]})
    return text


@frozen
class UploadRoutes:
    """Answers for upload sessions.

    :param registry: what is stored.
    :param locations: where sessions and blobs are.
    :param states: what a session's location carries.
    :param guard: who may mount from where.
    :param announcer: who is told of what is done; None for no one.
    :param tally: counts sessions that were not ended.
    """

    registry: Registry
    locations: Locations
    states: UploadStates
    guard: Guard
    announcer: Announcer | None
    tally: UploadTally

    async def post(self, request: Any, name: RepositoryName) -> bytes:
        """Begin a session; or mount a blob; or take the whole blob at once."""
        algorithm = request.text_argument("digest-algorithm") or CANONICAL
        Digester(algorithm)
        mounted = request.text_argument("mount")
        if mounted is not None:
            digest = await self._mount(request, name, mounted)
            if digest is not None:
                return self._created(request, name, digest)
        wanted = request.text_argument("digest")
        if wanted is not None and mounted is None:
            digest = Digest.parse(wanted)
            upload = await self.registry.uploads.begin(name)
            session = await self.registry.uploads.open(name, upload.id, digest.algorithm)
            try:
                await session.append(request.body)
                blob = await session.commit(digest)
            except BaseException:
                # Cancelled or failed: the client never learnt where this session is.
                await session.drop()
                raise
            finally:
                await session.close()
            if self.announcer is not None:
                await self.announcer.blob_pushed(request, name, blob)
            return self._created(request, name, digest)
        upload = await self.tally.begin(self._client(request), name)
        return self._progress(request, 202, evolve(upload, algorithm=algorithm))

    async def get(self, request: Any, name: RepositoryName, upload_id: str) -> bytes:
        """Say how far a session is.

        Where everyone may do everything its id is enough, for a client that lost the location.  Elsewhere that
        would give one user's session to another.
        """
        state = None
        try:
            state = self._state(request, name, upload_id)
        except errors.BlobUploadInvalid:
            if not self.guard.is_open:
                raise
        upload = await self.registry.uploads.find(name, upload_id)
        if state is not None:
            upload = evolve(upload, algorithm=state.algorithm)
        return self._progress(request, 204, upload)

    async def patch(self, request: Any, name: RepositoryName, upload_id: str) -> bytes:
        """Append to a session."""
        state = self._state(request, name, upload_id)
        upload = await self._with_body(request, lambda: self._patch(request, name, upload_id, state))
        return self._progress(request, 202, upload)

    async def _patch(self, request: Any, name: RepositoryName, upload_id: str, state: State) -> Upload:
        session = await self._open(request, name, upload_id, state.algorithm)
        try:
            await self._append(request, session, state.offset)
        finally:
            await session.close()
        return session.upload

    async def put(self, request: Any, name: RepositoryName, upload_id: str) -> bytes:
        """Append to a session, and make a blob of it."""
        digest = Digest.parse(request.text_argument("digest") or "")
        state = self._state(request, name, upload_id)
        blob = await self._with_body(request, lambda: self._put(request, name, upload_id, state, digest))
        self.tally.end(self._client(request), upload_id)
        if self.announcer is not None:
            await self.announcer.blob_pushed(request, name, blob)
        return self._created(request, name, digest)

    async def _put(
        self, request: Any, name: RepositoryName, upload_id: str, state: State, digest: Digest
    ) -> Blob:
        session = await self._open(request, name, upload_id, digest.algorithm)
        try:
            await self._append(request, session, state.offset)
            return await session.commit(digest)
        finally:
            await session.close()

    async def delete(self, request: Any, name: RepositoryName, upload_id: str) -> bytes:
        """End a session."""
        self._state(request, name, upload_id)
        await self.registry.uploads.cancel(name, upload_id)
        self.tally.end(self._client(request), upload_id)
        return answer(request, 204)

    def _client(self, request: Any) -> str:
        """Return whom a session counts for: a user, or an address where none is logged in."""
        return request.identity.name or network(self.locations.proxies.client(request))

    def _state(self, request: Any, name: RepositoryName, upload_id: str) -> State:
        return self.states.read(request.text_argument("_state"), name, upload_id, request.identity.name or "")

    async def _with_body(self, request: Any, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of *work*, which reads the body: in one go if all of that came with the headers."""
        driver = self.registry.driver
        if not IBatching.providedBy(driver):
            return await work()
        if not request.body.ended:
            # The turn of the event loop in which the headers were read brings what came with them.
            await deferLater(request.site.reactor, 0)
        return await (together(driver, work()) if request.body.is_here else work())

    async def _open(
        self, request: Any, name: RepositoryName, upload_id: str, algorithm: str
    ) -> UploadSession:
        uploads = self.registry.uploads
        try:
            return await uploads.open(name, upload_id, algorithm)
        except errors.UploadBusy:
            self._describe(request, await uploads.find(name, upload_id))
            raise

    async def _append(self, request: Any, session: UploadSession, offset: int) -> None:
        """Store a request's body at the end of a session, if that is where it belongs.

        A chunk says so by its ``Content-Range``; without one, the location that the client used does.
        """
        header = request.text_header("Content-Range")
        chunk = None if header is None else parse_chunk_range(header)
        length = request.body.length
        if chunk is not None and length is not None and chunk.length != length and length:
            raise errors.SizeInvalid({"Content-Range": header, "Content-Length": length})
        begins = offset if chunk is None else chunk.start
        if begins != session.offset and length != 0:
            self._describe(request, session.upload)
            raise errors.ChunkOutOfOrder(session.offset)
        if length == 0:
            return
        before = session.offset
        try:
            await session.append(request.body if chunk is None else _Exactly(request.body, chunk))
        except errors.SizeInvalid:
            if session.offset != before:
                # Some of the chunk is stored, and no one can say which bytes they are.
                await session.drop()
            raise

    async def _mount(self, request: Any, name: RepositoryName, mounted: str) -> Digest | None:
        """Mount a blob if that can be done; None means: go on with an ordinary upload.

        So a client learns nothing of a blob that it may not pull.  Without a source the blob may be anyone's,
        where whoever may push may read everything.
        """
        source = request.text_argument("from")
        try:
            digest = Digest.parse(mounted)
            origin = None if source is None else RepositoryName.parse(source)
        except (errors.DigestInvalid, errors.NameInvalid):
            return None
        if not (self.guard.is_open if origin is None else self.guard.may_pull(request.identity, origin)):
            return None
        if not await self.registry.blobs.mount(origin, name, digest):
            return None
        if self.announcer is not None:
            blob = await self.registry.blobs.find(name, digest)
            await self.announcer.blob_mounted(request, name, blob, origin)
        return digest

    def _progress(self, request: Any, status: int, upload: Upload) -> bytes:
        self._describe(request, upload)
        return answer(request, status)

    def _describe(self, request: Any, upload: Upload) -> None:
        state = self.states.sign(upload, request.identity.name or "")
        location = self.locations.upload(request, upload.repository, upload.id, state)
        request.setHeader(b"Location", location.encode("ascii"))
        request.setHeader(b"Docker-Upload-UUID", upload.id.encode("ascii"))
        # Distribution says 0-0 of an empty upload too, and clients expect the header.
        request.setHeader(b"Range", b"0-%d" % max(0, upload.size - 1))

    def _created(self, request: Any, name: RepositoryName, digest: Digest) -> bytes:
        location = self.locations.blob(request, name, digest)
        return answer(request, 201, headers={"Location": location, "Docker-Content-Digest": str(digest)})


@mutable
class _Exactly:
    """A body that must be as long as its chunk's range says."""

    _body: Body
    _chunk: ByteRange

    async def read(self) -> Sequence[bytes]:
        pieces = await self._body.read()
        too_long = self._body.received > self._chunk.length
        if too_long or (self._body.ended and self._body.received != self._chunk.length):
            raise errors.SizeInvalid(message="the chunk is not as long as its Content-Range says")
        return pieces
