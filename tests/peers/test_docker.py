"""Docker's own engine pushes, pulls and builds on an image of more than 500 MB, and survives cuts."""

import atexit
import functools
import glob
import os
import re
import shutil
import subprocess
import tempfile
import time

import attrs

from tests.peers.case import SUBJECT, PeerCase
from tests.peers.engines import DockerEngine, engine
from tests.peers.images import MIB, large_image
from tests.processes import RegistryServer
from tests.registry_client import MANIFEST_TYPES, RegistryClient, sha256

REPOSITORY = "team/large"
DOCKERFILE = """\
FROM {base}
LABEL built=here
COPY greeting /greeting
COPY context /context
"""


@functools.cache
def loaded_engine() -> DockerEngine:
    """Give the engine that has the large image and pushes it."""
    pusher = engine("push")
    pusher.docker("load", "--quiet", "--input", large_image().path)
    return pusher


@attrs.frozen
class Pushed:
    """A registry that lives as long as the test run, and what the engine called the pushed image."""

    server: RegistryServer
    reference: str
    digest: str


def push(pusher: DockerEngine, reference: str) -> tuple[str, str]:
    """Tag the large image and push it; the answer is the digest that docker reports, and its output."""
    pusher.docker("tag", large_image().name, reference)
    output = pusher.docker("push", reference)
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", output)
    assert found is not None, output
    return found[1], output


