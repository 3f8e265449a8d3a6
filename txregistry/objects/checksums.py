"""Checksums of what is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from txregistry.waiting import InThread

#: Bytes beyond which they are computed in a thread.
_QUICK = 64 * 1024


async def md5(pieces: Sequence[bytes], in_thread: InThread) -> bytes:
    """Return the MD5 of *pieces*, one after the other: what stores compare with what came.

    :param in_thread: where that of many bytes is computed.
    """

    def digest() -> bytes:
        hashing = hashlib.md5(usedforsecurity=False)
        for piece in pieces:
            hashing.update(piece)
        return hashing.digest()

    return await in_thread(digest) if sum(map(len, pieces)) > _QUICK else digest()
