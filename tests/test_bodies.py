"""Bodies that no one asked for, of any size and any type, before a real process."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import Any

from tests.crowds import KIB, MIB, connected, resident
from tests.registry_client import Blob, RegistryClient, sha256
from tests.test_service import ConfiguredServer, ProcessCase

GIB = 1024 * MIB
INDEX = "Content-Type: application/vnd.oci.image.index.v1+json\r\n"


class BodyTests(ProcessCase):
    """A server whose temporary files are looked at."""

    def begin(self, **more: Any) -> ConfiguredServer:
        """Start a server."""
        self.temporary = os.path.join(self.directory, "tmp")
        os.mkdir(self.temporary)
        server = self.server(**more)
        server.environ = {"TMPDIR": self.temporary}
        server.start()
        self.client = RegistryClient(server.host)
        return server

    def sent_before_the_end(self, connection: socket.socket, most: int) -> int:
        """Send until the server ends the connection; return how many bytes that took."""
        piece = b"a" * (64 * KIB)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < most:
                sent += connection.send(piece)
        return sent

    def test_H08_endless(self) -> None:
        """A body of 10 GB that no route wants is answered by its head, and little of it is taken."""
        server = self.begin()
        before = server.peak_memory()
        digest = sha256(b"")
        for line, status in (
            ("POST /nothing", 404),
            ("GET /v2/", 200),
            ("PUT /v2/", 405),
            ("GET /v2/_catalog", 200),
            (f"GET /v2/a/blobs/{digest}", 404),
            (f"PUT /v2/a/blobs/uploads/6ba7b810-9dad-11d1-80b4-00c04fd430c8?digest={digest}", 404),
            ("PUT /v2/a/manifests/latest", 413),
        ):
            with contextlib.closing(connected(server.port)) as connection:
                connection.sendall(
                    f"{line} HTTP/1.1\r\nHost: r\r\n{INDEX}Content-Length: {10 * GIB}\r\n\r\n".encode()
                )
                answer = connection.recv(64 * KIB)
                self.assertTrue(answer.startswith(f"HTTP/1.1 {status} ".encode()), (line, answer))
                self.assertIn(b"Connection: close\r\n", answer)
                began = time.monotonic()
                # What the kernels of both sides hold is sent, but not taken.
                self.assertLess(self.sent_before_the_end(connection, GIB), 16 * MIB)
                self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(os.listdir(self.temporary), [])
        self.assertLess(server.peak_memory() - before, 8 * MIB)

    def test_H08_unauthenticated(self) -> None:
        """A body of someone who is not let in is answered by its head as well."""
        htpasswd = os.path.join(self.directory, "htpasswd")
        with open(htpasswd, "w") as file:
            file.write("alice:$2y$05$" + "." * 21 + "u" + "." * 31 + "\n")
        server = self.server(auth={"htpasswd": {"realm": "r", "path": htpasswd}})
        self.patch(ConfiguredServer, "_answers", lambda server: self.asks_for_login(server))
        server.start()
        for line in ("POST /v2/a/blobs/uploads/", "PUT /v2/a/manifests/latest", "GET /v2/"):
            for framing in (f"Content-Length: {10 * GIB}", "Transfer-Encoding: chunked"):
                with contextlib.closing(connected(server.port)) as connection:
                    connection.sendall(f"{line} HTTP/1.1\r\nHost: r\r\n{framing}\r\n\r\n".encode())
                    answer = connection.recv(64 * KIB)
                    self.assertTrue(answer.startswith(b"HTTP/1.1 401 "), (line, answer))
                    self.assertLess(self.sent_before_the_end(connection, GIB), 16 * MIB)

    def asks_for_login(self, server: ConfiguredServer) -> bool:
        """Say whether a server is up that lets nobody in."""
        with contextlib.suppress(OSError):
            return RegistryClient(server.host, timeout=5).request("GET", "/v2/").status == 401
        return False

    def test_H09_forms(self) -> None:
        """A body that says it is a form is bytes like any other: 300 MB of it are stored as they are."""
        server = self.begin()
        blob = Blob(1, 300 * MIB)
        self.client.push_blob("warm", Blob(2, 16 * MIB))
        before = server.peak_memory()
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            path = f"/v2/a/blobs/uploads/?digest={blob.digest}"
            with contextlib.closing(connected(server.port)) as connection:
                connection.sendall(
                    f"POST {path} HTTP/1.1\r\nHost: r\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {blob.size}\r\n\r\n".encode()
                )
                for chunk in blob.chunks():
                    connection.sendall(chunk)
                self.assertTrue(connection.recv(64 * KIB).startswith(b"HTTP/1.1 201 "))
        self.assertEqual(self.client.measure_blob("a", blob.digest), (blob.digest, blob.size))
        peak = server.peak_memory()
        print(f"\n    peak {peak / MIB:.1f} MiB, {(peak - before) / MIB:.1f} more ", end="", flush=True)
        self.assertLess(peak - before, 8 * MIB)
        self.assertEqual(os.listdir(self.temporary), [])

    def test_M06_endless_manifest(self) -> None:
        """A manifest that does not end is refused once it is too large, and takes no more memory than one."""
        server = self.begin()
        before = resident(server)
        for _ in range(3):
            with contextlib.closing(connected(server.port)) as connection:
                connection.sendall(
                    f"PUT /v2/a/manifests/latest HTTP/1.1\r\nHost: r\r\n{INDEX}"
                    "Transfer-Encoding: chunked\r\n\r\n".encode()
                )
                sent = 0
                piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
                with contextlib.suppress(ConnectionError):
                    while sent < GIB:
                        sent += connection.send(piece)
                        if select.select([connection], [], [], 0)[0]:
                            break
                self.assertTrue(connection.recv(64 * KIB).startswith(b"HTTP/1.1 413 "))
                self.assertLess(sent, 32 * MIB)
        self.assertLess(server.peak_memory() - before, 24 * MIB)
