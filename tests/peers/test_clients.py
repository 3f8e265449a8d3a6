"""The same image by skopeo, podman, buildah and containerd's ctr, and an artifact by the Python oras."""

import atexit
import filecmp
import functools
import json
import os
import shutil
import socket
import ssl
import tempfile
import time
from typing import Any

import oras.client  # type: ignore[import-untyped]

from tests.peers.case import SUBJECT, PeerCase, run_program
from tests.peers.engines import engine
from tests.peers.images import large_image, small_image
from tests.processes import RegistryServer
from tests.registry_client import RegistryClient, sha256

REPOSITORY = "team/large"


@functools.cache
def stocked() -> RegistryServer:
    """Start a registry for the test run, and copy the large image into it with skopeo."""
    directory = tempfile.mkdtemp(prefix="txregistry-peers-")
    server = RegistryServer(SUBJECT, directory, os.path.join(directory, "data"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    skopeo_copy(f"docker-archive:{large_image().path}", f"docker://{server.host}/{REPOSITORY}:1")
    return server


def skopeo_copy(source: str, target: str, *options: str) -> None:
    """Copy an image with skopeo, without TLS, signatures or encryption."""
    tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
    run_program("skopeo", "copy", "--quiet", *tls, *options, source, target, timeout=180)


def same_files(left: str, right: str) -> bool:
    """Say whether two flat directories hold the same files."""
    names = sorted(os.listdir(left))
    return names == sorted(os.listdir(right)) and not any(
        filecmp.cmpfiles(left, right, names, shallow=False)[1:]
    )


class ClientCase(PeerCase):
    """A test against the registry that has the large image."""

    def setUp(self) -> None:
        """Look at what skopeo left in the registry."""
        self.server = stocked()
        self.addCleanup(self.assert_calm, self.server)
        self.client = RegistryClient(self.server.host)
        self.reference = f"{self.server.host}/{REPOSITORY}:1"
        self.body = self.client.manifest(REPOSITORY, "1").body
        self.digest = sha256(self.body)

    def config_digest(self, repository: str, reference: str) -> str:
        """Say which image a manifest in the registry stands for."""
        manifest = self.client.manifest(repository, reference)
        self.assertEqual(manifest.status, 200, manifest.body)
        return str(manifest.json()["config"]["digest"])


class Fallback(ClientCase):
    """Clients that may use plain HTTP try TLS first."""

    def test_tls_tried_first(self) -> None:
        """A client that begins with TLS is told at once that it is not offered, so falling back is quick."""
        context = ssl.create_default_context()
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as connection:
            self.assertRaises(OSError, context.wrap_socket, connection, server_hostname="127.0.0.1")
        self.assertLess(time.monotonic() - began, 3.0)


class Skopeo(ClientCase):
    """skopeo copies, inspects, lists and deletes."""

    def test_copy_in(self) -> None:
        """What skopeo copies from an archive into the registry is the archive's image, whole."""
        self.assertEqual(self.config_digest(REPOSITORY, "1"), large_image().image_id)
        self.assertGreaterEqual(sum(layer["size"] for layer in json.loads(self.body)["layers"]), 500_000_000)
        self.assert_whole(self.client, REPOSITORY, "1")

    def test_inspect(self) -> None:
        """Skopeo sees the digest, the layers and the labels of the image, and the manifest byte for byte."""
        url = f"docker://{self.reference}"
        seen = json.loads(run_program("skopeo", "inspect", "--tls-verify=false", url))
        self.assertEqual(seen["Digest"], self.digest)
        self.assertEqual(seen["Layers"], [layer["digest"] for layer in json.loads(self.body)["layers"]])
        self.assertEqual(seen["Labels"], {"name": large_image().name})
        raw = run_program("skopeo", "inspect", "--raw", "--tls-verify=false", url)
        self.assertEqual(raw.encode(), self.body)

    def test_copy_out_and_in(self) -> None:
        """An image copied to a directory and from there to another repository keeps its digest."""
        directory = self.directory()
        skopeo_copy(f"docker://{self.reference}", f"dir:{directory}")
        with open(f"{directory}/manifest.json", "rb") as manifest:
            self.assertEqual(manifest.read(), self.body)
        skopeo_copy(f"dir:{directory}", f"docker://{self.server.host}/copied/by/directory:1")
        self.assertEqual(self.client.manifest("copied/by/directory", "1").body, self.body)

    def test_copy_between_repositories(self) -> None:
        """An image copied from one repository to another keeps its digest and all its blobs."""
        skopeo_copy(f"docker://{self.reference}", f"docker://{self.server.host}/copied/directly:1")
        self.assertEqual(self.client.manifest("copied/directly", "1").body, self.body)
        self.assert_whole(self.client, "copied/directly", "1")

    def test_oci_format(self) -> None:
        """An image pushed in OCI's format comes out as an OCI layout with the same digests."""
        target = f"docker://{self.server.host}/team/oci:1"
        skopeo_copy(f"docker-archive:{small_image().path}", target, "--format=oci")
        pushed = self.client.manifest("team/oci", "1")
        self.assertEqual(pushed.headers["Content-Type"], "application/vnd.oci.image.manifest.v1+json")
        layout = self.directory()
        skopeo_copy(target, f"oci:{layout}:1")
        with open(f"{layout}/index.json") as index:
            self.assertEqual(json.load(index)["manifests"][0]["digest"], sha256(pushed.body))
        self.assert_whole(self.client, "team/oci", "1")

    def test_index(self) -> None:
        """A list of two images is copied with all that it names, and keeps its digest."""
        entries: list[dict[str, Any]] = []
        for number, architecture in enumerate(("amd64", "arm64")):
            target = f"docker://{self.server.host}/team/multi:{architecture}"
            skopeo_copy(f"docker-archive:{small_image(number).path}", target, "--format=oci")
            body = self.client.manifest("team/multi", architecture).body
            entries.append(
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": sha256(body),
                    "size": len(body),
                    "platform": {"os": "linux", "architecture": architecture},
                }
            )
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        }
        digest = self.client.push_manifest("team/multi", "1", index)
        source, target = (
            f"docker://{self.server.host}/team/multi:1",
            f"docker://{self.server.host}/copied/multi:1",
        )
        skopeo_copy(source, target, "--all")
        self.assertEqual(sha256(self.client.manifest("copied/multi", "1").body), digest)
        for entry in entries:
            self.assert_whole(self.client, "copied/multi", entry["digest"])

    def test_tags(self) -> None:
        """Skopeo lists the tags that were pushed, and no longer those of a deleted image."""
        url = f"docker://{self.server.host}/team/tags"
        for tag, number in (("b", 0), ("a", 0), ("c", 2)):
            skopeo_copy(f"docker-archive:{small_image(number).path}", f"{url}:{tag}")
        listed = json.loads(run_program("skopeo", "list-tags", "--tls-verify=false", url))
        self.assertEqual(sorted(listed["Tags"]), ["a", "b", "c"])
        run_program("skopeo", "delete", "--tls-verify=false", f"{url}:a")
        self.assertEqual(self.client.tags("team/tags"), ["c"])
        self.assertEqual(self.client.manifest("team/tags", "b").status, 404)
        self.assertEqual(self.config_digest("team/tags", "c"), small_image(2).image_id)

    def test_sync(self) -> None:
        """Skopeo sync copies every tag of a repository to a directory."""
        url = f"{self.server.host}/team/synced"
        for number, tag in enumerate(("one", "two")):
            skopeo_copy(f"docker-archive:{small_image(number).path}", f"docker://{url}:{tag}")
        target = self.directory()
        run_program("skopeo", "sync", "--src-tls-verify=false", "--src=docker", "--dest=dir", url, target)
        self.assertEqual(sorted(os.listdir(target)), ["synced:one", "synced:two"])


