"""A server process whose health changes, asked on both of its ports."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable

from tests.processes import PATIENCE, free_port
from tests.registry_client import Answer, Blob, RegistryClient
from tests.test_service import ConfiguredServer, ProcessCase, StopCase

PROBES = ("/livez", "/readyz")


class HealthCase(ProcessCase):
    """A server with a debug port and one check, of a file that a test makes."""

    def setUp(self) -> None:
        super().setUp()
        self.down = os.path.join(self.directory, "down")
        self.debug = RegistryClient(f"127.0.0.1:{free_port()}", timeout=20)

    def begin(self, **more: object) -> ConfiguredServer:
        """Return a server that runs."""
        server = self.server()
        server.more = {
            "log": {"level": "info"},
            "http": {"debug": {"addr": self.debug.host}},
            "health": {"file": [{"file": self.down, "interval": "50ms"}]},
            **more,
        }
        server.start()
        self.client = RegistryClient(server.host, timeout=20)
        return server

    def reload(self, server: ConfiguredServer, **more: dict[str, object]) -> None:
        """Let the server read its configuration again, with what is changed; return when it has."""
        server.more = {**server.more, **more}
        with open(server.config_path, "w") as file:
            json.dump(server.config(), file)
        os.kill(server.pid, signal.SIGHUP)
        self.wait_for(lambda: "was read again" in server.log())

    def change(self, down: bool) -> None:
        """Make the file or remove it; return when the server has noticed."""
        if down:
            with open(self.down, "w"):
                pass
        else:
            os.unlink(self.down)
        wanted = 503 if down else 200
        self.wait_for(lambda: self.debug.request("GET", "/debug/health").status == wanted)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Ask again and again until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it never is")
            time.sleep(0.01)

    def probes(self, client: RegistryClient) -> tuple[int, ...]:
        """Return the statuses of the two probes."""
        return tuple(client.request("GET", path).status for path in PROBES)


class CheckTests(HealthCase):
    """A check that fails, and is well again."""

    def assert_refused(self, answer: Answer) -> None:
        """Fail unless an answer is that of a registry that is not well."""
        self.assertEqual(answer.status, 503)
        (error,) = answer.json()["errors"]
        self.assertEqual(error["code"], "UNAVAILABLE")
        self.assertEqual(error["detail"], "health check failed: please see /debug/health")
        self.assertGreater(int(answer.headers["Retry-After"]), 0)

    def test_down_and_up(self) -> None:
        """While a check fails every request is 503 and none changes anything; then all is as before."""
        self.begin()
        blob = Blob(1, 1000)
        upload = self.client.begin_upload("a")
        self.assertEqual(self.client.request("GET", "/").status, 200)
        self.change(down=True)
        for method, path in (
            ("GET", "/"),
            ("GET", "/v2/"),
            ("GET", "/v2/_catalog"),
            ("OPTIONS", "/v2/"),
            ("POST", "/v2/a/blobs/uploads/"),
            ("GET", "/nowhere"),
        ):
            self.assert_refused(self.client.request(method, path))
        self.assert_refused(self.client.request("PATCH", upload, body=b"".join(blob.chunks())))
        self.assertEqual(self.client.request("HEAD", "/v2/").status, 503)
        self.change(down=False)
        self.assertEqual(self.client.request("GET", "/").status, 200)
        self.assertEqual(self.client.expect(204, "GET", upload).headers["Range"], "0-0")

    def test_body_is_not_read(self) -> None:
        """A body that nobody will use is not waited for."""
        server = self.begin()
        self.change(down=True)
        with contextlib.closing(http.client.HTTPConnection(server.host, timeout=20)) as connection:
            connection.putrequest("POST", "/v2/a/blobs/uploads/?digest=sha256:" + "0" * 64)
            connection.putheader("Content-Length", str(1 << 40))
            connection.endheaders()
            response = connection.getresponse()
            self.assertEqual((response.status, response.getheader("Connection")), (503, "close"))

    def test_pages(self) -> None:
        """The debug server names what fails and why, and nothing where all is well."""
        self.begin()
        answer = self.debug.request("GET", "/debug/health")
        self.assertEqual((answer.status, answer.body), (200, b"{}"))
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.change(down=True)
        for path in ("/debug/health", "/readyz"):
            answer = self.debug.request("GET", path)
            self.assertEqual((answer.status, answer.json()), (503, {self.down: "file exists"}))
        self.assertEqual(self.debug.request("GET", "/livez").json(), {})

    def test_probes(self) -> None:
        """The probes answer on both ports in every condition, whatever the rules say; to clients without reasons."""
        self.begin(access=[])
        self.assertEqual(self.client.request("GET", "/v2/_catalog").status, 403)
        self.assertEqual((self.probes(self.client), self.probes(self.debug)), ((200, 200), (200, 200)))
        self.change(down=True)
        self.assertEqual((self.probes(self.client), self.probes(self.debug)), ((200, 503), (200, 503)))
        self.assertEqual(self.client.request("GET", "/readyz").body, b"not ready\n")
        self.change(down=False)
        self.assertEqual((self.probes(self.client), self.probes(self.debug)), ((200, 200), (200, 200)))

    def test_reload_read_only(self) -> None:
        """A storage that cannot be written to is no matter once the registry is made read-only, without a restart."""
        server = self.begin(health={"storagedriver": {"interval": "50ms"}})
        shutil.rmtree(os.path.join(server.data, "_txregistry"))
        self.wait_for(lambda: self.probes(self.client) == (200, 503))
        self.assertEqual(self.client.request("GET", "/v2/").status, 200)
        self.reload(server, storage={"maintenance": {"readonly": {"enabled": True}}})
        self.assertEqual(self.probes(self.client), (200, 200))

    def test_reload(self) -> None:
        """A configuration that is read again while a check fails opens nothing; new checks need a restart."""
        server = self.begin()
        self.change(down=True)
        self.reload(server, health={}, log={"level": "debug"})
        self.assertIn("needs a restart: health.file", server.log())
        self.assert_refused(self.client.request("GET", "/v2/"))
        self.assertEqual(self.probes(self.client), (200, 503))
        self.change(down=False)
        self.assertEqual(self.client.request("GET", "/v2/").status, 200)


class ServerChecksTests(HealthCase):
    """Checks of other servers."""

    def test_tcp(self) -> None:
        """A server that is gone is told of by its address, once as often as the threshold says."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        addr = f"127.0.0.1:{listener.getsockname()[1]}"
        self.begin(health={"tcp": [{"addr": addr, "interval": "50ms", "threshold": 2}]})
        listener.accept()[0].close()
        self.assertEqual(self.debug.request("GET", "/debug/health").body, b"{}")
        listener.close()
        self.wait_for(lambda: self.debug.request("GET", "/debug/health").status == 503)
        failures = self.debug.request("GET", "/debug/health").json()
        self.assertEqual(failures, {addr: f"connection to {addr} failed"})

    def test_storage(self) -> None:
        """A storage that answers is well, empty or not, and its check can be enabled by a variable."""
        server = self.server()
        server.environ = {"REGISTRY_HEALTH_STORAGEDRIVER_ENABLED": "true"}
        server.more = {
            "http": {"debug": {"addr": self.debug.host}},
            "health": {"storagedriver": {"interval": "20ms"}},
        }
        server.start()
        folder = os.path.join(server.data, "docker")
        os.symlink("docker", folder)
        self.wait_for(lambda: self.debug.request("GET", "/debug/health").status == 503)
        self.assertEqual(
            list(self.debug.request("GET", "/debug/health").json()), ["storagedriver_filesystem"]
        )
        os.unlink(folder)
        self.wait_for(lambda: self.debug.request("GET", "/debug/health").status == 200)


