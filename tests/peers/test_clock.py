"""The machine's clock jumps under a server that runs, by libfaketime."""

from __future__ import annotations

import glob
import os
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tests.peers.case import SUBJECT, PeerCase
from tests.registry_client import RegistryClient, sha256, with_digest
from tests.test_service import ConfiguredServer

CONTENT = random.Random(16).randbytes(4 << 20)


class ClockTests(PeerCase):
    """Days forward, minutes back."""

    def setUp(self) -> None:
        directory = self.directory()
        self._time = os.path.join(directory, "time")
        libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        self.assertTrue(libraries, "libfaketime is not installed")
        self.set_clock("+0")
        self.server = ConfiguredServer(
            SUBJECT,
            directory,
            os.path.join(directory, "data"),
            environ={
                "LD_PRELOAD": libraries[0],
                "FAKETIME_TIMESTAMP_FILE": self._time,
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            },
            more={
                "storage": {
                    "maintenance": {
                        "uploadpurging": {"enabled": True, "age": "24h", "interval": "1s", "dryrun": False}
                    }
                }
            },
        )
        self.addCleanup(self._stop, self.server)
        self.server.start()
        self.client = RegistryClient(self.server.host, timeout=30)

    def set_clock(self, offset: str) -> None:
        """Set the server's clock off by so much."""
        with open(f"{self._time}.new", "w") as file:
            file.write(offset)
        os.rename(f"{self._time}.new", self._time)

    def test_F16_jumps(self) -> None:
        """An upload that is under way goes on and ends well, and what is stored stays."""
        seen: list[float] = []
        kept = self.client.push_bytes("a", b"kept")
        location = self.client.begin_upload("a")
        for number, offset in enumerate(("+0", "+8d", "-600", "+0")):
            self.set_clock(offset)
            part = CONTENT[number << 20 : (number + 1) << 20]
            answer = self.client.expect(202, "PATCH", location, part)
            location = self.client._location(answer)
            # Until uploads have been looked at once more.
            until = time.monotonic() + 1.1
            while time.monotonic() < until:
                self.assertEqual(self.client.measure_blob("a", kept), (kept, 4))
            told = parsedate_to_datetime(self.client.expect(200, "GET", "/v2/").headers["Date"])
            seen.append((told - datetime.now(UTC)).total_seconds())
        self.client.expect(201, "PUT", with_digest(location, sha256(CONTENT)), b"")
        self.assertEqual(self.client.measure_blob("a", sha256(CONTENT)), (sha256(CONTENT), len(CONTENT)))
        self.assertGreater(seen[1], 7 * 86400)
        self.assertLess(seen[2], -500)
