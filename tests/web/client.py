"""A client of an in-memory registry: whole HTTP exchanges without a socket, a thread or a wait."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from attrs import define, evolve, field, frozen
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from txregistry.auth.anonymous import Anonymous
from txregistry.auth.rules import Everything
from txregistry.content.facts import Facts
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.interfaces import IAccessPolicy, IAuthBackend, IRedirects, IStorageDriver
from txregistry.protection import TagProtection
from txregistry.storage.memory import MemoryDriver
from txregistry.web.announcer import Announcer
from txregistry.web.app import Permissions, Route, make_resource, routes
from txregistry.web.guard import Guard
from txregistry.web.locations import Locations
from txregistry.web.site import RegistrySite
from txregistry.web.states import UploadStates
from txregistry.web.tally import UploadTally

T = TypeVar("T")

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def at_once(work: Callable[[], T]) -> Any:
    """Do work that would else be done in a thread."""
    return succeed(work())


@frozen
class Answer:
    """What the registry answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of the errors that the body tells of."""
        return [error["code"] for error in self.json()["errors"]]


class _Socket:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


@define
class Server:
    """A registry in memory, and one connection for each request.

    :ivar authorization: the credentials that every request carries that has none of its own.
    """

    driver: IStorageDriver = field(factory=MemoryDriver)
    locations: Locations = field(factory=Locations)
    permissions: Permissions = field(factory=lambda: Permissions(delete=True))
    headers: Mapping[str, list[str]] = field(factory=dict)
    clock: Clock = field(factory=Clock)
    backend: IAuthBackend = field(factory=Anonymous)
    policy: IAccessPolicy = field(factory=Everything)
    protection: TagProtection = field(factory=TagProtection)
    facts: Facts = field(factory=Facts)
    authorization: str | None = None
    note: Callable[[str], object] = lambda outcome: None
    announcer: Announcer | None = None
    tally: UploadTally | None = None
    redirects: IRedirects | None = None
    guard: Guard = field(init=False)
    routes: list[Route] = field(init=False)
    site: RegistrySite = field(init=False)

    def __attrs_post_init__(self) -> None:
        registry = Registry.on(self.driver, at_once, protection=self.protection, facts=self.facts)
        registry = evolve(registry, redirects=self.redirects)
        states = UploadStates(b"secret")
        self.guard = Guard(self.backend, self.policy, self.locations, self.note)
        self.routes = routes(registry, self.locations, states, at_once, self.guard)
        resource = make_resource(
            registry,
            states,
            at_once,
            self.locations,
            self.permissions,
            guard=self.guard,
            announcer=self.announcer,
            tally=self.tally,
        )
        self.site = RegistrySite(resource, self.clock, self.locations.prefix, self.headers, access_log=False)

    def connect(self) -> tuple[Any, StringTransportWithDisconnection]:
        """Return a new connection's channel and its transport."""
        channel: Any = self.site.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = channel
        transport.abortConnection = transport.loseConnection
        channel.makeConnection(transport)
        return channel, transport

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request and return its answer."""
        channel, transport = self.connect()
        fields = {"Host": "registry.example", "Content-Length": str(len(body)), **(headers or {})}
        if self.authorization is not None:
            fields.setdefault("Authorization", self.authorization)
        if method in ("GET", "HEAD") and not body:
            del fields["Content-Length"]
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        response = http.client.HTTPResponse(_Socket(transport.value()), method=method)  # type: ignore[arg-type]
        response.begin()
        return Answer(response.status, response.headers, response.read())

    def begin(self, name: str) -> str:
        """Begin an upload; return its path."""
        return self.path(self.request("POST", f"/v2/{name}/blobs/uploads/"))

    def path(self, answer: Answer) -> str:
        """Return the path that an answer's ``Location`` leads to."""
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> Digest:
        """Store a blob."""
        digest = Digest.of(content, algorithm)
        answer = self.request("PUT", with_digest(self.begin(name), digest), content)
        assert answer.status == 201, answer
        return digest

    def push_image(self, name: str, reference: str, layer: bytes = b"layer") -> bytes:
        """Store an image of one layer; return its manifest."""
        config = self.push_blob(name, b"{}")
        content = image(config, self.push_blob(name, layer))
        answer = self.put_manifest(name, reference, content)
        assert answer.status == 201, answer
        return content

    def put_manifest(self, name: str, reference: str, content: bytes, kind: str = OCI_MANIFEST) -> Answer:
        """Try to store a manifest."""
        return self.request("PUT", f"/v2/{name}/manifests/{reference}", content, {"Content-Type": kind})


def with_digest(path: str, digest: Digest | str) -> str:
    """Return the path that ends an upload."""
    return f"{path}{'&' if '?' in path else '?'}digest={quote(str(digest))}"


def descriptor(digest: Digest, kind: str = "application/octet-stream", size: int = 2) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": kind, "digest": str(digest), "size": size}


def image(config: Digest, *layers: Digest, **more: Any) -> bytes:
    """Return an OCI image manifest."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
            **more,
        }
    ).encode()
