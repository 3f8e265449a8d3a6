"""What may happen to a server's log, and signals that mean nothing to it: it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import IO

from tests.processes import CHECKOUT, PATIENCE, end_process, registry_command
from tests.registry_client import Blob, RegistryClient
from tests.test_service import ConfiguredServer, ProcessCase


class SurvivalTests(ProcessCase):
    """A real process."""

    def begin(self, log: int | IO[bytes] | None, close: tuple[int, ...] = ()) -> None:
        """Start a server that says much.

        :param log: its standard output.
        :param close: descriptors that it begins without.
        """
        self.configured: ConfiguredServer = self.server(
            log={"level": "debug", "accesslog": {"disabled": False}}
        )
        with open(self.configured.config_path, "w") as file:
            json.dump(self.configured.config(), file)
        closing = " ".join(f"{number}>&-" for number in close)
        command = registry_command(self.configured.program, self.configured.config_path)
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {closing}', "sh", *command],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(end_process, self.process)
        self.assert_serving()

    def assert_serving(self) -> None:
        """Push a blob and pull it."""
        client = RegistryClient(self.configured.host, timeout=60)
        deadline = time.monotonic() + PATIENCE
        while True:
            self.assertIs(self.process.poll(), None)
            try:
                client.expect(200, "GET", "/v2/")
                break
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
        blob = Blob(1, 3 << 20)
        client.push_blob("a", blob)
        self.assertEqual(client.measure_blob("a", blob.digest), (blob.digest, blob.size))

    def assert_ends(self) -> None:
        """Fail unless it ends as it should, all the same."""
        os.kill(self.process.pid, signal.SIGTERM)
        self.assertEqual(self.process.wait(PATIENCE), -signal.SIGTERM)

    def test_L10_full_disk(self) -> None:
        """A log on a full disk."""
        with open("/dev/full", "wb") as full:
            self.begin(full)
        for _ in range(20):
            self.assert_serving()
        self.assert_ends()

    def test_L10_reader_gone(self) -> None:
        """A pipe whose reader has ended."""
        reader, writer = os.pipe()
        with open(writer, "wb") as log:
            self.begin(log)
        os.close(reader)
        for _ in range(20):
            self.assert_serving()
        self.assert_ends()

    def test_L10_closed(self) -> None:
        """No standard descriptor at all: no file of the registry gets one of their numbers."""
        self.begin(None, close=(0, 1, 2))
        self.assert_serving()
        shown = [os.readlink(f"/proc/{self.process.pid}/fd/{number}") for number in range(3)]
        self.assertFalse([path for path in shown if path.startswith(self.directory)], shown)
        self.assert_ends()

    def test_L10_signals(self) -> None:
        """SIGPIPE, SIGUSR1 and SIGUSR2 do nothing."""
        self.begin(subprocess.DEVNULL)
        for number in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(self.process.pid, number)
            self.assert_serving()
        self.assert_ends()

    def test_L10_rotated(self) -> None:
        """A log that is copied and cut to nothing goes on from its beginning."""
        path = os.path.join(self.directory, "log")
        with open(path, "ab") as log:
            self.begin(log)
        os.truncate(path, 0)
        self.assert_serving()
        with open(path, "rb") as file:
            self.assertNotIn(b"\0", file.read())
        self.assertGreater(os.path.getsize(path), 0)
        self.assert_ends()
