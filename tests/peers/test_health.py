"""A disk that fills up, or is mounted read-only, under a registry; asked by curl.  Needs root."""

from __future__ import annotations

import http.client
import os
import time
from typing import Any

from tests.peers.case import PeerCase, run_program
from tests.processes import PATIENCE, TXREGISTRY, RegistryServer, free_port
from tests.registry_client import Blob, RegistryClient, with_digest

#: Bytes of the file system: a hundredth is what must be free.
SIZE = 8 << 20


class Watched(RegistryServer):
    """A registry that looks at its disk all the time, and says what it sees."""

    debug: int = 0

    def config(self) -> dict[str, Any]:
        """Add the debug server and a short interval."""
        config = super().config()
        self.debug = self.debug or free_port()
        config["http"]["debug"] = {"addr": f"127.0.0.1:{self.debug}"}
        config["health"] = {"storagedriver": {"enabled": True, "interval": "50ms"}}
        return config


class DiskTests(PeerCase):
    """A small file system of the test's own."""

    def setUp(self) -> None:
        directory = self.directory()
        self.disk = os.path.join(directory, "disk")
        os.mkdir(self.disk)
        run_program("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", self.disk)
        self.addCleanup(run_program, "umount", self.disk)
        self.server = Watched(TXREGISTRY, directory, os.path.join(self.disk, "data"))
        self.addCleanup(self._stop, self.server)
        self.server.start()
        self.client = RegistryClient(self.server.host)
        self.blob = Blob(1, 1 << 20)
        self.client.push_blob("a", self.blob)

    def curl(self, path: str) -> tuple[str, str]:
        """Return the status and the body of a page of the debug server."""
        shown = run_program(
            "curl", "-sS", "-w", "\n%{http_code}", f"http://127.0.0.1:{self.server.debug}{path}"
        )
        body, _, status = shown.rpartition("\n")
        return status, body

    def wait_for(self, *answer: str) -> None:
        """Return when ``/readyz`` answers so."""
        deadline = time.monotonic() + PATIENCE
        while self.curl("/readyz") != answer:
            self.assertLess(time.monotonic(), deadline, self.curl("/readyz"))
            time.sleep(0.02)

    def push(self) -> int:
        """Return what a push of 64 KiB is answered."""
        begun = self.client.request("POST", "/v2/a/blobs/uploads/")
        if begun.status != http.client.ACCEPTED:
            return begun.status
        blob = Blob(2, 1 << 16)
        location = begun.headers["Location"].partition(self.server.host)[2]
        return self.client.request("PUT", with_digest(location, blob.digest), b"".join(blob.chunks())).status

    def assert_pulls(self) -> None:
        """Fail unless what is stored is still given, and all checks are well."""
        self.assertEqual(self.client.measure_blob("a", self.blob.digest), (self.blob.digest, self.blob.size))
        self.assertEqual(self.curl("/debug/health"), ("200", "{}"))
        self.assertEqual(self.curl("/livez"), ("200", "{}"))

    def test_full(self) -> None:
        """On a full disk the registry is not ready, pulls go on, pushes are 507; with room it is ready again."""
        self.wait_for("200", "{}")
        filler = os.path.join(self.disk, "filler")
        room = os.statvfs(self.disk)
        with open(filler, "wb") as file:
            file.write(b"\0" * (room.f_bavail * room.f_frsize))
        self.wait_for("503", '{"storage":"No space left on device"}')
        self.assert_pulls()
        self.assertEqual(self.push(), 507)
        os.unlink(filler)
        self.wait_for("200", "{}")
        self.assertEqual(self.push(), 201)

    def test_read_only(self) -> None:
        """On a disk that is mounted read-only the registry is not ready, pulls go on, pushes are 507."""
        self.wait_for("200", "{}")
        run_program("mount", "-o", "remount,ro", self.disk)
        self.wait_for("503", '{"storage":"Read-only file system"}')
        self.assert_pulls()
        self.assertEqual(self.push(), 507)
        run_program("mount", "-o", "remount,rw", self.disk)
        self.wait_for("200", "{}")
        self.assertEqual(self.push(), 201)
