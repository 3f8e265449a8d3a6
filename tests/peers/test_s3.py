"""A registry in a bucket of SeaweedFS: docker, Debian's docker-registry on the same bucket, and several instances."""

import contextlib
import http.client
import os
import re
import sys
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import attrs
from txregistry_s3.test.servers import seaweed

from tests.peers.case import SUBJECT, PeerCase, run_program
from tests.peers.engines import engine
from tests.peers.images import MIB, large_image, small_image
from tests.peers.test_clients import same_files, skopeo_copy
from tests.peers.test_distribution import push_all_kinds
from tests.processes import DISTRIBUTION, RegistryServer
from tests.registry_client import Blob, RegistryClient, sha256


@attrs.define
class BucketServer(RegistryServer):
    """A registry whose storage is a bucket.  ``data`` is the root directory in it."""

    redirects: bool = attrs.field(default=False, kw_only=True)

    def config(self) -> dict[str, Any]:
        """Give the configuration; both programs take the same."""
        config = super().config()
        options = {**seaweed().options(self.data), "secure": False}
        if self.program == DISTRIBUTION:
            # Debian's is of version 2.8, which takes an endpoint of one's own to be of this kind.
            del options["forcepathstyle"]
        config["storage"] = {
            "s3": options,
            "delete": {"enabled": True},
            "redirect": {"disable": not self.redirects},
        }
        config["log"] = {"level": "info", "accesslog": {"disabled": False}}
        return config


class BucketCase(PeerCase):
    """Registries that share a bucket."""

    def setUp(self) -> None:
        """Choose a root directory in it."""
        self.root = f"/{uuid.uuid4().hex}"

    def bucket(self, program: str = SUBJECT, redirects: bool = False) -> BucketServer:
        """Start a registry in the bucket."""
        # Where a bundle of authorities is named, docker-registry 2.8 does not start with a bucket.
        environ = {"AWS_CA_BUNDLE": ""}
        server = BucketServer(program, self.directory(), self.root, redirects=redirects, environ=environ)
        self.addCleanup(self._stop, server)
        server.start()
        return server


class Docker(BucketCase):
    """Docker's own engine."""

    def push_and_pull(self, redirects: bool) -> BucketServer:
        """Push the large image, remove it from the engine that pulls, pull it, and compare."""
        server = self.bucket(redirects=redirects)
        # An engine of its own: one that has the layers from other tests would not ask for them.
        pusher, puller = engine("push"), engine("bucket")
        pusher.docker("load", "--quiet", "--input", large_image().path)
        reference = f"{server.host}/team/large:1"
        pusher.docker("tag", large_image().name, reference)
        output = pusher.docker("push", reference)
        self.assertIsNotNone(re.search(r"digest: sha256:[0-9a-f]{64}", output), output)
        puller.docker("pull", "--quiet", reference)
        self.assertEqual(puller.image_id(reference), large_image().image_id)
        puller.docker("rmi", reference)
        self.assert_whole(RegistryClient(server.host), "team/large", "1") if not redirects else None
        return server

    def test_through_the_registry(self) -> None:
        """An image of more than 500 MB goes into the bucket and comes out of it; memory does not follow its size."""
        server = self.push_and_pull(redirects=False)
        self.assertLess(server.peak_memory(), 400 * MIB)

    def test_from_the_store(self) -> None:
        """With redirects the bytes of layers come from the store: the registry answers no GET of a blob otherwise."""
        server = self.push_and_pull(redirects=True)
        answers = re.findall(
            r"info GET /v2/team/large/blobs/.*http\.response\.status=(\d+)", server.log(1 << 20)
        )
        self.assertGreaterEqual(len(answers), 6)
        self.assertEqual(set(answers), {"307"})