class Containers(ClientCase):
    """podman and buildah, each with a storage of its own."""

    def storage(self) -> list[str]:
        """Spell the options that keep a program away from the machine's own images."""
        directory = self.directory()
        return [f"--root={directory}/root", f"--runroot={directory}/run", "--storage-driver=vfs"]

    def test_podman(self) -> None:
        """Podman pulls the image under its id and digest, and pushes it to another repository."""
        podman = ["podman", *self.storage()]
        pulled = run_program(*podman, "pull", "--quiet", "--tls-verify=false", self.reference, timeout=180)
        self.assertEqual(f"sha256:{pulled.strip()}", large_image().image_id)
        digest = run_program(*podman, "image", "inspect", "--format={{.Digest}}", self.reference)
        self.assertEqual(digest.strip(), self.digest)
        target = f"{self.server.host}/podman/large:1"
        run_program(*podman, "push", "--quiet", "--tls-verify=false", self.reference, target, timeout=180)
        self.assertEqual(self.config_digest("podman/large", "1"), large_image().image_id)
        self.assert_whole(self.client, "podman/large", "1")

    def test_buildah(self) -> None:
        """Buildah builds on an image from the registry and pushes the result."""
        buildah = ["buildah", *self.storage()]
        base = f"{self.server.host}/buildah/base:1"
        skopeo_copy(f"docker-archive:{small_image().path}", f"docker://{base}", "--format=oci")
        container = run_program(*buildah, "from", "--quiet", "--tls-verify=false", base).strip()
        run_program(*buildah, "config", "--label=built=here", container)
        image_id = run_program(*buildah, "commit", "--quiet", container).strip()
        run_program(
            *buildah,
            "push",
            "--quiet",
            "--tls-verify=false",
            image_id,
            f"docker://{self.server.host}/buildah/built:1",
        )
        self.assertEqual(self.config_digest("buildah/built", "1"), f"sha256:{image_id}")
        self.assert_whole(self.client, "buildah/built", "1")


