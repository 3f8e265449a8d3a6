"""The same image by skopeo, podman, buildah and containerd's ctr, and an artifact by the Python oras."""

import atexit
import filecmp
import functools
import json
import os
import shutil
import socket
import socketserver
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import oras.client  # type: ignore[import-untyped]
import oras.oci  # type: ignore[import-untyped]

from tests.peers.case import SUBJECT, PeerCase, run_program
from tests.peers.engines import engine
from tests.peers.images import large_image, small_image
from tests.processes import RegistryServer
from tests.registry_client import RegistryClient, sha256

REPOSITORY = "team/large"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
PART = "application/vnd.example.part"


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


class Meter:
    """
    A way to a registry that counts the bytes which clients send.

    :param port: the registry's.
    """

    def __init__(self, port: int) -> None:
        self.sent = 0
        lock = threading.Lock()

        def count(data: bytes) -> None:
            with lock:
                self.sent += len(data)

        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port), timeout=60) as registry:
                    back = threading.Thread(target=_relay, args=(registry, self.request), daemon=True)
                    back.start()
                    _relay(self.request, registry, count)
                    back.join(60)

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._listener = Listener(("127.0.0.1", 0), Relay)
        self._thread = threading.Thread(target=self._listener.serve_forever, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """The address that stands before a repository's name."""
        return f"127.0.0.1:{self._listener.server_address[1]}"

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join(20)


def _relay(source: socket.socket, target: socket.socket, seen: Callable[[bytes], object] = len) -> None:
    """Send on what arrives, until either side has ended."""
    try:
        while data := source.recv(1 << 18):
            seen(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other direction learns it from its own socket


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

    def storage(self) -> list[str]:
        """Spell the options that keep a program away from the machine's own images."""
        directory = self.directory()
        return [f"--root={directory}/root", f"--runroot={directory}/run", "--storage-driver=vfs"]


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
        self.assertEqual(pushed.headers["Content-Type"], OCI_MANIFEST)
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
                    "mediaType": OCI_MANIFEST,
                    "digest": sha256(body),
                    "size": len(body),
                    "platform": {"os": "linux", "architecture": architecture},
                }
            )
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
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

    def test_lists(self) -> None:
        """Lists that podman and buildah make of images in the registry arrive with all that they name."""
        source = f"docker://{self.server.host}/lists/image:1"
        skopeo_copy(f"docker-archive:{small_image().path}", source, "--format=oci")
        child = sha256(self.client.manifest("lists/image", "1").body)
        for program in ("podman", "buildah"):
            command, target = [program, *self.storage(), "manifest"], f"{self.server.host}/lists/{program}:1"
            run_program(*command, "create", "list")
            run_program(*command, "add", "--tls-verify=false", "list", source)
            run_program(*command, "push", "--all", "--tls-verify=false", "list", f"docker://{target}")
            manifest = self.client.manifest(f"lists/{program}", "1")
            self.assertEqual(manifest.headers["Content-Type"], OCI_INDEX)
            self.assertEqual([entry["digest"] for entry in manifest.json()["manifests"]], [child])
            self.assert_whole(self.client, f"lists/{program}", child)

    def test_podman_tags(self) -> None:
        """Podman lists the tags of a repository."""
        for tag in ("one", "two"):
            target = f"docker://{self.server.host}/podman/tags:{tag}"
            skopeo_copy(f"docker-archive:{small_image().path}", target)
        name = f"{self.server.host}/podman/tags"
        output = run_program("podman", "search", "--list-tags", "--tls-verify=false", "--format=json", name)
        self.assertEqual(json.loads(output), [{"Name": name, "Tags": ["one", "two"]}])

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


