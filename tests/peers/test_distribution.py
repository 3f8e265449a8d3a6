"""One directory, two registries: Debian's docker-registry and ours agree, whoever wrote."""

import os
from urllib.parse import urlsplit

from tests.peers.case import SUBJECT, PeerCase, run_program
from tests.peers.images import small_image
from tests.peers.test_clients import same_files, skopeo_copy
from tests.processes import DISTRIBUTION, RegistryServer, find_program
from tests.registry_client import Blob, RegistryClient, sha256

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push_all_kinds(server: RegistryServer) -> list[tuple[str, str]]:
    """
    Push an image in docker's format, one in OCI's, and a list of that, to three repositories.

    :return: repository and tag of each.
    """
    host, client = server.host, RegistryClient(server.host)
    skopeo_copy(f"docker-archive:{small_image(0).path}", f"docker://{host}/docker:1")
    skopeo_copy(f"docker-archive:{small_image(1).path}", f"docker://{host}/docker:2")
    skopeo_copy(
        f"docker-archive:{small_image(1).path}", f"docker://{host}/deep/er/oci:v1.0_x-y", "--format=oci"
    )
    skopeo_copy(f"docker-archive:{small_image(2).path}", f"docker://{host}/multi:image", "--format=oci")
    body = client.manifest("multi", "image").body
    platform = {"os": "linux", "architecture": "amd64"}
    entry = {"mediaType": OCI_MANIFEST, "digest": sha256(body), "size": len(body), "platform": platform}
    client.push_manifest("multi", "list", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    return [
        ("docker", "1"),
        ("docker", "2"),
        ("deep/er/oci", "v1.0_x-y"),
        ("multi", "image"),
        ("multi", "list"),
    ]


class SharedDirectory(PeerCase):
    """Both registries serve one directory at the same time."""

    def setUp(self) -> None:
        """Start both over an empty directory."""
        self.data = self.directory()
        self.ours = self.registry(SUBJECT, self.data)
        self.theirs = self.registry(DISTRIBUTION, self.data)

    def assert_agreement(self, repositories: set[str]) -> None:
        """Fail unless catalog, tags and manifests are the same from both, and the catalog is as expected."""
        ours, theirs = RegistryClient(self.ours.host), RegistryClient(self.theirs.host)
        self.assertEqual(ours.catalog(), sorted(repositories))
        self.assertEqual(ours.catalog(), sorted(theirs.catalog()))
        for repository in repositories:
            tags = ours.tags(repository)
            self.assertEqual(sorted(tags), sorted(theirs.tags(repository)))
            for tag in tags:
                mine, other = ours.manifest(repository, tag), theirs.manifest(repository, tag)
                self.assertEqual((mine.status, other.status), (200, 200))
                self.assertEqual(mine.body, other.body)
                for header in ("Content-Type", "Docker-Content-Digest", "Content-Length"):
                    self.assertEqual(mine.headers[header], other.headers[header])

    def move(self, writer: RegistryServer, reader: RegistryServer) -> None:
        """Push to one, compare with the other, and pull from both: every file must be the same."""
        pushed = push_all_kinds(writer)
        self.assert_agreement({repository for repository, _ in pushed})
        for repository, tag in pushed:
            copies = [self.directory(), self.directory()]
            for server, copy in zip((writer, reader), copies, strict=True):
                skopeo_copy(f"docker://{server.host}/{repository}:{tag}", f"dir:{copy}", "--all")
            self.assertTrue(same_files(*copies), f"{repository}:{tag} is not the same from both")

    def test_from_distribution(self) -> None:
        """Images pushed to Distribution are pulled from us, byte for byte, over the same directory."""
        self.move(self.theirs, self.ours)

    def test_to_distribution(self) -> None:
        """Images pushed to us are pulled from Distribution, byte for byte, over the same directory."""
        self.move(self.ours, self.theirs)

    def _delete(self, deleter: RegistryServer) -> None:
        push_all_kinds(self.ours)
        client = RegistryClient(deleter.host)
        digest = client.manifest("docker", "1").headers["Docker-Content-Digest"]
        run_program("skopeo", "delete", "--tls-verify=false", f"docker://{deleter.host}/docker:1")
        blob = client.push_bytes("docker", b"a blob that goes")
        client.expect(202, "DELETE", f"/v2/docker/blobs/{blob}")
        for server in (self.ours, self.theirs):
            other = RegistryClient(server.host)
            self.assertEqual(other.tags("docker"), ["2"])
            self.assertEqual(other.manifest("docker", "1").status, 404)
            self.assertEqual(other.manifest("docker", digest).status, 404)
            self.assertEqual(other.request("HEAD", f"/v2/docker/blobs/{blob}").status, 404)
            self.assert_whole(other, "docker", "2")
        self.assert_agreement({"docker", "deep/er/oci", "multi"})

    def test_deleted_by_distribution(self) -> None:
        """What Distribution deletes is gone for us: manifest, tag and blob."""
        self._delete(self.theirs)

    def test_deleted_by_us(self) -> None:
        """What we delete is gone for Distribution: manifest, tag and blob."""
        self._delete(self.ours)

    def test_tag_moved(self) -> None:
        """A tag that either of them moves points to the new image for both, at once."""
        for writer in (self.ours, self.theirs, self.ours):
            for number in (0, 1):
                skopeo_copy(
                    f"docker-archive:{small_image(number).path}", f"docker://{writer.host}/moved:latest"
                )
                for server in (self.ours, self.theirs):
                    manifest = RegistryClient(server.host).manifest("moved", "latest").json()
                    self.assertEqual(manifest["config"]["digest"], small_image(number).image_id)

    def test_blobs(self) -> None:
        """A blob uploaded to either of them is served by the other, and mounted by it."""
        pairs = ((self.ours, self.theirs), (self.theirs, self.ours))
        for seed, (writer, reader) in enumerate(pairs):
            blob = Blob(seed, 3_000_001)
            RegistryClient(writer.host).push_blob("blobs/from", blob, chunked=bool(seed))
            client = RegistryClient(reader.host)
            self.assertEqual(client.measure_blob("blobs/from", blob.digest), (blob.digest, blob.size))
            client.expect(
                201, "POST", f"/v2/blobs/to/blobs/uploads/?mount={blob.digest}&from=blobs/from", b""
            )
            self.assertEqual(
                RegistryClient(writer.host).measure_blob("blobs/to", blob.digest), (blob.digest, blob.size)
            )

    def test_upload_in_turns(self) -> None:
        """An upload whose parts go to one registry and the other in turns becomes the blob that was sent."""
        clients = [RegistryClient(server.host) for server in (self.theirs, self.ours)]
        parts = [os.urandom(100_003) for _ in range(6)]
        blob = b"".join(parts)
        for first in (0, 1):
            path = clients[first].begin_upload("turns")
            for number, part in enumerate(parts, first):
                answer = clients[number % 2].expect(202, "PATCH", path, part)
                path = urlsplit(answer.headers["Location"])._replace(scheme="", netloc="").geturl()
            clients[first].finish_upload(path, sha256(blob))
            for client in clients:
                self.assertEqual(client.measure_blob("turns", sha256(blob)), (sha256(blob), len(blob)))


class GoingBack(PeerCase):
    """The operator goes back to Distribution, and its own tools find a store that they understand."""

    def test_garbage_collection(self) -> None:
        """Distribution's garbage collection over what we wrote removes what we deleted, nothing else."""
        data = self.directory()
        ours = self.registry(SUBJECT, data)
        pushed = push_all_kinds(ours)
        client = RegistryClient(ours.host)
        doomed = client.manifest("docker", "1").json()
        run_program("skopeo", "delete", "--tls-verify=false", f"docker://{ours.host}/docker:1")
        ours.stop()
        theirs = self.distribution(data)
        theirs.stop()
        run_program(find_program(DISTRIBUTION), "garbage-collect", theirs.config_path)
        config = doomed["config"]["digest"].removeprefix("sha256:")
        blob = os.path.join(data, "docker/registry/v2/blobs/sha256", config[:2], config, "data")
        self.assertFalse(os.path.exists(blob), "the deleted image's config is still there")
        for server in (ours, theirs):
            server.start()
            for repository, tag in pushed[1:4]:
                self.assert_whole(RegistryClient(server.host), repository, tag)
            self.assertEqual(RegistryClient(server.host).manifest("multi", "list").status, 200)
            server.stop()
