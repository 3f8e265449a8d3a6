"""Blobs over HTTP."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.web.client import Answer, Server
from txregistry.digest import Digest
from txregistry.interfaces import IRedirects
from txregistry.web.app import Permissions

CONTENT = bytes(range(256)) * 5
EMPTY = Digest.of(b"")


class BlobTests(SynchronousTestCase):
    """``/v2/<name>/blobs/<digest>``."""

    def setUp(self) -> None:
        self.server = Server()
        self.digest = self.server.push_blob("team/app", CONTENT)
        self.url = f"/v2/team/app/blobs/{self.digest}"

    def get(self, method: str = "GET", **headers: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.request(method, self.url, headers=fields)

    def test_whole(self) -> None:
        """A blob comes back as it was pushed, with the headers that clients and caches use."""
        answer = self.get()
        self.assertEqual((answer.status, answer.body), (200, CONTENT))
        self.assertEqual(answer.headers["Docker-Content-Digest"], str(self.digest))
        self.assertEqual(answer.headers["ETag"], f'"{self.digest}"')
        self.assertEqual(answer.headers["Content-Length"], str(len(CONTENT)))
        self.assertEqual(answer.headers["Content-Type"], "application/octet-stream")
        self.assertEqual(answer.headers["Cache-Control"], "max-age=31536000")
        self.assertEqual(answer.headers["Accept-Ranges"], "bytes")
        self.assertEqual(answer.headers["Docker-Distribution-Api-Version"], "registry/2.0")

    def test_large(self) -> None:
        """A blob that is sent piece by piece is the same blob."""
        content = CONTENT * 1000
        digest = self.server.push_blob("team/app", content)
        answer = self.server.request("GET", f"/v2/team/app/blobs/{digest}")
        self.assertEqual(answer.body, content)

    def test_large_range(self) -> None:
        """A part of a large blob is that part."""
        content = CONTENT * 1000
        digest = self.server.push_blob("team/app", content)
        answer = self.server.request(
            "GET", f"/v2/team/app/blobs/{digest}", headers={"Range": "bytes=1000-700999"}
        )
        self.assertEqual((answer.status, answer.body), (206, content[1000:701000]))

    def test_head(self) -> None:
        """HEAD answers as GET does, without a body, with and without a range."""
        for headers in ({}, {"Range": "bytes=3-9"}, {"If_None_Match": f'"{self.digest}"'}):
            get, head = self.get(**headers), self.get("HEAD", **headers)
            self.assertEqual(head.status, get.status)
            self.assertEqual(head.body, b"")
            for name in set(get.headers) - {"X-Request-Id", "Date"}:
                self.assertEqual(head.headers[name], get.headers[name], name)

    def test_H15_ranges(self) -> None:
        """A single range is answered by that part and where it lies."""
        size = len(CONTENT)
        for asked, start, stop in [
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            ("bytes=1270-", 1270, size),
            ("bytes=-10", size - 10, size),
            ("bytes=-99999", 0, size),
            ("bytes=5-99999", 5, size),
        ]:
            answer = self.get(Range=asked)
            self.assertEqual((answer.status, answer.body), (206, CONTENT[start:stop]), asked)
            self.assertEqual(answer.headers["Content-Range"], f"bytes {start}-{stop - 1}/{size}")
            self.assertEqual(answer.headers["Content-Length"], str(stop - start))

    def test_H15_unsatisfiable_range(self) -> None:
        """A range outside the blob is 416, with the blob's size."""
        for asked in ("bytes=1280-", "bytes=5000-6000", "bytes=-0"):
            answer = self.get(Range=asked)
            self.assertEqual(answer.status, 416, asked)
            self.assertEqual(answer.headers["Content-Range"], "bytes */1280")
            self.assertEqual(len(answer.codes), 1)

    def test_H15_ignored_ranges(self) -> None:
        """What is not one range of bytes gets the whole blob."""
        for asked in ("bytes=0-1,5-6", "lines=1-2", "bytes=9-3", "bytes=a-b", "bytes=1_0-", "bytes"):
            self.assertEqual(self.get(Range=asked).status, 200, asked)

    def test_if_range(self) -> None:
        """A range is honoured only if the client's part is of this very blob."""
        self.assertEqual(self.get(Range="bytes=0-1", If_Range=f'"{self.digest}"').status, 206)
        self.assertEqual(self.get(Range="bytes=0-1", If_Range='"sha256:other"').status, 200)

    def test_known_content(self) -> None:
        """A client that has the blob is told so, however it names it."""
        tag = f'"{self.digest}"'
        for known in (tag, str(self.digest), f"W/{tag}", f'"x", {tag}', "*"):
            answer = self.get(If_None_Match=known)
            self.assertEqual((answer.status, answer.body), (304, b""), known)
            self.assertEqual(answer.headers["ETag"], tag)
        self.assertEqual(self.get(If_None_Match='"sha256:other"').status, 200)

    def test_other_content_wanted(self) -> None:
        """A precondition that fails is a whole 412, and the connection stays in order."""
        answer = self.get(If_Match='"sha256:other"')
        self.assertEqual(answer.status, 412)
        self.assertEqual(len(answer.body), int(answer.headers["Content-Length"]))
        self.assertEqual(self.get(If_Match=f'"{self.digest}"').status, 200)

    def test_unknown(self) -> None:
        """A blob that the repository does not have is 404, though another repository has it."""
        for method in ("GET", "DELETE"):
            answer = self.server.request(method, f"/v2/team/other/blobs/{self.digest}")
            self.assertEqual((answer.status, answer.codes), (404, ["BLOB_UNKNOWN"]))

    def test_malformed_digests(self) -> None:
        """What is not a digest is 400 DIGEST_INVALID."""
        for digest in ("sha256:abc", "md5:" + "0" * 32, "SHA256:" + "0" * 64, "sha256:" + "A" * 64, "x"):
            answer = self.server.request("GET", f"/v2/team/app/blobs/{digest}")
            self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]), digest)

    def test_delete(self) -> None:
        """A deleted blob is gone from its repository, and from that alone."""
        self.server.push_blob("team/other", CONTENT)
        answer = self.server.request("DELETE", self.url)
        self.assertEqual((answer.status, answer.headers["Content-Length"]), (202, "0"))
        self.assertEqual(self.get().status, 404)
        self.assertEqual(self.server.request("DELETE", self.url).status, 404)
        self.assertEqual(self.server.request("GET", f"/v2/team/other/blobs/{self.digest}").status, 200)

    def test_sha512(self) -> None:
        """A blob pushed by sha512 is answered by sha512, and is not the sha256 blob."""
        digest = self.server.push_blob("team/app", b"other", "sha512")
        answer = self.server.request("GET", f"/v2/team/app/blobs/{digest}")
        self.assertEqual((answer.status, answer.body), (200, b"other"))
        self.assertEqual(answer.headers["Docker-Content-Digest"], str(digest))
        alias = Digest.of(b"other")
        self.assertEqual(self.server.request("GET", f"/v2/team/app/blobs/{alias}").status, 404)

    def test_empty(self) -> None:
        """The empty blob is a blob."""
        digest = self.server.push_blob("team/app", b"")
        answer = self.server.request("GET", f"/v2/team/app/blobs/{digest}")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_escaped_digest(self) -> None:
        """A colon may be written as its escape."""
        url = self.url.replace(":", "%3A")
        self.assertEqual(self.server.request("GET", url).status, 200)


