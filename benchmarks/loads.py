"""What is pushed and pulled: blobs, and small images with the requests that docker's engine makes."""

import hashlib
import json
import random

import attrs

from benchmarks.bodies import KIB, Body, framed
from benchmarks.wire import Connection
from tests.registry_client import sha256, with_digest

SMALL = 10 * KIB
LAYERS = 5

OCTETS = "Content-Type: application/octet-stream\r\n"
CHUNKED = f"{OCTETS}Transfer-Encoding: chunked\r\n"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = f"Accept: {MANIFEST_TYPE}\r\n"


@attrs.frozen
class Image:
    """A small image: its blobs, config last, and its manifest."""

    repository: str
    blobs: tuple[tuple[str, bytes], ...]
    manifest: bytes


def small_image(number: int) -> Image:
    """Make an image that shares nothing with those of other numbers."""
    source = random.Random(number)
    layers = [source.randbytes(SMALL) for _ in range(LAYERS)]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"number": str(number)}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers],
    }
    blobs = tuple((sha256(data), data) for data in [*layers, config])
    return Image(f"bench/image-{number}", blobs, json.dumps(manifest).encode())


def _descriptor(media_type: str, data: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def push_blob(connection: Connection, repository: str, body: Body) -> None:
    """Push a blob by POST and one PUT."""
    head, _ = connection.request(202, "POST", f"/v2/{repository}/blobs/uploads/")
    connection.request(201, "PUT", with_digest(head.location, body.digest), OCTETS, body)


def stream_blob(connection: Connection, repository: str, digest: str, body: bytes | Body) -> None:
    """
    Push a blob as docker's engine does: POST, one PATCH, an empty PUT.

    :param body: in the chunked transfer coding.
    """
    head, _ = connection.request(202, "POST", f"/v2/{repository}/blobs/uploads/")
    connection.send("PATCH", head.location, CHUNKED, body)
    head, _ = connection.answer(202)
    connection.request(201, "PUT", with_digest(head.location, digest))


def push_image(connection: Connection, image: Image) -> None:
    """Push an image as docker's engine does: ask for each blob, stream it, then put the manifest."""
    for digest, data in image.blobs:
        connection.request(404, "HEAD", f"/v2/{image.repository}/blobs/{digest}")
        stream_blob(connection, image.repository, digest, framed(data))
    path = f"/v2/{image.repository}/manifests/1"
    connection.request(201, "PUT", path, f"Content-Type: {MANIFEST_TYPE}\r\n", image.manifest)


def pull_image(connection: Connection, image: Image) -> None:
    """Pull an image by its tag and compare every blob's digest."""
    _, manifest = connection.request(200, "GET", f"/v2/{image.repository}/manifests/1", ACCEPT)
    assert manifest == image.manifest
    for digest, _ in image.blobs:
        _, data = connection.request(200, "GET", f"/v2/{image.repository}/blobs/{digest}")
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest


def verify_blob(connection: Connection, repository: str, body: Body) -> None:
    """Pull a blob and compare its digest; after that it is in the page cache."""
    digester = hashlib.sha256()
    size = connection.fetch(f"/v2/{repository}/blobs/{body.digest}", digester)
    assert (size, f"sha256:{digester.hexdigest()}") == (body.size, body.digest)
