"""How a server that is busy comes to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

from tests.crowds import MIB, connected
from tests.processes import free_port
from tests.registry_client import Blob, RegistryClient, with_digest
from tests.test_service import ConfiguredServer, ProcessCase


class FarewellTests(ProcessCase):
    """Twenty transfers are under way."""

    def begin(self, **http: object) -> ConfiguredServer:
        """Start a server, ten half sent uploads and ten half read downloads."""
        self.debug = f"127.0.0.1:{free_port()}"
        server = self.server(http={"debug": {"addr": self.debug}, **http})
        server.start()
        self.client = RegistryClient(server.host)
        self.large = Blob(99, 64 * MIB)
        self.client.push_blob("a", self.large)
        self.uploads: list[tuple[socket.socket, Blob, str]] = []
        self.downloads: list[socket.socket] = []
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        for number in range(10):
            blob = Blob(number, 2 * MIB)
            path = self.client.begin_upload("a")
            connection = stack.enter_context(connected(server.port))
            line = (
                f"PUT {with_digest(path, blob.digest)} HTTP/1.1\r\nHost: r\r\nContent-Length: {blob.size}\r\n"
            )
            connection.sendall(line.encode() + b"\r\n" + b"".join(blob.chunks())[: blob.size // 2])
            self.uploads.append((connection, blob, path))
            connection = stack.enter_context(connected(server.port, 65536))
            connection.sendall(f"GET /v2/a/blobs/{self.large.digest} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
            self.assertIn(b"200 OK", connection.recv(1000))
            self.downloads.append(connection)
        return server

    def exit_status(self, server: ConfiguredServer) -> int:
        """Wait for a server's end; return its status."""
        assert server._process is not None
        return server._process.wait(60)

    def test_L07_twenty(self) -> None:
        """Each is ended as it should be, the last answers say so, readiness is gone, and nothing is lost."""
        server = self.begin()
        os.kill(server.pid, signal.SIGTERM)
        operator = RegistryClient(self.debug)
        deadline = time.monotonic() + 30
        while operator.request("GET", "/readyz").status != 503:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(operator.request("GET", "/livez").status, 200)
        answers = []

        def finish(connection: socket.socket, blob: Blob) -> None:
            connection.sendall(b"".join(blob.chunks())[blob.size // 2 :])
            answers.append(connection.recv(65536))

        def read(connection: socket.socket) -> None:
            size = 0
            while data := connection.recv(MIB):
                size += len(data)
            answers.append(size)  # type: ignore[arg-type]

        work = [lambda one=one: finish(*one[:2]) for one in self.uploads]
        work += [lambda one=one: read(one) for one in self.downloads]
        self.together(*work)
        told = [answer for answer in answers if isinstance(answer, bytes)]
        sizes = [answer for answer in answers if isinstance(answer, int)]
        for answer in told:
            self.assertTrue(answer.startswith(b"HTTP/1.1 201 "), answer)
            self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertEqual((len(told), len(sizes)), (10, 10))
        self.assertGreater(min(sizes), self.large.size - 1000)
        self.assertIn(self.exit_status(server), (0, -signal.SIGTERM))
        server.stop()
        server.start()
        for blob in (self.large, *(blob for _, blob, _ in self.uploads)):
            self.assertEqual(self.client.measure_blob("a", blob.digest), (blob.digest, blob.size))

    def test_L07_at_once(self) -> None:
        """A second signal ends the server now; what was stored of the uploads is there to go on from."""
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.begin()
            # Not SIGINT, which a shell lets background processes ignore.
            os.kill(server.pid, signal.SIGTERM)
            deadline = time.monotonic() + 30
            while RegistryClient(self.debug).request("GET", "/readyz").status != 503:
                self.assertLess(time.monotonic(), deadline)
            began = time.monotonic()
            os.kill(server.pid, number)
            self.exit_status(server)
            self.assertLess(time.monotonic() - began, 15)
            server.stop()
            server.start()
            for _, blob, path in self.uploads:
                status = self.client.expect(204, "GET", path)
                stored = int(status.headers["Range"].removeprefix("0-")) + 1
                self.assertLessEqual(stored, blob.size // 2)
            server.stop()
            self.assertNotIn("Traceback", server.log())
