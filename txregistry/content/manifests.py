"""Manifests of repositories."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from attrs import field, frozen
from twisted.logger import Logger

from txregistry import errors, manifest
from txregistry.content import layout
from txregistry.content.blobs import Blobs
from txregistry.content.facts import Facts
from txregistry.content.links import Links, concurrently
from txregistry.content.locks import Locks
from txregistry.content.referrers import Referrers, fits
from txregistry.content.tags import Tags
from txregistry.digest import ALGORITHMS, CANONICAL, Digest
from txregistry.protection import TagProtection
from txregistry.reference import RepositoryName, Tag
from txregistry.storage.batches import durably, together, uncancelled
from txregistry.validation import Rules
from txregistry.waiting import InThread

_log = Logger()

T = TypeVar("T")

#: Bytes beyond which a manifest is parsed and hashed in a thread: below, the hop would take longer.
_READ_AT_ONCE = 64 * 1024


@frozen
class StoredManifest:
    """A manifest as it is stored.

    :param digest: the digest that it was asked for by, or that its tag points to.
    :param media_type: its type.
    :param content: its bytes, exactly as pushed.
    """

    digest: Digest
    media_type: str
    content: bytes


@frozen
class Pushed:
    """A manifest that was stored.

    :param digest: its digest.
    :param subject: the digest of the manifest that it refers to; None where there is none.
    """

    digest: Digest
    subject: Digest | None


@frozen
class Manifests:
    """Stores, finds and deletes manifests.

    :param links: which repository has which.
    :param blobs: what they refer to.
    :param tags: what points to them.
    :param referrers: which of them refer to others.
    :param rules: what they must have.
    :param protection: which tags must stay as they are.
    :param in_thread: where large ones are parsed and hashed.
    :param facts: what is remembered of them.
    :param locks: who may change a repository; whoever else changes one shares them.
    """

    links: Links
    blobs: Blobs
    tags: Tags
    referrers: Referrers
    rules: Rules
    protection: TagProtection
    in_thread: InThread
    facts: Facts = field(factory=Facts)
    locks: Locks = field(factory=Locks)

    async def find(
        self, name: RepositoryName, reference: Tag | Digest, remembered: bool = False
    ) -> StoredManifest:
        """Return a manifest of a repository.

        :param remembered: whether its bytes may come from what is remembered; that the repository has it never
            does.
        :raises txregistry.errors.ManifestUnknown: there is none of that tag or digest.
        :raises txregistry.errors.StorageFault: what is stored is not what was pushed.
        """
        return await together(
            self.links.driver, self._find(name, reference, self.facts if remembered else None)
        )

    async def _find(
        self, name: RepositoryName, reference: Tag | Digest, facts: Facts | None
    ) -> StoredManifest:
        digest = await self.tags.resolve(name, reference) if isinstance(reference, Tag) else reference
        if digest is None or (content := await self.links.manifest(name, digest, facts)) is None:
            raise errors.ManifestUnknown({"name": name, "reference": str(reference)})
        try:
            return StoredManifest(digest, manifest.media_type_of(content), content)
        except errors.ManifestInvalid:
            link = layout.revision_link(name, digest)
            raise errors.StorageFault(link, "what is linked as a manifest is none") from None

    async def put(
        self,
        name: RepositoryName,
        reference: Tag | Digest,
        content: bytes,
        content_type: str,
        tags: Sequence[Tag] = (),
        allows: Callable[[Digest | None], bool] | None = None,
    ) -> Pushed:
        """Store a manifest, and make tags point to it.

        Its bytes are stored first, then its entry among the referrers of its subject, then the repository's
        link to it, then the tags: whoever sees one sees what it needs.  All that it needs is touched when the
        link is there: a collection that began before leaves it, and one that begins later finds the manifest.

        :param reference: a tag, or its digest.
        :param tags: more tags.
        :param allows: asked whether the manifest may take the place of what *reference* now leads to, a
            digest or nothing; no other change comes between the answer and this one.
        :raises txregistry.errors.ManifestInvalid: it cannot be accepted.
        :raises txregistry.errors.DigestInvalid: *reference* is a digest, and not that of *content*.
        :raises txregistry.errors.ManifestTooLarge: what a list of referrers would say of it fits no page.
        :raises txregistry.errors.ManifestBlobUnknown: what it refers to is not in the repository.
        :raises txregistry.errors.PreconditionFailed: *allows* said no.
        :raises txregistry.errors.Denied: a tag is protected, and points elsewhere.
        """

        def read() -> tuple[manifest.Manifest, Digest]:
            algorithm = CANONICAL if isinstance(reference, Tag) else reference.algorithm
            return manifest.parse(content, content_type), Digest.of(content, algorithm)

        parsed, digest = read() if len(content) <= _READ_AT_ONCE else await self.in_thread(read)
        if isinstance(reference, Digest) and digest != reference:
            raise errors.DigestInvalid({"digest": str(reference)})
        if parsed.subject is not None and not fits(parsed.referrer(digest)):
            raise errors.ManifestTooLarge(message="too large to be listed as a referrer")
        # To its end even if the client goes: what was begun must be whole, or not be there.
        storing = self._store(name, reference, tags, allows, parsed, digest)
        await uncancelled(self._in_turn(name, storing))
        return Pushed(digest, parsed.subject)

    async def delete(self, name: RepositoryName, reference: Tag | Digest) -> list[Tag]:
        """Delete a tag, or a manifest together with the tags that point to it.

        :returns: the tags that are gone.
        :raises txregistry.errors.ManifestUnknown: there is none of that tag or digest.
        :raises txregistry.errors.Denied: a tag that would go is protected.
        """
        gone = await uncancelled(self._in_turn(name, self._delete(name, reference)))
        if gone is None:
            raise errors.ManifestUnknown({"name": name, "reference": str(reference)})
        return gone

    async def _delete(self, name: RepositoryName, reference: Tag | Digest) -> list[Tag] | None:
        if isinstance(reference, Digest):
            return await self._delete_revision(name, reference)
        await self._require_movable(name, [reference], None)
        return [reference] if await self.tags.delete(name, reference) else None

    async def index_referrers(self, name: RepositoryName) -> int:
        """Note again which manifests of a repository refer to others; return how many do.

        What is noted already stays; :meth:`txregistry.content.referrers.Referrers.page` passes over entries
        whose manifest is gone.
        """
        count = 0
        for algorithm in ALGORITHMS:
            try:
                found = await self.links.driver.list(layout.revisions(name, algorithm))
            except errors.PathUnknown:
                continue
            for encoded in found:
                count += await self._index_referrer(name, Digest(algorithm, encoded))
        return count

    async def _index_referrer(self, name: RepositoryName, digest: Digest) -> bool:
        try:
            stored = await self.find(name, digest)
        except (errors.ManifestUnknown, errors.StorageFault) as error:
            _log.warn(
                "cannot read manifest {digest} of {name}: {error}", digest=digest, name=name, error=error
            )
            return False
        referred = manifest.referrer_of(stored.content, digest)
        if referred is not None:
            await self.referrers.add(name, *referred)
        return referred is not None

    async def _store(
        self,
        name: RepositoryName,
        reference: Tag | Digest,
        tags: Sequence[Tag],
        allows: Callable[[Digest | None], bool] | None,
        parsed: manifest.Manifest,
        digest: Digest,
    ) -> None:
        if allows is not None and not allows(await self._current(name, reference)):
            raise errors.PreconditionFailed
        pointed = list(dict.fromkeys([reference, *tags] if isinstance(reference, Tag) else tags))
        await self._require_movable(name, pointed, digest)
        needed = await self._require_references(name, parsed)
        link, path = layout.revision_link(name, digest), layout.blob_data(digest)
        is_new = await self.links.read(link) is None
        await durably(self.links.driver, self._place(name, parsed, digest))
        gone = await self._gone({digest: [path], **needed})
        if gone:
            # A collection was faster than this; no one has been told of the manifest.
            if is_new:
                await self.links.delete(link)
            raise errors.ManifestBlobUnknown([str(one) for one in gone])
        # What tags point to is durable by now: one that is moved must not be lost.
        await durably(self.links.driver, self._point(name, pointed, digest))

    async def _place(self, name: RepositoryName, parsed: manifest.Manifest, digest: Digest) -> None:
        await self.links.driver.write(layout.blob_data(digest), parsed.content)
        if parsed.subject is not None:
            # Before the link: an entry without one is not listed, a manifest without an entry never would be.
            await self.referrers.add(name, parsed.subject, parsed.referrer(digest))
        await self.links.write(layout.revision_link(name, digest), digest)

    async def _point(self, name: RepositoryName, tags: Sequence[Tag], digest: Digest) -> None:
        for tag in tags:
            await self.tags.point(name, tag, digest)

    async def _current(self, name: RepositoryName, reference: Tag | Digest) -> Digest | None:
        digest = await self.tags.resolve(name, reference) if isinstance(reference, Tag) else reference
        return digest if digest is not None and await self._has(name, digest) else None

    async def _delete_revision(self, name: RepositoryName, digest: Digest) -> list[Tag] | None:
        """Delete a manifest and return the tags that pointed to it; None where there is no such manifest."""
        link = layout.revision_link(name, digest)
        target = await self.links.read(link)
        if target is None:
            return None
        pointing = await self.tags.pointing_to(name, digest)
        await self._require_movable(name, pointing, None)
        for tag in pointing:
            await self.tags.delete(name, tag)
        try:
            content = await self.links.driver.read(layout.blob_data(target), manifest.SIZE_LIMIT)
        except (errors.PathUnknown, errors.StorageFault):
            content = b""
        found = await self.links.delete(link)
        # An entry among the referrers counts only while there is that link: this one may fail.
        referred = manifest.referrer_of(content, digest)
        if referred is not None:
            await self.referrers.remove(name, referred[0], digest)
        return pointing if found else None

    async def _require_movable(
        self, name: RepositoryName, tags: Sequence[Tag], digest: Digest | None
    ) -> None:
        """Refuse to move tags to *digest*, or to delete them, if one of them is protected and would change."""
        for tag in tags:
            if self.protection.covers(name, tag):
                current = await self.tags.resolve(name, tag)
                if current is not None and current != digest:
                    raise errors.Denied({"tag": tag}, message="the tag is immutable")

    async def _require_references(
        self, name: RepositoryName, parsed: manifest.Manifest
    ) -> dict[Digest, list[str]]:
        """Return the storage paths of the files that each reference of a manifest needs.

        :raises txregistry.errors.ManifestBlobUnknown: a reference is not in the repository.
        """
        blobs = list(dict.fromkeys(self.rules.required_blobs(parsed)))
        children = list(dict.fromkeys(self.rules.required_children(parsed)))
        found = await concurrently(lambda digest: self.blobs.places(name, digest), blobs)
        found += await concurrently(lambda digest: self._places(name, digest), children)
        places: dict[Digest, list[str]] = {}
        missing: list[str] = []
        for digest, paths in zip(blobs + children, found, strict=True):
            if paths is None:
                missing.append(str(digest))
            else:
                places.setdefault(digest, []).extend(paths)
        if missing:
            raise errors.ManifestBlobUnknown(missing)
        return places

    async def _gone(self, needed: Mapping[Digest, Sequence[str]]) -> list[Digest]:
        """Keep references of a manifest from being collected; return those that have been all the same."""
        paths = [(digest, path) for digest, several in needed.items() for path in several]
        found = await self.links.driver.touch([path for _, path in paths])
        return list(
            dict.fromkeys(digest for (digest, _), there in zip(paths, found, strict=True) if there is None)
        )

    async def _places(self, name: RepositoryName, digest: Digest) -> list[str] | None:
        link = layout.revision_link(name, digest)
        target = await self.links.read(link)
        if target is None or await self.links.bytes_of(target) is None:
            return None
        return [link, layout.blob_data(target)]

    async def _has(self, name: RepositoryName, digest: Digest) -> bool:
        return await self._places(name, digest) is not None

    async def _in_turn(self, name: RepositoryName, work: Coroutine[Any, Any, T]) -> T:
        """Do *work*, no other change of the repository coming between.

        Else a tag could be pointed to a manifest that is being deleted.
        """
        async with self.locks.hold(name):
            return await together(self.links.driver, work)
