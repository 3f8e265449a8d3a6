"""How long single requests take while the store grows: ``python -m benchmarks.growth --help``.

A store of size N has N blobs and N tags in one repository, and N / 10 repositories
with a tag each beside it.  They are written to the storage directory, in Distribution's layout.  For each size the
server is started anew.  What is shown is the median of several requests, in ms.
"""

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import attrs

from benchmarks.loads import MANIFEST_TYPE, OCTETS
from benchmarks.servers import Server
from benchmarks.wire import Connection
from tests.processes import TXREGISTRY
from tests.registry_client import sha256, with_digest

SIZES = (100, 1_000, 10_000, 100_000)
TIMES = 25
PAGE = 100
MANY = "grow/many"
#: Tags that point to one manifest.
SHARED = 10
#: A directory that changed this little ago may change again within the tick of its clock: no listing is kept.
QUIET = 1.5


class Store:
    """A storage directory that grows."""

    def __init__(self, root: str) -> None:
        self._root = f"{root}/docker/registry/v2"
        self.size = 0
        config = b"{}"
        self.config = self._blob(config)
        self._link(f"{MANY}/_layers", self.config)

    def _write(self, path: str, content: bytes) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(descriptor, content)
        os.close(descriptor)

    def _blob(self, content: bytes) -> str:
        encoded = hashlib.sha256(content).hexdigest()
        self._write(f"{self._root}/blobs/sha256/{encoded[:2]}/{encoded}/data", content)
        return f"sha256:{encoded}"

    def _link(self, path: str, digest: str) -> None:
        self._write(
            f"{self._root}/repositories/{path}/{digest.replace(':', '/')}/link", digest.encode("ascii")
        )

    def _tag(self, repository: str, tag: str, digest: str) -> None:
        tags = f"{repository}/_manifests/tags/{tag}"
        self._write(f"{self._root}/repositories/{tags}/current/link", digest.encode("ascii"))
        self._link(f"{tags}/index", digest)

    def _manifest(self, number: int, layer: str) -> str:
        digest = self._blob(manifest(self.config, layer, number))
        self._link(f"{MANY}/_manifests/revisions", digest)
        return digest

    def grow(self, size: int) -> None:
        """Add blobs, tags and repositories until there are so many."""
        digest = ""
        for number in range(self.size, size):
            layer = self._blob(b"layer %d" % number)
            self._link(f"{MANY}/_layers", layer)
            if number % SHARED == 0:
                digest = self._manifest(number, layer)
                other = f"grow/one-{number:06}"
                self._link(f"{other}/_layers", layer)
                self._link(f"{other}/_layers", self.config)
                self._link(f"{other}/_manifests/revisions", digest)
                self._tag(other, "1", digest)
            self._tag(MANY, f"v{number:06}", digest)
        self.size = size


