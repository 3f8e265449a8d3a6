"""Each system call that a push needs fails once, and is the last one of the server once, by strace."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

from tests.faults.history import History
from tests.peers.case import SUBJECT, PeerCase
from tests.processes import TXREGISTRY, RegistryServer, find_program
from tests.registry_client import Answer, RegistryClient, sha256, with_digest
from tests.test_service import ConfiguredServer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
#: One of so many calls, another one in each run.
EVERY = int(os.environ.get("REGISTRY_TEST_EVERY", "12"))
KILLED = ("openat", "mkdir", "rename", "fsync", "write", "unlink", "rmdir")
FAILED = ("openat", "mkdir", "rename", "fsync", "unlink", "rmdir", "flock", "fcntl", "utimensat")
ERRORS = {errno.EIO: 500, errno.ENOSPC: 507}
PATIENCE = 30


class SyscallCase(PeerCase):
    """A server with one thread for its disk, so that its calls come in one order."""

    def setUp(self) -> None:
        directory = self.directory()
        data = os.path.join(directory, "data")
        threads = {"maxthreads": 1} if SUBJECT == TXREGISTRY else {}
        self.server = ConfiguredServer(
            SUBJECT,
            directory,
            data,
            more={"storage": {"filesystem": {"rootdirectory": data, **threads}}},
        )
        self.addCleanup(self._end)
        self.begin()
        self.history = History()

    def _end(self) -> None:
        self.server.stop()

    def begin(self) -> None:
        """Start the server, and let it make its threads and import what it needs."""
        self.server.start()
        self.client = RegistryClient(self.server.host, timeout=PATIENCE)
        digest = self.client.push_bytes("warm", b"warm")
        self.client.push_manifest("warm", "tag", json.loads(manifest(digest)))

    @contextlib.contextmanager
    def strace(self, injection: str, trace: str) -> Iterator[str]:
        """Attach to the server; return where the trace goes."""
        log = os.path.join(self.server.directory, "trace")
        command = [find_program("strace"), "-f", "-y", "-q", "-p", str(self.server.pid), "-o", log]
        tracer = subprocess.Popen(
            [*command, "-e", f"trace={trace}", "-e", f"inject={injection}"], stderr=subprocess.PIPE
        )
        tasks = f"/proc/{self.server.pid}/task"
        deadline = time.monotonic() + PATIENCE
        while not all(
            f"TracerPid:\t{tracer.pid}" in read(f"{tasks}/{task}/status") for task in os.listdir(tasks)
        ):
            assert time.monotonic() < deadline and tracer.poll() is None, tracer.stderr
            time.sleep(0.01)
        try:
            yield log
        finally:
            tracer.send_signal(signal.SIGINT)
            try:
                tracer.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                # It may miss the end of a process of several threads that it has killed itself.
                tracer.kill()
                tracer.communicate(timeout=PATIENCE)

    def push(self, repository: str) -> list[Answer]:
        """Push a blob in two requests and an image of it; return the answers, up to one that is an error.

        A connection that ends means that there is no answer.
        """
        content = repository.encode() * 100
        digest, half = sha256(content), len(content) // 2
        image = manifest(digest)
        answers: list[Answer] = []

        def ask(method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
            answers.append(self.client.request(method, path, body, headers))
            if answers[-1].status >= 400:
                raise ValueError
            return answers[-1]

        blob = self.history.begin({("blobs", repository, digest): "there"})
        with contextlib.suppress(OSError, HTTPException, ValueError):
            location = self.client._location(ask("POST", f"/v2/{repository}/blobs/uploads/"))
            location = self.client._location(ask("PATCH", location, content[:half]))
            ask("PUT", with_digest(location, digest), content[half:])
            self.history.acknowledge(blob)
            values = {
                ("manifests", repository, sha256(image)): "there",
                ("manifests", repository, "latest"): "there",
            }
            put = self.history.begin(values)
            ask("PUT", f"/v2/{repository}/manifests/latest", image, **{"Content-Type": MANIFEST})
            self.history.acknowledge(put)
        return answers

    def look(self, repository: str) -> None:
        """Fail unless a repository has what was acknowledged, and nothing in part."""
        for name in self.history.names():
            kind, where, what = name  # type: ignore[misc]
            if where == repository:
                answer = self.client.request(
                    "GET", f"/v2/{where}/{kind}/{what}", headers={"Accept": MANIFEST}
                )
                self.assertIn(answer.status, (200, 404), (name, answer))
                if answer.status == 200 and ":" in what:
                    self.assertEqual(sha256(answer.body), what)
                self.history.check(name, "there" if answer.status == 200 else None)
        for tag in self.client.tags(repository):
            self.assertEqual(self.client.manifest(repository, tag).status, 200)

    def assert_goes_on(self, repository: str) -> None:
        """Look, then push the same again, which goes well, and look again."""
        self.look(repository)
        statuses = [answer.status for answer in self.push(repository)]
        self.assertEqual(statuses, [202, 202, 201, 201])
        self.look(repository)

    def calls(self) -> Iterator[int]:
        """Return the numbers of the calls that are troubled."""
        number = random.SystemRandom().randint(1, EVERY)
        while True:
            yield number
            number += EVERY


class KillTests(SyscallCase):
    """SIGKILL as a call is made."""

    def test_D03_kill_at_each_syscall(self) -> None:
        """Wherever it is killed, what was acknowledged is there, nothing is in part, and the push goes on."""
        kills = 0
        for syscall in KILLED:
            for number in self.calls():
                repository = f"{syscall}-{number}"
                with self.strace(f"{syscall}:signal=KILL:when={number}", syscall):
                    answers = self.push(repository)
                if len(answers) == 4 and self.alive():
                    break
                kills += 1
                self.server.kill()
                self.begin()
                self.assert_goes_on(repository)
        print(f"killed {kills} times")
        self.assertGreater(kills, 0)

    def alive(self) -> bool:
        """Say whether the server runs."""
        try:
            return self.client.request("GET", "/v2/").status == 200
        except (OSError, HTTPException):
            return False


class ErrorTests(SyscallCase):
    """A call that fails."""

    def test_D04_error_at_each_syscall(self) -> None:
        """The request whose call fails is answered as it should be, nothing is lost, and the next push goes well."""
        failures = 0
        for syscall in FAILED:
            for number, status in ERRORS.items():
                name = errno.errorcode[number]
                for at in self.calls():
                    repository = f"{syscall}-{name.lower()}-{at}"
                    with self.strace(f"{syscall}:error={name}:when={at}", f"{syscall},fsync") as log:
                        answers = self.push(repository)
                    trace = read(log)
                    if "(INJECTED)" not in trace:
                        break
                    failures += 1
                    if SUBJECT == TXREGISTRY:
                        for answer in answers:
                            self.assertIn(answer.status, (201, 202, status), (repository, answer))
                            self.assertNotIn(self.server.data.encode(), answer.body)
                            if answer.status >= 500:
                                self.assertTrue(answer.json()["errors"][0]["code"])
                    self.assert_not_synced_again(trace)
                    self.assert_goes_on(repository)
        print(f"failed {failures} times")
        self.assertGreater(failures, 0)

    def assert_not_synced_again(self, trace: str) -> None:
        """Fail if a file whose sync failed was synced again while it was open."""
        synced = re.findall(r"fsync\(\d+<([^>]*)>\) += (-?\d+)", trace)
        for number, (path, result) in enumerate(synced):
            if result == "-1" and os.path.basename(path) == "data":
                self.assertNotIn(path, [later for later, _ in synced[number + 1 :]])

    def assert_calm(self, server: RegistryServer) -> None:
        """Say nothing: failures of the disk are logged."""


def manifest(config: str) -> bytes:
    """Return an image without layers."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 1},
        "layers": [],
    }
    return json.dumps(document).encode()


def read(path: str) -> str:
    """Return a file's text; nothing if it is gone."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
