"""Secrets in every place of a configuration that has one, and every place where one could come out again."""

from __future__ import annotations

import ast
import glob
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from click.testing import CliRunner

from tests.processes import CHECKOUT, TXREGISTRY, free_port
from tests.registry_client import RegistryClient
from tests.test_secrets import PLANTED, PlantedServer, basic
from tests.test_service import ProcessCase, image, make_certificate
from txregistry.cli import main

#: Places of secrets, by the key that they are below.
PLACES = ("http", "password", "redis", "endpoint", "receiver", "mail", "check", "probe", "traces", "field")


def secret(place: str) -> str:
    """Return what is planted in a place."""
    return f"{PLANTED}-{place}"


class Receiver:
    """Takes events, or any other request, and keeps what was sent to it."""

    def __init__(self, case: ProcessCase) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[str] = []
        receiver = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.headers.append(str(self.headers))
                receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_HEAD(self) -> None:
                receiver.headers.append(str(self.headers))
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Take)
        self.address = f"127.0.0.1:{self.server.server_port}"
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        case.addCleanup(thread.join)
        case.addCleanup(self.server.server_close)
        case.addCleanup(self.server.shutdown)


class EverywhereServer(PlantedServer):
    """A registry whose every neighbour asks for a secret, and is in trouble, so that the log speaks of it."""

    receiver: Receiver
    debug: int

    def config(self) -> dict[str, Any]:
        """See :class:`PlantedServer`."""
        config = super().config()
        nowhere = f"127.0.0.1:{free_port()}"
        config["redis"] = {"addrs": [nowhere], "username": "r", "password": secret("redis")}
        config["storage"]["cache"] = {"blobdescriptor": "redis"}
        config["notifications"] = {
            "endpoints": [
                {
                    "name": "dead",
                    "url": f"http://{nowhere}/",
                    "headers": {"Authorization": [f"Bearer {secret('endpoint')}"]},
                },
                {
                    "name": "alive",
                    "url": f"http://{self.receiver.address}/",
                    "headers": {"X-Who": [secret("receiver")]},
                },
            ]
        }
        options = {
            "smtp": {"addr": nowhere, "username": "m", "password": secret("mail"), "insecure": True},
            "from": "a@example.com",
            "to": ["b@example.com"],
        }
        config["log"]["hooks"] = [{"type": "mail", "levels": ["error", "warn"], "options": options}]
        config["health"] = {
            "http": [
                {
                    "uri": f"http://u:{secret('check')}@{self.receiver.address}/",
                    "interval": "1s",
                    "threshold": 1000,
                },
                {
                    "uri": f"http://{nowhere}/",
                    "headers": {"X-Who": [secret("probe")]},
                    "interval": "1s",
                    "threshold": 1000,
                },
            ]
        }
        config["http"]["debug"] = {"addr": f"127.0.0.1:{self.debug}", "prometheus": {"enabled": True}}
        self.environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{nowhere}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={secret('traces')}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        return config


