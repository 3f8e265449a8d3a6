"""What Distribution knows nothing of (referrers, sha512, other's uploads) on one directory with Distribution.

The two are never up at once here: the operator stops one and starts the other, on the same port.
"""

import glob
import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import attrs

from tests.peers.case import PeerCase, run_program
from tests.peers.images import small_image
from tests.peers.test_clients import skopeo_copy
from tests.processes import DISTRIBUTION, TXREGISTRY, RegistryServer, find_program, free_port
from tests.registry_client import Answer, RegistryClient, sha256, with_digest
from txregistry.digest import Digester

REPOSITORY = "team/app"
SECOND = "team/second"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
SIGNATURE = "application/vnd.example.signature"
SBOM = "application/vnd.example.sbom"


def sha512(data: bytes) -> str:
    """Spell the SHA-512 digest of some bytes."""
    return f"sha512:{hashlib.sha512(data).hexdigest()}"


def descriptor(media_type: str, data: bytes, digest: str | None = None) -> dict[str, Any]:
    """Describe content; by sha256 unless another digest is given."""
    return {"mediaType": media_type, "digest": digest or sha256(data), "size": len(data)}


def image(*layers: dict[str, Any], **fields: Any) -> bytes:
    """Write an OCI image manifest whose config is ``{}``."""
    config = descriptor(OCI_CONFIG, b"{}")
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers, **fields}
    return json.dumps(manifest).encode()


