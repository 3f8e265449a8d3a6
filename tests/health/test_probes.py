"""Probes of real files, sockets and servers."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.processes import free_port
from txregistry.health.probes import Probe, Unwell, file_probe, http_probe, tcp_probe


class Server(Resource):
    """Answers by path, and keeps what it was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes, str | None]] = []

    def render(self, request: Any) -> Any:
        """Answer."""
        self.asked.append((request.method, request.path, request.getHeader("Authorization")))
        if request.path == b"/silent":
            return NOT_DONE_YET
        if request.path in (b"/moved", b"/around"):
            request.redirect(b"/around" if request.path == b"/around" else b"/well")
            return b""
        request.setResponseCode(200 if request.path == b"/well" else 503)
        return b""


class ProbeTests(TestCase):
    async def complaint(self, probe: Probe) -> str | None:
        """Return what a probe finds; None if nothing is wrong."""
        try:
            await probe()
        except Unwell as error:
            return str(error)
        return None

    async def test_file(self) -> None:
        """A file must not be there; one that cannot be looked for is as bad."""
        path = self.mktemp()
        probe = file_probe(path, deferToThread)
        self.assertIsNone(await self.complaint(probe))
        with open(path, "w"):
            pass
        self.assertEqual(await self.complaint(probe), "file exists")
        below = os.path.join(path, "x")
        self.assertEqual(
            await self.complaint(file_probe(below, deferToThread)), f"stat {below}: not a directory"
        )

    async def test_tcp(self) -> None:
        """An address must accept a connection."""
        from twisted.internet import reactor

        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            probe = tcp_probe(reactor, f"127.0.0.1:{port}", "127.0.0.1", port, 10)
            self.assertIsNone(await self.complaint(probe))
        self.assertEqual(await self.complaint(probe), f"connection to 127.0.0.1:{port} failed")


class HttpTests(ProbeTests):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server = Server()
        self.port = self.reactor.listenTCP(0, Site(self.server), interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(self.port.stopListening))

    def probe(self, path: str, user: str = "", status: int = 200, timeout: float = 10) -> Probe:
        """Return a probe of the server."""
        uri = f"http://{user}127.0.0.1:{self.port.getHost().port}{path}"
        return http_probe(self.reactor, uri, {}, status, timeout)

    async def test_status(self) -> None:
        """The server is asked with HEAD and must answer the status that was named."""
        self.assertIsNone(await self.complaint(self.probe("/well")))
        self.assertIsNone(await self.complaint(self.probe("/ill", status=503)))
        self.assertEqual(
            await self.complaint(self.probe("/ill")), "downstream service returned unexpected status: 503"
        )
        self.assertEqual({method for method, _, _ in self.server.asked}, {b"HEAD"})

    async def test_redirect(self) -> None:
        """A redirect is followed, one in a circle not for ever."""
        self.assertIsNone(await self.complaint(self.probe("/moved")))
        self.assertIn("error while checking", str(await self.complaint(self.probe("/around"))))

    async def test_silence(self) -> None:
        """A server that does not answer in time has failed."""
        self.assertIn("error while checking", str(await self.complaint(self.probe("/silent", timeout=0.05))))

    async def test_credentials(self) -> None:
        """A password in the URI is sent as Basic credentials, and not shown."""
        probe = self.probe("/well", user="me:hush@")
        self.assertIsNone(await self.complaint(probe))
        self.assertEqual(self.server.asked[-1][2], "Basic bWU6aHVzaA==")
        shown = await self.complaint(
            http_probe(self.reactor, f"http://me:hush@127.0.0.1:{free_port()}/", {}, 200, 10)
        )
        self.assertNotIn("hush", str(shown))
