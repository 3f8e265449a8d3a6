"""Servers of several processes, and what their tests have in common."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import attrs

from tests.processes import free_port
from tests.registry_client import Answer
from tests.test_service import PATIENCE, ConfiguredServer, ProcessCase

#: What a crew says of each worker that is killed.
_EXPECTED = re.compile(r".*(worker \d ended: process \d+, signal 9|\"worker \d ended).*\n")


def eventually(found: Callable[[], Any], what: str) -> Any:
    """Return what *found* returns when that is something; fail with *what* if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return result


@attrs.define
class CrewServer(ConfiguredServer):
    """A server of two workers, whose log is JSON and tells of each request."""

    debug: int = attrs.field(factory=free_port, kw_only=True)

    def config(self) -> dict[str, Any]:
        """Return the configuration with workers and a debug server."""
        config = super().config()
        config["http"] = {
            "workers": 2,
            "debug": {"addr": f"127.0.0.1:{self.debug}", "prometheus": {"enabled": True}},
            **config["http"],
        }
        return config

    def start(self, patience: float = 30.0) -> None:
        """Start it, and wait until all workers listen."""
        super().start(patience)
        self.wait_for_all()

    def wait_for_all(self) -> dict[str, Any]:
        """Return what is known of the workers, when all listen."""
        return eventually(
            lambda: (found := self.workers()) and all(one["listens"] for one in found.values()) and found,
            "a worker does not listen",
        )

    def workers(self) -> dict[str, Any]:
        """Return what the server tells of its workers; nothing if it does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return json.loads(self.ask("/debug/vars"))["workers"]  # type: ignore[no-any-return]
        return {}

    def pids(self) -> list[int]:
        """Return the workers' process ids."""
        return [one["pid"] for one in self.workers().values()]

    def ask(self, path: str) -> str:
        """Return a page of the debug server."""
        addr = self.config()["http"]["debug"]["addr"]
        with urllib.request.urlopen(f"http://{addr}{path}", timeout=20) as answer:
            return answer.read().decode()

    def figure(self, name: str) -> float:
        """Return the sum of all series of one name."""
        lines = self.ask("/metrics").splitlines()
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def complaints(self) -> str:
        """Return the log without what is said of workers that were killed."""
        return _EXPECTED.sub("", super().log(1 << 20))


@attrs.define
class WornServer(CrewServer):
    """A server that is killed a worker at a time: to start it is to wait for the next one."""

    rng: random.Random = attrs.field(factory=lambda: random.Random(1), kw_only=True)
    _killed: tuple[str, int] | None = attrs.field(default=None, init=False)

    def kill(self) -> None:
        """Kill a worker."""
        number, one = self.rng.choice(sorted(self.wait_for_all().items()))
        self._killed = number, one["pid"]
        os.kill(one["pid"], signal.SIGKILL)

    def start(self, patience: float = 30.0) -> None:
        """Start the server, or wait until the worker that was killed has been replaced."""
        if self._killed is None:
            super().start(patience)
            return
        number, pid = self._killed
        eventually(lambda: self.workers()[number]["pid"] not in (None, pid), "a worker is not replaced")
        self.wait_for_all()

    def log(self, size: int = 8000) -> str:
        """Return the end of the log, but for what must be in it."""
        return self.complaints()[-size:]


class CrewCase(ProcessCase):
    """What the tests of several processes have in common."""

    kind: type[ConfiguredServer] = CrewServer

    def crew(self, **more: Any) -> CrewServer:
        """Return a server that runs."""
        server = self.server(**more)
        assert isinstance(server, CrewServer)
        server.start()
        return server

    def telling_server(self, **more: Any) -> CrewServer:
        """Return a server whose log says which worker answered what, not started."""
        log = {"level": "info", "formatter": "json", "accesslog": {"disabled": False}}
        server = self.server(log=log, **more)
        assert isinstance(server, CrewServer)
        return server

    def telling(self, **more: Any) -> CrewServer:
        """Return one that runs."""
        server = self.telling_server(**more)
        server.start()
        return server

    def connect(self, server: CrewServer) -> dict[str, Connection]:
        """Return a connection to each worker."""
        found: dict[str, Connection] = {}

        def all_found() -> bool:
            connection = Connection(server)
            number = connection.worker()
            if number in found:
                connection.close()
            else:
                found[number] = connection
                self.addCleanup(connection.close)
            return len(found) == 2

        eventually(all_found, "a worker gets no connections")
        return found


class Connection:
    """A connection that is kept."""

    def __init__(self, server: CrewServer) -> None:
        self._server = server
        self._http = http.client.HTTPConnection(server.host, timeout=60)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request and read the answer."""
        self._http.request(method, path, body, headers or {})
        response = self._http.getresponse()
        return Answer(response.status, response.headers, response.read())

    def worker(self) -> str:
        """Return the number of the worker that it leads to."""
        asked = self.request("GET", "/v2/").headers["X-Request-Id"]

        def found() -> str | None:
            for line in self._server.log(1 << 22).splitlines():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("http.request.id") == asked:
                        return str(entry["worker"])
            return None

        return str(eventually(found, "a request is not in the log"))

    def close(self) -> None:
        """Close it."""
        self._http.close()
