"""Large uploads do not make small requests wait."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from tests.peers.case import PeerCase
from tests.peers.test_memory import MIB
from tests.registry_client import Blob, RegistryClient, sha256

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


class Latency(PeerCase):
    """A manifest is asked for again and again while other clients upload."""

    def test_manifest_during_uploads(self) -> None:
        """While four uploads of 512 MiB run, a manifest GET answers at once; p50 and p99 are printed."""
        server = self.registry()
        client = RegistryClient(server.host)
        config = client.push_bytes("team/small", b"{}")
        descriptor = {"mediaType": CONFIG_TYPE, "digest": config, "size": 2}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor, "layers": []}
        digest = client.push_manifest("team/small", "1", manifest)
        blobs = [Blob(seed, 512 * MIB) for seed in range(4)]
        for blob in blobs:
            self.assertTrue(blob.digest)  # computed now, so that hashing does not compete with the server
        with ThreadPoolExecutor(len(blobs)) as pool:
            uploads = [
                pool.submit(client.push_blob, "team/large", blob, chunked=blob.seed % 2 == 1)
                for blob in blobs
            ]
            waits: list[float] = []
            while not any(upload.done() for upload in uploads):
                began = time.perf_counter()
                answer = client.manifest("team/small", "1")
                waits.append(time.perf_counter() - began)
                self.assertEqual((answer.status, sha256(answer.body)), (200, digest))
                time.sleep(0.005)
            for upload in uploads:
                upload.result()
        self.assertGreater(len(waits), 20, "the uploads ended before anything was measured")
        cuts = statistics.quantiles(waits, n=100)
        print(
            f"\n    {len(waits)} manifest GETs during four uploads: "
            f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms, max {max(waits) * 1000:.1f} ms ",
            end="",
            flush=True,
        )
        self.assertLess(cuts[98], 1.0)
