"""``storage.cache``: what is remembered of the storage."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class CacheKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage.cache``."""

    blobdescriptor: Annotated[
        str, Meta(description="The cache for sizes of blobs and for manifests; none when empty.")
    ] = ""
    layerinfo: Annotated[
        str, Meta(description="The old name of blobdescriptor, which has the last word.")
    ] = ""
    blobdescriptorsize: Annotated[
        int, Meta(description="How many entries are kept in memory at most; 0 for as many as fit in 64 MiB.")
    ] = 10000
