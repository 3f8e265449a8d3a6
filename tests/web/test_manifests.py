"""Manifests over HTTP."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import OCI_MANIFEST, Server, descriptor, image
from txregistry.digest import Digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


class ManifestTests(SynchronousTestCase):
    """``/v2/<name>/manifests/<reference>``."""

    def setUp(self) -> None:
        self.server = Server()
        self.config = self.server.push_blob("a", b"{}")

    def test_by_tag_and_digest(self) -> None:
        """A manifest comes back byte for byte, by its tag and by its digest, with its type."""
        content = b" " + image(self.config) + b"\n\n"
        answer = self.server.put_manifest("a", "1.0", content)
        digest = Digest.of(content)
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.headers["Docker-Content-Digest"], str(digest))
        for path in ("/v2/a/manifests/1.0", f"/v2/a/manifests/{digest}", self.server.path(answer)):
            answer = self.server.request("GET", path)
            self.assertEqual((answer.status, answer.body), (200, content))
            self.assertEqual(answer.headers["Content-Type"], OCI_MANIFEST)
            self.assertEqual(answer.headers["Docker-Content-Digest"], str(digest))
            self.assertEqual(answer.headers["ETag"], f'"{digest}"')
            head = self.server.request("HEAD", path)
            self.assertEqual((head.status, head.body), (200, b""))
            self.assertEqual(head.headers["Content-Length"], str(len(content)))

    def test_whatever_is_accepted(self) -> None:
        """A manifest is served whatever the client says that it accepts."""
        content = self.server.push_image("a", "1")
        for accept in ("*/*", DOCKER, "text/html", "", "application/json;q=0.1"):
            answer = self.server.request("GET", "/v2/a/manifests/1", headers={"Accept": accept})
            self.assertEqual((answer.status, answer.body), (200, content))

    def test_types(self) -> None:
        """Docker's manifests and lists, OCI's, and other JSON types are stored with their types."""
        child = json.loads(image(self.config))
        docker = {**child, "mediaType": DOCKER}
        digest = self.server.put_manifest("a", "docker", json.dumps(docker).encode(), DOCKER).headers[
            "Docker-Content-Digest"
        ]
        listed = [descriptor(Digest.parse(digest), DOCKER)]
        for kind, document in [
            ("application/vnd.docker.distribution.manifest.list.v2+json", {"manifests": listed}),
            (OCI_INDEX, {"manifests": listed}),
            ("application/vnd.oci.artifact.manifest.v1+json", {"blobs": []}),
            ("application/vnd.example.thing+json", {}),
        ]:
            content = json.dumps({"schemaVersion": 2, "mediaType": kind, **document}).encode()
            self.assertEqual(self.server.put_manifest("a", "x", content, kind).status, 201, kind)
            answer = self.server.request("GET", "/v2/a/manifests/x")
            self.assertEqual((answer.headers["Content-Type"], answer.body), (kind, content))

    def test_type_by_shape(self) -> None:
        """OCI documents that do not name their type are known by their shape."""
        for kind, document in [
            (OCI_MANIFEST, {"config": descriptor(self.config), "layers": []}),
            (OCI_INDEX, {"manifests": []}),
        ]:
            content = json.dumps({"schemaVersion": 2, **document}).encode()
            self.assertEqual(self.server.put_manifest("a", "x", content, kind).status, 201)
            self.assertEqual(self.server.request("GET", "/v2/a/manifests/x").headers["Content-Type"], kind)

    def test_parameters_of_the_type(self) -> None:
        """Parameters of a Content-Type are passed over."""
        answer = self.server.put_manifest("a", "1", image(self.config), OCI_MANIFEST + "; charset=utf-8")
        self.assertEqual(answer.status, 201)

    def test_refused_types(self) -> None:
        """A missing, foreign, old or contradicting Content-Type is 400 MANIFEST_INVALID."""
        content = image(self.config)
        for kind in (
            DOCKER,
            "text/plain",
            "application/json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ):
            answer = self.server.put_manifest("a", "1", content, kind)
            self.assertEqual((answer.status, answer.codes), (400, ["MANIFEST_INVALID"]), kind)
        answer = self.server.request("PUT", "/v2/a/manifests/1", content)
        self.assertEqual((answer.status, answer.codes), (400, ["MANIFEST_INVALID"]))

    def test_missing_blobs(self) -> None:
        """A manifest that names what is not in the repository is refused, with each digest, and not stored."""
        self.server.push_blob("elsewhere", b"layer")
        layers = [Digest.of(b"layer"), Digest.of(b"absent")]
        content = image(self.config, *layers)
        answer = self.server.put_manifest("a", "1", content)
        self.assertEqual((answer.status, answer.codes), (400, ["MANIFEST_BLOB_UNKNOWN"] * 2))
        details = [error["detail"]["digest"] for error in answer.json()["errors"]]
        self.assertEqual(details, [str(layer) for layer in layers])
        for reference in ("1", str(Digest.of(content))):
            self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{reference}").status, 404)

    def test_missing_subject(self) -> None:
        """A subject need not be there."""
        content = image(self.config, subject=descriptor(Digest.of(b"later"), OCI_MANIFEST))
        self.assertEqual(self.server.put_manifest("a", "1", content).status, 201)

    def test_missing_children(self) -> None:
        """An index whose manifests are not in the repository is refused."""
        content = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [descriptor(Digest.of(b"x"), OCI_MANIFEST)],
            }
        ).encode()
        answer = self.server.put_manifest("a", "1", content, OCI_INDEX)
        self.assertEqual((answer.status, answer.codes), (400, ["MANIFEST_BLOB_UNKNOWN"]))

    def test_nonsense(self) -> None:
        """What is not a manifest is 400 MANIFEST_INVALID and never more than that."""
        for content in (
            b"",
            b"{",
            b"[]",
            b"null",
            b"{}",
            b'{"schemaVersion":2}',
            image(self.config).decode().encode("utf-16"),
            b"\xef\xbb\xbf" + image(self.config),
            b"[" * 100000,
            image(self.config)[:-1] + b',"size":NaN}',
            image(self.config)[:-1] + b',"config":{}}',
            image(self.config)[:-1] + b',"Layers":[]}',
            image(self.config)[:-1] + b',"manifests":[]}',
            image(self.config)[:-1] + b',"annotations":{"a":"\\ud800"}}',
            image(self.config).replace(b'"size": 2', b'"size": true'),
            image(self.config).replace(b'"size": 2', b'"size": -1'),
            image(self.config).replace(b'"size": 2', b'"size": 1' + b"0" * 5000),
        ):
            answer = self.server.put_manifest("a", "1", content)
            self.assertEqual((answer.status, answer.codes), (400, ["MANIFEST_INVALID"]), content[:80])

    def test_size_limit(self) -> None:
        """A manifest of 4 MiB is stored; one byte more is 413, told before it is sent if it says its size."""
        limit = 4 * 1024 * 1024
        content = image(self.config)
        self.assertEqual(self.server.put_manifest("a", "1", content.ljust(limit)).status, 201)
        answer = self.server.put_manifest("a", "1", content.ljust(limit + 1))
        self.assertEqual((answer.status, answer.codes), (413, ["SIZE_INVALID"]))
        channel, transport = self.server.connect()
        channel.dataReceived(
            f"PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(6):
            channel.dataReceived(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        self.assertIn(b" 413 ", transport.value().splitlines()[0])

    def test_digest_of_other_bytes(self) -> None:
        """A manifest pushed by a digest that is not its own is 400 DIGEST_INVALID."""
        answer = self.server.put_manifest("a", str(Digest.of(b"other")), image(self.config))
        self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]))

    def test_sha512(self) -> None:
        """A manifest pushed by its sha512 is known by that."""
        content = image(self.config)
        digest = Digest.of(content, "sha512")
        self.assertEqual(self.server.put_manifest("a", str(digest), content).status, 201)
        answer = self.server.request("GET", f"/v2/a/manifests/{digest}")
        self.assertEqual((answer.body, answer.headers["Docker-Content-Digest"]), (content, str(digest)))

    def test_unknown(self) -> None:
        """A tag or digest that is not there is 404 MANIFEST_UNKNOWN, also where no such tag could be."""
        for reference in ("2", str(Digest.of(b"x")), ".INVALID_MANIFEST_NAME", "x" * 129):
            for method in ("GET", "DELETE"):
                answer = self.server.request(method, f"/v2/a/manifests/{reference}")
                self.assertEqual((answer.status, answer.codes), (404, ["MANIFEST_UNKNOWN"]), reference)

    def test_unknown_repository(self) -> None:
        """Whatever is asked of a repository that is not there is 404, and asking makes none."""
        digest = Digest.of(b"x")
        for path in ("manifests/1", f"manifests/{digest}", f"blobs/{digest}"):
            for method in ("GET", "HEAD", "DELETE"):
                self.assertEqual(
                    self.server.request(method, f"/v2/nowhere/{path}").status, 404, (method, path)
                )
        self.assertEqual(self.server.request("GET", "/v2/_catalog").json(), {"repositories": []})

    def test_namespace(self) -> None:
        """``ns``, which clients send to mirrors, is passed over, and no namespace is said to be applied."""
        content = self.server.push_image("a", "1")
        for path in ("manifests/1", f"blobs/{self.config}"):
            answer = self.server.request("GET", f"/v2/a/{path}?ns=docker.io")
            self.assertEqual(answer.status, 200)
            self.assertNotIn("OCI-Namespace", answer.headers)
        self.assertEqual(self.server.request("GET", "/v2/a/manifests/1?ns=docker.io").body, content)

    def test_malformed_reference(self) -> None:
        """What is neither tag nor digest cannot be pushed to."""
        answer = self.server.put_manifest("a", ".x", image(self.config))
        self.assertEqual((answer.status, answer.codes), (400, ["TAG_INVALID"]))
        answer = self.server.put_manifest("a", "sha256:zz", image(self.config))
        self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]))

    def test_moved_tag(self) -> None:
        """A tag points to what was pushed last, and what it pointed to stays, by its digest."""
        first, second = self.server.push_image("a", "1", b"one"), self.server.push_image("a", "1", b"two")
        self.assertEqual(self.server.request("GET", "/v2/a/manifests/1").body, second)
        self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{Digest.of(first)}").body, first)

    def test_delete_tag(self) -> None:
        """Deleting a tag deletes only the tag."""
        content = self.server.push_image("a", "1")
        self.server.push_image("a", "2")
        self.assertEqual(self.server.request("DELETE", "/v2/a/manifests/1").status, 202)
        self.assertEqual(self.server.request("GET", "/v2/a/manifests/1").status, 404)
        self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{Digest.of(content)}").status, 200)
        self.assertEqual(self.server.request("GET", "/v2/a/manifests/2").status, 200)

    def test_delete_manifest(self) -> None:
        """Deleting a manifest deletes the tags that point to it, and no other."""
        content = self.server.push_image("a", "1")
        self.server.push_image("a", "2")
        self.server.push_image("a", "other", b"other")
        answer = self.server.request("DELETE", f"/v2/a/manifests/{Digest.of(content)}")
        self.assertEqual((answer.status, answer.body), (202, b""))
        self.assertEqual(self.server.request("GET", "/v2/a/tags/list").json()["tags"], ["other"])
        self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{Digest.of(content)}").status, 404)

    def test_known_content(self) -> None:
        """A client that has the manifest is told so."""
        digest = Digest.of(self.server.push_image("a", "1"))
        answer = self.server.request("GET", "/v2/a/manifests/1", headers={"If-None-Match": f'"{digest}"'})
        self.assertEqual((answer.status, answer.body), (304, b""))

    def test_layers_with_urls(self) -> None:
        """A layer that is to be fetched from elsewhere is refused, and nothing is fetched."""
        layer = {**descriptor(self.config), "urls": ["http://169.254.169.254/"]}
        answer = self.server.put_manifest(
            "a", "1", image(self.config)[:-1].replace(b"[]", json.dumps([layer]).encode()) + b"}"
        )
        self.assertEqual((answer.status, answer.codes), (400, ["MANIFEST_INVALID"]))

    def test_blobs_are_not_manifests(self) -> None:
        """A layer's digest is no manifest, and a manifest's is no blob."""
        content = self.server.push_image("a", "1")
        self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{self.config}").status, 404)
        self.assertEqual(self.server.request("GET", f"/v2/a/blobs/{Digest.of(content)}").status, 404)
