"""How many uploads each client has begun and not ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import field, mutable

from txregistry import errors
from txregistry.content.uploads import Upload, Uploads
from txregistry.reference import RepositoryName

#: Seconds for which an upload counts that was not ended.
LIFETIME = 3600
#: Seconds between two looks at whether a client's uploads are still there.
_REVIEW = 1
#: Seconds after which a client that has too many may try again.
RETRY_SECONDS = 60
#: Clients that are remembered.
_CLIENTS = 4096


@mutable
class _Begun:
    uploads: dict[str, tuple[RepositoryName, float]] = field(factory=dict)
    reviewed: float = float("-inf")


@mutable(eq=False)
class UploadTally:
    """Counts, and refuses one too many.

    What is counted may have been ended elsewhere, by another process or a purge: that is looked at before anyone
    is refused, and only then.

    :param uploads: where uploads are begun.
    :param limit: how many a client may have; 0 for any number.
    :param seconds: tells the time.
    """

    uploads: Uploads
    limit: int
    seconds: Callable[[], float]
    _clients: dict[str, _Begun] = field(factory=dict, init=False)
    _beginning: Counter[str] = field(factory=Counter, init=False)

    async def begin(self, client: str, name: RepositoryName) -> Upload:
        """Begin an upload.

        :raises txregistry.errors.TooManyRequests: the client has too many that it has not ended.
        """
        if not self.limit:
            return await self.uploads.begin(name)
        if self._count(client) >= self.limit:
            await self._review(client)
            if self._count(client) >= self.limit:
                raise errors.TooManyRequests(RETRY_SECONDS)
        self._beginning[client] += 1
        try:
            upload = await self.uploads.begin(name)
        finally:
            self._beginning[client] -= 1
            if not self._beginning[client]:
                del self._beginning[client]
        self._note(client, upload)
        return upload

    def end(self, client: str, upload_id: str) -> None:
        """Note that an upload has ended."""
        begun = self._clients.get(client)
        if begun is not None:
            begun.uploads.pop(upload_id, None)
            if not begun.uploads:
                del self._clients[client]

    def _count(self, client: str) -> int:
        begun = self._clients.get(client)
        return self._beginning[client] + (0 if begun is None else len(begun.uploads))

    def _note(self, client: str, upload: Upload) -> None:
        begun = self._clients.pop(client, None) or _Begun()
        begun.uploads[upload.id] = upload.repository, self.seconds()
        self._clients[client] = begun
        if len(self._clients) > _CLIENTS:
            del self._clients[next(iter(self._clients))]

    async def _review(self, client: str) -> None:
        begun = self._clients.get(client)
        now = self.seconds()
        if begun is None or now - begun.reviewed < _REVIEW:
            return
        begun.reviewed = now
        for upload_id, (name, since) in list(begun.uploads.items()):
            if now - since >= LIFETIME or not await self._is_there(name, upload_id):
                self.end(client, upload_id)

    async def _is_there(self, name: RepositoryName, upload_id: str) -> bool:
        try:
            await self.uploads.find(name, upload_id)
        except errors.BlobUploadUnknown:
            return False
        return True
