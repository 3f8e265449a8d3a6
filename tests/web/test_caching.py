"""What a cache may say, and what it never decides."""

from __future__ import annotations

import builtins
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import OCI_MANIFEST, Answer, Server, image
from txregistry.cache.memory import MemoryCache
from txregistry.content import layout
from txregistry.content.facts import Facts
from txregistry.digest import Digest
from txregistry.storage.memory import MemoryDriver

SMALL = bytes(range(256)) * 5
LARGE = SMALL * 100


class AskedDriver(MemoryDriver):
    """A driver in memory that tells what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: builtins.list[tuple[str, str]] = []

    async def read(self, path: str, limit: int) -> bytes:
        self.asked.append(("read", path.rpartition("/")[2]))
        return await super().read(path, limit)

    async def stat(self, path: str) -> Any:
        self.asked.append(("stat", path.rpartition("/")[2]))
        return await super().stat(path)

    async def touch(self, paths: Any, age: float = 0) -> Any:
        self.asked.append(("touch", ""))
        return await super().touch(paths, age)


class CachingCase(SynchronousTestCase):
    """A registry in memory with a cache."""

    def setUp(self) -> None:
        self.driver, self.cache = AskedDriver(), MemoryCache(0)
        self.server = Server(self.driver, facts=Facts(self.cache))

    def run_now(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def asked(self, method: str, path: str, **headers: str) -> tuple[Answer, list[tuple[str, str]]]:
        """Return an answer, and what the storage was asked for it."""
        self.driver.asked = []
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.request(method, path, headers=fields), self.driver.asked

    def get(self, path: str, **headers: str) -> Answer:
        return self.asked("GET", path, **headers)[0]

    def remove_bytes(self, digest: Digest) -> None:
        """Remove bytes past the registry, as no one should."""
        self.run_now(self.driver.delete(layout.blob_data(digest)))

    def claim(self, key: str, value: bytes) -> None:
        """Put something into the cache past the registry."""
        self.run_now(self.cache.put(key, value))


class BlobTests(CachingCase):
    """Sizes of blobs."""

    def setUp(self) -> None:
        super().setUp()
        self.small = self.server.push_blob("team/app", SMALL)
        self.large = self.server.push_blob("team/app", LARGE)

    def path(self, digest: Digest, name: str = "team/app") -> str:
        return f"/v2/{name}/blobs/{digest}"

    def test_used(self) -> None:
        """The second GET of a blob asks the storage for its link and its bytes, and for no more."""
        self.get(self.path(self.small))
        answer, asked = self.asked("GET", self.path(self.small))
        self.assertEqual((answer.status, answer.body), (200, SMALL))
        self.assertEqual(asked, [("read", "link"), ("read", "data")])
        self.assertEqual(self.cache.hits, 1)

    def test_never_asked(self) -> None:
        """HEAD, conditions and pushes do not ask the cache."""
        self.get(self.path(self.small))
        before = self.cache.requests
        self.assertEqual(self.asked("HEAD", self.path(self.small))[1], [("read", "link"), ("touch", "")])
        for condition in ({"If_Match": "*"}, {"If_None_Match": '"x"'}, {"If_None_Match": "*"}):
            self.assertIn(("stat", "data"), self.asked("GET", self.path(self.small), **condition)[1])
        mount = f"/v2/team/other/blobs/uploads/?mount={self.small}&from=team/app"
        self.assertEqual(self.server.request("POST", mount).status, 201)
        self.server.put_manifest("team/app", "1", image(self.small, self.large))
        self.assertEqual(self.server.request("DELETE", self.path(self.small)).status, 202)
        self.assertEqual(self.cache.requests, before)

    def test_deleted(self) -> None:
        """A blob that was deleted is 404 for every question, and still there for another repository."""
        self.server.push_blob("team/other", SMALL)
        for name in ("team/app", "team/other"):
            self.get(self.path(self.small, name))
        self.server.request("DELETE", self.path(self.small))
        for method in ("GET", "HEAD"):
            self.assertEqual(self.asked(method, self.path(self.small))[0].status, 404)
        self.assertEqual(self.get(self.path(self.small, "team/other")).body, SMALL)

    def test_of_another_repository(self) -> None:
        """A blob of which the cache knows from one repository is not another's."""
        self.get(self.path(self.small))
        self.assertEqual(self.get(self.path(self.small, "team/other")).status, 404)

    def test_bytes_gone(self) -> None:
        """A blob whose bytes are gone is 404, with no header of a blob, and is forgotten."""
        for digest in (self.small, self.large):
            self.get(self.path(digest))
            self.remove_bytes(digest)
            requests, hits = self.cache.requests, self.cache.hits
            answer = self.get(self.path(digest), Range="bytes=1-2")
            self.assertEqual((answer.status, answer.codes), (404, ["BLOB_UNKNOWN"]))
            for header in (
                "ETag",
                "Content-Range",
                "Accept-Ranges",
                "Cache-Control",
                "Docker-Content-Digest",
            ):
                self.assertNotIn(header, answer.headers)
            self.assertEqual((self.cache.requests - requests, self.cache.hits - hits), (1, 1))
            self.assertIsNone(self.run_now(self.cache.get(f"size:{digest}")))
            self.assertEqual(self.asked("HEAD", self.path(digest))[0].status, 404)

    def test_bytes_gone_and_relied_on(self) -> None:
        """Bytes of which only the cache knows can be neither mounted nor named by a manifest."""
        config = self.server.push_blob("team/app", b"{}")
        self.get(self.path(self.small))
        self.remove_bytes(self.small)
        mount = f"/v2/team/other/blobs/uploads/?mount={self.small}&from=team/app"
        self.assertEqual(self.server.request("POST", mount).status, 202)
        refused = self.server.put_manifest("team/app", "1", image(config, self.small))
        self.assertEqual((refused.status, refused.codes), (400, ["MANIFEST_BLOB_UNKNOWN"]))

    def test_back_again(self) -> None:
        """A blob that is pushed again after its bytes were gone is served again."""
        self.get(self.path(self.small))
        self.remove_bytes(self.small)
        self.assertEqual(self.get(self.path(self.small)).status, 404)
        self.server.push_blob("team/app", SMALL)
        self.assertEqual(self.get(self.path(self.small)).body, SMALL)

    def test_wrong_size(self) -> None:
        """Whatever the cache says of a blob's size, its very bytes are sent, with their own length."""
        for digest, content in ((self.small, SMALL), (self.large, LARGE)):
            for claimed in (b"1", b"1279", b"1281", b"65537", b"9" * 18, b"9" * 4000, b"-1", b"", b"0", b"x"):
                self.claim(f"size:{digest}", claimed)
                answer = self.get(self.path(digest))
                self.assertEqual((answer.status, answer.body == content), (200, True), claimed)
                self.assertEqual(answer.headers["Content-Length"], str(len(content)))
                self.claim(f"size:{digest}", claimed)
                answer = self.get(self.path(digest), Range="bytes=-10")
                self.assertEqual((answer.status, answer.body), (206, content[-10:]), claimed)
                self.claim(f"size:{digest}", claimed)
                self.assertEqual(self.get(self.path(digest), Range=f"bytes={len(content)}-").status, 416)

    def test_wrong_size_forgotten(self) -> None:
        """A size that proved wrong is forgotten, and the right one learnt."""
        self.claim(f"size:{self.small}", b"1")
        self.get(self.path(self.small))
        self.get(self.path(self.small))
        self.assertEqual(self.run_now(self.cache.get(f"size:{self.small}")), b"1280")

    def test_empty(self) -> None:
        """The empty blob is not remembered: its bytes would not be looked for."""
        digest = self.server.push_blob("team/app", b"")
        self.assertEqual(self.get(self.path(digest)).body, b"")
        self.assertEqual(self.get(self.path(digest)).body, b"")
        self.assertIsNone(self.run_now(self.cache.get(f"size:{digest}")))

    def test_other_algorithm(self) -> None:
        """A blob that is known by sha512 is remembered, and is not one by sha256."""
        digest = self.server.push_blob("team/app", b"other", "sha512")
        for _ in range(2):
            self.assertEqual(self.get(self.path(digest)).body, b"other")
        self.assertEqual(self.get(self.path(Digest.of(b"other"))).status, 404)