class Containerd(ClientCase):
    """ctr, containerd's own client."""

    def test_ctr(self) -> None:
        """Containerd pulls the image under its digest, and pushes it to another repository unchanged."""
        containerd = engine("pull")
        containerd.ctr("image", "pull", "--plain-http", "--snapshotter=native", self.reference)
        self.addCleanup(containerd.ctr, "image", "rm", "--sync", self.reference)
        self.assertIn(self.digest, containerd.ctr("image", "ls", f"name=={self.reference}"))
        target = f"{self.server.host}/ctr/large:1"
        containerd.ctr("image", "push", "--plain-http", target, self.reference)
        self.assertEqual(self.client.manifest("ctr/large", "1").body, self.body)
        self.assert_whole(self.client, "ctr/large", "1")


class Oras(PeerCase):
    """The Python oras client pushes and pulls an artifact."""

    def test_artifact(self) -> None:
        """Files pushed as an artifact come back the same, and the manifest keeps the type that was given."""
        server = self.registry()
        source, target = self.directory(), self.directory()
        for name, size in (("model.bin", 5_000_000), ("notes.txt", 12), ("empty", 0)):
            with open(f"{source}/{name}", "wb") as file:
                file.write(os.urandom(size))
        client = oras.client.OrasClient(hostname=server.host, insecure=True)
        reference = f"{server.host}/team/artifact:1"
        files = [f"{source}/{name}:application/vnd.example.part" for name in sorted(os.listdir(source))]
        pushed = client.push(target=reference, files=files, disable_path_validation=True)
        self.assertEqual(pushed.status_code, 201)
        client.pull(target=reference, outdir=target)
        manifest = RegistryClient(server.host).manifest("team/artifact", "1")
        self.assertEqual(len(manifest.json()["layers"]), 3)
        self.assertEqual(client.get_tags(f"{server.host}/team/artifact"), ["1"])
        found = {os.path.basename(path): path for path in _files(target)}
        self.assertEqual(sorted(found), sorted(os.listdir(source)))
        for name, path in found.items():
            self.assertTrue(filecmp.cmp(path, f"{source}/{name}", shallow=False), name)


def _files(directory: str) -> list[str]:
    return [os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names]
