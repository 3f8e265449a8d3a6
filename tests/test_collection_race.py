"""Garbage is collected, again and again, while clients push, mount and delete: what was accepted stays whole.

``REGISTRY_TEST_RACE_SECONDS`` says for how long; a few seconds where it does not.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from typing import Any

from tests.processes import CHECKOUT, RegistryServer
from tests.registry_client import RegistryClient, sha256
from tests.test_service import PATIENCE, ProcessCase

SECONDS = float(os.environ.get("REGISTRY_TEST_RACE_SECONDS", "8"))
CLIENTS = 6
#: Blobs from which images are made: so few that clients rely on each other's, and on what is being collected.
BLOBS = [b"blob %d " % number * 50 for number in range(150)]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    """Return a descriptor of some content."""
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


class Pusher:
    """A client that pushes, mounts and deletes images at random in repositories that others use too.

    :ivar accepted: by repository and tag of its own, the digests that were acknowledged last.
    :ivar refused: pushes that were refused because a collection was faster.
    """

    def __init__(self, server: RegistryServer, number: int) -> None:
        self._client = RegistryClient(server.host)
        self._random = random.Random(number)
        self._number = number
        self.accepted: dict[tuple[str, str], str] = {}
        self.pushed = 0
        self.refused = 0

    def run(self, until: float) -> None:
        """Go on until a time."""
        while time.monotonic() < until:
            repository = f"race/{self._random.randrange(3)}"
            tag = f"client{self._number}-{self._random.randrange(4)}"
            if self._random.random() < 0.25 and (repository, tag) in self.accepted:
                del self.accepted[repository, tag]
                self._client.expect(202, "DELETE", f"/v2/{repository}/manifests/{tag}")
            else:
                self._push(repository, tag)

    def _push(self, repository: str, tag: str) -> None:
        blobs = self._random.sample(BLOBS, 3)
        for blob in blobs:
            self._have(repository, blob)
        kind = "application/vnd.oci.image.layer.v1.tar"
        described = [descriptor(blob, kind) for blob in blobs]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        by_index = self._random.random() < 0.4
        digest = self._put(repository, None if by_index else tag, manifest)
        if by_index and digest is not None:
            child = {"mediaType": MANIFEST, "digest": digest, "size": 1}
            digest = self._put(
                repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}
            )
        if digest is not None:
            self.accepted[repository, tag] = digest
            self.pushed += 1

    def _have(self, repository: str, blob: bytes) -> None:
        """See that the repository has a blob, as clients do: ask, mount, or push."""
        digest = sha256(blob)
        if self._client.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
            return
        origin = f"race/{self._random.randrange(3)}"
        answer = self._client.request("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={origin}")
        if answer.status != 201:
            self._client.push_bytes(repository, blob)

    def _put(self, repository: str, tag: str | None, manifest: dict[str, Any]) -> str | None:
        content = json.dumps(manifest).encode()
        reference = tag or sha256(content)
        answer = self._client.request(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            body=content,
            headers={"Content-Type": manifest["mediaType"]},
        )
        if answer.status == 201:
            return sha256(content)
        assert answer.status == 400, answer
        assert answer.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN", answer
        self.refused += 1
        return None

    def assert_whole(self) -> None:
        """Fail unless all that was accepted can be pulled."""
        for (repository, tag), digest in self.accepted.items():
            self._assert_whole(repository, tag, digest)

    def _assert_whole(self, repository: str, reference: str, digest: str) -> None:
        answer = self._client.manifest(repository, reference)
        assert answer.status == 200, (repository, reference, answer)
        assert sha256(answer.body) == digest, (repository, reference, answer)
        document = answer.json()
        for child in document.get("manifests", ()):
            self._assert_whole(repository, child["digest"], child["digest"])
        for named in [document[key] for key in ("config",) if key in document] + document.get("layers", []):
            found = self._client.measure_blob(repository, named["digest"])
            assert found == (named["digest"], named["size"]), (repository, reference, named, found)


class CollectionRaceTests(ProcessCase):
    """A server, clients, and collections by other processes that spare nothing for its age."""

    def test_race(self) -> None:
        """Whatever was accepted while garbage was collected can be pulled whole, and fsck finds nothing."""
        server = self.server()
        server.start()
        pushers = [Pusher(server, number) for number in range(CLIENTS)]
        until = time.monotonic() + SECONDS
        collections: list[int] = []
        ended = threading.Event()

        def collect() -> None:
            while not ended.is_set():
                done = self._command(server, "garbage-collect", "--age", "0s", "--delete-untagged")
                self.assertEqual(done.returncode, 0, done.stderr)
                collections.append(done.stdout.count("\nblob eligible"))

        def push() -> None:
            try:
                self.together(
                    *(lambda one=one: one.run(until) for one in pushers),  # type: ignore[misc]
                    patience=SECONDS + PATIENCE,
                )
            finally:
                ended.set()

        self.together(collect, push, patience=SECONDS + PATIENCE)
        for pusher in pushers:
            pusher.assert_whole()
        pushed, refused = sum(one.pushed for one in pushers), sum(one.refused for one in pushers)
        print(
            f"\n{len(collections)} collections removed {sum(collections)} blobs; "
            f"{pushed} pushes accepted, {refused} refused"
        )
        self.assertGreater(sum(collections), 0)
        self.assertGreater(pushed, CLIENTS)
        found = self._command(server, "fsck")
        self.assertEqual((found.returncode, found.stderr), (0, ""), found.stdout)

    def _command(self, server: RegistryServer, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "txregistry.cli", *arguments, server.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=120,
        )
