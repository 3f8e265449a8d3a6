"""Commands that look at what is stored, as processes over a directory."""

import json
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import TXREGISTRY, RegistryServer
from tests.registry_client import RegistryClient


class StorageCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Push a blob and a manifest to a server that goes on running."""
        directory = self.mktemp()
        os.mkdir(directory)
        self.data = os.path.abspath(os.path.join(directory, "data"))
        self.server = RegistryServer(TXREGISTRY, os.path.abspath(directory), self.data)
        self.server.start()
        self.addCleanup(self.server.stop)
        client = RegistryClient(self.server.host)
        self.blob = client.push_bytes("team/app", b"{}")
        kind = "application/vnd.oci.image.manifest.v1+json"
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.blob, "size": 2}
        client.push_manifest(
            "team/app", "1", {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []}
        )

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "txregistry.cli", *arguments, self.server.config_path],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_looking(self) -> None:
        """Repositories, tags and bytes are told while a server runs."""
        self.assertEqual(self.command("repo", "list").stdout, "team/app\n")
        self.assertRegex(self.command("repo", "tags", "team/app").stdout, r"\A1 sha256:[0-9a-f]{64}\n\Z")
        self.assertEqual(self.command("repo", "tags", "team/none").returncode, 1)
        self.assertRegex(self.command("usage").stdout, r"\nteam/app +1 +1 +[0-9]+ +[0-9]+\ntotal +[0-9]+\n")
        (one,) = json.loads(self.command("usage", "--json").stdout)["repositories"]
        self.assertEqual((one["name"], one["blobs"]), ("team/app", 1))

    def test_fsck(self) -> None:
        """fsck ends with 0 over what is sound, and with 3 and a line for each finding over what is not."""
        sound = self.command("fsck")
        self.assertEqual((sound.returncode, sound.stderr), (0, ""))
        self.assertIn("0 findings; looked at 1 repositories, 1 manifests, 1 tags, 2 blobs", sound.stdout)
        hexadecimal = self.blob.removeprefix("sha256:")
        path = f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
        with open(os.path.join(self.data, path), "wb") as file:
            file.write(b"[]")
        damaged = self.command("fsck")
        self.assertEqual(damaged.returncode, 3)
        self.assertEqual(
            [line.split()[0] for line in damaged.stdout.splitlines()],
            ["blob-damaged", "manifest-incomplete", "2"],
        )
        found = json.loads(self.command("fsck", "--json").stdout)["findings"]
        self.assertEqual((found[0]["kind"], found[0]["what"]), ("blob-damaged", self.blob))

    def test_repair(self) -> None:
        """fsck --repair moves damaged bytes away while a server runs: none are there until they are pushed again."""
        hexadecimal = self.blob.removeprefix("sha256:")
        path = f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
        with open(os.path.join(self.data, path), "wb") as file:
            file.write(b"[]")
        repaired = self.command("fsck", "--repair", "--json")
        found = json.loads(repaired.stdout)["findings"]
        self.assertEqual(
            [(one["kind"], one["mended"]) for one in found],
            [("blob-damaged", True), ("manifest-incomplete", False)],
        )
        self.assertEqual(repaired.returncode, 3)
        (run,) = os.listdir(os.path.join(self.data, "_txregistry", "quarantine"))
        with open(os.path.join(self.data, "_txregistry", "quarantine", run, path), "rb") as file:
            self.assertEqual(file.read(), b"[]")
        client = RegistryClient(self.server.host)
        self.assertEqual(client.request("GET", f"/v2/team/app/blobs/{self.blob}").status, 404)
        client.push_bytes("team/app", b"{}")
        self.assertEqual(client.request("GET", f"/v2/team/app/blobs/{self.blob}").status, 200)
        self.assertEqual(self.command("fsck").returncode, 0)

    def test_delete(self) -> None:
        """repo delete asks, and removes nothing without a yes; then the repository is gone for a running server."""
        client = RegistryClient(self.server.host)
        refused = self.command("repo", "delete", "team/app")
        self.assertEqual((refused.returncode, client.catalog()), (1, ["team/app"]))
        self.assertIn("Remove team/app with 1 tags?", refused.stderr)
        done = self.command("repo", "delete", "--yes", "team/app")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual((client.catalog(), client.manifest("team/app", "1").status), ([], 404))
        again = self.command("repo", "delete", "--yes", "team/app")
        self.assertEqual(again.returncode, 1)
        self.assertRegex(again.stderr, r"\Atxregistry: .*\n\Z")

    def test_delete_immutable(self) -> None:
        """repo delete leaves a repository with an immutable tag as it is, unless it is forced."""
        with open(self.server.config_path) as file:
            config = json.load(file)
        with open(self.server.config_path, "w") as file:
            json.dump(config | {"immutable": ["team/*:1"]}, file)
        client = RegistryClient(self.server.host)
        refused = self.command("repo", "delete", "--yes", "team/app")
        self.assertEqual((refused.returncode, client.catalog()), (1, ["team/app"]))
        self.assertEqual(refused.stderr, "txregistry: team/app:1 is immutable; see --force\n")
        self.assertEqual(self.command("repo", "delete", "--yes", "--force", "team/app").returncode, 0)
        self.assertEqual(client.catalog(), [])
