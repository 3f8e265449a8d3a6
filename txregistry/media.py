"""Media types, and the sets they form."""

from __future__ import annotations

import re

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

#: What an image is described by.
IMAGE_MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
#: What lists manifests.
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
#: Docker's first schema, which the registry does not accept: its digest is not that of its bytes.
SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
#: Layers that need not be in the registry when they carry ``urls`` (image-spec, "Non-Distributable Layers").
FOREIGN_LAYERS = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)

BYTES = "application/octet-stream"

_JSON_TYPE = re.compile(r"application/[a-z0-9][a-z0-9!#$&^_.+-]{0,120}\+json")


def essence(content_type: str) -> str:
    """Return a ``Content-Type`` without its parameters, lower-cased (RFC 9110, 8.3.1)."""
    return content_type.partition(";")[0].strip(" \t").lower()


def is_manifest(media_type: str) -> bool:
    """Say whether a document of this type may be stored as a manifest: any ``application/…+json``."""
    return media_type not in SCHEMA_1 and _JSON_TYPE.fullmatch(media_type) is not None
