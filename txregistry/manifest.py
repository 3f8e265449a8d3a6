"""Manifests: what a client pushes to ``/v2/<name>/manifests/<reference>`` and gets back byte for byte.

Nothing here changes or re-encodes a manifest; it is read to learn its type and what it refers to.  The rules
beyond the image-spec's come from what attackers did to other registries: a document must not be readable in
two ways (CVE-2021-41190), so duplicate keys, keys that differ from known ones in case only, and documents
that are both manifest and index are refused.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import msgspec
from attrs import frozen

from txregistry import errors, media
from txregistry.digest import Digest

#: Bytes of the largest manifest (distribution-spec: at least 4 MB should be expected to work).
SIZE_LIMIT = 4 * 1024 * 1024

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}(?![0-9a-f])|sha512:[0-9a-f]{128}(?![0-9a-f])")
_DEPTH_LIMIT = 200
#: Objects and arrays at most: 4 MiB of descriptors stay under it; 1.4 million ``{}`` would take seconds.
_BRACKETS_LIMIT = 100_000


class Platform(msgspec.Struct, frozen=True):
    """What a manifest in an index is for, as far as anything here depends on it."""

    architecture: str = ""
    os: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a manifest says of content elsewhere (image-spec, "OCI Content Descriptors").

    :param media_type: the content's type.
    :param digest: the content's digest, as written.
    :param size: the content's length in bytes.
    :param urls: where else the content can be had.
    :param platform: what a manifest in an index is for.
    """

    media_type: str
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    urls: list[str] | None = None
    platform: Platform | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    schema_version: int | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class _Type(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str | None = None
    manifests: msgspec.Raw = msgspec.Raw()


class _FirstSchemaLayer(msgspec.Struct, frozen=True, rename="camel"):
    blob_sum: str


class _FirstSchema(msgspec.Struct, frozen=True, rename="camel"):
    fs_layers: list[_FirstSchemaLayer] = []


class Referrer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a list of referrers says of one (distribution-spec, "Listing Referrers").

    :param media_type: the manifest's type.
    :param digest: its digest.
    :param size: its length in bytes.
    :param artifact_type: what it says of itself, else its config's type; None for an index that says nothing.
    :param annotations: its annotations.
    """

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None


@frozen
class Manifest:
    """A manifest that was read.

    :param media_type: its type.
    :param content: its bytes, as pushed.
    :param config: what its config descriptor says; None where there is none.
    :param layers: what its layers' descriptors say.
    :param children: what its manifests' descriptors say.
    :param subject: the digest of the manifest that it refers to; None where there is none.
    :param artifact_type: what it says of itself, else its config's type; None for an index that says nothing.
    :param annotations: its annotations.
    """

    media_type: str
    content: bytes
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Digest | None
    artifact_type: str | None
    annotations: dict[str, str] | None

    def referrer(self, digest: Digest) -> Referrer:
        """Return what a list of referrers says of it.

        :param digest: its own.
        """
        return Referrer(
            media_type=self.media_type,
            digest=str(digest),
            size=len(self.content),
            artifact_type=self.artifact_type,
            annotations=self.annotations or None,
        )


def media_type_of(content: bytes) -> str:
    """Return the type of a stored manifest: what it says of itself, else by its shape.

    :raises txregistry.errors.ManifestInvalid: it is not JSON of a manifest's shape.
    """
    try:
        document = msgspec.json.decode(content, type=_Type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.ManifestInvalid(message="the stored manifest cannot be read") from error
    return document.media_type or _type_by_shape(bytes(document.manifests) not in (b"", b"null"))


def parse(content: bytes, content_type: str) -> Manifest:
    """Check a manifest that a client pushed.

    :param content: its bytes.
    :param content_type: what the client's ``Content-Type`` says, parameters and all.
    :raises txregistry.errors.ManifestInvalid: it cannot be accepted; the detail says why.
    :raises txregistry.errors.DigestInvalid: it names a digest that is malformed.
    """
    media_type = media.essence(content_type)
    if not media.is_manifest(media_type):
        raise _invalid(f"Content-Type {media_type[:100]!r} is not that of a manifest")
    fields = _load(content)
    document = _convert(fields)
    if document.media_type is not None and document.media_type != media_type:
        raise _invalid("mediaType differs from the request's Content-Type")
    known = media_type in media.IMAGE_MANIFESTS or media_type in media.INDEXES
    if document.media_type is None and media_type not in (media.OCI_MANIFEST, media.OCI_INDEX):
        raise _invalid("a manifest of this type must carry it in its mediaType field")
    if known:
        _check_shape(document, media_type)
    for descriptor in (document.config, *(document.layers or ()), *(document.manifests or ())):
        if descriptor is not None:
            Digest.parse(descriptor.digest)
    return _manifest(document, media_type, content)


def referrer_of(content: bytes, digest: Digest) -> tuple[Digest, Referrer] | None:
    """Return the subject of a stored manifest, and what a list of that one's referrers says of it.

    :param digest: the manifest's own digest.
    :returns: None if it has no subject, or none that can be read.
    """
    document = _read(content)
    if document is None:
        return None
    media_type = document.media_type or _type_by_shape(document.manifests is not None)
    try:
        found = _manifest(document, media_type, content)
    except errors.DigestInvalid:
        return None
    return None if found.subject is None else (found.subject, found.referrer(digest))


def stored(content: bytes) -> Manifest | None:
    """Return a stored manifest, checked no further than needed to tell what it refers to; None if that cannot be."""
    document = _read(content)
    if document is None:
        return None
    try:
        return _manifest(
            document, document.media_type or _type_by_shape(document.manifests is not None), content
        )
    except errors.DigestInvalid:
        return None


def children_of(content: bytes) -> list[Digest]:
    """Return the digests that a stored index lists; none of what cannot be read."""
    document = _read(content)
    found = []
    for child in (document and document.manifests) or ():
        try:
            found.append(Digest.parse(child.digest))
        except errors.DigestInvalid:
            continue
    return found


def fs_layers(content: bytes) -> list[Digest]:
    """Return the layers of a stored manifest of Docker's first schema; none of what is none, or cannot be read.

    See https://distribution.github.io/distribution/spec/deprecated-schema-v1/
    """
    try:
        layers = msgspec.json.decode(content, type=_FirstSchema).fs_layers
        return list(dict.fromkeys(Digest.parse(layer.blob_sum) for layer in layers))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, errors.DigestInvalid):
        return []


def named_by(content: bytes) -> tuple[frozenset[Digest], Digest | None]:
    """Return every digest that a stored manifest may refer to, and which of them is its subject.

    Of a type whose fields are known these are the digests of its descriptors; of any other, Docker's first schema
    among them, all that its text has in it.
    """
    document = _read(content)
    if document is None or not (
        document.config or document.layers or document.manifests or document.schema_version == 2
    ):
        return _spelt(content), None
    media_type = document.media_type or _type_by_shape(document.manifests is not None)
    subject = _spelt(document.subject.digest.encode()) if document.subject else frozenset()
    if media_type not in media.IMAGE_MANIFESTS | media.INDEXES:
        return _spelt(content), next(iter(subject), None)
    descriptors = [*(document.layers or ()), *(document.manifests or ())]
    if document.config:
        descriptors.append(document.config)
    named = frozenset().union(*(_spelt(one.digest.encode()) for one in descriptors))
    return named | subject, next(iter(subject), None)


def _spelt(content: bytes) -> frozenset[Digest]:
    # Escapes could hide a digest from a search of the bytes.
    try:
        text = json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        text = b""
    return frozenset(
        Digest.parse(found.decode()) for source in (content, text) for found in _DIGEST.findall(source)
    )


def _manifest(document: _Document, media_type: str, content: bytes) -> Manifest:
    return Manifest(
        media_type,
        content,
        config=document.config,
        layers=tuple(document.layers or ()),
        children=tuple(document.manifests or ()),
        subject=None if document.subject is None else Digest.parse(document.subject.digest),
        artifact_type=document.artifact_type or (document.config.media_type if document.config else None),
        annotations=document.annotations,
    )


def _type_by_shape(is_index: bool) -> str:
    return media.OCI_INDEX if is_index else media.OCI_MANIFEST


def _read(content: bytes) -> _Document | None:
    try:
        return msgspec.json.decode(content, type=_Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _invalid(why: str) -> errors.ManifestInvalid:
    return errors.ManifestInvalid(why)


def _check_shape(document: _Document, media_type: str) -> None:
    if document.schema_version != 2:
        raise _invalid("schemaVersion must be 2")
    if media_type in media.INDEXES:
        if document.config is not None or document.layers is not None:
            raise _invalid("an index must have neither config nor layers")
        if document.manifests is None and document.media_type is None:
            raise _invalid("an index must have manifests, or its type in its mediaType field")
    else:
        if document.manifests is not None:
            raise _invalid("an image manifest must not have manifests")
        if document.config is None:
            raise _invalid("an image manifest must have a config")


def _load(content: bytes) -> dict[str, Any]:
    """Read JSON more strictly than :mod:`json` does: one meaning, UTF-8, finite numbers, bounded depth."""
    brackets = content.count(b"{") + content.count(b"[")
    if brackets > _BRACKETS_LIMIT:
        raise _invalid("too many objects and arrays")
    if brackets > _DEPTH_LIMIT and _depth_exceeds(content, _DEPTH_LIMIT):
        raise _invalid("nested too deeply")
    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite
        )
        if _SURROGATE.search(content):
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        why = error.args[0] if isinstance(error, _Refused) else "not valid JSON in UTF-8"
        raise _invalid(why) from None
    if not isinstance(document, dict):
        raise _invalid("not a JSON object")
    return document


class _Refused(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Refused("a key appears twice in one object")
    return fields


def _refuse(constant: str) -> Any:
    raise _Refused(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _Refused("a number is out of range")
    return number


def _depth_exceeds(content: bytes, limit: int) -> bool:
    """Say whether brackets nest beyond *limit*; those inside strings do not count."""
    depth = 0
    for bracket in _STRING.sub(b"", content).translate(None, delete=_OTHER_BYTES):
        depth += 1 if bracket in b"{[" else -1
        if depth > limit:
            return True
    return False


_OTHER_BYTES = bytes(set(range(256)) - set(b"[]{}"))


def _convert(fields: dict[str, Any]) -> _Document:
    _check_keys(fields, _DOCUMENT_KEYS)
    for key in ("config", "subject"):
        _check_keys(fields.get(key), _DESCRIPTOR_KEYS)
    for key in ("layers", "manifests"):
        descriptors = fields.get(key)
        for descriptor in descriptors if isinstance(descriptors, list) else ():
            _check_keys(descriptor, _DESCRIPTOR_KEYS)
    try:
        return msgspec.convert(fields, _Document)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None


def _folded(*keys: str) -> dict[str, str]:
    return {key.casefold(): key for key in keys}


_DOCUMENT_KEYS = _folded(
    "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"
)
_DESCRIPTOR_KEYS = _folded(
    "mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"
)


def _check_keys(fields: object, known: dict[str, str]) -> None:
    """Refuse a key that Go's decoder, which folds case, would take for one of *known*."""
    for key in fields if isinstance(fields, dict) else ():
        meant = known.get(key.casefold(), key)
        if meant != key:
            raise _invalid(f"{key[:100]!r} differs from {meant!r} in case only")