def manifest(config: str, layer: str, number: int) -> bytes:
    """Make a manifest."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": layer,
                    "size": len(b"layer %d" % number),
                }
            ],
            "annotations": {"number": str(number)},
        }
    ).encode()


@attrs.frozen
class Asker:
    """Makes the requests that are timed, each of them *n* times with another *n*."""

    connection: Connection
    store: Store

    def tags_first(self, n: int) -> None:
        """The first page of the tags."""
        self.connection.request(200, "GET", f"/v2/{MANY}/tags/list?n={PAGE}")

    def tags_middle(self, n: int) -> None:
        """A page in the middle of the tags."""
        self.connection.request(200, "GET", f"/v2/{MANY}/tags/list?n={PAGE}&last=v{self.store.size // 2:06}")

    def catalog_first(self, n: int) -> None:
        """The first page of the catalog."""
        self.connection.request(200, "GET", f"/v2/_catalog?n={PAGE}")

    def catalog_middle(self, n: int) -> None:
        """A page in the middle of the catalog."""
        last = f"grow/one-{self.store.size // 2 // SHARED * SHARED:06}"
        self.connection.request(200, "GET", f"/v2/_catalog?n={PAGE}&last={last}")

    def manifest_push(self, n: int) -> None:
        """A new manifest under a new tag."""
        body = manifest(self.store.config, sha256(b"layer 0"), 0)[:-1] + b" " * (n + 1) + b"}"
        path = f"/v2/{MANY}/manifests/pushed-{self.store.size}-{n}"
        self.connection.request(201, "PUT", path, f"Content-Type: {MANIFEST_TYPE}\r\n", body)

    def blob_push(self, n: int) -> None:
        """A blob of 10 KiB, by POST and PUT."""
        data = (b"%d %d " % (self.store.size, n)).ljust(10240, b".")
        head, _ = self.connection.request(202, "POST", f"/v2/{MANY}/blobs/uploads/")
        self.connection.request(201, "PUT", with_digest(head.location, sha256(data)), OCTETS, data)

    def manifest_pull(self, n: int) -> None:
        """A manifest by a tag that was not asked for before."""
        tag = f"v{(n * 7919) % self.store.size:06}"
        headers = f"Accept: {MANIFEST_TYPE}\r\n"
        self.connection.request(200, "GET", f"/v2/{MANY}/manifests/{tag}", headers)

    def tags_after_push(self, n: int) -> None:
        """The first page of the tags just after one was pushed; the push is not counted."""
        self.tags_first(n)

    def catalog_after_push(self, n: int) -> None:
        """The first page of the catalog just after a tag was pushed."""
        self.catalog_first(n)


def timed(ask: Callable[[int], None], before: Callable[[int], None] | None = None) -> tuple[float, float]:
    """Return what the first time took, and the median of the others, in ms."""
    took = []
    for n in range(TIMES):
        if before is not None:
            before(n + 1000)
        began = time.perf_counter()
        ask(n)
        took.append((time.perf_counter() - began) * 1000)
    return took[0], statistics.median(took[1:])


def measure(server: Server, store: Store) -> Mapping[str, float]:
    """Return what each kind of request takes, in ms."""
    connection = server.connect()
    asker = Asker(connection, store)
    connection.request(200, "GET", "/v2/")
    figures: dict[str, float] = {}
    first, figures["tags list, again"] = timed(asker.tags_first)
    figures["tags list, first after the start"] = first
    figures["tags list, a page in the middle"] = timed(asker.tags_middle)[1]
    first, figures["catalog, again"] = timed(asker.catalog_first)
    figures["catalog, first after the start"] = first
    figures["catalog, a page in the middle"] = timed(asker.catalog_middle)[1]
    figures["manifest pull by tag"] = timed(asker.manifest_pull)[1]
    figures["manifest push"] = timed(asker.manifest_push)[1]
    figures["blob push"] = timed(asker.blob_push)[1]
    figures["tags list, just after a push"] = timed(asker.tags_after_push, asker.manifest_push)[1]
    figures["catalog, just after a push"] = timed(asker.catalog_after_push, asker.manifest_push)[1]
    connection.close()
    return figures


def main(arguments: Sequence[str]) -> None:
    """Print a table: a column for each size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument(
        "sizes", nargs="*", type=int, default=SIZES, metavar="SIZE", help="blobs and tags (100 to 100,000)"
    )
    parser.add_argument("--data", metavar="DIR", help="put the data below this directory")
    options = parser.parse_args(arguments)
    sizes = sorted(options.sizes)
    columns = []
    with tempfile.TemporaryDirectory(prefix="txregistry-growth-", dir=options.data) as directory:
        data = os.path.join(directory, "data")
        store = Store(data)
        for size in sizes:
            print(f"{size} blobs and tags", file=sys.stderr, flush=True)
            store.grow(size)
            os.sync()
            time.sleep(QUIET)
            server = Server(TXREGISTRY, directory, data)
            server.start()
            try:
                columns.append(measure(server, store))
            finally:
                server.stop()
        print(f"{'blobs and tags':40}" + "".join(f"{size:>12,}" for size in sizes))
        for name in columns[0]:
            print(f"{name:34}{'ms':>6}" + "".join(f"{column[name]:12.2f}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1:])
