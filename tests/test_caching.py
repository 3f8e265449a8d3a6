"""The cache in memory of servers that share a storage."""

from __future__ import annotations

import os
from typing import Any

from tests.registry_client import Blob, RegistryClient
from tests.telemetry.test_service import DebuggedServer
from tests.test_service import ProcessCase
from tests.web.client import OCI_MANIFEST, image
from txregistry.content import layout
from txregistry.digest import Digest

INMEMORY = {"cache": {"blobdescriptor": "inmemory"}}


class SharedStorageCase(ProcessCase):
    """Two servers on one storage, each with a cache."""

    def start(self, **more: Any) -> list[RegistryClient]:
        """Start them; return a client of each."""
        servers = [self.server(**more) for _ in range(2)]
        self.data = servers[0].data
        for server in servers:
            server.start()
        return [RegistryClient(server.host) for server in servers]

    def remove_bytes(self, digest: str) -> None:
        """Remove a blob's bytes past both servers."""
        os.unlink(self.data + layout.blob_data(Digest.parse(digest)))

    def exercise(self, first: RegistryClient, second: RegistryClient) -> None:
        """Delete in one process, and behind the back of both, and GET in the other."""
        large = Blob(1, 1 << 20)
        first.push_blob("a", large)
        small = first.push_bytes("a", b"a small blob")
        config = first.push_bytes("a", b"{}")
        content = image(Digest.parse(config), Digest.parse(small))
        kind = {"Content-Type": OCI_MANIFEST}
        self.assertEqual(first.request("PUT", "/v2/a/manifests/1", body=content, headers=kind).status, 201)
        paths = [
            f"/v2/a/manifests/{Digest.of(content)}",
            *(f"/v2/a/blobs/{one}" for one in (large.digest, small)),
        ]
        for _ in range(2):
            for client in (first, second):
                for path in [*paths, "/v2/a/manifests/1"]:
                    self.assertEqual(client.request("GET", path).status, 200, path)
        for path in paths:
            self.assertEqual(first.request("DELETE", path).status, 202, path)
            for client in (first, second):
                for method in ("GET", "HEAD"):
                    self.assertEqual(client.request(method, path).status, 404, path)
        self.assertEqual(second.request("GET", "/v2/a/manifests/1").status, 404)
        first.push_blob("a", large)
        first.push_bytes("a", b"a small blob")
        for path, digest in zip(paths[1:], (large.digest, small), strict=True):
            for client in (second, first):
                self.assertEqual(client.request("GET", path).status, 200)
            self.remove_bytes(digest)
            for client in (first, second):
                answer = client.request("GET", path, headers={"Range": "bytes=0-3"})
                self.assertEqual((answer.status, answer.headers.get("Content-Range")), (404, None))
                self.assertEqual(client.request("HEAD", path).status, 404)


class MemoryTests(SharedStorageCase):
    """``blobdescriptor: inmemory``."""

    def test_nothing_stale(self) -> None:
        """What is deleted in one process, or past both, is 404 in the other at once."""
        self.exercise(*self.start(storage=INMEMORY))

    def test_truncated(self) -> None:
        """A large blob whose file is not as long as it was is not begun to be sent with a wrong length."""
        first, _ = self.start(storage=INMEMORY)
        blob = Blob(2, 1 << 20)
        first.push_blob("a", blob)
        for _ in range(2):
            self.assertEqual(first.request("GET", f"/v2/a/blobs/{blob.digest}").status, 200)
        os.truncate(self.data + layout.blob_data(Digest.parse(blob.digest)), 100_000)
        answer = first.request("GET", f"/v2/a/blobs/{blob.digest}")
        self.assertEqual((answer.status, len(answer.body)), (200, 100_000))

    def test_figures(self) -> None:
        """The figures tell how often the cache was asked, and had something."""
        server = DebuggedServer("txregistry", self.directory, os.path.join(self.directory, "data"))
        server.prometheus = {"enabled": True}
        server.environ = {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "inmemory"}
        server.start()
        self.addCleanup(server.stop)
        client = RegistryClient(server.host)
        digest = client.push_bytes("a", b"a small blob")
        for _ in range(3):
            client.request("GET", f"/v2/a/blobs/{digest}")
        page = server.ask("/metrics")[1]
        for name, value in (("requests", 3), ("hits", 2), ("errors", 0)):
            self.assertIn(f"registry_storage_cache_{name}_total {value}.0\n", page)

    def test_misconfigured(self) -> None:
        """A cache in Redis without an address, or with several, is refused by its key."""
        for keys, said in (
            ("", "redis.addrs: not set"),
            ("redis: {addrs: [a:1, b:1]}", "redis.addrs: found 2"),
        ):
            text = f"version: 0.1\nstorage: {{inmemory: , cache: {{blobdescriptor: redis}}}}\n{keys}\n"
            self.assertIn(said, self.refused("--config", self.write_config(text)))

    def test_unknown(self) -> None:
        """A cache that is not installed is refused by its key, with those that are."""
        path = self.write_config("version: 0.1\nstorage: {inmemory: , cache: {layerinfo: nothere}}\n")
        self.assertIn(
            "storage.cache.layerinfo: no cache named 'nothere'; installed: inmemory, redis",
            self.refused("--config", path),
        )
