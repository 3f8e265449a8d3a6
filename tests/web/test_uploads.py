"""Uploads over HTTP: every form that the spec knows."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import Answer, Server, with_digest
from txregistry.digest import Digest


class UploadTests(SynchronousTestCase):
    """``/v2/<name>/blobs/uploads/``."""

    def setUp(self) -> None:
        self.server = Server()

    def chunk(self, path: str, start: int, content: bytes, method: str = "PATCH") -> Answer:
        header = {"Content-Range": f"{start}-{start + len(content) - 1}"}
        return self.server.request(method, path, content, header)

    def assert_blob(self, content: bytes, name: str = "a/b") -> None:
        answer = self.server.request("GET", f"/v2/{name}/blobs/{Digest.of(content)}")
        self.assertEqual((answer.status, answer.body), (200, content))

    def test_begin(self) -> None:
        """A session begins with a location that carries its id, and no bytes."""
        answer = self.server.request("POST", "/v2/a/b/blobs/uploads/")
        self.assertEqual(answer.status, 202)
        self.assertIn(answer.headers["Docker-Upload-UUID"], answer.headers["Location"])
        self.assertTrue(
            answer.headers["Location"].startswith("http://registry.example/v2/a/b/blobs/uploads/")
        )
        self.assertEqual(answer.headers["Range"], "0-0")
        self.assertEqual(answer.headers["Content-Length"], "0")

    def test_without_slash(self) -> None:
        """The address works without its last slash too: a redirect would turn POST into GET."""
        self.assertEqual(self.server.request("POST", "/v2/a/b/blobs/uploads").status, 202)

    def test_post_then_put(self) -> None:
        """A blob can be sent whole with the PUT that ends the session."""
        answer = self.server.request(
            "PUT", with_digest(self.server.begin("a/b"), Digest.of(b"x" * 9)), b"x" * 9
        )
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.headers["Docker-Content-Digest"], str(Digest.of(b"x" * 9)))
        self.assertEqual(self.server.request("GET", self.server.path(answer)).body, b"x" * 9)

    def test_single_post(self) -> None:
        """A blob can be sent whole with a single POST."""
        answer = self.server.request("POST", with_digest("/v2/a/b/blobs/uploads/", Digest.of(b"one")), b"one")
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.server.request("GET", self.server.path(answer)).body, b"one")

    def test_single_post_of_another_digest(self) -> None:
        """A single POST whose bytes have another digest stores nothing."""
        answer = self.server.request("POST", with_digest("/v2/a/b/blobs/uploads/", Digest.of(b"one")), b"two")
        self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]))
        self.assertEqual(self.server.request("GET", f"/v2/a/b/blobs/{Digest.of(b'one')}").status, 404)

    def test_streamed(self) -> None:
        """A PATCH without a range appends what it carries."""
        answer = self.server.request("PATCH", self.server.begin("a/b"), b"hello ")
        self.assertEqual((answer.status, answer.headers["Range"]), (202, "0-5"))
        answer = self.server.request("PATCH", self.server.path(answer), b"world")
        self.assertEqual(answer.headers["Range"], "0-10")
        answer = self.server.request("PUT", with_digest(self.server.path(answer), Digest.of(b"hello world")))
        self.assertEqual(answer.status, 201)
        self.assert_blob(b"hello world")

    def test_chunks_in_order(self) -> None:
        """Chunks with ranges are appended, the last one with the PUT, from one location all along."""
        path = self.server.begin("a/b")
        self.assertEqual(self.chunk(path, 0, b"abc").status, 202)
        self.assertEqual(self.chunk(path, 3, b"def").headers["Range"], "0-5")
        answer = self.chunk(with_digest(path, Digest.of(b"abcdefghi")), 6, b"ghi", "PUT")
        self.assertEqual(answer.status, 201)
        self.assert_blob(b"abcdefghi")

    def test_tiny_chunks(self) -> None:
        """A chunk may be as small as a byte, and so no least length is announced."""
        answer = self.server.request("POST", "/v2/a/b/blobs/uploads/")
        self.assertNotIn("OCI-Chunk-Min-Length", answer.headers)
        path = self.server.path(answer)
        for start, byte in enumerate((b"a", b"b", b"c")):
            self.assertEqual(self.chunk(path, start, byte).headers["Range"], f"0-{start}")
        self.assertEqual(self.server.request("PUT", with_digest(path, Digest.of(b"abc"))).status, 201)
        self.assert_blob(b"abc")

    def test_chunk_out_of_order(self) -> None:
        """A chunk that leaves a gap or overlaps is 416 with the range that is stored; the upload goes on."""
        path = self.server.begin("a/b")
        self.chunk(path, 0, b"abc")
        for start in (0, 2, 4, 99):
            answer = self.chunk(path, start, b"xyz")
            self.assertEqual((answer.status, answer.codes), (416, ["BLOB_UPLOAD_INVALID"]))
            self.assertEqual(answer.headers["Range"], "0-2")
            self.assertIn("Location", answer.headers)
        answer = self.chunk(with_digest(path, Digest.of(b"abcd")), 5, b"d", "PUT")
        self.assertEqual(answer.status, 416)
        self.assertEqual(self.chunk(with_digest(path, Digest.of(b"abcd")), 3, b"d", "PUT").status, 201)

    def test_stale_location(self) -> None:
        """A PATCH without a range to a location that is behind is refused: its bytes would come twice."""
        path = self.server.begin("a/b")
        self.assertEqual(self.server.request("PATCH", path, b"abc").status, 202)
        answer = self.server.request("PATCH", path, b"abc")
        self.assertEqual((answer.status, answer.headers["Range"]), (416, "0-2"))
        fresh = self.server.request("GET", path)
        self.assertEqual(self.server.request("PATCH", self.server.path(fresh), b"def").status, 202)

    def test_malformed_range(self) -> None:
        """A range that is none, or of another length than the chunk, is 400 and stores nothing."""
        path = self.server.begin("a/b")
        for value in ("x", "0", "3-1", "0-1_0", "+0-2", "0-9", "\u0660-2", "0-" + "9" * 30):
            answer = self.server.request(
                "PATCH", path, b"abc", {"Content-Range": value.encode().decode("latin-1")}
            )
            self.assertEqual(answer.status, 400, value)
        self.assertEqual(self.server.request("GET", path).headers["Range"], "0-0")

    def test_http_range(self) -> None:
        """A range in HTTP's own notation is understood."""
        answer = self.server.request(
            "PATCH", self.server.begin("a/b"), b"abc", {"Content-Range": "bytes 0-2/*"}
        )
        self.assertEqual(answer.status, 202)

    def test_chunked_coding_with_range(self) -> None:
        """A chunk of unknown length that is not as long as its range says is refused."""
        for body in (b"2\r\nab\r\n0\r\n\r\n", b"4\r\nabcd\r\n0\r\n\r\n"):
            channel, transport = self.server.connect()
            path = self.server.begin("a/b")
            channel.dataReceived(
                f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                "Content-Range: 0-2\r\n\r\n".encode()
                + body
            )
            self.assertIn(b" 400 ", transport.value().splitlines()[0])

    def test_long_chunk_of_unknown_length(self) -> None:
        """A long chunk that is not as long as its range says ends the session: its bytes are not trusted."""
        channel, transport = self.server.connect()
        path = self.server.begin("a/b")
        channel.dataReceived(
            f"PATCH {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Content-Range: 0-399999\r\n\r\n".encode()
        )
        channel.dataReceived(b"493e0\r\n" + b"x" * 300000 + b"\r\n" + b"493e0\r\n" + b"x" * 300000 + b"\r\n")
        self.assertIn(b" 400 ", transport.value().splitlines()[0])
        self.assertEqual(self.server.request("GET", path).status, 404)

    def test_vanished_single_post(self) -> None:
        """A single POST that is cut short, or malformed, leaves no session that no one knows of."""
        self.server.push_blob("a/b", b"x")
        uploads = "/docker/registry/v2/repositories/a/b/_uploads"
        digest = Digest.of(b"x" * 700000)
        head = f"POST {with_digest('/v2/a/b/blobs/uploads/', digest)} HTTP/1.1\r\nHost: x\r\n"
        channel, transport = self.server.connect()
        channel.dataReceived(f"{head}Content-Length: 700000\r\n\r\n".encode() + b"x" * 300000)
        transport.loseConnection()
        channel, transport = self.server.connect()
        channel.dataReceived(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"zz\r\n")
        left = self.successResultOf(Deferred.fromCoroutine(self.server.driver.list(uploads)))
        self.assertEqual(left, [])

    def test_status(self) -> None:
        """GET says how far a session is, and where it goes on."""
        path = self.server.begin("a/b")
        self.server.request("PATCH", path, b"abc")
        answer = self.server.request("GET", path)
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(answer.headers["Range"], "0-2")
        self.assertEqual(self.server.request("PATCH", self.server.path(answer), b"d").status, 202)

    def test_cancel(self) -> None:
        """A session that was ended is unknown to every method."""
        path = self.server.begin("a/b")
        self.assertEqual(self.server.request("DELETE", path).status, 204)
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            url = with_digest(path, Digest.of(b"")) if method == "PUT" else path
            answer = self.server.request(method, url)
            self.assertEqual((answer.status, answer.codes), (404, ["BLOB_UPLOAD_UNKNOWN"]), method)

    def test_of_another_repository(self) -> None:
        """A session is unknown to every repository but its own, and is not harmed by being tried."""
        path = self.server.begin("a/b")
        foreign = path.replace("/a/b/", "/a/c/")
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            url = with_digest(foreign, Digest.of(b"")) if method == "PUT" else foreign
            self.assertEqual(self.server.request(method, url, b"").status, 404, method)
        self.assertEqual(self.server.request("PATCH", path, b"abc").status, 202)

    def test_forged_state(self) -> None:
        """A location whose state this registry did not sign is 404 BLOB_UPLOAD_INVALID."""
        path, other = self.server.begin("a/b"), self.server.begin("a/b")
        states = [path.partition("_state=")[2], other.partition("_state=")[2]]
        for state in ("", "x", states[0][:-4] + "AAAA", "A" * 200, states[1]):
            forged = f"{path.partition('?')[0]}?_state={state}"
            answer = self.server.request("PATCH", forged, b"abc")
            self.assertEqual((answer.status, answer.codes), (404, ["BLOB_UPLOAD_INVALID"]), state)
        self.assertEqual(self.server.request("PATCH", path.partition("?")[0], b"abc").status, 404)

    def test_wrong_digest(self) -> None:
        """Bytes of another digest are 400, leave no blob and end the session."""
        path = self.server.begin("a/b")
        answer = self.server.request("PUT", with_digest(path, Digest.of(b"other")), b"abc")
        self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]))
        self.assertEqual(self.server.request("GET", path).status, 404)
        for content in (b"other", b"abc"):
            self.assertEqual(self.server.request("HEAD", f"/v2/a/b/blobs/{Digest.of(content)}").status, 404)

    def test_malformed_digest(self) -> None:
        """A PUT without a digest, or with what is none, is 400 and leaves the session as it was."""
        path = self.server.begin("a/b")
        for wrong in ("", "&digest=x", "&digest=md5:00", "&digest=sha256:" + "0" * 63):
            answer = self.server.request("PUT", path + wrong, b"abc")
            self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]), wrong)
        twice = with_digest(with_digest(path, Digest.of(b"abc")), Digest.of(b"abd"))
        self.assertEqual(self.server.request("PUT", twice, b"abc").status, 400)
        self.assertEqual(self.server.request("PUT", with_digest(path, Digest.of(b"abc")), b"abc").status, 201)

    def test_unknown_algorithm(self) -> None:
        """A session for a digest algorithm that is not known does not begin."""
        answer = self.server.request("POST", "/v2/a/b/blobs/uploads/?digest-algorithm=md5")
        self.assertEqual((answer.status, answer.codes), (400, ["DIGEST_INVALID"]))
        answer = self.server.request("POST", "/v2/a/b/blobs/uploads/?digest-algorithm=sha512")
        self.assertEqual(answer.status, 202)

    def test_mount(self) -> None:
        """A blob of another repository is mounted without being sent."""
        digest = self.server.push_blob("from/here", b"layer")
        answer = self.server.request("POST", f"/v2/to/there/blobs/uploads/?mount={digest}&from=from/here")
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.headers["Docker-Content-Digest"], str(digest))
        self.assert_blob(b"layer", "to/there")

    def test_mount_that_cannot_be(self) -> None:
        """A mount that cannot be done begins an ordinary upload."""
        digest = self.server.push_blob("from/here", b"layer")
        for query in (
            f"mount={digest}&from=from/nowhere",
            f"mount={digest}&from=../here",
            f"mount={Digest.of(b'absent')}&from=from/here",
            "mount=nonsense&from=from/here",
        ):
            answer = self.server.request("POST", f"/v2/to/there/blobs/uploads/?{query}")
            self.assertEqual(answer.status, 202, query)
        self.assertEqual(self.server.request("GET", f"/v2/to/there/blobs/{digest}").status, 404)

    def test_body_too_short(self) -> None:
        """What arrived before the client vanished is kept, and the session can be resumed from there."""
        path = self.server.begin("a/b")
        channel, transport = self.server.connect()
        channel.dataReceived(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 700000\r\n\r\n".encode())
        channel.dataReceived(b"x" * 300000)
        transport.loseConnection()
        answer = self.server.request("GET", path)
        self.assertEqual(answer.headers["Range"], "0-299999")
        answer = self.server.request("PATCH", self.server.path(answer), b"x" * 400000)
        self.assertEqual(answer.status, 202)
        content = b"x" * 700000
        answer = self.server.request("PUT", with_digest(self.server.path(answer), Digest.of(content)))
        self.assertEqual(answer.status, 201)
        self.assert_blob(content)

    def test_two_writers(self) -> None:
        """While one request writes to a session another is refused, and the bytes are the first one's."""
        path = self.server.begin("a/b")
        channel, transport = self.server.connect()
        channel.dataReceived(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab".encode())
        answer = self.server.request("PATCH", path, b"xyz")
        self.assertEqual((answer.status, answer.codes), (409, ["BLOB_UPLOAD_INVALID"]))
        self.assertEqual(self.server.request("DELETE", path).status, 409)
        channel.dataReceived(b"c")
        self.assertIn(b" 202 ", transport.value().splitlines()[0])
        fresh = self.server.path(self.server.request("GET", path))
        self.assertEqual(self.server.request("PUT", with_digest(fresh, Digest.of(b"abc"))).status, 201)


class AlgorithmTests(SynchronousTestCase):
    """Uploads for another digest algorithm than sha256."""

    def setUp(self) -> None:
        self.server = Server()
        self.begin = "/v2/a/b/blobs/uploads/?digest-algorithm=sha512"

    def test_chunks(self) -> None:
        """Chunks of an upload begun for sha512 are hashed by it as they come, and never read again."""
        reads: list[str] = []
        opened = self.server.driver.open_reader

        async def open_reader(path: str, offset: int = 0) -> object:
            reads.append(path)
            return await opened(path, offset)

        answer = self.server.request("POST", self.begin)
        for content in (b"abc", b"def"):
            answer = self.server.request("PATCH", self.server.path(answer), content)
            self.assertEqual(answer.status, 202)
            answer = self.server.request("GET", self.server.path(answer))
        self.patch(self.server.driver, "open_reader", open_reader)
        digest = Digest.of(b"abcdef", "sha512")
        answer = self.server.request("PUT", with_digest(self.server.path(answer), digest))
        self.assertEqual((answer.status, reads), (201, []))
        self.assertEqual(answer.headers["Docker-Content-Digest"], str(digest))
        self.assertEqual(self.server.request("GET", self.server.path(answer)).body, b"abcdef")

    def test_finished_by_another(self) -> None:
        """An upload may be ended by another algorithm than it was begun for; its bytes are then read again."""
        for begin, algorithm in ((self.begin, "sha256"), ("/v2/a/b/blobs/uploads/", "sha512")):
            answer = self.server.request("POST", begin)
            answer = self.server.request("PATCH", self.server.path(answer), b"abc")
            wrong = with_digest(self.server.path(answer), Digest.of(b"abd", algorithm))
            digest = Digest.of(b"abc", algorithm)
            right = self.server.request("PUT", with_digest(self.server.path(answer), digest))
            self.assertEqual(right.status, 201)
            self.assertEqual(self.server.request("PUT", wrong).status, 404)

    def test_mount(self) -> None:
        """A blob is mounted by the algorithm that it is asked for by, and by no other."""
        digest = self.server.push_blob("from/here", b"layer", "sha512")
        url = "/v2/to/there/blobs/uploads/?from=from/here&mount="
        self.assertEqual(self.server.request("POST", url + str(Digest.of(b"layer"))).status, 202)
        answer = self.server.request("POST", url + str(digest))
        self.assertEqual((answer.status, answer.headers["Docker-Content-Digest"]), (201, str(digest)))

    def test_mount_from_anywhere(self) -> None:
        """A mount that does not say from where finds the blob wherever it is."""
        digest = self.server.push_blob("from/here", b"layer")
        answer = self.server.request("POST", f"/v2/to/there/blobs/uploads/?mount={digest}")
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.server.request("GET", f"/v2/to/there/blobs/{digest}").body, b"layer")
        answer = self.server.request("POST", f"/v2/to/there/blobs/uploads/?mount={Digest.of(b'absent')}")
        self.assertEqual(answer.status, 202)
