"""Prometheus itself scrapes the registry."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import time
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import CHECKOUT, TXREGISTRY, RegistryServer, end_process, find_program, free_port

PATIENCE = 60.0


def get(port: int, path: str, accept: str = "*/*") -> bytes:
    """Return what is at a path of a loopback port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Accept": accept})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, (response.status, body)
        return body


class Counting(RegistryServer):
    """A registry that shows its figures."""

    figures: int = 0

    def config(self) -> dict[str, Any]:
        """Add the debug server."""
        config = super().config()
        self.figures = self.figures or free_port()
        config["http"]["debug"] = {"addr": f"127.0.0.1:{self.figures}", "prometheus": {"enabled": True}}
        return config


class PrometheusTests(SynchronousTestCase):
    """The registry, Prometheus and promtool."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.server = Counting(TXREGISTRY, self.directory, os.path.join(self.directory, "data"))
        self.server.start()
        self.addCleanup(self.server.stop)

    def check(self, *arguments: str, given: bytes = b"") -> None:
        """Let promtool check something."""
        ran = subprocess.run(
            [find_program("promtool"), "check", *arguments], input=given, capture_output=True, timeout=60
        )
        self.assertEqual((ran.returncode, ran.stderr), (0, b""), ran.stdout)

    def test_figures(self) -> None:
        """The figures are what promtool takes, without a complaint about their names."""
        self.check("metrics", given=get(self.server.figures, "/metrics"))

    def test_rules(self) -> None:
        """The alert rules are what promtool takes."""
        self.check("rules", os.path.join(CHECKOUT, "docs", "monitoring", "alerts.yml"))

    def test_scraped(self) -> None:
        """Prometheus scrapes the registry, evaluates the rules and answers a query of its figures."""
        port = free_port()
        path = os.path.join(self.directory, "prometheus.yml")
        with open(path, "w") as file:
            json.dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [os.path.join(CHECKOUT, "docs", "monitoring", "alerts.yml")],
                    "scrape_configs": [
                        {
                            "job_name": "txregistry",
                            "static_configs": [{"targets": [f"127.0.0.1:{self.server.figures}"]}],
                        }
                    ],
                },
                file,
            )
        with open(os.path.join(self.directory, "prometheus.log"), "wb") as log:
            prometheus = subprocess.Popen(
                [
                    find_program("prometheus"),
                    f"--config.file={path}",
                    f"--storage.tsdb.path={os.path.join(self.directory, 'series')}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(end_process, prometheus)
        query = quote('registry_http_requests_total{handler="base",code="200",method="get"}')
        deadline = time.monotonic() + PATIENCE
        found: list[Any] = []
        while not found:
            self.assertLess(time.monotonic(), deadline, "Prometheus knows of no request")
            self.assertIsNone(prometheus.poll(), "Prometheus ended")
            time.sleep(0.2)
            with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                found = json.loads(get(port, f"/api/v1/query?query={query}"))["data"]["result"]
        self.assertGreaterEqual(float(found[0]["value"][1]), 1)
        groups = json.loads(get(port, "/api/v1/rules"))["data"]["groups"]
        self.assertTrue(all(rule.get("lastError", "") == "" for rule in groups[0]["rules"]))