def index(*children: dict[str, Any], **fields: Any) -> bytes:
    """Write an OCI image index."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, **fields}).encode()


def push_sha512(client: RegistryClient, data: bytes) -> str:
    """Upload a blob under its SHA-512 digest."""
    path = with_digest(client.begin_upload(REPOSITORY), sha512(data))
    client.expect(201, "PUT", path, data, {"Content-Type": "application/octet-stream"})
    return sha512(data)


def push(client: RegistryClient, content: bytes, reference: str | None = None) -> str:
    """Push a manifest: by its SHA-256 digest unless a tag or another digest is given."""
    headers = {"Content-Type": json.loads(content)["mediaType"]}
    path = f"/v2/{REPOSITORY}/manifests/{reference or sha256(content)}"
    client.expect(201, "PUT", path, content, headers)
    return reference if reference and ":" in reference else sha256(content)


def referrers(client: RegistryClient, subject: str, query: str = "") -> dict[str, dict[str, Any]]:
    """List what refers to a manifest, by digest."""
    answer = client.expect(200, "GET", f"/v2/{REPOSITORY}/referrers/{subject}{query}")
    assert answer.headers["Content-Type"] == OCI_INDEX, answer.headers
    return {listed["digest"]: listed for listed in answer.json()["manifests"]}


@attrs.frozen
class Content:
    """
    What is in the repository: two images, each with a layer of either algorithm, and what refers to them.

    :param blobs: blobs by digest.
    :param manifests: manifests by digest.
    :param plain: an image with a sha256 digest, tagged ``plain``.
    :param wide: an image with a sha512 digest, tagged ``wide``.
    :param signature: refers to *plain*; untagged.
    :param sbom: refers to *wide*, and has a sha512 digest itself; untagged.
    """

    blobs: dict[str, bytes]
    manifests: dict[str, bytes]
    plain: str
    wide: str
    signature: str
    sbom: str

    @property
    def tags(self) -> dict[str, str]:
        """What the tags point to."""
        return {"plain": self.plain, "wide": self.wide}


def push_content(client: RegistryClient) -> Content:
    """Fill the repository."""
    short, long = b"a layer known by sha256", b"a layer known by sha512"
    blobs = {client.push_bytes(REPOSITORY, data): data for data in (b"{}", short)}
    blobs[push_sha512(client, long)] = long
    layers = (descriptor(LAYER, short), descriptor(LAYER, long, sha512(long)))
    plain, wide = image(*layers), image(*layers, annotations={"digest": "sha512"})
    signature = image(
        artifactType=SIGNATURE, annotations={"by": "us"}, subject=descriptor(OCI_MANIFEST, plain)
    )
    sbom = image(artifactType=SBOM, subject=descriptor(OCI_MANIFEST, wide, sha512(wide)))
    push(client, plain, "plain")
    client.expect(
        201,
        "PUT",
        f"/v2/{REPOSITORY}/manifests/{sha512(wide)}?tag=wide",
        wide,
        {"Content-Type": OCI_MANIFEST},
    )
    push(client, signature)
    push(client, sbom, sha512(sbom))
    manifests = {
        sha256(plain): plain,
        sha512(wide): wide,
        sha256(signature): signature,
        sha512(sbom): sbom,
    }
    return Content(blobs, manifests, sha256(plain), sha512(wide), sha256(signature), sha512(sbom))


class OneDirectoryCase(PeerCase):
    """A directory that one of the two registries serves at a time, always on the same port."""

    def setUp(self) -> None:
        """Prepare both; none is started."""
        directory = self.directory()
        self.data = os.path.join(directory, "data")
        port = free_port()
        self.servers = {
            program: RegistryServer(program, directory, self.data, port)
            for program in (TXREGISTRY, DISTRIBUTION)
        }
        self.client = RegistryClient(f"127.0.0.1:{port}")

    def serve(self, program: str) -> RegistryClient:
        """Stop the other registry and start this one."""
        for server in self.servers.values():
            server.stop()
        self.addCleanup(self._stop, self.servers[program])
        self.servers[program].start()
        return self.client

    def stored(self, pattern: str) -> list[str]:
        """Find files of the storage; what the pattern names is below ``docker/registry/v2``."""
        return glob.glob(os.path.join(self.data, "docker/registry/v2", pattern), recursive=True)

    def assert_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Fail unless each blob has its length and its bytes."""
        for digest, data in blobs.items():
            path = f"/v2/{REPOSITORY}/blobs/{digest}"
            self.assertEqual(self.client.expect(200, "HEAD", path).headers["Content-Length"], str(len(data)))
            self.assertEqual(self.client.expect(200, "GET", path).body, data)

    def assert_manifest(self, reference: str, digest: str, content: bytes) -> None:
        """Fail unless a tag or digest leads to these bytes, under that digest and the right type."""
        answer = self.client.manifest(REPOSITORY, reference)
        self.assertEqual((answer.status, answer.body), (200, content))
        self.assertEqual(answer.headers["Docker-Content-Digest"], digest)
        self.assertEqual(answer.headers["Content-Type"], json.loads(content)["mediaType"])

    def assert_content(self, content: Content) -> None:
        """Fail unless all blobs, manifests and tags are served."""
        self.assert_blobs(content.blobs)
        for digest, body in content.manifests.items():
            self.assert_manifest(digest, digest, body)
        for tag, digest in content.tags.items():
            self.assert_manifest(tag, digest, content.manifests[digest])
        self.assertEqual(sorted(self.client.tags(REPOSITORY)), sorted(content.tags))

    def assert_referrers(self, content: Content) -> None:
        """Fail unless the lists of referrers are what the pushes made them."""
        signature, sbom = content.manifests[content.signature], content.manifests[content.sbom]
        listed = descriptor(OCI_MANIFEST, signature) | {
            "artifactType": SIGNATURE,
            "annotations": {"by": "us"},
        }
        self.assertEqual(referrers(self.client, content.plain), {content.signature: listed})
        listed = descriptor(OCI_MANIFEST, sbom, content.sbom) | {"artifactType": SBOM}
        self.assertEqual(referrers(self.client, content.wide), {content.sbom: listed})
        self.assertEqual(referrers(self.client, content.wide, f"?artifactType={SIGNATURE}"), {})


