"""The figures of a server, where its configuration asks for them."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from typing import Any

from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.processes import TXREGISTRY, RegistryServer, free_port


@define
class DebuggedServer(RegistryServer):
    """A server with a debug server.

    :ivar prometheus: what ``http.debug.prometheus`` holds.
    """

    prometheus: dict[str, Any] = field(factory=dict, kw_only=True)
    figures: int = field(factory=free_port, kw_only=True)

    def config(self) -> dict[str, Any]:
        """Add the section."""
        config = super().config()
        config["http"]["debug"] = {"addr": f"127.0.0.1:{self.figures}", "prometheus": self.prometheus}
        return config

    def ask(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a page of the debug server."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.figures}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


class ServerTests(SynchronousTestCase):
    """A server as a process."""

    def serve(self, prometheus: dict[str, Any]) -> DebuggedServer:
        """Return one that runs."""
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        data = os.path.join(directory, "data")
        server = DebuggedServer(TXREGISTRY, directory, data, prometheus=prometheus)
        server.start()
        self.addCleanup(server.stop)
        return server

    def test_off(self) -> None:
        """Unless they are asked for there are no figures."""
        self.assertEqual(self.serve({}).ask("/metrics")[0], 404)

    def test_on(self) -> None:
        """Where they are, they are at the path that is configured, with what the server did since it began."""
        server = self.serve({"enabled": True, "path": "/figures"})
        self.assertEqual(server.ask("/metrics")[0], 404)
        status, page = server.ask("/figures")
        self.assertEqual(status, 200)
        counted = {
            tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == "registry_http_requests_total"
        }
        self.assertEqual(counted, {("200", "base", "get"): 1.0})
