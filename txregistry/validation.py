"""What a manifest must have in its repository, and which URLs it may hold: ``validation`` in the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

from attrs import field, frozen

from txregistry import errors, media
from txregistry.digest import Digest
from txregistry.manifest import Descriptor, Manifest, Platform

#: Patterns that no URL matches.
NO_URL = (re.compile(r"\A\Z"),)

#: What programs may drop from a URL, so that it leads elsewhere than a pattern saw.
_BLANK = re.compile(r"[\x00-\x20\x7f]")


@frozen
class Rules:
    """An operator's rules for manifests, with Distribution's meaning.

    :param allow: a layer's URL must match one of these; None where any will do.
    :param deny: a layer's URL must match none of these.
    :param children: which manifests of an index must be there: all, none, or those for *platforms*.
    :param platforms: what ``list`` means.
    """

    allow: tuple[re.Pattern[str], ...] | None = NO_URL
    deny: tuple[re.Pattern[str], ...] = ()
    children: Literal["all", "none", "list"] = "all"
    platforms: frozenset[Platform] = field(default=frozenset())

    def required_blobs(self, manifest: Manifest) -> Iterator[Digest]:
        """Yield the digests of the blobs that must be in the repository.

        A layer of a type that is not to be distributed need not be, if it says where it can be had
        (image-spec, "Non-Distributable Layers").  An index may list what is no manifest, as BuildKit's caches
        list layers: those are blobs.

        :raises txregistry.errors.ManifestInvalid: a layer has a URL that it may not have.
        """
        if manifest.config is not None:
            yield Digest.parse(manifest.config.digest)
        for layer in manifest.layers:
            for url in layer.urls or ():
                if not self._allows(url):
                    raise errors.ManifestInvalid(
                        {"url": url[:200]}, message="a layer has a URL that is not allowed"
                    )
            if not layer.urls or layer.media_type not in media.FOREIGN_LAYERS:
                yield Digest.parse(layer.digest)
        for child in self._required(manifest):
            if not media.is_manifest(child.media_type):
                yield Digest.parse(child.digest)

    def required_children(self, manifest: Manifest) -> Iterator[Digest]:
        """Yield the digests of the manifests that must be in the repository."""
        for child in self._required(manifest):
            if media.is_manifest(child.media_type):
                yield Digest.parse(child.digest)

    def _required(self, manifest: Manifest) -> Iterator[Descriptor]:
        for child in manifest.children:
            listed = child.platform is not None and child.platform in self.platforms
            if self.children == "all" or (self.children == "list" and listed):
                yield child

    def _allows(self, url: str) -> bool:
        if _BLANK.search(url):
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
            return False
        if self.allow is not None and not any(pattern.search(url) for pattern in self.allow):
            return False
        return not any(pattern.search(url) for pattern in self.deny)
