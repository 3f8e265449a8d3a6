"""Upload sessions: how the bytes of a blob come in, over as many requests as the client likes.

A session's bytes are gathered in a file that one writer holds at a time, across processes too.  What a
request acknowledged is synced, and the hash of it is saved, so that the next request goes on without reading
it again, wherever it is served.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from attrs import field, frozen, mutable
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txregistry import errors
from txregistry.content import layout
from txregistry.content.blobs import Blob
from txregistry.content.links import Links
from txregistry.digest import CANONICAL, Digest, Digester
from txregistry.interfaces import IFileWriter, IStorageDriver
from txregistry.reference import RepositoryName
from txregistry.storage.batches import durably, leave, together, uncancelled
from txregistry.waiting import InThread

_log = Logger()

_STATE_LIMIT = 1024
#: Bytes below which what a request acknowledged is neither synced nor is its hash saved: it is read again faster than
#: that, and after a loss of power sent again.
WORTH_KEEPING = 1024 * 1024
_REREAD = 1024 * 1024


class Source(Protocol):
    """Where bytes come from: a request's body."""

    def read(self) -> Awaitable[Sequence[bytes]]:
        """Return the next pieces, in order; an empty sequence at the end."""
        ...


@frozen
class Upload:
    """An upload session as it stands.

    :param repository: the repository it belongs to.
    :param id: its name, a UUID.
    :param size: bytes that are stored.
    :param started: when it began, RFC 3339.
    :param algorithm: the digest algorithm that its bytes are hashed by as they come.
    """

    repository: RepositoryName
    id: str
    size: int
    started: str
    algorithm: str = CANONICAL


@frozen
class Uploads:
    """Begins, finds and opens upload sessions.

    :param driver: where they are kept.
    :param links: which repository has which blob.
    :param in_thread: where bytes that were stored earlier are hashed again.
    :param now: the time.
    """

    driver: IStorageDriver
    links: Links
    in_thread: InThread
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    async def begin(self, name: RepositoryName) -> Upload:
        """Begin a session."""
        upload_id = str(uuid.uuid4())
        started = self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        path = layout.upload_started(name, upload_id)
        await self.driver.write(path, started.encode("ascii"), durable=False)
        return Upload(name, upload_id, 0, started)

    async def find(self, name: RepositoryName, upload_id: str) -> Upload:
        """Return a session of a repository.

        :raises txregistry.errors.BlobUploadUnknown: there is none of that id.
        """
        return await together(self.driver, self._find(name, upload_id))

    async def _find(self, name: RepositoryName, upload_id: str) -> Upload:
        # In this order: whoever closes the session takes its beginning away before its bytes.
        size = await self._size(name, upload_id)
        return Upload(name, upload_id, size, await self._started(name, upload_id))

    async def open(self, name: RepositoryName, upload_id: str, algorithm: str = CANONICAL) -> UploadSession:
        """Open a session to be written to, by its holder alone until it is closed.

        :param algorithm: that of the digest which the blob is expected to have.
        :raises txregistry.errors.BlobUploadUnknown: there is none of that id.
        :raises txregistry.errors.UploadBusy: it is open already.
        """
        opening = together(self.driver, self._open(name, upload_id, algorithm))
        return await uncancelled(opening, undo=_let_go)

    async def _open(self, name: RepositoryName, upload_id: str, algorithm: str) -> UploadSession:
        try:
            writer = await self.driver.open_writer(layout.upload_data(name, upload_id))
        except errors.FileBusy:
            raise errors.UploadBusy(await self._size(name, upload_id)) from None
        session = UploadSession(self, name, upload_id, algorithm, writer)
        try:
            session.started = await self._started(name, upload_id)
            session.digester = await self._digester(session)
        except errors.BlobUploadUnknown:
            # Opening made a file where no session is.
            await session.drop()
            raise
        except BaseException:
            await writer.close()
            raise
        return session

    async def cancel(self, name: RepositoryName, upload_id: str) -> None:
        """End a session and forget its bytes.

        :raises txregistry.errors.BlobUploadUnknown: there is none of that id.
        :raises txregistry.errors.UploadBusy: it is being written to.
        """
        await together(self.driver, self._cancel(name, upload_id))

    async def _cancel(self, name: RepositoryName, upload_id: str) -> None:
        session = await self.open(name, upload_id)
        await session.drop()

    async def _started(self, name: RepositoryName, upload_id: str) -> str:
        try:
            content = await self.driver.read(layout.upload_started(name, upload_id), _STATE_LIMIT)
        except errors.PathUnknown:
            raise errors.BlobUploadUnknown({"id": upload_id}) from None
        return content.decode("ascii", "replace")

    async def _size(self, name: RepositoryName, upload_id: str) -> int:
        try:
            return (await self.driver.stat(layout.upload_data(name, upload_id))).size
        except errors.PathUnknown:
            return 0

    async def _digester(self, session: UploadSession) -> Digester | None:
        """Return a digester of all that is stored; None where that would have to be read."""
        algorithm = session.algorithm
        if session.offset < WORTH_KEEPING:
            digester = Digester(algorithm)
            if session.offset:
                path = layout.upload_data(session.repository, session.id)
                digester.update(await self.driver.read(path, WORTH_KEEPING))
            return digester
        try:
            state = await self.driver.read(session.state_path, _STATE_LIMIT)
            digester = Digester.restore(algorithm, state)
        except (errors.PathUnknown, errors.StorageFault, ValueError):
            return None
        return digester if digester.offset == session.offset else None