class Mounting(ClientCase):
    """An image of 3 MiB goes from one repository of the registry to another without its layers being sent."""

    def setUp(self) -> None:
        """Put the image into a repository, and a meter before the registry."""
        super().setUp()
        self.meter = Meter(self.server.port)
        self.addCleanup(self.meter.close)
        self.repository = f"mount/{self.meter.host.rpartition(':')[2]}"
        self.source = f"{self.meter.host}/{self.repository}/from:1"
        self.target = f"{self.meter.host}/{self.repository}/to:1"
        skopeo_copy(f"docker-archive:{small_image().path}", f"docker://{self.source}")
        self.assertGreater(self.meter.sent, 3_000_000)
        self.meter.sent = 0

    def assert_mounted(self) -> None:
        """Fail unless the image is in the other repository, whole, and was not sent."""
        self.assertEqual(self.config_digest(f"{self.repository}/to", "1"), small_image().image_id)
        self.assert_whole(self.client, f"{self.repository}/to", "1")
        self.assertLess(self.meter.sent, 200_000)

    def test_skopeo(self) -> None:
        """Skopeo mounts the layers of an image that it copies."""
        skopeo_copy(f"docker://{self.source}", f"docker://{self.target}")
        self.assert_mounted()

    def test_podman(self) -> None:
        """Podman mounts the layers of an image that it has pulled."""
        podman = ["podman", *self.storage()]
        run_program(*podman, "pull", "--quiet", "--tls-verify=false", self.source)
        run_program(*podman, "push", "--quiet", "--tls-verify=false", self.source, self.target)
        self.assert_mounted()

    def test_buildah(self) -> None:
        """Buildah mounts the layers of an image that it has pulled."""
        buildah = ["buildah", *self.storage()]
        run_program(*buildah, "pull", "--quiet", "--tls-verify=false", self.source)
        run_program(*buildah, "push", "--quiet", "--tls-verify=false", self.source, f"docker://{self.target}")
        self.assert_mounted()

    def test_ctr(self) -> None:
        """Containerd mounts the layers of an image that it has pulled."""
        containerd = engine("pull")
        containerd.ctr("image", "pull", "--plain-http", "--snapshotter=native", self.source)
        self.addCleanup(containerd.ctr, "image", "rm", "--sync", self.source)
        containerd.ctr("image", "push", "--plain-http", self.target, self.source)
        self.assert_mounted()