class PermissionTests(SynchronousTestCase):
    """What the operator can switch off."""

    def test_A14_deletion_off(self) -> None:
        """Where deletion is off, DELETE of tag, manifest and blob are 405; ending an upload is not."""
        server = Server(permissions=Permissions(delete=False))
        content = server.push_image("a", "1")
        for path in ("manifests/1", f"manifests/{Digest.of(content)}", f"blobs/{Digest.of(b'{}')}"):
            answer = server.request("DELETE", f"/v2/a/{path}")
            self.assertEqual((answer.status, answer.codes), (405, ["UNSUPPORTED"]), path)
            self.assertNotIn("DELETE", answer.headers["Allow"])
        self.assertEqual(server.request("DELETE", server.begin("a")).status, 204)

    def test_A14_read_only(self) -> None:
        """A read-only registry answers reads, and 405 to everything else."""
        writable = Server()
        content = writable.push_image("a", "1")
        upload = writable.begin("a")
        server = Server(driver=writable.driver, permissions=Permissions(write=False, delete=True))
        self.assertEqual(server.request("GET", "/v2/a/manifests/1").body, content)
        for method, path in [
            ("PUT", "/v2/a/manifests/2"),
            ("DELETE", "/v2/a/manifests/1"),
            ("POST", "/v2/a/blobs/uploads/"),
            ("PATCH", upload),
            ("PUT", upload),
            ("DELETE", upload),
            ("DELETE", f"/v2/a/blobs/{Digest.of(b'{}')}"),
        ]:
            answer = server.request(method, path, b"x")
            self.assertEqual((answer.status, answer.codes), (405, ["UNSUPPORTED"]), (method, path))