class BackAndForth(OneDirectoryCase):
    """Distribution takes over a directory with referrers and sha512 content, writes, and gives it back."""

    def test_served_by_distribution(self) -> None:
        """Distribution serves every blob, manifest, tag and list that we stored, sha512 and referrers too."""
        content = push_content(self.serve(TXREGISTRY))
        theirs = self.serve(DISTRIBUTION)
        self.assert_content(content)
        self.assertEqual(theirs.catalog(), [REPOSITORY])
        for digest, data in content.blobs.items():
            theirs.expect(201, "POST", f"/v2/{SECOND}/blobs/uploads/?mount={digest}&from={REPOSITORY}", b"")
            self.assertEqual(theirs.expect(200, "GET", f"/v2/{SECOND}/blobs/{digest}").body, data)

    def test_beyond_distribution(self) -> None:
        """What Distribution cannot do it refuses: it lists no referrers, and takes no manifest by sha512."""
        content = push_content(self.serve(TXREGISTRY))
        theirs = self.serve(DISTRIBUTION)
        theirs.expect(404, "GET", f"/v2/{REPOSITORY}/referrers/{content.plain}")
        body = image(annotations={"pushed": "there"})
        answer = theirs.expect(
            400,
            "PUT",
            f"/v2/{REPOSITORY}/manifests/{sha512(body)}",
            body,
            {"Content-Type": OCI_MANIFEST},
        )
        self.assertEqual(answer.json()["errors"][0]["code"], "DIGEST_INVALID")

    def test_nothing_lost(self) -> None:
        """After pushes and deletes at Distribution our sha512 content and lists of referrers are whole."""
        ours = self.serve(TXREGISTRY)
        content = push_content(ours)
        doomed = push(ours, image(annotations={"doomed": "yes"}), "doomed")
        theirs = self.serve(DISTRIBUTION)
        skopeo_copy(f"docker-archive:{small_image().path}", f"docker://{theirs.host}/{REPOSITORY}:new")
        skopeo_copy(f"docker-archive:{small_image(1).path}", f"docker://{theirs.host}/{SECOND}:1")
        push(theirs, image(annotations={"moved": "yes"}), "moved")
        push(theirs, content.manifests[content.plain], "moved")
        theirs.expect(202, "DELETE", f"/v2/{REPOSITORY}/manifests/{doomed}")
        theirs.expect(202, "DELETE", f"/v2/{REPOSITORY}/blobs/{theirs.push_bytes(REPOSITORY, b'short')}")
        self.serve(TXREGISTRY)
        for tag in ("new", "1"):
            self.assert_whole(ours, REPOSITORY if tag == "new" else SECOND, tag)
        self.assert_manifest("moved", content.plain, content.manifests[content.plain])
        self.assertEqual(ours.manifest(REPOSITORY, doomed).status, 404)
        self.assertEqual(ours.tags(REPOSITORY), ["moved", "new", "plain", "wide"])
        for tag in ("moved", "new"):
            ours.expect(202, "DELETE", f"/v2/{REPOSITORY}/manifests/{tag}")
        self.assert_content(content)
        self.assert_referrers(content)

    def test_referrer_deleted_there(self) -> None:
        """A referrer that Distribution deletes is listed no more; one whose subject it deletes still is."""
        content = push_content(self.serve(TXREGISTRY))
        theirs = self.serve(DISTRIBUTION)
        for digest in (content.signature, content.wide):
            theirs.expect(202, "DELETE", f"/v2/{REPOSITORY}/manifests/{digest}")
        ours = self.serve(TXREGISTRY)
        self.assertEqual(referrers(ours, content.plain), {})
        self.assertEqual(list(referrers(ours, content.wide)), [content.sbom])
        self.assert_manifest(content.sbom, content.sbom, content.manifests[content.sbom])
        self.assertEqual(ours.tags(REPOSITORY), ["plain"])

    def test_sha512_blob_from_there(self) -> None:
        """A sha512 blob pushed to Distribution, which stores it by sha256, is ours by both digests."""
        content = push_content(self.serve(TXREGISTRY))
        data = b"pushed to Distribution by sha512"
        theirs = self.serve(DISTRIBUTION)
        push_sha512(theirs, data)
        body = image(descriptor(LAYER, data, sha512(data)))
        push(theirs, body, "both")
        ours = self.serve(TXREGISTRY)
        self.assert_manifest("both", sha256(body), body)
        self.assert_blobs({sha256(data): data, sha512(data): data})
        push(ours, image(descriptor(LAYER, data, sha512(data)), annotations={"pushed": "here"}))
        self.assert_referrers(content)


