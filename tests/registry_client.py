"""A tiny blocking client of the registry's API, and blobs whose content is made while it is sent."""

import contextlib
import functools
import hashlib
import http.client
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import attrs

CHUNK = 1 << 20
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def sha256(data: bytes) -> str:
    """Spell the digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@functools.cache
def _noise() -> bytes:
    return random.Random("txregistry").randbytes(CHUNK)


@attrs.frozen
class Blob:
    """
    A blob that is never held whole: the same seed and size make the same bytes each time.

    :param seed: blobs of different seeds differ in every chunk.
    :param size: bytes.
    """

    seed: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Make the content, at most 1 MiB at a time."""
        for number in range(-(-self.size // CHUNK)):
            head = self.seed.to_bytes(8, "big") + number.to_bytes(8, "big")
            yield (head + _noise()[16:])[: self.size - number * CHUNK]

    @functools.cached_property
    def digest(self) -> str:
        """Its SHA-256 digest, computed once."""
        digester = hashlib.sha256()
        for chunk in self.chunks():
            digester.update(chunk)
        return f"sha256:{digester.hexdigest()}"


@attrs.frozen
class Answer:
    """What the registry answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


@attrs.frozen
class RegistryClient:
    """
    One connection for each request, so that threads may share a client.

    :param host: ``address:port``.
    :param timeout: seconds that any single send or receive may take.
    """

    host: str
    timeout: float = 300.0

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=self.timeout)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request and read the whole answer."""
        with contextlib.closing(self._connect()) as connection:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def expect(
        self,
        status: int,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Send one request of which the status is known beforehand.

        :raises AssertionError: the registry answered with another status.
        """
        return self._checked(status, f"{method} {path}", self.request(method, path, body, headers))

    @staticmethod
    def _checked(status: int, what: str, answer: Answer) -> Answer:
        if answer.status != status:
            raise AssertionError(f"{what} gave {answer.status}, not {status}: {answer.body[:500]!r}")
        return answer

    def _location(self, answer: Answer) -> str:
        parts = urlsplit(urljoin(f"http://{self.host}/", answer.headers["Location"]))
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def begin_upload(self, repository: str) -> str:
        """Begin an upload; the answer is its path."""
        return self._location(self.expect(202, "POST", f"/v2/{repository}/blobs/uploads/"))

    def _send(self, method: str, path: str, blob: Blob, *, chunked: bool) -> Answer:
        with contextlib.closing(self._connect()) as connection:
            connection.putrequest(method, path)
            connection.putheader("Content-Type", "application/octet-stream")
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            else:
                connection.putheader("Content-Length", str(blob.size))
            connection.endheaders()
            for chunk in blob.chunks():
                connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if chunked:
                connection.send(b"0\r\n\r\n")
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def push_blob(self, repository: str, blob: Blob, *, chunked: bool = False) -> None:
        """
        Upload a blob.

        :param chunked: by a streamed PATCH and an empty PUT, as docker's engine does, not by one PUT.
        """
        path = self.begin_upload(repository)
        if chunked:
            answer = self._checked(202, f"PATCH {path}", self._send("PATCH", path, blob, chunked=True))
            self.finish_upload(self._location(answer), blob.digest)
        else:
            path = with_digest(path, blob.digest)
            self._checked(201, f"PUT {path}", self._send("PUT", path, blob, chunked=False))

    def finish_upload(self, path: str, digest: str) -> None:
        """Close an upload whose bytes have all been sent."""
        self.expect(201, "PUT", with_digest(path, digest), b"")

    def push_bytes(self, repository: str, data: bytes) -> str:
        """Upload some bytes that are at hand; the answer is their digest."""
        digest = sha256(data)
        path = with_digest(self.begin_upload(repository), digest)
        self.expect(201, "PUT", path, data, {"Content-Type": "application/octet-stream"})
        return digest

    def measure_blob(self, repository: str, digest: str) -> tuple[str, int]:
        """Download a blob, keep nothing, and say which digest and size arrived."""
        path = f"/v2/{repository}/blobs/{digest}"
        digester = hashlib.sha256()
        size = 0
        window = memoryview(bytearray(CHUNK))
        with contextlib.closing(self._connect()) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != 200:
                raise AssertionError(f"GET {path} gave {response.status}: {response.read(500)!r}")
            while count := response.readinto(window):
                digester.update(window[:count])
                size += count
        return f"sha256:{digester.hexdigest()}", size

    def push_manifest(self, repository: str, reference: str, manifest: dict[str, Any]) -> str:
        """Store a manifest under its own media type; the answer is its digest."""
        body = json.dumps(manifest).encode()
        headers = {"Content-Type": manifest["mediaType"]}
        self.expect(201, "PUT", f"/v2/{repository}/manifests/{reference}", body, headers)
        return sha256(body)

    def manifest(self, repository: str, reference: str) -> Answer:
        """Ask for a manifest of any kind, whatever the status will be."""
        path = f"/v2/{repository}/manifests/{reference}"
        return self.request("GET", path, headers={"Accept": ", ".join(MANIFEST_TYPES)})

    def tags(self, repository: str) -> list[str]:
        """List the tags of a repository; none when the registry does not know it."""
        answer = self.request("GET", f"/v2/{repository}/tags/list")
        if answer.status == 404:
            return []
        return list(self._checked(200, f"tags of {repository}", answer).json()["tags"] or ())

    def catalog(self) -> list[str]:
        """List the repositories."""
        return list(self.expect(200, "GET", "/v2/_catalog?n=1000").json()["repositories"] or ())


def with_digest(path: str, digest: str) -> str:
    """Add ``digest=`` to the path of an upload."""
    return f"{path}{'&' if '?' in path else '?'}digest={quote(digest)}"
