"""A page of a long list takes no longer than a page of a short one."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import attrs

from tests.processes import RegistryServer
from tests.registry_client import RegistryClient, sha256
from tests.test_service import ProcessCase, image

PAGE = 100
TRIES = 21
MANY_TAGS, MANY_REPOSITORIES, FEW = 20_000, 5_000, 100
#: The times that a page may take longer where there is more, and the seconds that it may take in any case.
FACTOR, ALLOWANCE = 5, 0.020


class Layout:
    """Writes repositories to a disk as the registry would, but for the history of tags, in no time.

    :param data: the storage root.
    """

    def __init__(self, data: str) -> None:
        self._root = f"{data}/docker/registry/v2"
        self._config = self._blob(b"{}")
        self._manifest = json.dumps(image(self._config)).encode()
        self._digest = self._blob(self._manifest)

    def repository(self, name: str, tags: list[str]) -> None:
        """Make a repository."""
        manifests = f"{self._root}/repositories/{name}/_manifests"
        self._link(f"{self._root}/repositories/{name}/_layers", self._config)
        self._link(f"{manifests}/revisions", self._digest)
        for tag in tags:
            self._write(f"{manifests}/tags/{tag}/current/link", self._digest.encode())

    def _blob(self, content: bytes) -> str:
        encoded = sha256(content).partition(":")[2]
        self._write(f"{self._root}/blobs/sha256/{encoded[:2]}/{encoded}/data", content)
        return f"sha256:{encoded}"

    def _link(self, directory: str, digest: str) -> None:
        self._write(f"{directory}/{digest.replace(':', '/')}/link", digest.encode())

    def _write(self, path: str, content: bytes) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def tag_names(count: int) -> list[str]:
    """Return the tags of a repository that has *count*, in byte order."""
    return sorted(f"{('v', 'V', '_', 'build-')[number % 4]}{number}" for number in range(count))


def repository_names(count: int) -> list[str]:
    """Return the names of *count* repositories, some below others, in byte order."""
    kinds = ("team{0}/app", "team{0}", "team{0}-x", "solo.{0}", "deep/{1}/down/{0}")
    return sorted(kinds[number % 5].format(number // 5, number // 500) for number in range(count))


@attrs.frozen
class Page:
    """A page of a list, as it should be.

    :param path: that of the list.
    :param key: what the list is called in the answer.
    :param names: what is on the page.
    :param last: the name that it follows; empty for the first page.
    :param link: the header that leads to the next page, if there is one.
    """

    path: str
    key: str
    names: list[str]
    last: str
    link: str | None

    @classmethod
    def of(cls, path: str, key: str, names: list[str], start: int) -> Page:
        """Return the page of a list of *names* that starts with one of them."""
        shown = names[start : start + PAGE]
        link = None
        if start + PAGE < len(names):
            link = f'<{path}?{urlencode({"last": shown[-1], "n": PAGE})}>; rel="next"'
        return cls(path, key, shown, names[start - 1] if start else "", link)


class Measured:
    """A server, asked for pages over one connection.

    :param server: it runs.
    """

    def __init__(self, server: RegistryServer) -> None:
        self._connection = http.client.HTTPConnection(server.host, timeout=60)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def page(self, path: str, last: str) -> tuple[float, bytes, str | None]:
        """Ask for a page; return the seconds that it took, its body and its link."""
        query = {"n": PAGE, **({"last": last} if last else {})}
        begun = time.perf_counter()
        self._connection.request("GET", f"{path}?{urlencode(query)}")
        response = self._connection.getresponse()
        body = response.read()
        took = time.perf_counter() - begun
        assert response.status == 200, body
        return took, body, response.getheader("Link")


class ScaleTests(ProcessCase):
    """Twenty thousand tags, five thousand repositories."""

    def start(self, name: str, tags: int, repositories: int) -> RegistryServer:
        """Start a server on a registry of that size."""
        server = self.server()
        server.data = os.path.join(self.directory, name)
        content = Layout(server.data)
        content.repository("deep/0/down/0", tag_names(tags))
        for repository in repository_names(repositories):
            content.repository(repository, [])
        server.start()
        return server

    def test_pages(self) -> None:
        """Each page of a long list is right, and takes about as long as a page of a short list."""
        small = self.start("small", FEW, FEW)
        large = self.start("large", MANY_TAGS, MANY_REPOSITORIES)
        rows = []
        for situation, going_on in (("quiet", contextlib.nullcontext), ("pushing", self.pushing)):
            for path, key, make, count in (
                ("/v2/deep/0/down/0/tags/list", "tags", tag_names, MANY_TAGS),
                ("/v2/_catalog", "repositories", repository_names, MANY_REPOSITORIES),
            ):
                for place, start in (("first", 0), ("middle", count // 2), ("last", count - PAGE)):
                    short, long = Page.of(path, key, make(FEW), 0), Page.of(path, key, make(count), start)
                    with going_on(small), going_on(large):
                        base, took = self.medians((small, short), (large, long))
                    rows.append((situation, key, place, base, took))
        print()
        for situation, key, place, base, took in rows:
            print(f"{situation:8}{key:13}{place:7}{base * 1000:7.2f} ms{took * 1000:7.2f} ms")
        for *where, base, took in rows:
            self.assertLess(took, FACTOR * base + ALLOWANCE, where)

    def medians(self, *asked: tuple[RegistryServer, Page]) -> list[float]:
        """Return how long each page takes, in seconds; fail unless it is right each time.

        The pages are asked for in turn, so that what else the machine does is the same for all of them.
        """
        times: list[list[float]] = [[] for _ in asked]
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(contextlib.closing(Measured(server))) for server, _ in asked]
            for _ in range(TRIES):
                for measured, (_, page), seen in zip(opened, asked, times, strict=True):
                    took, body, link = measured.page(page.path, page.last)
                    self.assertEqual(json.loads(body)[page.key], page.names)
                    self.assertEqual(link, page.link)
                    seen.append(took)
        return [statistics.median(seen) for seen in times]

    @contextlib.contextmanager
    def pushing(self, server: RegistryServer) -> Iterator[None]:
        """Push and delete tags in another repository meanwhile."""
        client = RegistryClient(server.host)
        done = threading.Event()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                # A repository that is there already, so that the catalog stays as it is.
                config = client.push_bytes("team0", b"{}")
                number = 0
                while not done.is_set():
                    number += 1
                    client.push_manifest("team0", f"t{number}", image(config))
                    client.expect(202, "DELETE", f"/v2/team0/manifests/t{number}")
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(60)
        self.assertEqual(failures, [])