class GarbageCollection(OneDirectoryCase):
    """Distribution's ``garbage-collect``, which knows neither subjects nor the two algorithms."""

    def blobs(self) -> set[str]:
        """Say which blobs and manifests have bytes in the storage."""
        found = (path.split(os.sep) for path in self.stored("blobs/*/*/*/data"))
        return {f"{parts[-4]}:{parts[-2]}" for parts in found}

    def collect(self, *options: str) -> set[str]:
        """Collect garbage with nothing running; the answer is what went."""
        for server in self.servers.values():
            server.stop()
        before = self.blobs()
        run_program(
            find_program(DISTRIBUTION), "garbage-collect", *options, self.servers[DISTRIBUTION].config_path
        )
        return before - self.blobs()

    def fill(self) -> tuple[Content, str]:
        """Have both configured, the repository filled by us, and two blobs in it that nothing names."""
        self.serve(DISTRIBUTION)
        ours = self.serve(TXREGISTRY)
        content = push_content(ours)
        ours.push_bytes(REPOSITORY, b"unused")
        push_sha512(ours, b"unused")
        return content, ours.begin_upload(REPOSITORY)

    def test_plain(self) -> None:
        """It takes blobs that no manifest names, and neither a referrer, nor sha512 content, nor an upload."""
        content, upload = self.fill()
        self.assertEqual(self.collect(), {sha256(b"unused"), sha512(b"unused")})
        ours = self.serve(TXREGISTRY)
        self.assert_content(content)
        self.assert_referrers(content)
        ours.expect(201, "PUT", with_digest(upload, sha256(b"late")), b"late")
        self.serve(DISTRIBUTION)
        self.assert_content(content)

    def test_delete_untagged(self) -> None:
        """With ``-m`` it takes what has no tag: referrers, and images of a tagged index, but no tagged one."""
        content, _ = self.fill()
        leaf_data = b"a layer of the image in the index"
        leaf_layer = self.client.push_bytes(REPOSITORY, leaf_data)
        leaf = image(descriptor(LAYER, leaf_data))
        listing = index(descriptor(OCI_MANIFEST, leaf))
        push(self.client, leaf)
        push(self.client, listing, "index")
        # The bytes of the index's image stay, because the index names them; no repository has them any more.
        gone = {content.signature, content.sbom, leaf_layer}
        self.assertEqual(self.collect("-m"), gone | {sha256(b"unused"), sha512(b"unused")})
        ours = self.serve(TXREGISTRY)
        self.assert_blobs(content.blobs)
        for tag, digest in content.tags.items():
            self.assert_manifest(tag, digest, content.manifests[digest])
        self.assert_manifest("index", sha256(listing), listing)
        for digest in (content.signature, content.sbom, sha256(leaf)):
            self.assertEqual(ours.manifest(REPOSITORY, digest).status, 404)
        for subject in content.tags.values():
            self.assertEqual(referrers(ours, subject), {})
        push(ours, content.manifests[content.signature])
        push(ours, content.manifests[content.sbom], content.sbom)
        self.assert_referrers(content)

    def test_tagged_referrers(self) -> None:
        """A tag keeps a referrer from ``-m``, and the list of referrers stays whole."""
        content, _ = self.fill()
        push(self.client, content.manifests[content.signature], "keep-signature")
        path = f"/v2/{REPOSITORY}/manifests/{content.sbom}?tag=keep-sbom"
        body = content.manifests[content.sbom]
        self.client.expect(201, "PUT", path, body, {"Content-Type": OCI_MANIFEST})
        self.assertEqual(self.collect("--delete-untagged"), {sha256(b"unused"), sha512(b"unused")})
        self.serve(TXREGISTRY)
        self.assert_referrers(content)

    def test_no_blobs(self) -> None:
        """It takes the manifests of a repository that has no blobs: Distribution sees no repository there."""
        content, _ = self.fill()
        empty = index(annotations={"images": "none"})
        path = f"/v2/{SECOND}/manifests/empty"
        self.client.expect(201, "PUT", path, empty, {"Content-Type": OCI_INDEX})
        self.assertEqual(self.client.catalog(), [REPOSITORY, SECOND])
        theirs = self.serve(DISTRIBUTION)
        self.assertEqual(theirs.manifest(SECOND, "empty").body, empty)
        self.assertEqual(theirs.catalog(), [REPOSITORY])
        self.assertEqual(self.collect(), {sha256(b"unused"), sha512(b"unused"), sha256(empty)})
        ours = self.serve(TXREGISTRY)
        self.assertEqual(ours.manifest(SECOND, "empty").status, 404)
        self.assert_content(content)

    def test_sha512_blob_from_there(self) -> None:
        """A sha512 layer that Distribution stored itself it takes; one pushed to us it does not."""
        content, _ = self.fill()
        data = b"pushed to Distribution by sha512"
        theirs = self.serve(DISTRIBUTION)
        push_sha512(theirs, data)
        push(theirs, image(descriptor(LAYER, data, sha512(data))), "theirs")
        self.assertEqual(self.collect(), {sha256(b"unused"), sha512(b"unused"), sha256(data)})
        ours = self.serve(TXREGISTRY)
        self.assert_blobs(content.blobs)
        self.assertEqual(ours.request("GET", f"/v2/{REPOSITORY}/blobs/{sha512(data)}").status, 404)
        self.assertEqual(push_sha512(ours, data), sha512(data))
        self.assertEqual(self.collect(), set())
        self.serve(TXREGISTRY)
        self.assert_blobs({sha512(data): data})


