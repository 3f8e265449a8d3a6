"""Manifests of repositories."""

from __future__ import annotations

import weakref

from attrs import field, frozen
from twisted.internet.defer import DeferredLock

from txregistry import errors, manifest
from txregistry.content import layout
from txregistry.content.blobs import Blobs
from txregistry.content.links import InThread, Links, concurrently
from txregistry.content.tags import Tags
from txregistry.digest import CANONICAL, Digest
from txregistry.reference import RepositoryName, Tag

#: Bytes beyond which a manifest is parsed in a thread: below, the hop would take longer.
_PARSED_AT_ONCE = 64 * 1024


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
class Manifests:
    """Stores, finds and deletes manifests.

    :param links: which repository has which.
    :param blobs: what they refer to.
    :param tags: what points to them.
    :param in_thread: where large ones are parsed.
    """

    links: Links
    blobs: Blobs
    tags: Tags
    in_thread: InThread
    _locks: weakref.WeakValueDictionary[str, DeferredLock] = field(
        factory=weakref.WeakValueDictionary, init=False
    )

    async def find(self, name: RepositoryName, reference: Tag | Digest) -> StoredManifest:
        """Return a manifest of a repository.

        :raises txregistry.errors.ManifestUnknown: there is none of that tag or digest.
        :raises txregistry.errors.StorageFault: what is stored is not what was pushed.
        """
        digest = await self.tags.resolve(name, reference) if isinstance(reference, Tag) else reference
        target = digest and await self.links.read(layout.revision_link(name, digest))
        if digest is None or target is None:
            raise errors.ManifestUnknown({"name": name, "reference": str(reference)})
        path = layout.blob_data(target)
        try:
            content = await self.links.driver.read(path, manifest.SIZE_LIMIT)
        except errors.PathUnknown:
            raise errors.ManifestUnknown({"name": name, "reference": str(reference)}) from None
        if Digest.of(content, digest.algorithm) != digest:
            raise errors.StorageFault(path, "a manifest whose bytes have another digest than its name")
        try:
            return StoredManifest(digest, manifest.media_type_of(content), content)
        except errors.ManifestInvalid:
            raise errors.StorageFault(path, "what is linked as a manifest is none") from None

    async def put(
        self, name: RepositoryName, reference: Tag | Digest, content: bytes, content_type: str
    ) -> Digest:
        """Store a manifest, and make *reference* point to it if it is a tag.

        Its bytes are stored first, then the repository's link to them, then the tag: whoever sees one sees
        what it needs.

        :returns: its digest.
        :raises txregistry.errors.ManifestInvalid: it cannot be accepted.
        :raises txregistry.errors.DigestInvalid: *reference* is a digest, and not that of *content*.
        :raises txregistry.errors.ManifestBlobUnknown: what it refers to is not in the repository.
        """
        if len(content) > _PARSED_AT_ONCE:
            parsed = await self.in_thread(lambda: manifest.parse(content, content_type))
        else:
            parsed = manifest.parse(content, content_type)
        digest = Digest.of(content, CANONICAL if isinstance(reference, Tag) else reference.algorithm)
        if isinstance(reference, Digest) and digest != reference:
            raise errors.DigestInvalid({"digest": str(reference)})
        async with self._lock(name):
            await self._require_references(name, parsed)
            await self.links.driver.write(layout.blob_data(digest), content)
            await self.links.write(layout.revision_link(name, digest), digest)
            if isinstance(reference, Tag):
                await self.tags.point(name, reference, digest)
        return digest

    async def delete(self, name: RepositoryName, reference: Tag | Digest) -> None:
        """Delete a tag, or a manifest together with the tags that point to it.

        :raises txregistry.errors.ManifestUnknown: there is none of that tag or digest.
        """
        async with self._lock(name):
            if isinstance(reference, Tag):
                found = await self.tags.delete(name, reference)
            else:
                found = await self._delete_revision(name, reference)
        if not found:
            raise errors.ManifestUnknown({"name": name, "reference": str(reference)})

    async def _delete_revision(self, name: RepositoryName, digest: Digest) -> bool:
        link = layout.revision_link(name, digest)
        if await self.links.read(link) is None:
            return False
        for tag in await self.tags.pointing_to(name, digest):
            await self.tags.delete(name, tag)
        return await self.links.delete(link)

    async def _require_references(self, name: RepositoryName, parsed: manifest.Manifest) -> None:
        async def has_manifest(digest: Digest) -> bool:
            target = await self.links.read(layout.revision_link(name, digest))
            if target is None:
                return False
            try:
                await self.links.driver.stat(layout.blob_data(target))
            except errors.PathUnknown:
                return False
            return True

        blobs, children = list(dict.fromkeys(parsed.blobs)), list(dict.fromkeys(parsed.children))
        present = await concurrently(lambda digest: self.blobs.has(name, digest), blobs)
        present += await concurrently(has_manifest, children)
        missing = [str(digest) for digest, there in zip(blobs + children, present, strict=True) if not there]
        if missing:
            raise errors.ManifestBlobUnknown(missing)

    def _lock(self, name: RepositoryName) -> DeferredLock:
        """Return what keeps a tag from being pointed to a manifest that is being deleted."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = DeferredLock()
        return lock
