"""Crowds of clients that want nothing good, before a real process; others are served meanwhile."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from typing import Any

from tests.crowds import (
    KIB,
    MIB,
    connected,
    crowd,
    delay,
    descriptors,
    ended,
    resident,
    untrusting,
)
from tests.processes import TXREGISTRY, RegistryServer, free_port
from tests.registry_client import Blob, RegistryClient
from tests.test_service import ConfiguredServer, ProcessCase, TlsServer, make_certificate

#: Milliseconds in which all but one request of a hundred must be answered; on a machine with nothing else to do
#: the figures that are printed are a tenth of it.
SOON = 1000


class CrowdCase(ProcessCase):
    """A server, and many connections to it."""

    def setUp(self) -> None:
        super().setUp()
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def begin(self, **more: Any) -> ConfiguredServer:
        """Start a server; with what is to be measured at rest."""
        server = self.server(**more)
        server.start()
        self.client = RegistryClient(server.host)
        delay(self.client)
        return server

    def assert_serves(self, what: str) -> None:
        """Check that a client that does nothing wrong is answered soon."""
        p50, p99 = delay(self.client)
        print(f"\n    {what}: GET /v2/ p50 {p50:.1f} ms, p99 {p99:.1f} ms ", end="", flush=True)
        self.assertLess(p99, SOON)

    def assert_cost(self, server: RegistryServer, before: int, count: int, most: int, what: str) -> None:
        """Check what each of some connections costs."""
        each = (resident(server) - before) / count
        print(f"\n    {count} {what}: {each / KIB:.1f} KiB each ", end="", flush=True)
        self.assertLess(each, most)


class IdleTests(CrowdCase):
    """Connections on which nothing happens."""

    def test_L01_plain(self) -> None:
        """Two thousand idle connections take 16 KiB each at most, and no time from others."""
        server = self.begin()
        before = resident(server)
        connections = crowd(self.stack, 2000, lambda: connected(server.port))
        for connection in connections:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n")
        for connection in connections:
            self.assertIn(b"200 OK", connection.recv(4096))
        self.assert_serves("2000 idle")
        self.assert_cost(server, before, 2000, 16 * KIB, "idle connections")

    def test_L01_tls(self) -> None:
        """A thousand idle connections through TLS take 96 KiB each at most."""
        certificate, key = make_certificate(self.directory, "server")
        server = TlsServer(
            TXREGISTRY,
            self.directory,
            f"{self.directory}/data",
            more={"http": {"tls": {"certificate": certificate, "key": key}}},
            authority=certificate,
        )
        self.addCleanup(server.stop)
        server.start()
        context = untrusting()

        def secured() -> socket.socket:
            return context.wrap_socket(connected(server.port))

        with secured():
            before = resident(server)
            crowd(self.stack, 1000, secured)
            self.assert_cost(server, before, 1000, 96 * KIB, "idle connections through TLS")
            with secured() as one:
                one.sendall(b"GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n")
                self.assertIn(b"200 OK", one.recv(4096))
            # Clients that take no part in the end of their connections do not hold it up.
            server.stop()


class SlowTests(CrowdCase):
    """Connections on which as little as can be happens."""

    def test_H03_thousand(self) -> None:
        """A thousand clients that send a header a second are told 408 within eleven seconds, and harm no one."""
        server = self.begin()
        connections = crowd(self.stack, 1000, lambda: connected(server.port))
        began = time.monotonic()
        for connection in connections:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\n")
        for number in range(3):
            for connection in connections:
                connection.sendall(b"X-%d: y\r\n" % number)
            time.sleep(max(0.0, began + number + 1 - time.monotonic()))
        self.assert_serves("1000 slow headers")
        for told, _ in ended(connections, 60):
            self.assertTrue(told.startswith(b"HTTP/1.1 408 "), told)
        self.assertLess(time.monotonic() - began, 40)
        self.assertLess(descriptors(server), 100)

    def test_H05_thousand(self) -> None:
        """A thousand clients that ask for a blob and read nothing take 256 KiB each at most, and are cut off."""
        server = self.server(http={"idletimeout": "5s"})
        server.start()
        self.client = RegistryClient(server.host)
        blob = Blob(1, 256 * MIB)
        self.client.push_blob("a", blob)
        ask = f"GET /v2/a/blobs/{blob.digest} HTTP/1.1\r\nHost: r\r\n\r\n".encode()
        before = resident(server)
        connections = crowd(self.stack, 1000, lambda: connected(server.port, 4096))
        for connection in connections:
            connection.sendall(ask)
        # Its turn comes when the others' requests have begun to be answered.
        self.client.expect(200, "GET", "/v2/")
        self.assert_serves("1000 that do not read")
        self.assert_cost(server, before, 1000, 256 * KIB, "that do not read")
        deadline = time.monotonic() + 60
        while descriptors(server) > 100:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertEqual(server.log().count("Traceback"), 0)


class DescriptorTests(CrowdCase):
    """Few descriptors."""

    def test_F04_exhausted(self) -> None:
        """A server that may open 64 files survives 200 clients without spinning, and serves when they are gone."""
        server = self.begin()
        client = self.client
        blob = Blob(1, MIB)
        client.push_blob("a", blob)
        ask = f"GET /v2/a/blobs/{blob.digest} HTTP/1.1\r\nHost: r\r\n\r\n".encode()
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
        with contextlib.ExitStack() as stack:
            for connection in crowd(stack, 200, lambda: connected(server.port, 4096)):
                with contextlib.suppress(OSError):
                    connection.sendall(ask)
            # A server that spins would in each of these, one that is still answering comes to rest.
            self.assertTrue(any(self._rests(server) for _ in range(5)))
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError, AssertionError):
                self.assertEqual(client.measure_blob("a", blob.digest), (blob.digest, blob.size))
                break
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        client.push_blob("a", Blob(2, MIB))
        self.assertNotIn("Traceback", server.log())

    def _rests(self, server: RegistryServer) -> bool:
        before = server.cpu_seconds()
        time.sleep(2)
        return server.cpu_seconds() - before < 1

    def test_L02_crowded(self) -> None:
        """When all places are taken a client is told 503, the debug port answers, and with room all is as before."""
        port = free_port()
        server = self.begin(
            http={
                "limits": {"connections": 50},
                "debug": {"addr": f"127.0.0.1:{port}", "prometheus": {"enabled": True}},
            }
        )
        with contextlib.ExitStack() as stack:
            crowd(stack, 50, lambda: connected(server.port))
            answer = self.client.request("GET", "/v2/")
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "10"))
            self.assertEqual(answer.json()["errors"][0]["code"], "UNAVAILABLE")
            operator = RegistryClient(f"127.0.0.1:{port}")
            self.assertEqual(operator.request("GET", "/livez").status, 200)
            figures = operator.request("GET", "/metrics").body.decode().splitlines()
            self.assertIn("txregistry_connections 50.0", figures)
            self.assertIn("txregistry_connections_refused_total 1.0", figures)
        deadline = time.monotonic() + 30
        while self.client.request("GET", "/v2/").status != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
