"""A certificate is renewed under clients that connect all the time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import threading
import time

from tests.crowds import connected, untrusting
from tests.processes import TXREGISTRY
from tests.test_service import ProcessCase, TlsServer, make_certificate


class RenewalTests(ProcessCase):
    """Certificate and key are replaced one after the other, in either order, and by what does not fit."""

    def test_L09_no_failed_handshake(self) -> None:
        """No handshake fails meanwhile, each shows a certificate that was good, and the last is the new one."""
        pairs = []
        for number in range(4):
            directory = os.path.join(self.directory, str(number))
            os.mkdir(directory)
            pairs.append(make_certificate(directory, f"server{number}"))
        served = tuple(os.path.join(self.directory, name) for name in ("certificate.pem", "key.pem"))
        for source, target in zip(pairs[0], served, strict=True):
            shutil.copy(source, target)
        server = TlsServer(
            TXREGISTRY,
            self.directory,
            os.path.join(self.directory, "data"),
            more={"http": {"tls": {"certificate": served[0], "key": served[1]}}, "log": {"level": "info"}},
            authority=pairs[0][0],
        )
        self.addCleanup(server.stop)
        server.start()
        known = [ssl.PEM_cert_to_DER_cert(self.text(certificate)) for certificate, _ in pairs]
        ended = threading.Event()
        shown: list[int] = []
        context = untrusting()

        def connect() -> None:
            while not ended.is_set():
                with contextlib.closing(context.wrap_socket(connected(server.port))) as connection:
                    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n")
                    self.assertTrue(connection.recv(4096).startswith(b"HTTP/1.1 200 "))
                    shown.append(known.index(connection.getpeercert(True) or b""))
                time.sleep(0.01)

        def replace() -> None:
            try:
                for pair, order in ((pairs[1], (0, 1)), (pairs[2], (1, 0)), (pairs[3], (0, 1))):
                    for which in order:
                        shutil.copy(pair[which], served[which] + ".new")
                        os.replace(served[which] + ".new", served[which])
                        self.hang_up(server)
                    self.await_shown(shown, pairs.index(pair))
                with open(served[1], "w") as file:
                    file.write("nonsense")
                self.hang_up(server)
            finally:
                ended.set()

        self.together(connect, connect, replace)
        self.assertEqual(shown[-1], 3)
        self.assertEqual(set(shown), {0, 1, 2, 3})
        self.assertGreaterEqual(server.log(1 << 20).count("the new TLS files cannot be used"), 4)

    def hang_up(self, server: TlsServer) -> None:
        """Make the server look at its files, and wait until it has."""
        looked = "the configuration was read again"
        before = server.log(1 << 20).count(looked)
        os.kill(server.pid, signal.SIGHUP)
        deadline = time.monotonic() + 30
        while server.log(1 << 20).count(looked) == before:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def await_shown(self, shown: list[int], number: int) -> None:
        """Wait until clients see a certificate."""
        deadline = time.monotonic() + 30
        while number not in shown:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def text(self, path: str) -> str:
        """Read a file."""
        with open(path) as file:
            return file.read()
