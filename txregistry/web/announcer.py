"""What requests did, made known: events for those who are to be told (:mod:`txregistry.events`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from txregistry import media
from txregistry.content.blobs import Blob
from txregistry.content.manifests import StoredManifest
from txregistry.digest import Digest
from txregistry.events import (
    DELETE,
    MOUNT,
    PULL,
    PUSH,
    Actor,
    Event,
    Request,
    Source,
    Target,
    references_of,
)
from txregistry.notify.service import Teller
from txregistry.reference import RepositoryName, Tag
from txregistry.web.locations import Locations


@frozen
class Announcer:
    """Tells of what requests did.

    A pull is told of when there is time; what changes something is on disk, to be told, before the client has its
    answer.

    :param notifications: who is told.
    :param locations: where manifests and blobs are.
    :param source: this registry.
    :param includes_references: whether events of manifests say what these name.
    :param bits: returns so many random bits.
    """

    notifications: Teller
    locations: Locations
    source: Source
    includes_references: bool
    bits: Callable[[int], int]

    def manifest_pulled(
        self, request: Any, name: RepositoryName, reference: Tag | Digest, found: StoredManifest
    ) -> None:
        """Tell of a manifest that is sent."""
        if wanting := self.notifications.wanted(PULL, found.media_type):
            tag = reference if isinstance(reference, Tag) else ""
            target = self._manifest(request, name, found, tag)
            self.notifications.tell_soon(self._event(request, PULL, target), wanting)

    def blob_pulled(self, request: Any, name: RepositoryName, blob: Blob) -> None:
        """Tell of a blob that is sent."""
        if wanting := self.notifications.wanted(PULL, media.BYTES):
            target = self._blob(request, name, blob.digest, blob.size)
            self.notifications.tell_soon(self._event(request, PULL, target), wanting)

    async def manifest_pushed(
        self, request: Any, name: RepositoryName, stored: StoredManifest, tags: Sequence[Tag]
    ) -> None:
        """Tell of a manifest that was stored, once for each tag.

        :raises txregistry.errors.StorageError: it cannot be told of, so the client must not be told either.
        """
        if wanting := self.notifications.wanted(PUSH, stored.media_type):
            targets = [self._manifest(request, name, stored, tag) for tag in tags or ("",)]
            await self._tell(request, PUSH, targets, wanting)

    async def blob_pushed(self, request: Any, name: RepositoryName, blob: Blob) -> None:
        """Tell of a blob that was stored.

        :raises txregistry.errors.StorageError: as above.
        """
        if wanting := self.notifications.wanted(PUSH, media.BYTES):
            target = self._blob(request, name, blob.digest, blob.size)
            await self._tell(request, PUSH, [target], wanting)

    async def blob_mounted(
        self, request: Any, name: RepositoryName, blob: Blob, origin: RepositoryName | None
    ) -> None:
        """Tell of a blob that was mounted.

        :param origin: from where; None where the client did not say.
        :raises txregistry.errors.StorageError: as above.
        """
        if wanting := self.notifications.wanted(MOUNT, media.BYTES):
            target = self._blob(request, name, blob.digest, blob.size, origin or "")
            await self._tell(request, MOUNT, [target], wanting)

    async def deleted(
        self, request: Any, name: RepositoryName, digest: Digest | None, tags: Iterable[Tag] = ()
    ) -> None:
        """Tell of what was deleted.

        :param digest: that of a manifest or a blob.
        :param tags: tags.
        :raises txregistry.errors.StorageError: as above.
        """
        if wanting := self.notifications.wanted(DELETE, ""):
            gone = [] if digest is None else [(str(digest), "")]
            gone += [("", str(tag)) for tag in tags]
            targets = [
                Target(media_type="", digest=text, size=0, repository=str(name), tag=tag)
                for text, tag in gone
            ]
            await self._tell(request, DELETE, targets, wanting)

    async def _tell(
        self, request: Any, action: str, targets: Iterable[Target], wanting: Sequence[str]
    ) -> None:
        await self.notifications.tell([(self._event(request, action, target), wanting) for target in targets])

    def _manifest(self, request: Any, name: RepositoryName, found: StoredManifest, tag: str) -> Target:
        size = len(found.content)
        return Target(
            media_type=found.media_type,
            digest=str(found.digest),
            size=size,
            length=size,
            repository=str(name),
            url=self.locations.manifest(request, name, found.digest),
            tag=str(tag),
            references=references_of(found.content) if self.includes_references else [],
        )

    def _blob(
        self, request: Any, name: RepositoryName, digest: Digest, size: int, origin: str = ""
    ) -> Target:
        return Target(
            media_type=media.BYTES,
            digest=str(digest),
            size=size,
            length=size,
            repository=str(name),
            from_repository=str(origin),
            url=self.locations.blob(request, name, digest),
        )

    def _event(self, request: Any, action: str, target: Target) -> Event:
        seconds = request.site.reactor.seconds()
        return Event(
            id=self._id(seconds),
            timestamp=f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}Z",
            action=action,
            target=target,
            request=Request(
                id=request.id,
                addr=request.site.client(request),
                host=request.text_header("Host") or "",
                method=str(request.method, "ascii"),
                useragent=request.text_header("User-Agent") or "",
            ),
            actor=Actor(name=request.identity.name or ""),
            source=self.source,
        )

    def _id(self, seconds: float) -> str:
        """Return a UUID of version 7 (RFC 9562, 5.7): the later of two events has the greater one."""
        random = self.bits(74)
        number = int(seconds * 1000) << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & (1 << 62) - 1
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
