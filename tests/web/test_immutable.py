"""Tags that must stay as they are, over HTTP."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.basic import BasicBackend, authorization
from tests.web.client import OCI_MANIFEST, Answer, Server, descriptor, image
from txregistry.access import Identity
from txregistry.auth.rules import Authenticated
from txregistry.digest import Digest
from txregistry.protection import TagProtection
from txregistry.storage.memory import MemoryDriver

PATTERNS = ["prod/**:v*", "!prod/**:v*-rc*", "lib/*:1.0"]


class ImmutableTests(SynchronousTestCase):
    """What can be done with a protected tag, and what cannot."""

    def setUp(self) -> None:
        self.server = Server(protection=TagProtection.of(PATTERNS))
        self.first = self.server.push_image("prod/app", "v1", b"first")
        self.digest = Digest.of(self.first)
        self.other = image(
            self.server.push_blob("prod/app", b"{}"), self.server.push_blob("prod/app", b"other")
        )

    def put(self, reference: str, content: bytes, **headers: str) -> Answer:
        """Push a manifest to the repository."""
        fields = {
            "Content-Type": OCI_MANIFEST,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return self.server.request("PUT", f"/v2/prod/app/manifests/{reference}", content, fields)

    def delete(self, reference: str) -> Answer:
        """Delete a manifest or tag of the repository."""
        return self.server.request("DELETE", f"/v2/prod/app/manifests/{reference}")

    def tags(self) -> list[str]:
        """Return the repository's tags."""
        tags: list[str] = self.server.request("GET", "/v2/prod/app/tags/list").json()["tags"]
        return tags

    def assert_denied(self, answer: Answer, tag: str = "v1") -> None:
        """Check that an answer says clearly that a tag stays, and that it does."""
        self.assertEqual((answer.status, answer.codes), (403, ["DENIED"]))
        (error,) = answer.json()["errors"]
        self.assertEqual((error["message"], error["detail"]), ("the tag is immutable", {"tag": tag}))
        self.assertNotIn("WWW-Authenticate", answer.headers)
        self.assert_unchanged()

    def assert_unchanged(self) -> None:
        """Check that the protected tag is what it was, by its name and by its digest."""
        for reference in ("v1", self.digest):
            answer = self.server.request("GET", f"/v2/prod/app/manifests/{reference}")
            self.assertEqual((answer.status, answer.body), (200, self.first))
            self.assertEqual(answer.headers["Docker-Content-Digest"], str(self.digest))
        layer = self.server.request("GET", f"/v2/prod/app/blobs/{Digest.of(b'first')}")
        self.assertEqual(layer.body, b"first")

    def test_first_push(self) -> None:
        """A protected tag that is not there yet is made by the first push, whichever way that names it."""
        self.assert_unchanged()
        self.assertEqual(self.put("v2", self.other).status, 201)
        answer = self.put(f"{self.digest}?tag=v3&tag=v4", self.first)
        self.assertEqual((answer.status, answer.headers["OCI-Tag"]), (201, "v3, v4"))
        self.assertEqual(self.tags(), ["v1", "v2", "v3", "v4"])

    def test_moved(self) -> None:
        """It is not moved by a push of another manifest, which is not stored either."""
        self.assert_denied(self.put("v1", self.other))
        self.assertEqual(
            self.server.request("GET", f"/v2/prod/app/manifests/{Digest.of(self.other)}").status, 404
        )

    def test_same_manifest(self) -> None:
        """Pushing the manifest that it points to once more is a success, as a client that tries again expects."""
        for reference in ("v1", str(self.digest), f"{self.digest}?tag=v1"):
            self.assertEqual(self.put(reference, self.first).status, 201)
        self.assert_unchanged()

    def test_same_content_written_otherwise(self) -> None:
        """A manifest that differs by a blank is another."""
        self.assert_denied(self.put("v1", self.first + b" "))

    def test_by_parameter(self) -> None:
        """It is not moved by ``?tag=``; and then none of the tags of that push is made."""
        digest = Digest.of(self.other)
        for query in ("tag=v1", "tag=new&tag=v1", "tag=v1&tag=new", "tag=v1&tag=v1"):
            self.assert_denied(self.put(f"{digest}?{query}", self.other))
        self.assertEqual(self.tags(), ["v1"])

    def test_by_another_algorithm(self) -> None:
        """It is not made to point to the same bytes by another name."""
        digest = Digest.of(self.first, "sha512")
        self.assert_denied(self.put(f"{digest}?tag=v1", self.first))
        self.assertEqual(self.put(str(digest), self.first).status, 201)
        self.assertEqual(self.delete(str(digest)).status, 202)
        self.assert_unchanged()

    def test_conditions(self) -> None:
        """No condition that a client puts to its push moves it."""
        self.assert_denied(self.put("v1", self.other, If_Match=f'"{self.digest}"'))
        self.assert_denied(self.put("v1", self.other, If_Match="*"))
        self.assertEqual(self.put("v1", self.other, If_None_Match="*").status, 412)
        self.assert_unchanged()

    def test_deleted_by_tag(self) -> None:
        """It is not deleted."""
        self.assert_denied(self.delete("v1"))

    def test_deleted_by_digest(self) -> None:
        """The manifest that it points to is not deleted, nor are other tags of that, though they may be by name."""
        self.assertEqual(self.put("latest", self.first).status, 201)
        self.assert_denied(self.delete(str(self.digest)))
        self.assertEqual(self.tags(), ["latest", "v1"])
        self.assertEqual(self.delete("latest").status, 202)
        self.assert_unchanged()

    def test_not_made_anew(self) -> None:
        """It cannot be moved by being deleted first in any way that there is."""
        for reference in ("v1", str(self.digest)):
            self.assertEqual(self.delete(reference).status, 403)
            self.assert_denied(self.put("v1", self.other))

    def test_exceptions(self) -> None:
        """A tag that is an exception is moved and deleted."""
        self.assertEqual(self.put("v2-rc1", self.first).status, 201)
        self.assertEqual(self.put("v2-rc1", self.other).status, 201)
        answer = self.server.request("GET", "/v2/prod/app/manifests/v2-rc1")
        self.assertEqual(answer.body, self.other)
        self.assertEqual(self.delete("v2-rc1").status, 202)
        self.assertEqual(self.put("v2-rc1", self.other).status, 201)
        self.assertEqual(self.delete(str(Digest.of(self.other))).status, 202)
        self.assertEqual(self.tags(), ["v1"])

    def test_others(self) -> None:
        """A tag that no pattern covers is moved and deleted, in the same repository and in others."""
        for name, tag in (
            ("prod/app", "latest"),
            ("prod/app", "V1"),
            ("prod", "v1"),
            ("prod2/app", "v1"),
            ("lib/a/b", "1.0"),
        ):
            self.server.push_image(name, tag, b"one")
            self.server.push_image(name, tag, b"two")
            self.assertEqual(self.server.request("DELETE", f"/v2/{name}/manifests/{tag}").status, 202)
        self.assert_unchanged()

    def test_other_repository(self) -> None:
        """The manifest of a protected tag is deleted where no protected tag points to it."""
        self.server.push_image("test/app", "v1", b"first")
        answer = self.server.request("DELETE", f"/v2/test/app/manifests/{self.digest}")
        self.assertEqual(answer.status, 202)
        self.assert_unchanged()

    def test_absent(self) -> None:
        """Deleting a protected tag that is not there is 404, like any other."""
        answer = self.delete("v9")
        self.assertEqual((answer.status, answer.codes), (404, ["MANIFEST_UNKNOWN"]))

    def test_indexes(self) -> None:
        """An index is protected as an image is."""
        kind = "application/vnd.oci.image.index.v1+json"
        child = descriptor(self.digest, OCI_MANIFEST, len(self.first))
        index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [child]}).encode()
        self.assertEqual(self.server.put_manifest("prod/app", "v5", index, kind).status, 201)
        self.assert_denied(self.put("v5", self.first), "v5")
        self.assert_denied(self.delete(str(Digest.of(index))), "v5")

    def test_for_everyone(self) -> None:
        """No right moves it: those of an administrator are rights like others."""
        backend = BasicBackend.of(Identity("admin"))
        self.server = evolve(self.server, backend=backend, policy=Authenticated())
        self.server.authorization = authorization("admin")
        self.assert_denied(self.put("v1", self.other))
        self.assert_denied(self.delete("v1"))
        self.assert_denied(self.delete(str(self.digest)))