@implementer(IRedirects)
class _Elsewhere:
    """Knows where all but empty blobs are."""

    async def redirect(self, path: str, method: str) -> str | None:
        """See :class:`~txregistry.interfaces.IRedirects`."""
        return None if EMPTY.hex in path else f"https://store.example{path}?method={method}"


class RedirectTests(SynchronousTestCase):
    """Blobs that a store sends by itself."""

    def setUp(self) -> None:
        """Make a registry whose blobs can be had from elsewhere."""
        self.server = Server(redirects=_Elsewhere())
        self.digest = self.server.push_blob("team/app", CONTENT)
        self.url = f"/v2/team/app/blobs/{self.digest}"

    def test_get(self) -> None:
        """GET is answered with where the blob is, for this client and this time alone, whatever part it asks for."""
        for headers in ({}, {"Range": "bytes=3-9"}):
            answer = self.server.request("GET", self.url, headers=headers)
            self.assertEqual((answer.status, answer.body), (307, b""))
            where = f"https://store.example/docker/registry/v2/blobs/sha256/{self.digest.hex[:2]}/{self.digest.hex}/data"
            self.assertEqual(answer.headers["Location"], f"{where}?method=GET")
            self.assertEqual(answer.headers["Docker-Content-Digest"], str(self.digest))
            self.assertEqual(answer.headers["Cache-Control"], "no-store")

    def test_head(self) -> None:
        """HEAD is answered here: the store could not tell the digest."""
        answer = self.server.request("HEAD", self.url)
        self.assertEqual((answer.status, answer.headers["Content-Length"]), (200, str(len(CONTENT))))

    def test_known(self) -> None:
        """A client that has the blob already is told so, and sent nowhere."""
        answer = self.server.request("GET", self.url, headers={"If-None-Match": f'"{self.digest}"'})
        self.assertEqual(answer.status, 304)

    def test_unknown(self) -> None:
        """For a blob that the repository does not have no one is sent anywhere."""
        answer = self.server.request("GET", self.url.replace("team/app", "other/app"))
        self.assertEqual((answer.status, answer.codes), (404, ["BLOB_UNKNOWN"]))

    def test_nowhere_else(self) -> None:
        """A blob that the store cannot send is sent from here."""
        self.server.push_blob("team/app", b"")
        answer = self.server.request("GET", f"/v2/team/app/blobs/{EMPTY}")
        self.assertEqual((answer.status, answer.body), (200, b""))