class EverywhereTests(ProcessCase):
    """What is planted is looked for."""

    def test_A17_everywhere(self) -> None:
        """No secret of the configuration or a client is in logs, answers, figures, pages, events or the storage."""
        server = EverywhereServer(TXREGISTRY, self.directory, os.path.join(self.directory, "data"))
        server.receiver, server.debug = Receiver(self), free_port()
        self.addCleanup(server.stop)
        server.start()
        client, operator = RegistryClient(server.host), RegistryClient(f"127.0.0.1:{server.debug}")
        good = basic("alice", secret("password"))
        told: dict[str, bytes] = {}

        def ask(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
            answer = client.request(method, path, body, {**good, **(headers or {})})
            told[f"{method} {path} {headers}"] = answer.body + str(answer.headers).encode()
            return answer

        digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        ask("POST", f"/v2/a/blobs/uploads/?digest={digest}", b"{}")
        kind = {"Content-Type": image(digest)["mediaType"]}
        self.assertEqual(
            ask("PUT", "/v2/a/manifests/1", json.dumps(image(digest)).encode(), kind).status, 201
        )
        for path in (
            "/v2/a/manifests/1",
            "/v2/_catalog",
            "/v2/a/tags/list",
            "/nothing",
            f"/v2/a/blobs/{digest}",
        ):
            ask("GET", path)
            ask("GET", path, headers={"Cookie": secret("field"), "X-Api-Key": secret("field")})
            ask("GET", path, headers={"Authorization": f"Bearer {secret('field')}"})
        # Damaged, so that there is an error to be mailed and logged with a traceback.
        encoded = digest.partition(":")[2]
        manifest = ask("HEAD", "/v2/a/manifests/1").headers["Docker-Content-Digest"].partition(":")[2]
        for name in (encoded, manifest):
            path = f"{server.data}/docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data"
            with open(path, "ab") as file:
                file.write(b" ")
        self.assertEqual(ask("GET", "/v2/a/manifests/1").status, 500)
        # They are in use: else not finding them would show nothing.
        for given in (basic("u", secret("check"))["Authorization"], secret("receiver")):
            self.wait(lambda given=given: any(given in headers for headers in server.receiver.headers))
        for path in (
            "/metrics",
            "/debug/vars",
            "/debug/threads",
            "/debug/health",
            "/livez",
            "/readyz",
            "/debug/nothing",
        ):
            told[path] = operator.request("GET", path).body
        told["cmdline"] = self.content(f"/proc/{server.pid}/cmdline")
        done = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "config", "check", server.config_path],
            cwd=CHECKOUT,
            capture_output=True,
            timeout=60,
            check=True,
        )
        told["config check"] = done.stdout + done.stderr
        server.stop()
        told["log"] = server.log(1 << 22).encode()
        for number, body in enumerate(server.receiver.bodies):
            told[f"event {number}"] = body
        for path in glob.glob(f"{server.data}/**", recursive=True, include_hidden=True):
            if os.path.isfile(path):
                told[path] = self.content(path)
        self.assertIn(b"Traceback", told["log"])
        key = self.content(os.path.join(self.directory, "token.pem")).split(b"\n")[1]
        hashed = self.content(os.path.join(self.directory, "htpasswd")).strip().partition(b":")[2]
        for what, text in told.items():
            for hidden in (PLANTED.encode(), key, hashed, good["Authorization"].encode()):
                self.assertNotIn(hidden, text, what)

    def test_A17_complaints(self) -> None:
        """What is said of a configuration that cannot be used holds no secret of it, wherever that stands."""
        certificate, key = make_certificate(self.directory, "server")
        at = f"u:{secret('field')}@example.com"
        for wrong in (
            {"http": {"secret": [PLANTED]}},
            {"http": {"secret": {"a": PLANTED}}},
            {"http": {"host": f"https://{at}"}},
            {"http": {"addr": at}},
            {"http": {"tls": {"certificate": key, "key": certificate}}},
            {"redis": {"password": [PLANTED], "addrs": ["a:1"]}},
            {"redis": {"passwd": PLANTED}},
            {"redis": {"addrs": [f"redis://{at}:1"]}},
            {"redis": {"addr": at}},
            {"health": {"http": [{"uri": f"ftp://{at}"}]}},
            {"health": {"http": [{"uri": "http://a", "headers": {"A": [f"{PLANTED}\0"]}}]}},
            {"health": {"tcp": [{"addr": f"{at}:x"}]}},
            {"notifications": {"endpoints": [{"name": "a", "url": f"ftp://{at}/"}]}},
            {"notifications": {"endpoints": [{"name": "a", "url": "http://a/", "headers": PLANTED}]}},
            {"auth": {"token": {"realm": f"http://{at} é", "service": "a", "issuer": "a"}}},
            {"auth": {"cred": {"cred": f"nonsense:alice:{PLANTED}"}}},
            {"auth": {"cred": f"memory:{PLANTED}"}},
            {"auth": {"htpasswd": {"realm": "r", "path": "/x", "secret": PLANTED}}},
            {"storage": {"nonsense": {"secretkey": PLANTED}}},
            {"storage": {"filesystem": {"rootdirectory": "/x", "secretkey": PLANTED}}},
            {"tokenservice": {"key": f"https://{at}"}},
        ):
            config = {"version": "0.1", "storage": {"inmemory": {}}, **wrong}
            path = self.write_config(json.dumps(config))
            done = CliRunner().invoke(main, ["config", "check", path])
            self.assertEqual(done.exit_code, 1, wrong)
            self.assertIn("txregistry: ", done.output)
            self.assertNotIn(PLANTED, done.output)
            self.assertNotIn(self.content(key).split(b"\n")[1].decode(), done.output)

    def content(self, path: str) -> bytes:
        """Read a file."""
        with open(path, "rb") as file:
            return file.read()

    def wait(self, true: Any) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + 60
        while not true():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)


#: What values that must be compared in constant time are called.
SECRETS = re.compile(r"(?:^|_)(?:mac|proof|mark|secret|password|signature|hashed|stored|authorization)s?$")
#: Where one is looked up by its keyed hash, and marks that are marks of garbage.
INNOCENT = {"proof not in self._checks", "_key(one) not in self._marks"}


class ComparisonTests(ProcessCase):
    """The source."""

    def test_A18_constant_time(self) -> None:
        """No secret is compared by == or a search, which take longer the more of it is right."""
        found = []
        compared = 0
        for path in glob.glob(os.path.join(CHECKOUT, "txregistry", "**", "*.py"), recursive=True):
            with open(path) as file:
                source = file.read()
            compared += source.count("hmac.compare_digest(")
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Compare) and isinstance(
                    node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn
                ):
                    sides = (node.left, *node.comparators)
                    names = [str(getattr(side, "id", getattr(side, "attr", ""))) for side in sides]
                    constant = any(isinstance(side, ast.Constant) for side in sides)
                    if not constant and any(map(SECRETS.search, names)):
                        found.append(ast.unparse(node))
        self.assertEqual(set(found), INNOCENT)
        self.assertGreater(compared, 3)