@functools.cache
def pushed() -> Pushed:
    """Push the large image to a new registry, once in a test run."""
    directory = tempfile.mkdtemp(prefix="txregistry-peers-")
    server = RegistryServer(SUBJECT, directory, os.path.join(directory, "data"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    reference = f"{server.host}/{REPOSITORY}:1"
    digest, _ = push(loaded_engine(), reference)
    return Pushed(server, reference, digest)


class WholeImage(PeerCase):
    """An image goes in by one engine and comes out by another."""

    def setUp(self) -> None:
        """Push the image, unless an earlier test did."""
        self.pushed = pushed()
        self.client = RegistryClient(self.pushed.server.host)
        self.addCleanup(self.assert_calm, self.pushed.server)

    def test_push(self) -> None:
        """What docker push leaves in the registry is the image, under the digest that the engine reports."""
        manifest = self.client.manifest(REPOSITORY, "1")
        self.assertEqual(manifest.status, 200)
        self.assertEqual(sha256(manifest.body), self.pushed.digest)
        self.assertEqual(manifest.headers["Docker-Content-Digest"], self.pushed.digest)
        self.assertIn(manifest.headers["Content-Type"], MANIFEST_TYPES)
        layers = manifest.json()["layers"]
        self.assertEqual(manifest.json()["config"]["digest"], large_image().image_id)
        self.assertGreaterEqual(len(layers), 4)
        self.assertGreaterEqual(sum(layer["size"] for layer in layers), 500_000_000)
        self.assertIn("1", self.client.tags(REPOSITORY))

    def test_push_again(self) -> None:
        """Pushing the same image again, under another tag, sends no layer."""
        digest, output = push(loaded_engine(), f"{self.pushed.server.host}/{REPOSITORY}:again")
        self.assertEqual(digest, self.pushed.digest)
        self.assertEqual(output.count("Layer already exists"), 5, output)
        self.assertNotIn("Pushed", output)

    def test_push_to_another_repository(self) -> None:
        """Pushing to another repository of the same registry mounts the layers instead of sending them."""
        digest, output = push(loaded_engine(), f"{self.pushed.server.host}/other/large:1")
        self.assertEqual(digest, self.pushed.digest)
        self.assertEqual(output.count("Mounted from") + output.count("Layer already exists"), 5, output)
        self.assert_whole(self.client, "other/large", "1")

    def test_pull(self) -> None:
        """Another engine, which has nothing, pulls the image and calls it by the same id and digest."""
        puller = engine("pull")
        output = puller.docker("pull", self.pushed.reference)
        self.assertIn(self.pushed.digest, output)
        self.assertEqual(puller.image_id(self.pushed.reference), large_image().image_id)
        by_digest = f"{self.pushed.server.host}/{REPOSITORY}@{self.pushed.digest}"
        self.assertEqual(puller.image_id(by_digest), large_image().image_id)

    def test_build(self) -> None:
        """An image built FROM the pushed one keeps its layers, and comes back as it was built."""
        context = self.directory()
        with open(f"{context}/Dockerfile", "w") as file:
            file.write(DOCKERFILE.format(base=self.pushed.reference))
        with open(f"{context}/greeting", "w") as file:
            file.write("hello\n")
        os.mkdir(f"{context}/context")
        with open(f"{context}/context/noise", "wb") as noise:
            noise.write(os.urandom(4 * MIB))
        builder = engine("pull")
        reference = f"{self.pushed.server.host}/team/built:1"
        builder.docker("build", "--pull", "--tag", reference, context)
        image_id = builder.image_id(reference)
        builder.docker("push", reference)
        base = self.client.manifest(REPOSITORY, "1").json()
        built = self.client.manifest("team/built", "1").json()
        self.assertEqual(built["config"]["digest"], image_id)
        self.assertEqual(len(built["layers"]), len(base["layers"]) + 2)
        self.assertEqual(built["layers"][: len(base["layers"])], base["layers"])
        other = loaded_engine()
        other.docker("pull", reference)
        self.assertEqual(other.image_id(reference), image_id)


class CutOff(PeerCase):
    """A push is cut in the middle of a layer, and repeated."""

    def begin_push(self, server: RegistryServer) -> tuple["subprocess.Popen[bytes]", str]:
        """Start a push to a registry that has nothing, and wait until a layer is half there."""
        pusher = loaded_engine()
        reference = f"{server.host}/{REPOSITORY}:1"
        pusher.docker("tag", large_image().name, reference)
        client = pusher.begin("push", reference)
        self.addCleanup(client.wait, 20)
        self.addCleanup(client.kill)
        uploads = os.path.join(server.data, "docker/registry/v2/repositories", REPOSITORY, "_uploads/*/data")
        deadline = time.monotonic() + 60
        while not any(_size(path) > 32 * MIB for path in glob.glob(uploads)):
            self.assertIsNone(client.poll(), "the push ended before a layer was half there")
            self.assertLess(time.monotonic(), deadline, "no layer was half there after a minute")
            time.sleep(0.05)
        return client, reference

    def assert_repeated_push_ends_well(self, server: RegistryServer, reference: str) -> None:
        """Push again, and read everything back."""
        digest, _ = push(loaded_engine(), reference)
        client = RegistryClient(server.host)
        self.assertEqual(sha256(client.manifest(REPOSITORY, "1").body), digest)
        self.assertEqual(client.manifest(REPOSITORY, "1").json()["config"]["digest"], large_image().image_id)
        self.assert_whole(client, REPOSITORY, "1")

    def test_engine_killed(self) -> None:
        """A push whose engine is killed in the middle of a layer leaves no tag; repeated, it ends well."""
        server = self.registry()
        client, reference = self.begin_push(server)
        loaded_engine().kill()
        client.kill()
        client.wait(20)
        self.assertEqual(RegistryClient(server.host).tags(REPOSITORY), [])
        loaded_engine().start()
        self.assert_repeated_push_ends_well(server, reference)

    def test_L13_registry_killed(self) -> None:
        """A push whose registry is killed in the middle of a layer ends well when both are started again."""
        server = self.registry()
        client, reference = self.begin_push(server)
        server.kill()
        client.kill()
        client.wait(20)
        server.start()
        self.assertEqual(RegistryClient(server.host).tags(REPOSITORY), [])
        self.assert_repeated_push_ends_well(server, reference)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:  # the upload ended between the look at the directory and the look at the file
        return 0
