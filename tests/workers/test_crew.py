"""A server of several processes."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading

from tests.processes import CHECKOUT, end_process
from tests.registry_client import Blob, RegistryClient, sha256, with_digest
from tests.test_service import StopCase, image
from tests.workers.case import CrewCase, CrewServer, eventually

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def is_there(pid: int) -> bool:
    """Say whether there is a process that has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class LifeTests(CrewCase, StopCase):
    """How workers begin and end."""

    def test_replaced(self) -> None:
        """A worker that is killed is replaced, and what the others are doing goes on."""
        server = self.telling()
        connections = self.connect(server)
        before = server.workers()
        os.kill(before["1"]["pid"], signal.SIGKILL)
        self.assertEqual(connections["2"].request("GET", "/v2/").status, 200)
        eventually(lambda: server.workers()["1"]["pid"] not in (None, before["1"]["pid"]), "not replaced")
        after = server.wait_for_all()
        self.assertEqual((after["1"]["starts"], after["2"]), (2, {**after["2"], "pid": before["2"]["pid"]}))
        self.connect(server)

    def test_others_accept(self) -> None:
        """While there is a worker less, no connection waits for it."""
        server = self.crew()
        os.kill(server.workers()["1"]["pid"], signal.SIGSTOP)
        stopped = server.workers()["1"]["pid"]
        self.addCleanup(lambda: is_there(stopped) and os.kill(stopped, signal.SIGKILL))
        os.kill(stopped, signal.SIGKILL)
        for _ in range(20):
            self.assertEqual(RegistryClient(server.host, timeout=20).request("GET", "/v2/").status, 200)
        server.wait_for_all()

    def test_end_of_the_first_process(self) -> None:
        """When the first process is killed the workers end, and the port is free."""
        server = self.crew()
        pids = server.pids()
        server.kill()
        eventually(lambda: not any(map(is_there, pids)), "a worker lives on")
        server.start()

    def test_end_of_one(self) -> None:
        """A worker that is told to end lets its requests end, while another takes its place."""
        server = self.server()
        assert isinstance(server, CrewServer)
        server.start()
        client, blob = RegistryClient(server.host), Blob(1, 3 << 20)
        connection = self.begin_put(server, blob, client.begin_upload("a"))
        pids = server.pids()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        connection.send(b"".join(blob.chunks())[blob.size // 2 :])
        self.assertEqual(connection.getresponse().status, 201)
        eventually(lambda: not any(map(is_there, pids)), "a worker does not end")
        server.wait_for_all()
        self.assertEqual(client.measure_blob("a", blob.digest), (blob.digest, blob.size))

    def test_port_of_another_crew(self) -> None:
        """A second server does not get into the first one's port."""
        server = self.crew()
        config = {**server.config(), "http": {"addr": server.host, "workers": 2}}
        with open(os.path.join(self.directory, "second.yml"), "w") as file:
            json.dump(config, file)
        line = self.refused("--config", file.name)
        self.assertEqual(
            line, f"txregistry: http.addr: cannot listen on {server.host}: Address already in use"
        )

    def test_memory_alone(self) -> None:
        """Storage in one process's memory is refused with several, in one line, and is one process with auto."""
        path = self.write_config("version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0', workers: 2}\n")
        self.assertEqual(
            self.refused("--config", path),
            "txregistry: http.workers: found 2, expected 1: what storage.inmemory keeps is one process's alone",
        )
        with open(path) as file:
            text = file.read()
        done = subprocess.run(
            [sys.executable, "-m", "txregistry.cli", "config", "check", self.write_config(text)],
            cwd=CHECKOUT,
            env={**os.environ, "REGISTRY_HTTP_WORKERS": "auto"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("workers: auto\n", done.stdout)


class OneRegistryTests(CrewCase):
    """Whoever is asked, the answer is the same."""

    def test_moving_tag(self) -> None:
        """A tag that was moved or deleted through one worker is so through the other, at once."""
        server = self.telling()
        one, two = self.connect(server).values()
        config = RegistryClient(server.host).push_bytes("a", b"{}")
        for number in range(30):
            content = json.dumps(image(config, annotations={"n": str(number)})).encode()
            pushed = one.request("PUT", "/v2/a/manifests/latest", content, {"Content-Type": MANIFEST})
            self.assertEqual(pushed.status, 201)
            for asked in (two, one):
                found = asked.request("GET", "/v2/a/manifests/latest", headers={"Accept": MANIFEST})
                self.assertEqual((found.status, found.body), (200, content))
            one, two = two, one
            if number % 5 == 4:
                path = f"/v2/a/manifests/{sha256(content)}"
                self.assertEqual(one.request("DELETE", path).status, 202)
                for asked in (two, one):
                    self.assertEqual(asked.request("GET", "/v2/a/manifests/latest").status, 404)
                    self.assertEqual(asked.request("GET", path).status, 404)

    def test_compare_and_set(self) -> None:
        """Of twenty clients that move a tag from the same manifest, through both workers, exactly one does."""
        server = self.telling()
        client = RegistryClient(server.host)
        config = client.push_bytes("a", b"{}")
        current = client.push_manifest("a", "latest", image(config))
        for turn in range(8):
            contents = [
                json.dumps(image(config, annotations={"n": f"{turn} {number}"})).encode()
                for number in range(20)
            ]
            headers = {"Content-Type": MANIFEST, "If-Match": f'"{current}"'}
            answers = self.together(
                *(
                    functools.partial(client.request, "PUT", "/v2/a/manifests/latest", content, headers)
                    for content in contents
                )
            )
            statuses = [answer.status for answer in answers]
            self.assertEqual(sorted(statuses), [201] + [412] * 19)
            current = sha256(contents[statuses.index(201)])
            self.assertEqual(client.manifest("a", "latest").headers["Docker-Content-Digest"], current)
        served = {
            entry["worker"]
            for entry in map(json.loads, server.log(1 << 22).splitlines())
            if entry.get("http.response.status") in (201, 412) and entry["http.request.method"] == "PUT"
        }
        self.assertEqual(served, {"1", "2"})

    def test_upload_elsewhere(self) -> None:
        """An upload that one worker began goes on in the other, though no secret is configured."""
        server = self.telling_server()
        server.more["http"] = {"secret": ""}
        server.start()
        one, two = self.connect(server).values()
        content = os.urandom(100_000)
        path = one.request("POST", "/v2/a/blobs/uploads/").headers["Location"].partition(server.host)[2]
        answer = two.request("PATCH", path, content)
        self.assertEqual(answer.status, 202)
        path = with_digest(answer.headers["Location"].partition(server.host)[2], sha256(content))
        self.assertEqual(one.request("PUT", path, b"").status, 201)
        self.assertEqual(two.request("GET", f"/v2/a/blobs/{sha256(content)}").body, content)

    def test_reload(self) -> None:
        """A configuration that is good is in force in all workers when the log says so, a bad one in none."""
        server = self.telling()
        connections = self.connect(server)
        pids = server.pids()

        def reload(said: str) -> None:
            begin = len(server.log(1 << 22))
            with open(server.config_path, "w") as file:
                json.dump(server.config(), file)
            os.kill(server.pid, signal.SIGHUP)
            eventually(lambda: said in server.log(1 << 22)[begin:], f"no word of {said}")

        def allowed() -> set[int]:
            return {one.request("POST", "/v2/a/blobs/uploads/").status for one in connections.values()}

        self.assertEqual(allowed(), {202})
        storage = server.config()["storage"]
        server.more["storage"] = {**storage, "maintenance": {"readonly": {"enabled": True}}}
        reload("the configuration was read again")
        self.assertEqual(allowed(), {405})
        server.more["storage"] = storage
        server.more["access"] = [{"who": "nobody knows"}]
        reload("the old one stays")
        self.assertEqual(allowed(), {405})
        del server.more["access"]
        reload("the configuration was read again")
        self.assertEqual(allowed(), {202})
        self.assertEqual(server.pids(), pids)


class SightTests(CrewCase):
    """What operators see."""

    def test_figures(self) -> None:
        """Figures are those of all workers, also of one that was killed, and a gauge is of those that live."""
        server = self.telling()
        client = RegistryClient(server.host)
        before = server.figure("registry_http_requests_total")
        connections = self.connect(server)
        asked = server.figure("registry_http_requests_total")
        for one in connections.values():
            for _ in range(7):
                one.request("GET", "/v2/a/tags/list")
        self.assertGreater(asked, before)
        self.reaches(server, asked + 14)
        path = client.begin_upload("a")
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as hanging:
            hanging.sendall(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
            eventually(lambda: server.figure("registry_http_in_flight_requests") == 1, "it is not in flight")
            for pid in server.pids():
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: all(one["starts"] == 2 for one in server.workers().values()), "not replaced")
            server.wait_for_all()
        self.assertEqual(server.figure("registry_http_in_flight_requests"), 0)
        kept = server.figure("registry_http_requests_total")
        self.assertGreaterEqual(kept, asked + 15)
        client.request("GET", "/v2/")
        eventually(lambda: server.figure("registry_http_requests_total") > kept, "it is not counted")
        self.assertGreater(server.figure("process_resident_memory_bytes"), 100e6)

    def reaches(self, server: CrewServer, count: float) -> None:
        """Wait until so many requests are counted, and see that no more are: a client has its answer before that."""
        eventually(lambda: server.figure("registry_http_requests_total") >= count, "too few are counted")
        self.assertEqual(server.figure("registry_http_requests_total"), count)

    def test_pages(self) -> None:
        """The debug server's pages tell of all processes."""
        server = self.crew()
        text = server.ask("/debug/threads")
        for number, pid in enumerate(server.pids(), 1):
            self.assertIn(f"worker {number}, process {pid}", text)
        self.assertEqual((server.ask("/debug/health"), server.ask("/readyz")), ("{}", "{}"))

    def test_health(self) -> None:
        """A check that fails in the first process has requests refused by every worker."""
        sign = os.path.join(self.directory, "down")
        server = self.telling(health={"file": [{"file": sign, "interval": "100ms"}]})
        connections = self.connect(server)
        with open(sign, "w"):
            pass
        for one in connections.values():
            eventually(lambda one=one: one.request("GET", "/v2/").status == 503, "it is not refused")
        os.unlink(sign)
        for one in connections.values():
            eventually(lambda one=one: one.request("GET", "/v2/").status == 200, "it is refused still")

    def test_log(self) -> None:
        """Lines of all workers are whole in one log, however long they are, and say whose they are."""
        server = self.telling_server()
        with open(server.config_path, "w") as file:
            json.dump(server.config(), file)
        reading = subprocess.Popen(
            [sys.executable, "-m", "twisted", "registry", "--config", server.config_path],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(reading.stdout or ()))
        reader.start()
        try:
            server.wait_for_all()
            client = RegistryClient(server.host)
            agent = {"User-Agent": "x" * 7000}

            def ask() -> None:
                for _ in range(20):
                    client.request("GET", "/v2/", headers=agent)

            self.together(*[ask] * 8)
        finally:
            end_process(reading)
            reader.join(60)
        entries = [json.loads(line) for line in lines]
        asked = [line for line in entries if line.get("http.request.useragent") == agent["User-Agent"]]
        self.assertEqual(len(asked), 160)
        self.assertEqual({line["worker"] for line in asked}, {"1", "2"})