@attrs.frozen
class Begun:
    """
    An upload of which the first bytes have been sent.

    :param path: where it goes on: what the registry answered as ``Location``.
    :param seed: its bytes are its own.
    """

    path: str
    seed: int

    @property
    def parts(self) -> tuple[bytes, bytes, bytes]:
        """What is sent by the first registry, what by a PATCH to the second, what with the closing PUT."""
        source = random.Random(self.seed)
        return source.randbytes(1_100_001), source.randbytes(70_003), source.randbytes(99)

    @property
    def whole(self) -> bytes:
        """All of its bytes."""
        return b"".join(self.parts)

    @property
    def folder(self) -> str:
        """Where the storage keeps it, below ``docker/registry/v2``."""
        upload_id = self.path.partition("?")[0].rpartition("/")[2]
        return f"repositories/{REPOSITORY}/_uploads/{upload_id}"


class Uploads(OneDirectoryCase):
    """An upload is begun under one of them, which is stopped, and finished under the other."""

    def begin(self, seed: int, query: str = "") -> Begun:
        """Begin an upload and send its first part."""
        answer = self.client.expect(202, "POST", f"/v2/{REPOSITORY}/blobs/uploads/{query}", b"")
        begun = Begun(self.location(answer), seed)
        return attrs.evolve(begun, path=self.send("PATCH", begun.path, begun.parts[0], 202))

    def location(self, answer: Answer) -> str:
        """Read where an upload goes on; it must be at the address that both have."""
        self.assertTrue(answer.headers["Location"].startswith(f"http://{self.client.host}/"))
        return str(answer.headers["Location"].removeprefix(f"http://{self.client.host}"))

    def send(self, method: str, path: str, data: bytes, status: int) -> str:
        """Send a part of an upload; the answer is its next location."""
        headers = {"Content-Type": "application/octet-stream"}
        return self.location(self.client.expect(status, method, path, data, headers))

    def finish(self, begun: Begun, digest: str | None = None) -> None:
        """Send the rest to the registry that serves now, and compare the blob with what was sent."""
        digest = digest or sha256(begun.whole)
        self.assertEqual(self.client.expect(204, "GET", begun.path).headers["Range"], "0-1100000")
        path = self.send("PATCH", begun.path, begun.parts[1], 202)
        self.send("PUT", with_digest(path, digest), begun.parts[2], 201)
        self.assert_blobs({digest: begun.whole})
        self.assertEqual(self.stored(begun.folder), [])

    def file(self, begun: Begun, name: str) -> str:
        """Find the one file of that name in an upload's folder."""
        (path,) = self.stored(f"{begun.folder}/{name}")
        return path

    def overwrite(self, begun: Begun) -> None:
        """Replace the stored bytes by as many others: who finishes the upload now has not read them again."""
        with open(self.file(begun, "data"), "r+b") as file:
            file.write(bytes(len(begun.parts[0])))

    def finish_unread(self, begun: Begun) -> None:
        """Finish an upload whose stored bytes were replaced, under the digest of those that were sent."""
        path = with_digest(begun.path, sha256(begun.parts[0] + begun.parts[1]))
        self.send("PUT", path, begun.parts[1], 201)

    def test_begun_by_distribution(self) -> None:
        """An upload begun under Distribution goes on with us at the location that Distribution gave."""
        self.serve(DISTRIBUTION)
        begun = self.begin(1)
        self.serve(TXREGISTRY)
        self.finish(begun)

    def test_state_of_distribution(self) -> None:
        """We take up the hash where Distribution saved it, and do not read the stored bytes again."""
        self.serve(DISTRIBUTION)
        begun = self.begin(1)
        self.serve(TXREGISTRY)
        with open(self.file(begun, "hashstates/sha256/1100001"), "rb") as file:
            digester = Digester.restore("sha256", file.read())
        self.assertEqual(digester.offset, len(begun.parts[0]))
        digester.update(begun.parts[1])
        self.assertEqual(str(digester.digest()), sha256(begun.parts[0] + begun.parts[1]))
        self.overwrite(begun)
        self.finish_unread(begun)

    def test_damaged_state(self) -> None:
        """Where the saved hash is missing, cut, garbage or another upload's, the upload still ends well."""
        self.serve(DISTRIBUTION)
        begun = [self.begin(seed) for seed in range(6)]
        self.serve(TXREGISTRY)
        states = [self.file(each, "hashstates/sha256/1100001") for each in begun]
        shutil.rmtree(os.path.dirname(os.path.dirname(states[0])))
        os.remove(states[1])
        os.truncate(states[2], 50)
        os.truncate(states[3], 0)
        with open(states[4], "wb") as file:
            file.write(os.urandom(108))
        with open(states[5], "wb") as file:
            other = Digester("sha256")
            other.update(bytes(1_100_001))
            file.write(other.state())
        for each in begun:
            self.finish(each)

    def test_begun_by_us(self) -> None:
        """An upload begun with us goes on under Distribution at the location that we gave."""
        self.serve(TXREGISTRY)
        begun = [self.begin(1), self.begin(2)]
        self.serve(DISTRIBUTION)
        shutil.rmtree(os.path.dirname(os.path.dirname(self.file(begun[1], "hashstates/sha256/1100001"))))
        for each in begun:
            self.finish(each)

    def test_our_state(self) -> None:
        """Distribution takes up the hash where we saved it, and does not read the stored bytes again."""
        self.serve(TXREGISTRY)
        begun = self.begin(1)
        self.serve(DISTRIBUTION)
        self.overwrite(begun)
        self.finish_unread(begun)

    def test_sha512(self) -> None:
        """An upload that is closed with a sha512 digest may begin under either, and both serve the blob."""
        for first, second, query in (
            (DISTRIBUTION, TXREGISTRY, ""),
            (TXREGISTRY, DISTRIBUTION, "?digest-algorithm=sha512"),
        ):
            self.serve(first)
            begun = self.begin(len(query), query)
            self.serve(second)
            self.finish(begun, sha512(begun.whole))
            self.serve(first)
            self.assert_blobs({sha512(begun.whole): begun.whole})

    def test_wrong_location(self) -> None:
        """A location that neither of them signed, or that is of another upload, is refused."""
        self.serve(DISTRIBUTION)
        begun, other = self.begin(1), self.begin(2)
        self.serve(TXREGISTRY)
        base, _, state = begun.path.partition("?_state=")
        forged = ("B" if state.startswith("A") else "A") + state[1:]
        for wrong in (f"?_state={forged}", f"?{other.path.partition('?')[2]}", "?_state=", ""):
            answer = self.client.request("PATCH", base + wrong, b"more")
            self.assertEqual(answer.json()["errors"][0]["code"], "BLOB_UPLOAD_INVALID")
        self.finish(begun)


