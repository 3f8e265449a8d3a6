"""However large the blobs and however many at once, the server's memory stays small."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.peers.case import PeerCase
from tests.registry_client import Blob, RegistryClient

MIB = 1 << 20
LIMIT = 200 * MIB


def all_at_once(jobs: Sequence[Callable[[], None]]) -> None:
    """Run all jobs at the same time, each in a thread; the first that fails is raised."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()


class FlatMemory(PeerCase):
    """The peak resident size, as the kernel saw it, stands in the output and stays below 200 MiB."""

    def setUp(self) -> None:
        """Start a registry of its own for each test, so that each peak is the test's own."""
        self.server = self.registry()
        self.client = RegistryClient(self.server.host)

    def assert_small(self, what: str) -> None:
        """Print the peak and compare it with the limit."""
        peak = self.server.peak_memory()
        print(f"\n    {what}: peak resident size {peak / MIB:.1f} MiB ", end="", flush=True)
        self.assertLess(peak, LIMIT)

    def test_L04_twenty_uploads(self) -> None:
        """Twenty uploads of 256 MiB at once, by PUT and streamed PATCH, arrive whole in less than 200 MiB."""
        blobs = [Blob(seed, 256 * MIB) for seed in range(20)]

        def push(blob: Blob) -> None:
            self.client.push_blob("team/many", blob, chunked=blob.seed % 2 == 1)

        all_at_once([functools.partial(push, blob) for blob in blobs])
        self.assert_small("20 uploads of 256 MiB at once")
        for blob in blobs:
            head = self.client.expect(200, "HEAD", f"/v2/team/many/blobs/{blob.digest}")
            self.assertEqual(int(head.headers["Content-Length"]), blob.size)
        for blob in (blobs[0], blobs[1]):
            self.assertEqual(self.client.measure_blob("team/many", blob.digest), (blob.digest, blob.size))

    def test_L03_huge_blob(self) -> None:
        """A blob of 4 GiB is uploaded, and downloaded four times at once, in less than 200 MiB."""
        blob = Blob(100, 4096 * MIB)
        self.client.push_blob("team/huge", blob)
        self.assert_small("one upload of 4 GiB")

        def pull() -> None:
            self.assertEqual(self.client.measure_blob("team/huge", blob.digest), (blob.digest, blob.size))

        all_at_once([pull] * 4)
        self.assert_small("4 downloads of 4 GiB at once")