class PagesTests(HealthCase):
    """What else operators can look at."""

    def test_variables(self) -> None:
        """``/debug/vars`` tells of the command line, the process and the reactor, as JSON."""
        server = self.begin()
        variables = self.debug.request("GET", "/debug/vars").json()
        self.assertIn(server.config_path, variables["cmdline"])
        self.assertGreater(variables["process"]["peak_resident_bytes"], 1 << 20)
        self.assertGreaterEqual(variables["reactor"]["lag_worst"], variables["reactor"]["lag"])

    def test_threads(self) -> None:
        """``/debug/threads`` shows where each thread is, the reactor's among them."""
        self.begin()
        text = self.debug.request("GET", "/debug/threads").body.decode()
        self.assertIn("MainThread\n", text)
        self.assertIn("/pages.py", text)

    def test_figures(self) -> None:
        """The reactor's lag is among the figures."""
        self.begin(http={"debug": {"addr": self.debug.host, "prometheus": {"enabled": True}}})

        def measured() -> bool:
            lines = self.debug.request("GET", "/metrics").body.decode().splitlines()
            found = dict(line.split(" ") for line in lines if line.startswith("txregistry_reactor_"))
            return float(found["txregistry_reactor_lag_measurements_total"]) > 1 and len(found) == 3

        self.wait_for(measured)


class DrainTests(HealthCase, StopCase):
    """A server that is being stopped."""

    def test_L07_drain(self) -> None:
        """While requests under way are ended, the debug port says: alive, not ready."""
        server = self.begin()
        blob = Blob(1, 3 << 20)
        connection = self.begin_put(server, blob, self.client.begin_upload("a"))
        self.assertEqual(self.probes(self.debug), (200, 200))
        os.kill(server.pid, signal.SIGTERM)
        self.wait_until_closed(server)
        self.assertEqual(self.probes(self.debug), (200, 503))
        answer = self.debug.request("GET", "/readyz")
        self.assertEqual(answer.json(), {"stopping": "the registry is being stopped"})
        self.assertEqual(self.debug.request("GET", "/debug/health").status, 200)
        connection.send(b"".join(blob.chunks())[blob.size // 2 :])
        self.assertEqual(connection.getresponse().status, 201)
        server.stop()
