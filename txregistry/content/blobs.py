"""Blobs of repositories."""

from __future__ import annotations

from attrs import field, frozen
from twisted.logger import Logger

from txregistry import errors
from txregistry.content import layout
from txregistry.content.facts import Facts
from txregistry.content.links import Links
from txregistry.digest import Digest
from txregistry.reference import RepositoryName
from txregistry.storage.batches import together

_log = Logger()

#: Seconds for which a blob that was asked for is not touched again: a collection spares all that is as young.
_KEPT = 60


@frozen
class Blob:
    """A blob that is stored.

    :param digest: what it was asked for by.
    :param size: bytes.
    :param path: the storage path of its bytes.
    :param remembered: the digest by which the size was remembered; None where the storage said it now.
    """

    digest: Digest
    size: int
    path: str
    remembered: Digest | None = None


@frozen
class Blobs:
    """Finds and links blobs.

    :param links: which repository has which.
    :param facts: what is remembered of them.
    """

    links: Links
    facts: Facts = field(factory=Facts)

    async def find(self, name: RepositoryName, digest: Digest, remembered: bool = False) -> Blob:
        """Return a blob of a repository.

        :param remembered: whether its size may come from what is remembered: for whoever opens its bytes
            before anything is said of it, and has it forgotten if it is wrong.
        :raises txregistry.errors.BlobUnknown: the repository has none of that digest.
        """
        return await together(self.links.driver, self._find(name, digest, remembered))

    async def _find(self, name: RepositoryName, digest: Digest, remembered: bool) -> Blob:
        target = await self._target(name, digest)
        if target is None:
            raise errors.BlobUnknown({"digest": str(digest)})
        path = layout.blob_data(target)
        if remembered and (size := await self.facts.size(target)) is not None:
            return Blob(digest, size, path, target)
        info = await self.links.bytes_of(target)
        if info is None:
            raise errors.BlobUnknown({"digest": str(digest)})
        if remembered:
            await self.facts.note_size(target, info.size)
        return Blob(digest, info.size, path)

    async def forget(self, blob: Blob) -> None:
        """Forget the size that was remembered of a blob."""
        if blob.remembered is not None:
            await self.facts.forget_size(blob.remembered)

    async def keep(self, name: RepositoryName, digest: Digest) -> Blob:
        """Return a blob of a repository, and keep it from being collected, as if it were pushed now.

        For clients that ask whether they need to push it: they are going to rely on the answer.

        :raises txregistry.errors.BlobUnknown: the repository has none of that digest.
        """
        return await together(self.links.driver, self._keep(name, digest))

    async def _keep(self, name: RepositoryName, digest: Digest) -> Blob:
        target = await self._target(name, digest)
        if target is None:
            raise errors.BlobUnknown({"digest": str(digest)})
        path = layout.blob_data(target)
        try:
            link, data = await self.links.driver.touch([layout.layer_link(name, digest), path], _KEPT)
        except errors.StorageFull as error:
            # Nothing can be collected either where nothing can be written.
            _log.warn(
                "cannot keep the blob {digest} from being collected: {error}", digest=digest, error=error
            )
            return await self.find(name, digest)
        if link is None or data is None:
            raise errors.BlobUnknown({"digest": str(digest)})
        return Blob(digest, data.size, path)

    async def places(self, name: RepositoryName, digest: Digest) -> list[str] | None:
        """Return the storage paths of the files that make a blob one of a repository; None if it has none."""
        target = await self._target(name, digest)
        if target is None or await self.links.bytes_of(target) is None:
            return None
        return [layout.layer_link(name, digest), layout.blob_data(target)]

    async def mount(self, source: RepositoryName | None, target: RepositoryName, digest: Digest) -> bool:
        """Make a blob of one repository a blob of another too; say whether there was such a blob.

        :param source: the repository that has it; None for whichever has.
        """
        return await together(self.links.driver, self._mount(source, target, digest))

    async def _mount(self, source: RepositoryName | None, target: RepositoryName, digest: Digest) -> bool:
        stored = digest if source is None else await self._target(source, digest)
        if stored is None:
            return False
        (found,) = await self.links.driver.touch([layout.blob_data(stored)])
        if found is None:
            return False
        await self.links.write(layout.layer_link(target, digest), stored)
        return True

    async def delete(self, name: RepositoryName, digest: Digest) -> None:
        """Take a blob from a repository.  Its bytes stay: other repositories may have it.

        :raises txregistry.errors.BlobUnknown: the repository has none of that digest.
        """
        return await together(self.links.driver, self._delete(name, digest))

    async def _delete(self, name: RepositoryName, digest: Digest) -> None:
        await self.find(name, digest)
        if not await self.links.delete(layout.layer_link(name, digest)):
            raise errors.BlobUnknown({"digest": str(digest)})

    async def _target(self, name: RepositoryName, digest: Digest) -> Digest | None:
        """Return the digest that a repository's blob is stored by; None if it has none that can be trusted.

        It may be the same content's under another algorithm: so Distribution stores sha512 blobs.
        """
        link = layout.layer_link(name, digest)
        target = await self.links.read(link)
        if target is not None and target.algorithm == digest.algorithm and target != digest:
            _log.error("the link {path} is damaged: it leads to another blob", path=link)
            return None
        return target