class Oras(PeerCase):
    """The Python oras client pushes, pulls and deletes artifacts, and attaches them to images."""

    def setUp(self) -> None:
        """Start a registry, and make a client."""
        self.server = self.registry()
        self.host = self.server.host
        self.registry_client = RegistryClient(self.host)
        self.client = oras.client.OrasClient(hostname=self.host, insecure=True)

    def file(self, name: str, content: bytes) -> str:
        """Write a file to be pushed."""
        path = os.path.join(self.directory(), name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def push(self, reference: str, *paths: str, **options: Any) -> None:
        """Push files as an artifact."""
        pushed = self.client.push(
            target=f"{self.host}/{reference}",
            files=[f"{path}:{PART}" for path in paths],
            disable_path_validation=True,
            **options,
        )
        self.assertEqual(pushed.status_code, 201)

    def pull(self, reference: str) -> dict[str, bytes]:
        """Pull an artifact; the answer is its files."""
        target = self.directory()
        self.client.pull(target=f"{self.host}/{reference}", outdir=target)
        found: dict[str, bytes] = {}
        for path in _files(target):
            with open(path, "rb") as file:
                found[os.path.basename(path)] = file.read()
        return found

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request as the client does, with its session and its authentication."""
        return self.client.do_request(f"{self.client.prefix}://{self.host}{path}", method, **options)

    def test_artifact(self) -> None:
        """Files pushed as an artifact come back the same, and the manifest keeps the type that was given."""
        files = {"model.bin": os.urandom(5_000_000), "notes.txt": b"some notes\n", "empty": b""}
        self.push("team/artifact:1", *(self.file(name, content) for name, content in files.items()))
        self.assertEqual(self.pull("team/artifact:1"), files)
        layers = self.registry_client.manifest("team/artifact", "1").json()["layers"]
        self.assertEqual([layer["mediaType"] for layer in layers], [PART] * 3)
        self.assertEqual(self.client.get_tags(f"{self.host}/team/artifact"), ["1"])

    def test_chunks(self) -> None:
        """A file that is sent in chunks comes back the same."""
        content = os.urandom(2_500_000)
        self.push("team/chunks:1", self.file("chunked", content), do_chunked=True, chunk_size=1_000_000)
        self.assertEqual(self.pull("team/chunks:1"), {"chunked": content})

    def test_attach_and_discover(self) -> None:
        """Artifacts attached to an image are found through the referrers API, by type too, and pulled."""
        skopeo_copy(
            f"docker-archive:{small_image().path}", f"docker://{self.host}/team/app:1", "--format=oci"
        )
        found = self.request("HEAD", "/v2/team/app/manifests/1", headers={"Accept": OCI_MANIFEST})
        image = found.headers["Docker-Content-Digest"]
        subject = oras.oci.Subject(OCI_MANIFEST, image, int(found.headers["Content-Length"]))
        contents = {"sbom": b'{"packages": []}', "signature": b"signed"}
        for kind, content in contents.items():
            self.push(
                f"team/app:{kind}",
                self.file(kind, content),
                subject=subject,
                manifest_config=f"{self.file('config', b'{}')}:application/vnd.example.{kind}",
                manifest_annotations={"kind": kind},
            )
        path = f"/v2/team/app/referrers/{image}"
        listed = {entry["annotations"]["kind"]: entry for entry in self._listed(path)}
        self.assertEqual(sorted(listed), sorted(contents))
        for kind, content in contents.items():
            artifact_type = f"application/vnd.example.{kind}"
            self.assertEqual(listed[kind]["artifactType"], artifact_type)
            self.assertEqual(self._listed(f"{path}?artifactType={artifact_type}"), [listed[kind]])
            self.assertEqual(self.pull(f"team/app@{listed[kind]['digest']}"), {kind: content})
        self.client.delete_tags(f"{self.host}/team/app", "sbom")
        self.assertEqual(self._listed(path), [listed["signature"]])

    def test_attach_to_artifact(self) -> None:
        """An artifact attached to one that oras pushed is found under the digest that oras computed."""
        self.push("team/base:1", self.file("base", b"base"))
        subject = oras.oci.Subject.from_manifest(self.client.get_manifest(f"{self.host}/team/base:1"))
        self.push("team/base:attached", self.file("attached", b"attached"), subject=subject)
        (entry,) = self._listed(f"/v2/team/base/referrers/{subject.digest}")
        attached = self.registry_client.manifest("team/base", "attached")
        self.assertEqual(entry["digest"], attached.headers["Docker-Content-Digest"])
        self.assertEqual(attached.json()["subject"]["digest"], sha256(self._body("team/base", "1")))

    def test_delete(self) -> None:
        """What oras deletes is gone, and only that."""
        for tag in ("keep", "drop"):
            self.push(f"team/tags:{tag}", self.file(tag, tag.encode()))
        self.assertEqual(self.client.delete_tags(f"{self.host}/team/tags", "drop"), ["drop"])
        self.assertEqual(self.client.get_tags(f"{self.host}/team/tags"), ["keep"])
        self.assertEqual(self.registry_client.manifest("team/tags", "drop").status, 404)
        self.assertEqual(self.pull("team/tags:keep"), {"keep": b"keep"})

    def test_copy(self) -> None:
        """An artifact whose blobs the client mounts is in the other repository without being sent."""
        self.push("copy/from:1", self.file("copied", b"copied"))
        manifest = self.client.get_manifest(f"{self.host}/copy/from:1")
        for blob in (manifest["config"], *manifest["layers"]):
            query = f"?mount={blob['digest']}&from=copy/from"
            self.assertEqual(self.request("POST", f"/v2/copy/to/blobs/uploads/{query}").status_code, 201)
        container = self.client.get_container(f"{self.host}/copy/to:1")
        self.assertEqual(self.client.upload_manifest(manifest, container).status_code, 201)
        self.assertEqual(self._body("copy/to", "1"), self._body("copy/from", "1"))
        self.assertEqual(self.pull("copy/to:1"), {"copied": b"copied"})

    def _body(self, repository: str, reference: str) -> bytes:
        return self.registry_client.manifest(repository, reference).body

    def _listed(self, path: str) -> list[dict[str, Any]]:
        answer = self.request("GET", path)
        self.assertEqual((answer.status_code, answer.headers["Content-Type"]), (200, OCI_INDEX))
        return list(answer.json()["manifests"])


def _files(directory: str) -> list[str]:
    return [os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names]
