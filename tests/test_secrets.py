"""Secrets stay secret, and guessing them harms no one else."""

from __future__ import annotations

import base64
import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any

import attrs

from tests.processes import CHECKOUT, TXREGISTRY, RegistryServer
from tests.registry_client import RegistryClient
from tests.test_service import ProcessCase, image
from txregistry.auth.passwords import hash_line

PLANTED = "planted-Zx81"


@attrs.define
class PlantedServer(RegistryServer):
    """A registry with a secret in every place that has one."""

    cost: int = 5

    def config(self) -> dict[str, Any]:
        """Return the configuration, and write what it refers to."""
        htpasswd = os.path.join(self.directory, "htpasswd")
        with open(htpasswd, "w") as file:
            file.write(hash_line("alice", f"{PLANTED}-password", self.cost) + "\n")
        config = super().config()
        config["log"] = {"level": "debug", "formatter": "json"}
        config["http"]["secret"] = f"{PLANTED}-http"
        config["auth"] = {"htpasswd": {"realm": "tests", "path": htpasswd}}
        config["tokenservice"] = {"key": os.path.join(self.directory, "token.pem")}
        return config

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return RegistryClient(self.host, timeout=5).request("GET", "/").status == 200
        return False


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header that logs someone in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class SecretTests(ProcessCase):
    """What is planted is looked for."""

    def planted(self, cost: int = 5) -> PlantedServer:
        data = os.path.join(self.directory, "data")
        server = PlantedServer(TXREGISTRY, self.directory, data, cost=cost)
        self.addCleanup(server.stop)
        server.start()
        return server

    def test_A17_nowhere(self) -> None:
        """No secret is in a log, an answer, a command line or what ``config check`` prints."""
        server = self.planted()
        client = RegistryClient(server.host)
        good = basic("alice", f"{PLANTED}-password")
        told: list[bytes] = []
        for headers in (
            good,
            basic("alice", f"{PLANTED}-wrong"),
            basic(f"{PLANTED}-user", "x"),
            {"Authorization": f"Bearer {PLANTED}.{PLANTED}.{PLANTED}"},
            {"Authorization": f"Nonsense {PLANTED}"},
        ):
            for method, path in (
                ("GET", "/v2/"),
                ("POST", "/v2/a/blobs/uploads/"),
                ("GET", "/auth/token?service=txregistry&offline_token=true"),
            ):
                answer = client.request(method, path, headers=headers)
                told.append(answer.body + str(answer.headers).encode())
        issued = client.request("GET", "/auth/token?offline_token=true", headers=good).json()
        client.request("GET", "/v2/", headers={"Authorization": f"Bearer {issued['token']}"})
        with open(f"/proc/{server.pid}/cmdline", "rb") as file:
            told.append(file.read())
        checked = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "config", "check", server.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            timeout=60,
            check=True,
        )
        server.stop()
        log = server.log(1 << 20)
        told += [log.encode(), checked.stdout, checked.stderr]
        self.assertIn("login from", log)
        for text in told:
            self.assertNotIn(PLANTED.encode(), text)
            for token in (issued["refresh_token"], good["Authorization"].partition(" ")[2]):
                self.assertNotIn(token.encode(), text.replace(issued["token"].encode(), b""))

    def test_A09_flood(self) -> None:
        """While eight clients guess passwords, one who is logged in is answered at once."""
        server = self.planted(cost=10)
        client = RegistryClient(server.host)
        good = basic("alice", f"{PLANTED}-password")
        token = client.request("GET", "/auth/token?scope=repository:a:pull,push", headers=good).json()[
            "token"
        ]
        bearer = {"Authorization": f"Bearer {token}"}
        digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        client.expect(201, "POST", f"/v2/a/blobs/uploads/?digest={digest}", b"{}", bearer)
        kind = {"Content-Type": image(digest)["mediaType"]}
        client.expect(
            201, "PUT", "/v2/a/manifests/1", str(image(digest)).replace("'", '"').encode(), bearer | kind
        )
        ended = threading.Event()
        statuses: list[int] = []
        times: list[float] = []

        def guess(number: int) -> None:
            try:
                while not ended.is_set():
                    answer = client.request("GET", "/v2/", headers=basic(f"user{number}", "x"))
                    statuses.append(answer.status)
            finally:
                ended.set()

        def ask() -> None:
            try:
                while len(times) < 200 or (len(statuses) <= 8 and not ended.is_set()):
                    began = time.perf_counter()
                    client.expect(200, "GET", "/v2/a/manifests/1", headers=bearer)
                    times.append((time.perf_counter() - began) * 1000)
            finally:
                ended.set()

        self.together(ask, *(partial(guess, number) for number in range(8)))
        p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        print(f"\nmanifest GET during {len(statuses)} guesses: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        self.assertLess(p99, 500)
        self.assertGreater(len(statuses), 8)
        self.assertLessEqual(set(statuses), {401, 429})