class ManifestTests(CachingCase):
    """Manifests."""

    def setUp(self) -> None:
        super().setUp()
        self.content = self.server.push_image("team/app", "1")
        self.digest = Digest.of(self.content)
        self.url = f"/v2/team/app/manifests/{self.digest}"
        self.tag = "/v2/team/app/manifests/1"

    def test_used(self) -> None:
        """The second GET of a manifest asks the storage for links alone."""
        self.assertEqual(self.get(self.url).body, self.content)
        answer, asked = self.asked("GET", self.url)
        self.assertEqual((answer.body, asked), (self.content, [("read", "link")]))
        self.assertEqual(answer.headers["Content-Type"], OCI_MANIFEST)
        answer, asked = self.asked("GET", self.tag)
        self.assertEqual((answer.body, asked), (self.content, [("read", "link"), ("read", "link")]))

    def test_never_asked(self) -> None:
        """HEAD, conditions and an index that names a manifest do not ask the cache."""
        self.get(self.url)
        before = self.cache.requests
        for method, condition in (
            ("HEAD", {}),
            ("GET", {"If_Match": "*"}),
            ("GET", {"If_None_Match": '"x"'}),
        ):
            self.assertIn(("read", "data"), self.asked(method, self.url, **condition)[1])
        self.remove_bytes(self.digest)
        self.assertEqual(self.asked("HEAD", self.url)[0].status, 404)
        self.assertEqual(self.cache.requests, before)

    def test_moved_tag(self) -> None:
        """A tag that another process moved or deleted leads where it leads now."""
        other = Server(self.driver)
        self.get(self.tag)
        moved = other.push_image("team/app", "1", b"other layer")
        self.assertEqual(self.get(self.tag).body, moved)
        self.assertEqual(other.request("DELETE", self.tag).status, 202)
        self.assertEqual(self.get(self.tag).status, 404)

    def test_deleted(self) -> None:
        """A manifest that another process deleted is 404 at once, by tag and by digest."""
        for url in (self.url, self.tag):
            self.get(url)
        self.assertEqual(Server(self.driver).request("DELETE", self.url).status, 202)
        for url in (self.url, self.tag):
            for method in ("GET", "HEAD"):
                self.assertEqual(self.asked(method, url)[0].status, 404)

    def test_forged(self) -> None:
        """Bytes that have not the digest are not served: the storage's are, and take their place."""
        for forged in (b"", b"{}", self.content + b" ", self.content[:-1]):
            self.claim(f"manifest:{self.digest}", forged)
            self.assertEqual(self.get(self.url).body, self.content)
            self.assertEqual(self.run_now(self.cache.get(f"manifest:{self.digest}")), self.content)

    def test_large(self) -> None:
        """A manifest that would take the place of many others is not remembered."""
        config = self.server.push_blob("team/app", b"{}")
        content = image(config, annotations={"a": "x" * 70000})
        self.assertEqual(self.server.put_manifest("team/app", "2", content).status, 201)
        for _ in range(2):
            answer, asked = self.asked("GET", f"/v2/team/app/manifests/{Digest.of(content)}")
            self.assertEqual((answer.body, asked), (content, [("read", "link"), ("read", "data")]))