class FallbackTag(OneDirectoryCase):
    """Clients kept lists of referrers under tags, or none at all, while Distribution served."""

    def push_referrers(self, client: RegistryClient) -> tuple[bytes, list[bytes]]:
        """Push an image to Distribution, and three manifests that have it as their subject."""
        client.push_bytes(REPOSITORY, b"{}")
        subject = image()
        push(client, subject, "image")
        described = descriptor(OCI_MANIFEST, subject)
        pushed = [
            image(artifactType=SIGNATURE, subject=described, annotations={"by": "them"}),
            image(subject=described),
            index(artifactType=SBOM, subject=described),
        ]
        for body in pushed:
            push(client, body)
        return subject, pushed

    def tagged(self, subject: bytes, *listed: bytes) -> None:
        """Push a list of referrers under the tag of the spec's referrers tag schema."""
        entries = [descriptor(json.loads(body)["mediaType"], body) for body in listed]
        push(self.client, index(*entries), sha256(subject).replace(":", "-"))

    def expected(self, signature: bytes, plain: bytes, bill: bytes) -> dict[str, dict[str, Any]]:
        """Say how the three are listed."""
        return {
            sha256(signature): descriptor(OCI_MANIFEST, signature)
            | {"artifactType": SIGNATURE, "annotations": {"by": "them"}},
            sha256(plain): descriptor(OCI_MANIFEST, plain) | {"artifactType": OCI_CONFIG},
            sha256(bill): descriptor(OCI_INDEX, bill) | {"artifactType": SBOM},
        }

    def test_adopted(self) -> None:
        """What clients listed under the tag sha256-<hex> of Distribution is listed by the referrers API."""
        subject, pushed = self.push_referrers(self.serve(DISTRIBUTION))
        stranger = image(annotations={"subject": "none"})
        push(self.client, stranger)
        self.tagged(subject, *pushed, stranger)
        ours = self.serve(TXREGISTRY)
        self.assertEqual(referrers(ours, sha256(subject)), self.expected(*pushed))
        filtered = referrers(ours, sha256(subject), f"?artifactType={SIGNATURE}")
        self.assertEqual(list(filtered), [sha256(pushed[0])])
        self.assertIn(sha256(subject).replace(":", "-"), ours.tags(REPOSITORY))

    def test_merged(self) -> None:
        """Referrers pushed to us and those listed under the tag stand in one list, also when the tag goes."""
        subject, pushed = self.push_referrers(self.serve(DISTRIBUTION))
        self.tagged(subject, *pushed[:2])
        ours = self.serve(TXREGISTRY)
        push(ours, pushed[2])
        self.assertEqual(referrers(ours, sha256(subject)), self.expected(*pushed))
        ours.expect(202, "DELETE", f"/v2/{REPOSITORY}/manifests/{sha256(subject).replace(':', '-')}")
        self.assertEqual(referrers(ours, sha256(subject)), self.expected(*pushed))

    def test_rebuilt(self) -> None:
        """``txregistry referrers rebuild`` finds what was pushed to Distribution with a subject and no list."""
        subject, pushed = self.push_referrers(self.serve(DISTRIBUTION))
        ours = self.serve(TXREGISTRY)
        self.assertEqual(referrers(ours, sha256(subject)), {})
        config = self.servers[TXREGISTRY].config_path
        output = run_program(sys.executable, "-m", "txregistry.cli", "referrers", "rebuild", config)
        self.assertEqual(output, f"{REPOSITORY}: 3\n")
        self.assertEqual(referrers(ours, sha256(subject)), self.expected(*pushed))

    def test_lost(self) -> None:
        """When all of ``_referrers`` is lost, ``txregistry referrers rebuild`` makes it again."""
        ours = self.serve(TXREGISTRY)
        content = push_content(ours)
        shutil.rmtree(os.path.join(self.data, "docker/registry/v2/repositories", REPOSITORY, "_referrers"))
        self.assertEqual(referrers(ours, content.plain), {})
        config = self.servers[TXREGISTRY].config_path
        run_program(sys.executable, "-m", "txregistry.cli", "referrers", "rebuild", config)
        self.assert_referrers(content)
