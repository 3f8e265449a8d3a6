"""What is known of content and can never change: its size, and a manifest's bytes, by digest."""

from __future__ import annotations

from attrs import frozen

from txregistry.digest import Digest
from txregistry.interfaces import ICache
from txregistry.storage.batches import leave

#: Bytes beyond which a manifest is not kept.
_MANIFEST_LIMIT = 64 * 1024
#: Digits beyond which what a cache says is no size.
_DIGITS = 18


@frozen
class Facts:
    """Remembers facts in a cache.

    Whether a repository has something is none of them: that is read from the storage each time.  What a cache
    says is a claim, which whoever uses it compares with the bytes: others may write to a cache, too.

    :param cache: where they are kept; None to remember nothing.
    """

    cache: ICache | None = None

    async def size(self, digest: Digest) -> int | None:
        """Return the size of a blob, in bytes; None where it is not known."""
        known = await self._get(_size(digest))
        if known is None or not known.isdigit() or len(known) > _DIGITS:
            return None
        return int(known)

    async def note_size(self, digest: Digest, size: int) -> None:
        """Remember the size of a blob.  That of an empty one is not: nothing would be read to send it."""
        if self.cache is not None and size:
            await leave()
            await self.cache.put(_size(digest), b"%d" % size)

    async def forget_size(self, digest: Digest) -> None:
        """Forget the size of a blob: its bytes are gone, or are others."""
        if self.cache is not None:
            await leave()
            await self.cache.forget(_size(digest))

    async def manifest(self, stored: Digest, digest: Digest) -> bytes | None:
        """Return a manifest's bytes, which have that digest; None where they are not known.

        :param stored: the digest that it is stored by.
        :param digest: the digest that it is asked for by.
        """
        known = await self._get(_manifest(stored))
        return known if known is not None and Digest.of(known, digest.algorithm) == digest else None

    async def note_manifest(self, stored: Digest, content: bytes) -> None:
        """Remember a manifest's bytes, unless they are many."""
        if self.cache is not None and len(content) <= _MANIFEST_LIMIT:
            await leave()
            await self.cache.put(_manifest(stored), content)

    async def _get(self, key: str) -> bytes | None:
        if self.cache is None:
            return None
        await leave()
        return await self.cache.get(key)


def _size(digest: Digest) -> str:
    return f"size:{digest}"


def _manifest(digest: Digest) -> str:
    return f"manifest:{digest}"
