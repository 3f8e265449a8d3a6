"""Referrers: which manifests have another one as their subject (distribution-spec, "Listing Referrers").

Each is a small file with its descriptor, so that a listing opens no manifest.  The files are an index and no
more: what they say can be read from the manifests again.
"""

from __future__ import annotations

import msgspec
from attrs import frozen
from twisted.logger import Logger

from txregistry import errors, manifest, media
from txregistry.content import layout
from txregistry.content.links import Links, concurrently
from txregistry.content.tags import Tags
from txregistry.digest import Digest
from txregistry.manifest import Referrer
from txregistry.reference import RepositoryName, Tag

_log = Logger()

#: Bytes of descriptors in one answer at most: with what is around them it stays a manifest's size.
_PAGE_BYTES = manifest.SIZE_LIMIT - 64 * 1024
_BATCH = 16


@frozen
class Page:
    """A part of a list of referrers.

    :param referrers: their descriptors.
    :param last: where the next page begins after; None on the last page.
    """

    referrers: list[Referrer]
    last: str | None


@frozen
class Referrers:
    """Keeps and lists referrers.

    :param links: which repository has which manifest.
    :param tags: where clients of registries without this API kept their lists.
    """

    links: Links
    tags: Tags

    async def add(self, name: RepositoryName, subject: Digest, referrer: Referrer) -> None:
        """Note that a manifest, which is stored, refers to its subject."""
        path = layout.referrer(name, subject, Digest.parse(referrer.digest))
        await self.links.driver.write(path, msgspec.json.encode(referrer))

    async def remove(self, name: RepositoryName, subject: Digest, digest: Digest) -> None:
        """Forget a referrer."""
        await self.links.delete(layout.referrer(name, subject, digest))

    async def page(
        self, name: RepositoryName, subject: Digest, n: int, last: str = "", artifact_type: str | None = None
    ) -> Page:
        """Return what refers to a manifest, which need not exist.

        :param n: how many at most.
        :param last: where the page before ended.
        :param artifact_type: only those of this type.
        """
        if n < 1:
            return Page([], None)
        kept = await self._entries(name, subject)
        adopted = await self._adopt(name, subject, kept)

        async def read(entry: str) -> Referrer | None:
            return adopted.get(entry) or await self._read(name, subject, entry)

        pending = [entry for entry in sorted({*kept, *adopted}) if entry > last]
        found: list[Referrer] = []
        size = 0
        for start in range(0, len(pending), _BATCH):
            batch = pending[start : start + _BATCH]
            for entry, referrer in zip(batch, await concurrently(read, batch), strict=True):
                if referrer is None or artifact_type not in (None, referrer.artifact_type):
                    continue
                length = len(msgspec.json.encode(referrer))
                if found and (len(found) == n or size + length > _PAGE_BYTES):
                    return Page(found, last)
                found.append(referrer)
                size += length
                last = entry
        return Page(found, None)

    async def _entries(self, name: RepositoryName, subject: Digest) -> list[str]:
        try:
            return await self.links.driver.list(layout.referrers(name, subject))
        except errors.PathUnknown:
            return []

    async def _read(self, name: RepositoryName, subject: Digest, entry: str) -> Referrer | None:
        """Return one entry; None if its manifest is gone, as when another program deleted it."""
        try:
            digest = Digest.parse(entry.replace("-", ":", 1))
            await self.links.driver.stat(layout.revision_link(name, digest))
            path = layout.referrer(name, subject, digest)
            content = await self.links.driver.read(path, manifest.SIZE_LIMIT)
        except (errors.PathUnknown, errors.DigestInvalid):
            return None
        try:
            return msgspec.json.decode(content, type=Referrer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            _log.error("the referrer {path} is damaged: its manifest is read instead", path=path)
            return await self._derive(name, subject, digest)

    async def _adopt(self, name: RepositoryName, subject: Digest, kept: list[str]) -> dict[str, Referrer]:
        """Take over what clients listed under the referrers tag before this registry kept referrers.

        The spec ("Enabling the Referrers API") wants those that are manifests of the repository and name the
        subject themselves.

        :param kept: the entries that there are.
        :returns: the others, by entry, even if the storage cannot be written to.
        """
        tagged = await self.tags.resolve(name, fallback_tag(subject))
        content = None if tagged is None else await self._manifest(name, tagged)
        known, adopted = set(kept), {}
        for listed in [] if content is None else manifest.children_of(content):
            entry = f"{listed.algorithm}-{listed.hex}"
            if entry in known:
                continue
            known.add(entry)
            referrer = await self._derive(name, subject, listed)
            if referrer is None:
                continue
            adopted[entry] = referrer
            try:
                await self.add(name, subject, referrer)
            except errors.StorageError as error:
                _log.warn("cannot keep the referrer {digest}: {error}", digest=referrer.digest, error=error)
        return adopted

    async def _derive(self, name: RepositoryName, subject: Digest, digest: Digest) -> Referrer | None:
        """Return what a manifest says of itself; None unless it says that it refers to *subject*."""
        content = await self._manifest(name, digest)
        found = None if content is None else manifest.referrer_of(content, digest)
        return found[1] if found is not None and found[0] == subject and fits(found[1]) else None

    async def _manifest(self, name: RepositoryName, digest: Digest) -> bytes | None:
        """Return a manifest's bytes; None if there are none, or they are damaged."""
        try:
            return await self.links.manifest(name, digest)
        except errors.StorageFault as error:
            _log.error("cannot read a manifest: {error}", error=error)
            return None


def fits(referrer: Referrer) -> bool:
    """Say whether one answer can list a referrer."""
    return len(msgspec.json.encode(referrer)) <= _PAGE_BYTES


def fallback_tag(subject: Digest) -> Tag:
    """Return the tag of the spec's "Referrers Tag Schema"."""
    return Tag.parse(f"{subject.algorithm[:32]}-{subject.hex[:64]}")


def listing(referrers: list[Referrer]) -> bytes:
    """Return the image index that lists referrers."""
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": referrers})