class WaitingDriver(MemoryDriver):
    """A driver each of whose answers takes a while, so that requests come between one another.

    :param clock: what time it waits by.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    async def read(self, path: str, limit: int) -> bytes:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await deferLater(self.clock, 0.01)
        content = await super().read(path, limit)
        await deferLater(self.clock, 0.01)
        return content

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await deferLater(self.clock, 0.01)
        await super().write(path, content, durable)
        await deferLater(self.clock, 0.01)


class RaceTests(SynchronousTestCase):
    """Requests all at once."""

    COUNT = 20

    def setUp(self) -> None:
        self.clock = Clock()
        driver = WaitingDriver(self.clock)
        # The blobs are pushed to the same tree by a server that does not wait.
        swift = MemoryDriver()
        swift._root = driver._root
        server = Server(driver=swift)
        config = server.push_blob("prod/app", b"{}")
        self.images = [image(config, server.push_blob("prod/app", b"%d" % n)) for n in range(self.COUNT)]
        self.swift = server
        self.server = Server(driver=driver, clock=self.clock, protection=TagProtection.of(PATTERNS))

    def race(self, requests: list[tuple[str, str, bytes]]) -> list[int]:
        """Send requests, each on a connection of its own, before any is answered; return the statuses."""
        transports: list[Any] = []
        for method, reference, content in requests:
            channel, transport = self.server.connect()
            head = (
                f"{method} /v2/prod/app/manifests/{reference} HTTP/1.1\r\nHost: r\r\n"
                f"Content-Type: {OCI_MANIFEST}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            channel.dataReceived(head.encode() + content)
            transports.append(transport)
        self.assertTrue(all(not transport.value() for transport in transports))
        for _ in range(3000):
            if all(transport.value() for transport in transports):
                break
            self.clock.advance(0.01)
        return [int(transport.value().split(b" ", 2)[1]) for transport in transports]

    def tagged(self, tag: str) -> bytes:
        """Return the manifest that a tag points to."""
        return self.swift.request("GET", f"/v2/prod/app/manifests/{tag}").body

    def test_first_pushes(self) -> None:
        """Of many first pushes of different manifests exactly one wins, and the tag is what it pushed."""
        statuses = self.race([("PUT", "v1", content) for content in self.images])
        self.assertEqual(sorted(statuses), [201, *[403] * (self.COUNT - 1)])
        self.assertEqual(self.tagged("v1"), self.images[statuses.index(201)])

    def test_first_pushes_by_parameter(self) -> None:
        """It is the same where some name the tag by ``?tag=``, beside others."""
        requests = [
            ("PUT", "v1" if number % 2 else f"{Digest.of(content)}?tag=v1&tag=t{number}", content)
            for number, content in enumerate(self.images)
        ]
        statuses = self.race(requests)
        self.assertEqual(sorted(statuses), [201, *[403] * (self.COUNT - 1)])
        winner = statuses.index(201)
        self.assertEqual(self.tagged("v1"), self.images[winner])
        tags = self.swift.request("GET", "/v2/prod/app/tags/list").json()["tags"]
        self.assertEqual(tags, ["v1"] if winner % 2 else [f"t{winner}", "v1"])

    def test_same_manifest(self) -> None:
        """Of many first pushes of the same manifest all succeed."""
        statuses = self.race([("PUT", "v1", self.images[0])] * self.COUNT)
        self.assertEqual(statuses, [201] * self.COUNT)

    def test_pushes_and_deletions(self) -> None:
        """A tag that was made while others try to delete it or its manifest is there afterwards."""
        digest = str(Digest.of(self.images[0]))
        requests = [
            request
            for _ in range(self.COUNT // 4)
            for request in (
                ("DELETE", "v1", b""),
                ("PUT", "v1", self.images[0]),
                ("DELETE", digest, b""),
                ("PUT", "v1", self.images[1]),
            )
        ]
        statuses = self.race(requests)
        self.assertEqual(set(statuses[1::4]), {201})
        self.assertEqual(set(statuses[3::4]), {403})
        self.assertLessEqual({*statuses[0::4], *statuses[2::4]}, {403, 404})
        self.assertEqual(self.tagged("v1"), self.images[0])