class Redirects(BucketCase):
    """Where clients are sent."""

    def test_signed_url(self) -> None:
        """The URL is of the store, needs nothing else, gives ranges, and is refused when it was changed."""
        server = self.bucket(redirects=True)
        client = RegistryClient(server.host)
        digest = client.push_bytes("team/app", bytes(range(256)) * 100)
        answer = client.request("GET", f"/v2/team/app/blobs/{digest}")
        self.assertEqual(answer.status, 307)
        url = urlsplit(answer.headers["Location"])
        self.assertEqual(url.netloc, f"127.0.0.1:{seaweed().port}")
        for headers, status, size in (({}, 200, 25_600), ({"Range": "bytes=5-14"}, 206, 10)):
            found = self.get(url.netloc, f"{url.path}?{url.query}", headers)
            self.assertEqual((found.status, len(found.read())), (status, size))
        changed = url.path.replace(digest[-8:], "00000000")
        self.assertEqual(self.get(url.netloc, f"{changed}?{url.query}", {}).status, 403)
        self.assertEqual(client.request("HEAD", f"/v2/team/app/blobs/{digest}").status, 200)

    def get(self, host: str, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Ask a server for something."""
        connection = http.client.HTTPConnection(host, timeout=30)
        self.addCleanup(connection.close)
        connection.request("GET", target, headers=headers)
        return connection.getresponse()


class SharedBucket(BucketCase):
    """Debian's docker-registry and ours in one bucket."""

    def move(self, writer: BucketServer, reader: BucketServer) -> None:
        """Push to one and pull from both: every file must be the same, and so the listings."""
        pushed = push_all_kinds(writer)
        ours, theirs = RegistryClient(writer.host), RegistryClient(reader.host)
        self.assertEqual(sorted(ours.catalog()), sorted(theirs.catalog()))
        for repository, tag in pushed:
            self.assertEqual(sorted(ours.tags(repository)), sorted(theirs.tags(repository)))
            copies = [self.directory(), self.directory()]
            for server, copy in zip((writer, reader), copies, strict=True):
                skopeo_copy(f"docker://{server.host}/{repository}:{tag}", f"dir:{copy}", "--all")
            self.assertTrue(same_files(*copies), f"{repository}:{tag} is not the same from both")

    def test_from_distribution(self) -> None:
        """Images pushed to Distribution are pulled from us, byte for byte, out of the same bucket."""
        self.move(self.bucket(DISTRIBUTION), self.bucket())

    def test_to_distribution(self) -> None:
        """Images pushed to us are pulled from Distribution, byte for byte, out of the same bucket."""
        self.move(self.bucket(), self.bucket(DISTRIBUTION))

    def test_large_layers(self) -> None:
        """Layers of many parts, put together by the store, are the same through both."""
        ours, theirs = RegistryClient(self.bucket().host), RegistryClient(self.bucket(DISTRIBUTION).host)
        for number, (writer, reader) in enumerate(((ours, theirs), (theirs, ours))):
            blob = Blob(number, 70 * MIB + 5)
            writer.push_blob("team/app", blob)
            self.assertEqual(reader.measure_blob("team/app", blob.digest), (blob.digest, blob.size))


class Instances(BucketCase):
    """Three registries on one bucket, and clients whose every request goes to another one."""

    def setUp(self) -> None:
        """Start them."""
        super().setUp()
        self.servers = [self.bucket() for _ in range(3)]

    def request(self, number: int, method: str, target: str, body: bytes = b"") -> http.client.HTTPResponse:
        """Send a request to one of them and read its answer."""
        connection = http.client.HTTPConnection(self.servers[number % 3].host, timeout=60)
        self.addCleanup(connection.close)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before all was sent
            connection.request(method, target, body, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        answer.read()
        return answer

    def target(self, answer: http.client.HTTPResponse) -> str:
        """Return where an answer says to go on, less the host."""
        url = urlsplit(answer.headers["Location"])
        return f"{url.path}?{url.query}"

    def test_every_request_elsewhere(self) -> None:
        """An upload in chunks, each to another instance, is the blob; and no instance reads what another stored."""
        chunks = [os.urandom(3 * MIB + 17) for _ in range(8)]
        answer = self.request(0, "POST", "/v2/team/app/blobs/uploads/")
        for number, chunk in enumerate(chunks, 1):
            answer = self.request(number, "PATCH", self.target(answer), chunk)
            self.assertEqual(answer.status, 202)
        digest = sha256(b"".join(chunks))
        answer = self.request(0, "PUT", f"{self.target(answer)}&digest={digest}")
        self.assertEqual(answer.status, 201)
        for server in self.servers:
            size = sum(map(len, chunks))
            self.assertEqual(RegistryClient(server.host).measure_blob("team/app", digest), (digest, size))

    def test_killed_instance(self) -> None:
        """When an instance is killed in the midst of a chunk, another goes on from what was acknowledged before."""
        first, second = os.urandom(12 * MIB), os.urandom(12 * MIB)
        answer = self.request(0, "POST", "/v2/team/app/blobs/uploads/")
        answer = self.request(1, "PATCH", self.target(answer), first)
        target = self.target(answer)
        connection = http.client.HTTPConnection(self.servers[2].host, timeout=60)
        self.addCleanup(connection.close)
        connection.putrequest("PATCH", target)
        connection.putheader("Content-Length", str(len(second)))
        connection.endheaders()
        connection.send(second[: 11 * MIB])
        time.sleep(1)  # (not a synchronisation: wherever the kill finds it, what follows holds)
        self.servers[2].kill()
        deadline = time.monotonic() + 60
        while (answer := self.request(0, "PATCH", target, second)).status == 409:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(1)
        self.assertEqual(answer.status, 202)
        digest = sha256(first + second)
        answer = self.request(1, "PUT", f"{self.target(answer)}&digest={digest}")
        self.assertEqual(answer.status, 201)
        found = RegistryClient(self.servers[0].host).measure_blob("team/app", digest)
        self.assertEqual(found, (digest, len(first + second)))

    def test_collection_beside_pushes(self) -> None:
        """While garbage is collected elsewhere all that is pushed meanwhile can be pulled afterwards."""
        client = RegistryClient(self.servers[0].host)
        gone = client.push_bytes("team/app", b"nothing names it")
        config = self.servers[1].config_path
        collecting = [self.collect(config)]
        for number in range(3):
            skopeo_copy(
                f"docker-archive:{small_image(number).path}",
                f"docker://{self.servers[number].host}/team/app:{number}",
            )
        collecting.append(self.collect(config))
        for number in range(3):
            self.assert_whole(RegistryClient(self.servers[(number + 1) % 3].host), "team/app", str(number))
        self.assertEqual(client.request("HEAD", f"/v2/team/app/blobs/{gone}").status, 404, collecting)

    def collect(self, config: str) -> str:
        """Collect garbage, whatever its age."""
        program = os.path.join(os.path.dirname(sys.executable), "txregistry")
        return run_program(program, "garbage-collect", "--age", "0s", config, timeout=120)
