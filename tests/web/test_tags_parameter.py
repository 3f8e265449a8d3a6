"""Several tags in one push by digest (distribution-spec, end-7b)."""

from __future__ import annotations

from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import OCI_MANIFEST, Answer, Server, image
from txregistry.digest import Digest


class TagParameterTests(SynchronousTestCase):
    """``PUT /v2/<name>/manifests/<digest>?tag=…``."""

    def setUp(self) -> None:
        self.server = Server()
        self.content = image(self.server.push_blob("a", b"{}"))
        self.digest = Digest.of(self.content)

    def put(self, *tags: str, reference: object = None, content: bytes | None = None) -> Answer:
        """Push an image with these tags."""
        query = urlencode([("tag", tag) for tag in tags])
        path = f"/v2/a/manifests/{reference or self.digest}?{query}"
        body = self.content if content is None else content
        return self.server.request("PUT", path, body, {"Content-Type": OCI_MANIFEST})

    def tags(self) -> list[str] | None:
        """Return the repository's tags; None if there is no repository."""
        answer = self.server.request("GET", "/v2/a/tags/list")
        return None if answer.status == 404 else list(answer.json()["tags"])

    def target(self, tag: str) -> str:
        """Return the digest that a tag leads to."""
        return self.server.request("HEAD", f"/v2/a/manifests/{tag}").headers["Docker-Content-Digest"]

    def assert_tagged(self, answer: Answer, *tags: str, digest: Digest | None = None) -> None:
        """Fail unless a push made exactly these tags, and says so."""
        digest = digest or self.digest
        self.assertEqual(answer.status, 201)
        listed = ", ".join(answer.headers.get_all("OCI-Tag", [])).split(", ")
        self.assertEqual(listed, list(tags))
        self.assertEqual(answer.headers["Docker-Content-Digest"], str(digest))
        self.assertEqual(self.server.path(answer), f"/v2/a/manifests/{digest}")
        for tag in tags:
            self.assertEqual(self.target(tag), str(digest))

    def test_some(self) -> None:
        """Every tag that is asked for is made, and named in the answer."""
        tags = ("1.2.3", "1.2", "1", "latest")
        self.assert_tagged(self.put(*tags), *tags)
        self.assertEqual(self.tags(), sorted(tags))
        self.assertEqual(self.server.request("GET", "/v2/a/manifests/1.2").body, self.content)

    def test_one(self) -> None:
        """One tag is made as several are."""
        self.assert_tagged(self.put("latest"), "latest")

    def test_none(self) -> None:
        """Without a tag none is made, and none is named."""
        answer = self.put()
        self.assertEqual((answer.status, answer.headers["OCI-Tag"]), (201, None))
        self.assertEqual(self.tags(), [])

    def test_repeated(self) -> None:
        """A tag that is asked for twice is made and named once."""
        self.assert_tagged(self.put("b", "a", "b", "a"), "b", "a")

    def test_encoded(self) -> None:
        """Tags may be percent-encoded, and stand among other parameters."""
        path = f"/v2/a/manifests/{self.digest}?x=1&tag=%31%2E0&y&tag=%5Fa"
        answer = self.server.request("PUT", path, self.content, {"Content-Type": OCI_MANIFEST})
        self.assert_tagged(answer, "1.0", "_a")

    def test_many(self) -> None:
        """A hundred tags can be made at once, be they as long as tags can be."""
        tags = [f"{number:03}-{'x' * 124}" for number in range(100)]
        self.assert_tagged(self.put(*tags), *tags)
        self.assertEqual(self.tags(), tags)

    def test_too_many(self) -> None:
        """More are 414, and nothing is stored."""
        answer = self.put(*(str(number) for number in range(101)))
        self.assertEqual((answer.status, answer.codes), (414, ["UNSUPPORTED"]))
        self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{self.digest}").status, 404)
        self.assertIsNone(self.tags())

    def test_malformed(self) -> None:
        """A tag that is none is 400, and neither the manifest nor another tag is stored."""
        for tag in (
            "",
            ".x",
            "-x",
            "a/b",
            "a b",
            "x" * 129,
            "caf\xe9",
            "a,b",
            "a:b",
            str(self.digest),
            "a\n",
        ):
            for tags in ((tag,), ("good", tag), (tag, "good")):
                answer = self.put(*tags)
                self.assertEqual((answer.status, answer.codes), (400, ["TAG_INVALID"]), tag)
                self.assertIsNone(answer.headers["OCI-Tag"])
                self.assertEqual(self.server.request("GET", f"/v2/a/manifests/{self.digest}").status, 404)
                self.assertIsNone(self.tags())

    def test_refused(self) -> None:
        """When the manifest is refused no tag is made or moved."""
        self.put("old")
        other = image(self.server.push_blob("a", b"other"))
        lacking = image(Digest.of(b"absent"))
        for content, digest, code in (
            (other, self.digest, "DIGEST_INVALID"),
            (lacking, Digest.of(lacking), "MANIFEST_BLOB_UNKNOWN"),
            (b"{", Digest.of(b"{"), "MANIFEST_INVALID"),
        ):
            answer = self.put("old", "new", reference=digest, content=content)
            self.assertEqual((answer.status, answer.codes), (400, [code]))
            self.assertIsNone(answer.headers["OCI-Tag"])
            self.assertEqual(self.tags(), ["old"])
            self.assertEqual(self.target("old"), str(self.digest))

    def test_moved(self) -> None:
        """Tags that point elsewhere are moved, and others are left alone."""
        self.put("a", "b", "c")
        other = image(self.server.push_blob("a", b"other"))
        self.assert_tagged(
            self.put("b", "d", reference=Digest.of(other), content=other), "b", "d", digest=Digest.of(other)
        )
        self.assertEqual([self.target(tag) for tag in "ac"], [str(self.digest)] * 2)
        self.assertEqual(self.tags(), ["a", "b", "c", "d"])

    def test_sha512(self) -> None:
        """A tag leads to the digest that the manifest was pushed by."""
        digest = Digest.of(self.content, "sha512")
        self.assert_tagged(self.put("wide", reference=digest), "wide", digest=digest)

    def test_by_tag(self) -> None:
        """A push by tag makes that tag alone, and names no other, whatever the parameter says."""
        for more in ("b", ".x"):
            answer = self.put(more, reference="a")
            self.assertEqual((answer.status, answer.headers["OCI-Tag"]), (201, None))
            self.assertEqual(self.tags(), ["a"])

    def test_deleted(self) -> None:
        """Tags made together are deleted one by one, or all with their manifest."""
        self.put("a", "b", "c")
        self.assertEqual(self.server.request("DELETE", "/v2/a/manifests/b").status, 202)
        self.assertEqual(self.tags(), ["a", "c"])
        self.assertEqual(self.server.request("DELETE", f"/v2/a/manifests/{self.digest}").status, 202)
        self.assertEqual(self.tags(), [])