@mutable(eq=False)
class UploadSession:
    """An upload session, open.  To be closed whatever happens."""

    uploads: Uploads
    repository: RepositoryName
    id: str
    algorithm: str
    _writer: IFileWriter
    #: Hashes what is stored; None where some of it has not been hashed.
    digester: Digester | None = None
    #: When the session began, RFC 3339.
    started: str = ""
    _opened_at: int = field(init=False)
    _written: bool = False
    _ended: bool = False
    #: Whether another holds it: so a shared storage says of one who was not heard of for too long.
    _lost: bool = False
    _closed: bool = False

    def __attrs_post_init__(self) -> None:
        self._opened_at = self._writer.offset

    @property
    def upload(self) -> Upload:
        """The session as it stands."""
        return Upload(self.repository, self.id, self.offset, self.started, self.algorithm)

    @property
    def offset(self) -> int:
        """Bytes that are stored."""
        return self._writer.offset

    @property
    def state_path(self) -> str:
        """Where the hash of the bytes stored now belongs."""
        return f"{layout.upload_hash_states(self.repository, self.id, self.algorithm)}/{self.offset}"

    async def append(self, source: Source) -> None:
        """Store all that *source* has.

        :raises txregistry.errors.UploadBusy: another has taken the session over.
        :raises txregistry.errors.StorageError: it cannot be stored; the session is gone, with its bytes.
        """
        self._written = True
        try:
            while chunks := await source.read():
                await self._writer.write(self.digester.through(chunks) if self.digester else chunks)
        except errors.FileBusy:
            self._lost = True
            await self.drop()
            raise errors.UploadBusy(self._opened_at) from None
        except errors.StorageError:
            await self.drop()
            raise

    async def commit(self, digest: Digest) -> Blob:
        """Make what is stored a blob of the repository, and end the session; it is closed whatever happens.

        :raises txregistry.errors.DigestInvalid: the bytes have another digest; the session is gone.
        :raises txregistry.errors.BlobUploadUnknown: someone has removed the session meanwhile.
        :raises txregistry.errors.UploadBusy: another has taken the session over.
        :raises txregistry.errors.StorageError: it could not be made durable; the session is gone.
        """
        self._closed = True
        return await together(self.uploads.driver, self._commit(digest))

    async def _commit(self, digest: Digest) -> Blob:
        size = self.offset
        try:
            if not await self._verify(digest):
                raise errors.DigestInvalid({"digest": str(digest)})
            await self._writer.sync()
            # Whoever asks from here on, after a crash too, is told that there is no session, not that there
            # is one of no bytes.
            await self._end()
            await durably(self.uploads.driver, self._place(digest))
        except errors.PathUnknown:
            raise errors.BlobUploadUnknown({"id": self.id}) from None
        except errors.FileBusy:
            self._lost = True
            raise errors.UploadBusy(self._opened_at) from None
        finally:
            await self._drop()
        return Blob(digest, size, layout.blob_data(digest))

    async def _place(self, digest: Digest) -> None:
        # After a crash there may be the link alone, and no such blob then.
        await self.uploads.driver.move(layout.upload_data(self.repository, self.id), layout.blob_data(digest))
        await self.uploads.links.write(layout.layer_link(self.repository, digest), digest)

    async def close(self) -> None:
        """Let go of the session.  What was stored stays, for a later request to go on from.

        More than once is harmless.
        """
        if not self._closed:
            self._closed = True
            await together(self.uploads.driver, self._close())

    async def _close(self) -> None:
        try:
            if self._written and self.offset >= WORTH_KEEPING:
                await self._writer.sync()
                await self._save_state()
        except errors.FileBusy:
            raise errors.UploadBusy(self._opened_at) from None
        except errors.StorageError:
            await self._drop()
            raise
        finally:
            await self._writer.close()

    async def drop(self) -> None:
        """Close the session, end it and forget what is left of it, unless it was closed already."""
        if not self._closed:
            self._closed = True
            await together(self.uploads.driver, self._drop())

    async def _drop(self) -> None:
        if self._lost:
            # Nothing of it is this one's to remove.
            await self._writer.close()
            return
        try:
            # While it is still held, so that no other request opens what is about to be removed.
            await self._end()
        finally:
            try:
                await self._writer.close()
            except errors.StorageError as error:
                _log.warn("cannot store the rest of an upload that is dropped: {error}", error=error)
        await self._forget(layout.upload(self.repository, self.id))

    async def _end(self) -> None:
        if not self._ended:
            self._ended = True
            await self._forget(layout.upload_started(self.repository, self.id))

    async def _forget(self, path: str) -> None:
        try:
            await self.uploads.driver.delete(path, durable=False)
        except errors.PathUnknown:
            return
        except errors.StorageError as error:
            # No client is told of these bytes any more; what is left is a matter for purging.
            _log.warn("cannot remove {path} of an upload: {error}", path=path, error=error)

    async def _verify(self, digest: Digest) -> bool:
        digester = self.digester
        if digester is not None and digester.algorithm == digest.algorithm:
            if digester.matches(digest):
                return True
            if self._opened_at == 0:
                return False
            # What was there at the opening is known from a saved state alone; look at the bytes themselves.
        return (await self._reread(digest.algorithm)).matches(digest)

    async def _reread(self, algorithm: str) -> Digester:
        await leave()
        digester = Digester(algorithm)
        reader = await self.uploads.driver.open_reader(layout.upload_data(self.repository, self.id))
        try:
            while chunk := await reader.read(_REREAD):
                await self.uploads.in_thread(lambda chunk=chunk: digester.update(chunk))  # type: ignore[misc]
        finally:
            await reader.close()
        return digester

    async def _save_state(self) -> None:
        if self.digester is not None:
            try:
                await self.uploads.driver.write(self.state_path, self.digester.state(), durable=False)
            except errors.StorageError as error:
                # The bytes are stored; without this the next request reads them again, no more.
                _log.warn("cannot save the hash of upload {upload}: {error}", upload=self.id, error=error)


def _let_go(session: UploadSession) -> None:
    Deferred.fromCoroutine(session.close())
