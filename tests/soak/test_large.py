"""Blobs of many gibibytes, and many transfers at once, in little memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.crowds import KIB, MIB, connected, delay, resident, room_for
from tests.peers.case import PeerCase
from tests.processes import TXREGISTRY, RegistryServer
from tests.registry_client import RegistryClient, with_digest
from tests.soak.cages import caged

GIB = 1024 * MIB
#: What the server may have in all, page cache included.
CAGE = 256 * MIB
_ZEROS = bytes(MIB)


@functools.cache
def digest_of_zeros(size: int) -> str:
    """Return the digest of so many zero bytes."""
    digester = hashlib.sha256()
    for _ in range(size // MIB):
        digester.update(_ZEROS)
    return f"sha256:{digester.hexdigest()}"


class LargeCase(PeerCase):
    """Sends a file of zeros that takes no room on the disk, and receives it."""

    def sparse(self, size: int) -> str:
        """Return a file of so many zero bytes."""
        path = os.path.join(self.directory(), "zeros")
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def push(self, server: RegistryServer, repository: str, path: str, digest: str) -> None:
        """Push a file."""
        target = with_digest(RegistryClient(server.host).begin_upload(repository), digest)
        with open(path, "rb") as file, contextlib.closing(connected(server.port)) as connection:
            connection.settimeout(600)
            size = os.fstat(file.fileno()).st_size
            connection.sendall(f"PUT {target} HTTP/1.1\r\nHost: r\r\nContent-Length: {size}\r\n\r\n".encode())
            connection.sendfile(file)
            answer = connection.recv(64 * KIB)
            self.assertTrue(answer.startswith(b"HTTP/1.1 201 "), answer)

    def pull(self, server: RegistryServer, repository: str, digest: str, size: int) -> None:
        """Pull it again, and compare."""
        window = memoryview(bytearray(MIB))
        with contextlib.closing(http.client.HTTPConnection(server.host, timeout=600)) as connection:
            connection.request("GET", f"/v2/{repository}/blobs/{digest}")
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            got = 0
            while count := response.readinto(window):
                self.assertEqual(window[:count], _ZEROS[:count])
                got += count
        self.assertEqual(got, size)


class SizeTests(LargeCase):
    """One blob."""

    def test_L03_16_gibibytes(self) -> None:
        """A blob of 16 GiB goes up and down in 256 MiB, page cache included, and in no more than 1 MiB does."""
        peaks = []
        for size in (MIB, GIB, 16 * GIB):
            path, digest = self.sparse(size), digest_of_zeros(size)
            server = self.registry(TXREGISTRY)
            with caged(server.pid, CAGE):
                began = time.monotonic()
                self.push(server, "a", path, digest)
                pushed = time.monotonic()
                self.pull(server, "a", digest, size)
                took = f"up {pushed - began:.1f} s, down {time.monotonic() - pushed:.1f} s"
                peaks.append(server.peak_memory())
                print(f"\n    {size // MIB} MiB: {took}, peak {peaks[-1] / MIB:.1f} MiB ", end="", flush=True)
                RegistryClient(server.host).expect(202, "DELETE", f"/v2/a/blobs/{digest}")
                server.stop()
        self.assertLess(max(peaks) - min(peaks), 8 * MIB)


class ManyTests(LargeCase):
    """Many transfers at once."""

    def at_once(self, count: int, work: Callable[[int], None]) -> None:
        """Do something so many times at once."""
        with room_for(2 * count), ThreadPoolExecutor(count) as pool:
            for future in [pool.submit(work, number) for number in range(count)]:
                future.result()

    def test_L04_parallel(self) -> None:
        """8, 64 and 256 uploads and downloads at once take 1 MiB each at most beside what the server has at rest."""
        size = 32 * MIB
        path, digest = self.sparse(size), digest_of_zeros(size)
        for count in (8, 64, 256):
            server = self.registry(TXREGISTRY)
            client = RegistryClient(server.host)
            self.push(server, "a", path, digest)
            before = server.peak_memory()
            self.at_once(count, lambda number, server=server: self.push(server, f"r{number}", path, digest))
            up = server.peak_memory() - before
            self.at_once(count, lambda number, server=server: self.pull(server, f"r{number}", digest, size))
            both = server.peak_memory() - before
            print(f"\n    {count}: {up / MIB:.1f} MiB up, {both / MIB:.1f} with down ", end="", flush=True)
            self.assertLess(both, count * MIB + 8 * MIB)
            client.expect(200, "GET", "/v2/")

    def test_L05_slow_readers(self) -> None:
        """256 clients that read 10 KB a second while others push take 1 MiB each at most, and none is cut off."""
        size = 64 * MIB
        path, digest = self.sparse(size), digest_of_zeros(size)
        server = self.registry(TXREGISTRY)
        self.push(server, "a", path, digest)
        before = resident(server)
        ended = threading.Event()
        with contextlib.ExitStack() as stack:
            stack.enter_context(room_for(256))
            readers = [stack.enter_context(connected(server.port, 16 * KIB)) for _ in range(256)]
            for reader in readers:
                reader.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: r\r\n\r\n".encode())

            def read() -> None:
                while not ended.is_set():
                    began = time.monotonic()
                    for reader in readers:
                        self.assertNotEqual(reader.recv(10_000), b"")
                    ended.wait(max(0.0, began + 1 - time.monotonic()))

            with ThreadPoolExecutor(9) as pool:
                reading = pool.submit(read)
                try:
                    stop = time.monotonic() + 150
                    number = 0
                    while time.monotonic() < stop and not reading.done():
                        self.at_once(
                            8, lambda one, number=number: self.push(server, f"r{number}-{one}", path, digest)
                        )
                        number += 1
                    p50, p99 = delay(RegistryClient(server.host))
                finally:
                    ended.set()
                reading.result()
        grown = server.peak_memory() - before
        print(
            f"\n    {grown / MIB:.1f} MiB; GET /v2/ p50 {p50:.1f} ms, p99 {p99:.1f} ms ", end="", flush=True
        )
        self.assertLess(grown, 256 * MIB)
