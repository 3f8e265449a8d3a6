"""The debug server."""

from __future__ import annotations

import http.client
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.processes import free_port
from txregistry.debug import Answer, DebugService
from txregistry.errors import ConfigError


class DebugTests(TestCase):
    """A debug server on a real port."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        async def well(request: Any) -> Answer:
            return Answer(b"{}")

        async def broken(request: Any) -> Answer:
            raise RuntimeError("it does not work")

        self.port = free_port()
        self.reactor: Any = reactor
        self.service = DebugService(
            reactor, f"127.0.0.1:{self.port}", {"/debug/well": well, "/debug/broken": broken}
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)

    async def ask(self, method: str, path: str) -> tuple[int, bytes, str | None]:
        """Return the status, body and media type of an answer."""

        def ask() -> tuple[int, bytes, str | None]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                connection.request(method, path)
                response = connection.getresponse()
                return response.status, response.read(), response.getheader("Content-Type")
            finally:
                connection.close()

        return await deferToThread(ask)

    async def test_page(self) -> None:
        """A page answers GET, and HEAD without a body."""
        self.assertEqual(await self.ask("GET", "/debug/well"), (200, b"{}", "application/json"))
        self.assertEqual(await self.ask("HEAD", "/debug/well"), (200, b"", "application/json"))

    async def test_nothing_else(self) -> None:
        """There are no other pages and no other methods."""
        self.assertEqual((await self.ask("GET", "/debug"))[0], 404)
        self.assertEqual((await self.ask("GET", "/"))[0], 404)
        self.assertEqual((await self.ask("POST", "/debug/well"))[0], 405)

    async def test_broken_page(self) -> None:
        """A page that fails says so, and the log says why."""
        self.assertEqual((await self.ask("GET", "/debug/broken"))[0], 500)
        (error,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("it does not work", str(error.value))

    def test_port_in_use(self) -> None:
        """An address that is taken is a complaint about the key that named it."""
        second = DebugService(self.reactor, f"127.0.0.1:{self.port}", {})
        error = self.assertRaises(ConfigError, second.startService)
        self.assertEqual(error.where, "http.debug.addr")
        self.assertIn("Address already in use", error.problem)
