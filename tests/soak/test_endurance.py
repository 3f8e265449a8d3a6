"""A mixed load for an hour, or as long as one likes: nothing grows."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from typing import Any

from attrs import define

from tests.crowds import MIB, connected, descriptors, resident
from tests.peers.case import PeerCase
from tests.processes import TXREGISTRY, RegistryServer
from tests.registry_client import Blob, RegistryClient
from tests.soak.length import MINUTES
from tests.test_service import image

#: Seconds between two looks at the server.
EVERY = 5
WORKERS = 6


@define
class Look:
    """What a server had at some time.

    :param at: seconds since the load began.
    """

    at: float
    memory: int
    descriptors: int
    threads: int


class CollectingServer(RegistryServer):
    """A registry that collects garbage all the time, so that the disk does not fill."""

    def config(self) -> dict[str, Any]:
        """See :class:`RegistryServer`."""
        config = super().config()
        config["log"]["level"] = "warn"
        config["storage"]["maintenance"] = {
            "garbagecollection": {"enabled": True, "interval": "20s", "age": "30s", "deleteuntagged": True},
            "uploadpurging": {"enabled": True, "age": "1m", "interval": "30s", "dryrun": False},
        }
        config["http"]["limits"] = {"uploadsperclient": 0}
        return config


class EnduranceTests(PeerCase):
    """One server under a load of pushes, pulls, deletions, and clients that leave in the middle."""

    def work(self, server: RegistryServer, seed: int, stop: float) -> int:
        """Do this and that until it is time; return how often."""
        chance = random.Random(seed)
        client = RegistryClient(server.host, timeout=60)
        name, done = f"team/app{seed}", 0
        while time.monotonic() < stop:
            blob = Blob(chance.randrange(1 << 40), chance.choice((100, 70_000, 3 * MIB)))
            act = chance.random()
            if act < 0.5:
                tag = f"t{chance.randrange(20)}"
                client.push_blob(name, blob, chunked=chance.random() < 0.5)
                config = client.push_bytes(name, b"{}")
                digest = client.push_manifest(name, tag, image(config, layers=[_layer(blob)]))
                self.assertEqual(client.manifest(name, digest).status, 200)
                self.assertEqual(client.measure_blob(name, blob.digest), (blob.digest, blob.size))
                if act < 0.1:
                    client.expect(202, "DELETE", f"/v2/{name}/manifests/{digest}")
            elif act < 0.7:
                for tag in client.tags(name)[:5]:
                    self.assertIn(client.manifest(name, tag).status, (200, 404))
                client.catalog()
            elif act < 0.8:
                self.leave_upload(server, client.begin_upload(name), chance)
            elif act < 0.9:
                self.leave_download(server, client, name, chance)
            else:
                for path in ("/v2/..%2f/x", "/nothing", f"/v2/{name}/blobs/sha256:x", "/v2/_catalog?n=x"):
                    self.assertGreaterEqual(client.request("GET", path).status, 400)
            done += 1
        return done

    def leave_upload(self, server: RegistryServer, path: str, chance: random.Random) -> None:
        """Begin to send, and leave."""
        with contextlib.closing(connected(server.port)) as connection:
            connection.sendall(
                f"PATCH {path} HTTP/1.1\r\nHost: r\r\nContent-Length: 5000000\r\n\r\n".encode()
                + bytes(chance.randrange(1, 2 * MIB))
            )

    def leave_download(
        self, server: RegistryServer, client: RegistryClient, name: str, chance: random.Random
    ) -> None:
        """Begin to receive, and leave."""
        blob = Blob(1, 8 * MIB)
        client.push_blob(name, blob)
        with contextlib.closing(connected(server.port)) as connection:
            connection.sendall(f"GET /v2/{name}/blobs/{blob.digest} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
            connection.recv(chance.randrange(1, 100_000))

    def look(self, server: RegistryServer, at: float) -> Look:
        """Look at a server."""
        return Look(at, resident(server), descriptors(server), len(os.listdir(f"/proc/{server.pid}/task")))

    def test_L06_endurance(self) -> None:
        """Memory, descriptors and threads are as many at the end as after a quarter, and no error is logged."""
        directory = self.directory()
        server = CollectingServer(TXREGISTRY, directory, os.path.join(directory, "data"))
        self.addCleanup(server.stop)
        server.start()
        began = time.monotonic()
        stop = began + MINUTES * 60
        done: list[int] = []
        failures: list[BaseException] = []

        def worker(seed: int) -> None:
            try:
                done.append(self.work(server, seed, stop))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=worker, args=(seed,)) for seed in range(WORKERS)]
        for thread in threads:
            thread.start()
        looks = []
        while time.monotonic() < stop and not failures:
            time.sleep(EVERY)
            looks.append(self.look(server, time.monotonic() - began))
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        second = looks[len(looks) // 4 : len(looks) // 2]
        last = looks[len(looks) * 3 // 4 :]
        slope = _slope(looks[len(looks) // 4 :]) * 3600 / MIB
        memory = [sum(look.memory for look in part) / len(part) / MIB for part in (second, last)]
        print(
            f"\n    {MINUTES:g} minutes, {sum(done)} acts: memory {memory[0]:.1f} MiB in the second quarter, "
            f"{memory[1]:.1f} in the last ({slope:+.1f} MiB an hour, peak {server.peak_memory() / MIB:.1f}); "
            f"descriptors {_most(second, 'descriptors')}, {_most(last, 'descriptors')}; "
            f"threads {_most(second, 'threads')}, {_most(last, 'threads')} ",
            end="",
            flush=True,
        )
        self.assertLess(memory[1], memory[0] + 4)
        self.assertLessEqual(_most(last, "descriptors"), _most(second, "descriptors") + 10)
        self.assertLessEqual(_most(last, "threads"), _most(second, "threads") + 2)
        # When all clients have gone, so has all that was there for them.
        deadline = time.monotonic() + 30
        while self.look(server, 0).descriptors > 40:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        log = server.log(1 << 24)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("Unhandled", log)


def _layer(blob: Blob) -> dict[str, Any]:
    return {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": blob.digest,
        "size": blob.size,
    }


def _most(looks: list[Look], what: str) -> int:
    return max(getattr(look, what) for look in looks)


def _slope(looks: list[Look]) -> float:
    """Return by how many bytes a second the memory grows, by least squares."""
    at = sum(look.at for look in looks) / len(looks)
    memory = sum(look.memory for look in looks) / len(looks)
    above = sum((look.at - at) * (look.memory - memory) for look in looks)
    return above / max(sum((look.at - at) ** 2 for look in looks), 1e-9)
