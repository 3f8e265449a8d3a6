"""``/v2/<name>/manifests/<reference>`` (distribution-spec, end-3, end-7 and end-9)."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from txregistry import errors, manifest, media
from txregistry.content.manifests import StoredManifest
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.reference import RepositoryName, Tag, parse_reference
from txregistry.web.announcer import Announcer
from txregistry.web.answers import answer
from txregistry.web.conditions import is_conditional, replacement_condition, unchanged
from txregistry.web.locations import Locations

#: Tags of one push by digest at most; the spec wants at least ten.
_TAGS_LIMIT = 100


@frozen
class ManifestRoutes:
    """Answers for manifests.

    :param registry: what is stored.
    :param locations: where manifests are.
    :param announcer: who is told of what is done; None for no one.
    """

    registry: Registry
    locations: Locations
    announcer: Announcer | None

    async def get(self, request: Any, name: RepositoryName, reference: str) -> bytes:
        """Send a manifest, whatever the client says that it accepts: there is no other form of it."""
        wanted = _stored(name, reference)
        # HEAD and conditions ask whether it is there.
        remembered = request.method == b"GET" and not is_conditional(request)
        found = await self.registry.manifests.find(name, wanted, remembered)
        if self.announcer is not None:
            self.announcer.manifest_pulled(request, name, wanted, found)
        request.setHeader(b"Docker-Content-Digest", str(found.digest).encode("ascii"))
        if unchanged(request, found.digest):
            return b""
        return answer(request, 200, found.content, {"Content-Type": found.media_type})

    async def put(self, request: Any, name: RepositoryName, reference: str) -> bytes:
        """Store a manifest."""
        wanted = parse_reference(reference)
        tags = self._tags(request, wanted)
        content_type = request.text_header("Content-Type")
        if content_type is None:
            raise errors.ManifestInvalid("the request has no Content-Type")
        content = await request.body.read_all(manifest.SIZE_LIMIT)
        if content is None:
            raise errors.ManifestTooLarge({"limit": manifest.SIZE_LIMIT})
        pushed = await self.registry.manifests.put(
            name, wanted, content, content_type, tags, replacement_condition(request)
        )
        if self.announcer is not None:
            stored = StoredManifest(pushed.digest, media.essence(content_type), content)
            pointing = [wanted] if isinstance(wanted, Tag) else tags
            await self.announcer.manifest_pushed(request, name, stored, pointing)
        location = self.locations.manifest(request, name, pushed.digest)
        headers = {"Location": location, "Docker-Content-Digest": str(pushed.digest)}
        if pushed.subject is not None:
            headers["OCI-Subject"] = str(pushed.subject)
        if tags:
            headers["OCI-Tag"] = ", ".join(tags)
        return answer(request, 201, headers=headers)

    def _tags(self, request: Any, reference: Tag | Digest) -> list[Tag]:
        """Return the tags that a push by digest asks for (distribution-spec, end-7b)."""
        texts = request.args.get(b"tag", [])
        if isinstance(reference, Tag) or not texts:
            return []
        if len(texts) > _TAGS_LIMIT:
            raise errors.TagsTooMany({"limit": _TAGS_LIMIT})
        return list(dict.fromkeys(Tag.parse(str(text, "latin-1")) for text in texts))

    async def delete(self, request: Any, name: RepositoryName, reference: str) -> bytes:
        """Delete a tag, or a manifest and the tags that point to it."""
        wanted = _stored(name, reference)
        tags = await self.registry.manifests.delete(name, wanted)
        if self.announcer is not None:
            digest = None if isinstance(wanted, Tag) else wanted
            await self.announcer.deleted(request, name, digest, tags)
        return answer(request, 202)


def _stored(name: RepositoryName, text: str) -> Tag | Digest:
    """Return what a manifest that is there is asked for by: none has a tag that is malformed."""
    try:
        return parse_reference(text)
    except errors.TagInvalid:
        raise errors.ManifestUnknown({"name": name, "reference": text[:128]}) from None
