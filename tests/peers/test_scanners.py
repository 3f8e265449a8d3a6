"""What programs that attack and look at web servers find: slowhttptest, sslscan, and strace that looks on."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from typing import Any

from tests.crowds import delay, descriptors
from tests.peers.case import PeerCase, run_program
from tests.processes import TXREGISTRY, RegistryServer, find_program
from tests.registry_client import Blob, RegistryClient
from tests.test_service import TlsServer, make_certificate
from tests.web.test_hostile import CASES, DIGEST

#: Connections that slowhttptest makes, and how many a second.
CONNECTIONS, RATE = "1000", "500"


class SlowHttp(PeerCase):
    """slowhttptest."""

    def attack(self, *options: str, patience: int, **http: Any) -> None:
        """Attack a registry, and be served as if nothing were.

        :param patience: seconds after which all that it connected must have been closed.
        """
        directory = self.directory()
        server = PatientServer(TXREGISTRY, directory, os.path.join(directory, "data"), http=http)
        self.addCleanup(server.stop)
        server.start()
        client = RegistryClient(server.host)
        blob = Blob(1, 64 << 20)
        client.push_blob("a", blob)
        wanted = blob.digest if "-X" in options else f"uploads/?digest={blob.digest}"
        url = f"http://{server.host}/v2/a/blobs/{wanted}"
        attack = subprocess.Popen(
            [find_program("slowhttptest"), "-c", CONNECTIONS, "-r", RATE, "-u", url, "-p", "5", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,
        )
        try:
            deadline = time.monotonic() + 30
            most = 0
            while most < 800:
                self.assertLess(time.monotonic(), deadline, most)
                most = max(most, descriptors(server))
                time.sleep(0.05)
            p50, p99 = delay(client)
            print(
                f"\n    {most} descriptors: GET /v2/ p50 {p50:.1f} ms, p99 {p99:.1f} ms ", end="", flush=True
            )
            self.assertLess(p99, 1000)
            deadline = time.monotonic() + patience
            while descriptors(server) > 100:
                self.assertLess(time.monotonic(), deadline, descriptors(server))
                self.assertIsNone(attack.poll(), "the attack has ended before its connections were closed")
                time.sleep(0.1)
        finally:
            attack.kill()
            attack.wait()
        client.push_blob("a", Blob(2, 1 << 20))
        self.assertNotIn("Traceback", server.log())


class SlowHttpTests(SlowHttp):
    """slowhttptest ``-H`` and ``-X``; ``-B`` is among the tests of ``make soak``."""

    def test_H03_slow_headers(self) -> None:
        """A thousand connections that send a header now and then are closed after ten seconds."""
        self.attack("-H", "-i", "2", "-l", "60", patience=25)

    def test_H05_slow_reads(self) -> None:
        """A thousand connections that read a few bytes now and then are closed when the patience ends."""
        self.attack(
            "-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-l", "90", patience=60, idletimeout="5s"
        )


class PatientServer(RegistryServer):
    """A registry with keys of http of its own."""

    def __init__(self, *arguments: Any, http: dict[str, Any]) -> None:
        super().__init__(*arguments)
        self.http = http

    def config(self) -> dict[str, Any]:
        """See :class:`RegistryServer`."""
        config = super().config()
        config["http"].update(self.http)
        return config


class TlsTests(PeerCase):
    """sslscan."""

    def scan(self, **tls: Any) -> str:
        """Return what it finds."""
        directory = self.directory()
        certificate, key = make_certificate(directory, "server")
        server = TlsServer(
            TXREGISTRY,
            directory,
            os.path.join(directory, "data"),
            more={"http": {"tls": {"certificate": certificate, "key": key, **tls}}},
            authority=certificate,
        )
        self.addCleanup(server.stop)
        server.start()
        found = run_program("sslscan", "--no-colour", "--show-times", server.host)
        offered = subprocess.run(
            [find_program("openssl"), "s_client", "-connect", server.host, "-alpn", "h2,http/1.1"],
            input=b"",
            capture_output=True,
            timeout=60,
            check=False,
        ).stdout.decode()
        self.assertIn("ALPN protocol: http/1.1", offered)
        only = subprocess.run(
            [find_program("openssl"), "s_client", "-connect", server.host, "-alpn", "h2"],
            input=b"",
            capture_output=True,
            timeout=60,
            check=False,
        ).stdout.decode()
        self.assertNotIn("ALPN protocol: h2", only)
        return found

    def test_H16_scan(self) -> None:
        """Nothing older than TLS 1.2, no weak suite, no renegotiation, and no HTTP/2 is offered."""
        found = self.scan()
        for version in ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"):
            self.assertRegex(found, rf"{re.escape(version)} +disabled")
        for version in ("TLSv1.2", "TLSv1.3"):
            self.assertRegex(found, rf"{re.escape(version)} +enabled")
        self.assertRegex(found, "(?i)session renegotiation not supported")
        suites = re.findall(r"^(?:Preferred|Accepted) +\S+ +\d+ bits +(\S+)", found, re.MULTILINE)
        self.assertGreater(len(suites), 3)
        for suite in suites:
            self.assertRegex(suite, r"^TLS_|^ECDHE-[A-Z]+-(AES\d+-GCM|CHACHA20)")
        self.assertNotRegex(found, r"vulnerable to heartbleed.*\bis vulnerable\b")

    def test_H16_minimum(self) -> None:
        """With TLS 1.3 as the oldest, 1.2 is not offered."""
        found = self.scan(minimumtls="tls1.3")
        self.assertRegex(found, r"TLSv1\.2 +disabled")
        self.assertRegex(found, r"TLSv1\.3 +enabled")


class OpenTests(PeerCase):
    """strace."""

    def test_H10_files(self) -> None:
        """Whatever addresses are asked for, no file outside the storage root is so much as looked for."""
        server = self.registry(TXREGISTRY)
        client = RegistryClient(server.host)
        config = client.push_bytes("team/app", b"{}")
        trace = os.path.join(server.directory, "trace")
        tracing = subprocess.Popen(
            [find_program("strace"), "-f", "-qq", "-e", "trace=%file", "-o", trace, "-p", str(server.pid)],
            stderr=subprocess.PIPE,
        )
        try:
            deadline = time.monotonic() + 30
            while not os.path.exists(trace) or not os.path.getsize(trace):
                self.assertLess(time.monotonic(), deadline)
                client.expect(200, "HEAD", f"/v2/team/app/blobs/{config}")
                time.sleep(0.1)
            for case in CASES.values():
                send(server.port, case.sent.replace(b"{upload}", b"/v2/a/blobs/uploads/x"))
            for text in TRICKS:
                for target in (f"/v2/{text}/tags/list", f"/{text}", f"/v2/a/manifests/{text}", f"/v2/{text}"):
                    for method in ("GET", "PUT", "DELETE", "POST"):
                        send(server.port, f"{method} {target} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
                digest = DIGEST.decode()
                send(
                    server.port,
                    f"POST /v2/a/blobs/uploads/?mount={digest}&from={text} HTTP/1.1\r\nHost: r\r\n"
                    "Content-Length: 0\r\n\r\n".encode(),
                )
            client.expect(200, "HEAD", f"/v2/team/app/blobs/{config}")
        finally:
            tracing.terminate()
            tracing.wait()
        with open(trace, encoding="latin-1") as file:
            lines = [line for line in file if '"' in line]
        paths = {path for line in lines for path in re.findall(r'"((?:[^"\\]|\\.)*)"', line)}
        self.assertGreater(len(paths), 5)
        roots = (server.data + "/", *HARMLESS)
        outside = sorted(
            path for path in paths if (path and not (path + "/").startswith(roots)) or ".." in path.split("/")
        )
        self.assertEqual(outside, [])


#: What Python itself looks for when it first does something.
HARMLESS = ("/etc/localtime/", "/usr/", f"{sys.base_prefix}/")
TRICKS = [
    *("../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%252e%252e/etc/passwd"),
    *(
        "..%5c..%5cetc",
        "....//....//etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "%00/etc/passwd",
        "a%00/../b",
    ),
    *("%c0%ae%c0%ae/etc/passwd", "a/../../../etc/passwd", "./a", "a/.", "a" * 300, "a/" * 100 + "b"),
    *("file:///etc/passwd", "_uploads", "_manifests/tags", "a/_layers/sha256", "~root", "$HOME", "..;/etc"),
]


def send(port: int, data: bytes) -> None:
    """Send something, and wait for an answer or the end."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.3) as one:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        while one.recv(65536):
            pass
