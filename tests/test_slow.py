"""Clients that read slowly, or not at all, over real connections to a real process."""

from __future__ import annotations

import contextlib
import select
import socket
import time

from tests.crowds import connected, untrusting
from tests.processes import TXREGISTRY
from tests.registry_client import Blob, RegistryClient
from tests.test_service import ProcessCase, TlsServer, make_certificate

MIB = 1 << 20


class SlowReaderTests(ProcessCase):
    """A process whose patience is short."""

    #: Seconds.
    PATIENCE = 2

    def setUp(self) -> None:
        super().setUp()
        self.running = self.server(http={"idletimeout": f"{self.PATIENCE}s"})
        self.running.start()
        self.client = RegistryClient(self.running.host)
        self.blob = Blob(1, 32 * MIB)
        self.client.push_blob("a", self.blob)

    def ask(self) -> socket.socket:
        """Ask for a blob with a small window."""
        reader = socket.socket()
        self.addCleanup(reader.close)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        reader.settimeout(60)
        reader.connect(("127.0.0.1", self.running.port))
        reader.sendall(f"GET /v2/a/blobs/{self.blob.digest} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
        return reader

    def test_H05_slow_reader(self) -> None:
        """A client that takes 100 KB a second is served, though the kernel has no room to tell of for long."""
        reader = self.ask()
        began = time.monotonic()
        while time.monotonic() - began < 4 * self.PATIENCE:
            self.assertNotEqual(reader.recv(10_000), b"")
            time.sleep(0.1)

    def test_H05_slow_reader_through_tls(self) -> None:
        """So is one that takes it through TLS."""
        certificate, key = make_certificate(self.directory, "server")
        secured = TlsServer(
            TXREGISTRY,
            self.directory,
            self.running.data,
            more={
                "http": {
                    "idletimeout": f"{self.PATIENCE}s",
                    "tls": {"certificate": certificate, "key": key},
                }
            },
            authority=certificate,
        )
        self.addCleanup(secured.stop)
        secured.start()
        reader = untrusting().wrap_socket(connected(secured.port, 16384))
        self.addCleanup(reader.close)
        reader.sendall(f"GET /v2/a/blobs/{self.blob.digest} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
        began = time.monotonic()
        while time.monotonic() - began < 4 * self.PATIENCE:
            self.assertNotEqual(reader.recv(10_000), b"")
            time.sleep(0.1)

    def test_H05_no_reader(self) -> None:
        """A client that takes nothing, or next to nothing, is cut off when the patience ends."""
        for size in (0, 100):
            reader = self.ask()
            reader.recv(1)
            gone = select.poll()
            gone.register(reader, select.POLLHUP | select.POLLERR)
            deadline = time.monotonic() + 60
            while not gone.poll(200):
                self.assertLess(time.monotonic(), deadline)
                with contextlib.suppress(ConnectionError):
                    if size:
                        reader.recv(size)
        self.client.expect(200, "GET", "/v2/")
