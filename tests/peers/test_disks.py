"""Disks that are full, read-only, broken or slow under a server that runs, and limits of the system."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.peers.case import SUBJECT, PeerCase
from tests.peers.disks import Disk, Ext4, Memory
from tests.processes import TXREGISTRY, find_program
from tests.registry_client import Answer, Blob, RegistryClient, sha256, with_digest
from tests.test_service import ConfiguredServer

MIB = 1 << 20
PATIENCE = 30


class DiskCase(PeerCase):
    """A server whose data is on a disk of a test's own."""

    def begin(self, disk: Disk, **storage: Any) -> None:
        """Start a server on a disk, with something in it."""
        directory = self.directory()
        self.disk = disk
        data = f"{disk.path}/data"
        self.server = ConfiguredServer(
            SUBJECT,
            directory,
            data,
            more={"storage": {"filesystem": {"rootdirectory": data, **storage}}},
        )
        self.addCleanup(self.server.stop)
        self.server.start()
        self.client = RegistryClient(self.server.host, timeout=60)
        self.kept = self.client.push_bytes("kept", random.Random(1).randbytes(1000))

    def assert_error(self, answer: Answer, status: int) -> None:
        """Fail unless it is an error as the spec has it, that tells nothing of this machine."""
        if SUBJECT != TXREGISTRY:
            self.assertGreaterEqual(answer.status, 500, answer.body)
        else:
            self.assertEqual(answer.status, status, answer.body)
            self.assertTrue(answer.json()["errors"][0]["code"])
            text = (answer.body + str(answer.headers).encode()).decode()
            for secret in (self.disk.path, "Traceback", "/_uploads/", socket.gethostname()):
                self.assertNotIn(secret, text.replace(answer.headers.get("Location", " "), ""))

    def try_to_push(self, content: bytes) -> Answer:
        """Push a blob, and return what ended it."""
        answer = self.client.request("POST", "/v2/app/blobs/uploads/")
        if answer.status != 202:
            return answer
        location = self.client._location(answer)
        return self.send("PUT", with_digest(location, sha256(content)), content)

    def send(self, method: str, path: str, content: bytes, chunked: bool = False) -> Answer:
        """Send a request piece by piece, and read the answer even if the connection is closed before all is sent."""
        connection = http.client.HTTPConnection(self.server.host, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.putrequest(method, path)
            connection.putheader(
                *(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", len(content)))
            )
            connection.endheaders()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for start in range(0, len(content), MIB):
                    piece = content[start : start + MIB]
                    connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                connection.send(b"0\r\n\r\n" if chunked else b"")
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def assert_serves(self) -> None:
        """Fail unless what was stored can be pulled."""
        self.assertEqual(self.client.measure_blob("kept", self.kept), (self.kept, 1000))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Ask again and again until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it never is")
            time.sleep(0.05)

    def wait_for_health(self, status: int) -> None:
        """Return when the server says that it is ready, or that it is not."""
        if SUBJECT == TXREGISTRY:
            self.wait_for(lambda: self.client.request("GET", "/readyz").status == status)


class FullDiskTests(DiskCase):
    """No room for bytes, or for files."""

    def test_F01_full(self) -> None:
        """A push for which there is no room is told so and leaves nothing; pulls and small pushes go on."""
        self.begin(Memory(self.addCleanup, "size=8m"))
        for push in (self.stream, lambda: self.try_to_push(random.Random(2).randbytes(20 * MIB))):
            self.assert_error(push(), 507)
            self.wait_for(lambda: self.used() < 100_000)
            self.assert_serves()
            self.client.push_bytes("app", random.randbytes(1000))

    def test_F01_nearly_full(self) -> None:
        """Before the disk is full the server says that it is not ready; it serves all the same."""
        self.begin(Memory(self.addCleanup, "size=8m"))
        self.wait_for_health(200)
        with open(f"{self.disk.path}/other", "wb") as file:
            room = os.statvfs(self.disk.path)
            file.write(bytes(room.f_bavail * room.f_frsize - 70_000))
        self.wait_for_health(503)
        self.assert_serves()

    def test_F01_no_files(self) -> None:
        """Where no more files can be made pushes are told so, pulls go on, and pushes do when there is room."""
        self.begin(Memory(self.addCleanup, "size=8m,nr_inodes=60"))
        for _ in range(60):
            answer = self.try_to_push(random.randbytes(100))
            if answer.status != 201:
                break
        self.assert_error(answer, 507)
        self.assert_serves()
        self.disk.remount("nr_inodes=1000")
        self.assertEqual(self.try_to_push(random.randbytes(100)).status, 201)

    def stream(self) -> Answer:
        """Send more than there is room for in chunks, as docker does; return what ended it."""
        return self.send("PATCH", self.client.begin_upload("app"), random.Random(7).randbytes(20 * MIB), True)

    def used(self) -> int:
        room = os.statvfs(self.disk.path)
        return (room.f_blocks - room.f_bfree) * room.f_frsize


class ReadOnlyTests(DiskCase):
    """A disk that is made read-only, as the kernel does with a broken one."""

    def test_F02_read_only(self) -> None:
        """Writes are told that it cannot be written to, reads go on; when it can, no restart is needed."""
        self.begin(Memory(self.addCleanup, "size=8m"))
        self.disk.remount("ro")
        self.assert_error(self.try_to_push(b"x" * 100), 507)
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        index = json.dumps({"schemaVersion": 2, "mediaType": headers["Content-Type"], "manifests": []})
        put = self.client.request("PUT", "/v2/app/manifests/x", index.encode(), headers)
        self.assert_error(put, 507)
        delete = self.client.request("DELETE", f"/v2/kept/blobs/{self.kept}")
        self.assert_error(delete, 507)
        self.assertEqual(self.client.request("HEAD", f"/v2/kept/blobs/{self.kept}").status, 200)
        self.assert_serves()
        self.wait_for_health(503)
        self.disk.remount("rw")
        self.assertEqual(self.try_to_push(b"x" * 100).status, 201)
        self.wait_for_health(200)


class BrokenDiskTests(DiskCase):
    """A disk that gives nothing but I/O errors."""

    def test_F03_lost(self) -> None:
        """Writes and reads fail; a download under way is broken off, and never ends as if it were whole."""
        self.begin(Ext4(self.addCleanup, 256))
        size = 64 * MIB
        blob = Blob(3, size)
        self.client.push_blob("app", blob)
        with contextlib.closing(
            socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
        ) as client:
            client.sendall(f"GET /v2/app/blobs/{blob.digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            received = len(client.recv(65536))
            self.disk.cut_power()
            with contextlib.suppress(ConnectionResetError):
                while data := client.recv(1 << 20):
                    received += len(data)
            self.assertLess(received, size)
        self.assert_error(self.try_to_push(b"y" * 1000), 500)
        with contextlib.suppress(http.client.HTTPException, OSError):
            self.assertEqual(self.client.request("GET", f"/v2/kept/blobs/{self.kept}").status, 500)
        self.assertEqual(self.client.request("GET", "/v2/").status, 200)
        self.server.stop()

    def assert_calm(self, server: Any) -> None:
        """Say nothing: what the disk says is logged with its traceback."""


class SlowDiskTests(DiskCase):
    """A disk on which nothing is synced for a while."""

    def test_F05_slow_sync(self) -> None:
        """While pushes wait for their sync, requests that need none are answered."""
        self.begin(Memory(self.addCleanup, "size=64m"), maxthreads=10)
        with self.strace("inject=fsync:delay_enter=3000000"):
            answers: list[Answer] = []
            pushes = [
                threading.Thread(target=lambda: answers.append(self.try_to_push(random.randbytes(1000))))
                for _ in range(5)
            ]
            for push in pushes:
                push.start()
            answered = 0
            while answered < 50:
                self.assertEqual(self.client.request("GET", "/v2/").status, 200)
                self.assert_serves()
                answered += 1
            # All of it before a single push came through.
            self.assertEqual(answers, [])
        for push in pushes:
            push.join(PATIENCE)
        self.assertEqual([answer.status for answer in answers], [201] * 5)

    @contextlib.contextmanager
    def strace(self, injection: str) -> Iterator[None]:
        """Let the server's system calls fail or wait."""
        command = [find_program("strace"), "-f", "-q", "-p", str(self.server.pid)]
        tracer = subprocess.Popen(
            [*command, "-e", "trace=fsync", "-e", injection, "-o", "/dev/null"], stderr=subprocess.PIPE
        )
        status = f"/proc/{self.server.pid}/status"
        self.wait_for(lambda: f"TracerPid:\t{tracer.pid}" in read(status))
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=PATIENCE)


class LimitTests(DiskCase):
    """Limits that the system sets a process."""

    def test_F04_file_size(self) -> None:
        """A blob that is longer than files may be is told so and leaves nothing, and the next push goes well."""
        self.begin(Memory(self.addCleanup, "size=64m"))
        resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
        self.assert_error(self.try_to_push(random.Random(2).randbytes(5 * MIB)), 507)
        self.assertEqual(self.try_to_push(random.Random(2).randbytes(1000)).status, 201)
        self.wait_for(lambda: os.statvfs(self.disk.path).f_bfree * 4096 > 60 * MIB)

    def test_F04_descriptors(self) -> None:
        """Out of descriptors the server does not spin, and serves again when there are some."""
        self.begin(Memory(self.addCleanup, "size=64m"))
        resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE, (64, 64))
        clients = [socket.create_connection(("127.0.0.1", self.server.port), PATIENCE) for _ in range(200)]
        for client in clients:
            self.addCleanup(client.close)
        before = self.server.cpu_seconds()
        time.sleep(2)
        self.assertLess(self.server.cpu_seconds() - before, 0.5)
        for client in clients:
            client.close()

        def serves() -> bool:
            try:
                self.assert_serves()
            except (AssertionError, OSError, http.client.HTTPException):
                return False
            return True

        self.wait_for(serves)
        self.assertEqual(self.try_to_push(b"z" * 1000).status, 201)


def read(path: str) -> str:
    """Return a file's text."""
    with open(path) as file:
        return file.read()
