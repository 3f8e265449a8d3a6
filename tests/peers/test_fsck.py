"""``txregistry fsck`` over what Debian's docker-registry wrote."""

import os
import subprocess
import sys

from tests.peers.case import SUBJECT, PeerCase, run_program
from tests.peers.images import small_image
from tests.peers.test_clients import skopeo_copy
from tests.peers.test_distribution import push_all_kinds
from tests.processes import DISTRIBUTION, TXREGISTRY, RegistryServer, find_program
from tests.registry_client import RegistryClient


class DistributionsData(PeerCase):
    """A directory that Distribution serves."""

    def setUp(self) -> None:
        """Start Distribution over an empty directory, with Docker's first schema allowed."""
        self.data = self.directory()
        self.theirs = RegistryServer(DISTRIBUTION, self.directory(), self.data)
        self.theirs.environ["REGISTRY_COMPATIBILITY_SCHEMA1_ENABLED"] = "true"
        self.theirs.start()
        self.addCleanup(self._stop, self.theirs)

    def fsck(self, *options: str) -> tuple[int, list[str]]:
        """Run fsck with Distribution's own configuration file; return its exit status and the kinds of findings."""
        done = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "fsck", *options, self.theirs.config_path],
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.stderr, "")
        return done.returncode, [line.split()[0] for line in done.stdout.splitlines()[:-1]]

    def assert_clean(self) -> None:
        """Fail unless fsck finds nothing, whether or not it reads blobs."""
        self.assertEqual((self.fsck(), self.fsck("--quick")), ((0, []), (0, [])))

    def first_schema(self) -> None:
        """Push an image in Docker's first schema."""
        source = f"docker-archive:{small_image(0).path}"
        skopeo_copy(source, f"docker://{self.theirs.host}/first:1", "--format=v2s1")
        manifest = RegistryClient(self.theirs.host).manifest("first", "1").json()
        self.assertEqual(manifest["schemaVersion"], 1)

    def collect(self, *options: str) -> None:
        """Collect garbage with Distribution, which must not run meanwhile."""
        self.theirs.stop()
        run_program(find_program(DISTRIBUTION), "garbage-collect", *options, self.theirs.config_path)
        self.theirs.start()

    def test_clean(self) -> None:
        """All kinds of images that Distribution stored are clean, those of Docker's first schema among them."""
        push_all_kinds(self.theirs)
        self.first_schema()
        RegistryClient(self.theirs.host).begin_upload("docker")
        self.assert_clean()

    def test_left_behind(self) -> None:
        """What Distribution's deletes and garbage collections leave behind is no finding."""
        push_all_kinds(self.theirs)
        client = RegistryClient(self.theirs.host)
        # A tag is moved, an image deleted, and a blob that no manifest names.
        skopeo_copy(
            f"docker-archive:{small_image(2).path}", f"docker://{self.theirs.host}/deep/er/oci:v1.0_x-y"
        )
        run_program("skopeo", "delete", "--tls-verify=false", f"docker://{self.theirs.host}/docker:1")
        client.expect(202, "DELETE", f"/v2/docker/blobs/{client.push_bytes('docker', b'a blob that goes')}")
        client.push_bytes("docker", b"a blob that no manifest names")
        self.assert_clean()
        for options in ((), ("--delete-untagged",)):
            self.collect(*options)
            self.assert_clean()
        run_program("skopeo", "delete", "--tls-verify=false", f"docker://{self.theirs.host}/docker:2")
        self.collect()
        self.assert_clean()

    def test_damage(self) -> None:
        """A damaged layer is found; once mended it is missing for clients, who push it again and pull the image."""
        source, image = f"docker-archive:{small_image(0).path}", f"{self.theirs.host}/docker:1"
        skopeo_copy(source, f"docker://{image}")
        self.first_schema()
        layer = RegistryClient(self.theirs.host).manifest("docker", "1").json()["layers"][0]["digest"]
        name = layer.removeprefix("sha256:")
        path = f"docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data"
        with open(os.path.join(self.data, path), "r+b") as file:
            byte = file.read(1)
            file.seek(0)
            file.write(bytes([byte[0] ^ 1]))
        found = ["blob-damaged", "manifest-incomplete", "manifest-incomplete"]
        self.assertEqual(self.fsck(), (3, found))
        self.assertEqual(self.fsck("--repair"), (3, found))
        (run,) = os.listdir(os.path.join(self.data, "_txregistry", "quarantine"))
        kept = os.path.join(self.data, "_txregistry", "quarantine", run, path)
        self.assertTrue(os.path.exists(kept) and os.path.exists(f"{kept}.why"))
        ours = self.registry(TXREGISTRY if SUBJECT == DISTRIBUTION else SUBJECT, self.data)
        for server in (ours, self.theirs):
            answer = RegistryClient(server.host).request("GET", f"/v2/docker/blobs/{layer}")
            self.assertEqual((answer.status, answer.json()["errors"][0]["code"]), (404, "BLOB_UNKNOWN"))
        skopeo_copy(source, f"docker://{ours.host}/docker:1")
        self.assert_clean()
        for server in (ours, self.theirs):
            self.assert_whole(RegistryClient(server.host), "docker", "1")
