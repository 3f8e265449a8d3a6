"""``txregistry garbage-collect``, as a process beside a server."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys

from tests.processes import CHECKOUT
from tests.registry_client import RegistryClient
from tests.test_service import ProcessCase, image


class GarbageCommandTests(ProcessCase):
    """A server with an image, and with a blob that no manifest needs."""

    def setUp(self) -> None:
        super().setUp()
        self.running = self.server()
        self.running.start()
        self.client = RegistryClient(self.running.host)
        self.garbage = self.client.push_bytes("team/app", b"garbage")
        config, layer = (self.client.push_bytes("team/app", content) for content in (b"{}", b"layer"))
        kind = "application/vnd.oci.image.layer.v1.tar"
        self.image = image(config, layers=[{"mediaType": kind, "digest": layer, "size": 5}])
        self.client.push_manifest("team/app", "1", self.image)

    def collect(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "garbage-collect", *arguments, self.running.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def age(self) -> None:
        """Make all that is stored a day and more old."""
        for directory, _, names in os.walk(self.running.data):
            for name in names:
                os.utime(os.path.join(directory, name), (1_000_000, 1_000_000))

    def has_garbage(self) -> bool:
        """Say whether the server still has the blob."""
        path = f"/v2/team/app/blobs/{self.garbage}"
        return self.client.request("GET", path).status == 200

    def test_collected(self) -> None:
        """What a dry run tells of is what a run removes, and the server goes on with the rest."""
        self.assertIn("0 blobs and 0 manifests eligible", self.collect().stdout)
        self.assertTrue(self.has_garbage())
        self.age()
        dry = self.collect("--dry-run").stdout
        self.assertIn(
            f"team/app: layer link eligible for deletion: {self.garbage} "
            f"(no manifest of the repository names it)\n"
            f"blob eligible for deletion: {self.garbage} (7 bytes; no manifest names it)\n"
            f"\n3 blobs marked, 1 blobs and 0 manifests eligible for deletion\n"
            f"7 bytes would be freed; 1 layer links\n",
            dry,
        )
        self.assertTrue(self.has_garbage())
        self.assertEqual(self.collect("-q").stdout, "")
        self.assertFalse(self.has_garbage())
        self.assertEqual(self.client.manifest("team/app", "1").json(), self.image)
        self.assertEqual(self.client.push_bytes("team/app", b"garbage"), self.garbage)
        self.assertTrue(self.has_garbage())

    def test_json(self) -> None:
        """JSON has an object on each line: what goes, and at last what came of it."""
        self.age()
        lines = [json.loads(line) for line in self.collect("--json", "--rate", "1000").stdout.splitlines()]
        self.assertEqual([line.get("kind") for line in lines], ["link", "blob", None])
        self.assertEqual(lines[1]["digest"], self.garbage)
        self.assertEqual(lines[2]["summary"]["removed"], {"manifest": 0, "link": 1, "blob": 1})
        self.assertEqual(lines[2]["summary"]["bytes"], 7)

    def test_untagged(self) -> None:
        """A manifest without a tag goes only where that is asked for."""
        self.client.expect(202, "DELETE", "/v2/team/app/manifests/1")
        self.age()
        self.assertIn("1 blobs and 0 manifests", self.collect().stdout)
        self.assertIn("3 blobs and 1 manifests", self.collect("-m").stdout)
        self.assertIn("0 blobs marked", self.collect("-m").stdout)

    def test_age(self) -> None:
        """What is too young for the age that is given stays."""
        self.assertIn(
            "left because they are younger than 1h30m: 1 blobs", self.collect("--age", "90m").stdout
        )
        self.assertIn("expected a duration", self.collect("--age", "90", status=2).stderr)

    def test_one_at_a_time(self) -> None:
        """A second collection on the same storage says so, in one line."""
        path = os.path.join(self.running.data, "_txregistry/collecting")
        self.collect()
        with open(path, "ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            error = self.collect(status=1).stderr
        self.assertEqual(error, "txregistry: another collection of garbage is under way on this storage\n")
        self.collect()
