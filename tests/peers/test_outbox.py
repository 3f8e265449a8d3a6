"""A disk that is full under the outbox of events alone.  Needs root."""

from __future__ import annotations

import os
from typing import Any

import attrs

from tests.notify.receiver import Receiver
from tests.peers.case import PeerCase, run_program
from tests.processes import TXREGISTRY, RegistryServer
from tests.registry_client import RegistryClient, sha256

#: Bytes of the file system.
SIZE = 4 << 20
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


@attrs.define
class Telling(RegistryServer):
    """A registry that tells a receiver of everything, and keeps that elsewhere than its data.

    :param url: where the receiver listens.
    :param outbox: a folder.
    """

    url: str = attrs.field(kw_only=True)
    outbox: str = attrs.field(kw_only=True)

    def config(self) -> dict[str, Any]:
        """Add both."""
        endpoint = {"name": "hook", "url": self.url, "backoff": "50ms", "threshold": 1}
        outbox = {"path": os.path.join(self.outbox, "events.sqlite")}
        return {**super().config(), "notifications": {"endpoints": [endpoint], "outbox": outbox}}


class FullOutboxTests(PeerCase):
    """A small file system of the test's own."""

    def setUp(self) -> None:
        self.receiver = Receiver()
        self.receiver.start()
        self.addCleanup(self.receiver.stop)
        directory = self.directory()
        self.disk = os.path.join(directory, "disk")
        os.mkdir(self.disk)
        run_program("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", self.disk)
        self.addCleanup(run_program, "umount", self.disk)
        self.server = Telling(
            TXREGISTRY,
            directory,
            os.path.join(directory, "data"),
            url=self.receiver.url,
            outbox=self.disk,
        )
        self.addCleanup(self.server.stop)
        self.server.start()
        self.client = RegistryClient(self.server.host)

    def push(self, tag: str) -> int:
        """Return what a push of a manifest is answered."""
        body = b'{"schemaVersion": 2, "mediaType": "%b", "manifests": [], "annotations": {"tag": "%b"}}' % (
            OCI_INDEX.encode(),
            tag.encode(),
        )
        path = f"/v2/a/manifests/{tag}"
        return self.client.request("PUT", path, body, {"Content-Type": OCI_INDEX}).status

    def fill(self) -> str:
        """Leave no byte of the disk free; return the path of the file that takes them."""
        path = os.path.join(self.disk, "filler")
        with open(path, "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        return path

    def told(self) -> list[str]:
        """Return the tags of the pushes that were told of, each once."""
        pushes = [event for event in self.receiver.events if event["action"] == "push"]
        return list(dict.fromkeys(event["target"]["tag"] for event in pushes))

    def test_full(self) -> None:
        """Pushes are not acknowledged but told 507; pulls and deliveries go on; with room, so do pushes."""
        self.assertEqual(self.push("before"), 201)
        self.receiver.wait(1)
        filler = self.fill()
        acknowledged = ["before"]
        refused = 0
        # The outbox's own files have some room left.
        for number in range(5000):
            status = self.push(f"t{number}")
            if status == 201:
                acknowledged.append(f"t{number}")
                continue
            self.assertEqual(status, 507, self.server.log())
            refused += 1
            if refused == 20:
                break
        self.assertEqual(refused, 20)
        blob = self.client.request("POST", f"/v2/a/blobs/uploads/?digest={sha256(b'blob')}", b"blob")
        self.assertEqual(blob.status, 507)
        for _ in range(50):
            self.assertEqual(self.client.manifest("a", "before").status, 200)
        os.unlink(filler)
        self.assertEqual(self.push("after"), 201)
        acknowledged.append("after")
        count = 0
        while "after" not in self.told():
            count = len(self.receiver.wait(count + 1))
        self.assertEqual([tag for tag in self.told() if tag in acknowledged], acknowledged)

    def test_start(self) -> None:
        """A server does not start on a full disk, and says why; with room, events from before are delivered."""
        self.receiver.misbehave = lambda event: 503
        self.assertEqual(self.push("before"), 201)
        self.server.stop()
        filler = self.fill()
        error = self.assertRaises(AssertionError, self.server.start)
        self.assertIn("txregistry: notifications.outbox.path: ", str(error))
        self.assertIn("no space left on its disk", str(error))
        os.unlink(filler)
        self.receiver.misbehave = lambda event: 200
        self.server.start()
        self.receiver.wait(1)
        self.assertEqual(self.push("after"), 201)
        count = 1
        while "after" not in self.told():
            count = len(self.receiver.wait(count + 1))
        self.assertEqual(self.told(), ["before", "after"])
