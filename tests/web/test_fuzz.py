"""Bytes that no one thought of, and uploads in every order, against what must come of them."""

import hashlib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.web.sockets import PING, SMUGGLED, Answer, Wire, chunked, next_answer, request, stored

BOUNDED = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)

DIGEST = b"sha256:" + hashlib.sha256(b"").hexdigest().encode()
METHODS = st.sampled_from(
    [b"GET", b"HEAD", b"PUT", b"POST", b"PATCH", b"DELETE", b"OPTIONS", b"get", b"X" * 99]
)
PARTS = st.sampled_from(
    [
        *(
            b"/",
            b"v2",
            b"v2/",
            b"_catalog",
            b"team/app",
            b"blobs",
            b"uploads/",
            b"manifests",
            b"tags/list",
            b"a",
        ),
        *(
            b"..",
            b".",
            b"%2e%2e",
            b"%2f",
            b"%5c",
            b"%00",
            b"%0a",
            b"%0d%0a",
            b"%252f",
            b"%ff",
            b"%c0%ae",
            b"%",
        ),
        *(
            b"latest",
            DIGEST,
            b"sha256:",
            b"6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            b"A" * 300,
            b"referrers",
            b"*",
        ),
        *(
            b"?n=1",
            b"?n=",
            b"?n=%d9%a1",
            b"&n=2",
            b"?digest=" + DIGEST,
            b"?mount=x&from=a",
            b"?_state=%ff",
            b";",
            b"#",
        ),
    ]
)
TARGETS = st.lists(PARTS, max_size=8).map(lambda parts: b"/" + b"/".join(parts))
HEADERS = st.one_of(
    st.sampled_from(
        [
            *(b"Connection: close", b"Expect: 100-continue", b"Content-Range: 0-4", b"Content-Range: x"),
            *(b"Range: bytes=0-1", b"Range: bytes=-", b"If-None-Match: *", b'If-Match: "x"', b"Accept: */*"),
            *(b"Content-Type: application/vnd.oci.image.manifest.v1+json", b"X-Forwarded-Host: a b"),
            *(b'Forwarded: host="x";proto=https', b"Upgrade: h2c", b"Cookie: a; b=c", b"If-Range: x"),
            *(
                b"X-HTTP-Method-Override: DELETE",
                b"Content-Length: x",
                b"Transfer-Encoding: identity",
                b" folded",
            ),
            *(
                b"Host: other",
                b"Content-Encoding: gzip",
                b"Expect: tea",
                b"no colon",
                b": no name",
                b"X: \x80",
            ),
        ]
    ),
    st.binary(max_size=30).map(lambda value: b"X: " + value.translate(None, b"\r\n")),
)
BODIES = st.one_of(
    st.none(),
    st.binary(max_size=300),
    st.sampled_from([SMUGGLED, SMUGGLED * 50, b"\r\n\r\n" + SMUGGLED, b"0\r\n\r\n"]),
)
PIECES = st.sampled_from([1 << 20, 1000, 17, 1])


class FuzzCase(SynchronousTestCase):
    """A connection that is sent anything."""

    def check(self, wire: Wire) -> list[Answer]:
        """Check what a connection has answered, end it, and check that nothing is left; return the answers."""
        data = wire.transport.value()
        answers: list[Answer] = []
        methods = [method for method, _, _ in wire.site.seen]
        while data:
            seen = len(answers) < len(methods)
            found = next_answer(data, head=seen and methods[len(answers)] == b"HEAD")
            if found is None and not seen:
                # A HEAD that was refused before it was seen.
                found = next_answer(data, head=True)
            assert found is not None, data
            answer, data = found
            if answer.status == 100:
                continue
            answers.append(answer)
            if answer.status >= 400 and answer.body:
                answer.code()
        self.assertIn(len(answers) - len(methods), (0, 1))
        self.assertEqual(
            [answer.status for answer in answers[: len(methods)]], [code for _, _, code in wire.site.seen]
        )
        self.assertNotIn(500, [answer.status for answer in answers])
        wire.wait(80, step=20)
        if wire.open:
            wire.hang_up()
        self.assertEqual(wire.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(wire.again().ask(PING).status, 200)
        return answers


class FuzzTests(FuzzCase):
    """Bytes and requests."""

    @BOUNDED
    @given(
        st.lists(st.one_of(st.binary(max_size=200), st.sampled_from([b"\r\n", PING, b"GET / HTTP/1.1\r\n"]))),
        PIECES,
    )
    def test_H11_bytes(self, parts: list[bytes], piece: int) -> None:
        """Any bytes are answered in HTTP or not at all, and leave no error, no timer and nothing stored."""
        wire = Wire()
        wire.send(b"".join(parts), piece)
        self.check(wire)
        self.assertEqual(list(stored(wire.site.driver)), [])

    @BOUNDED
    @given(
        st.lists(
            st.tuples(METHODS, TARGETS, st.lists(HEADERS, max_size=3), BODIES, st.booleans()),
            min_size=1,
            max_size=5,
        ),
        PIECES,
    )
    def test_H11_requests(self, parts: list[Any], piece: int) -> None:
        """What is seen of a row of requests is those requests, in their order, whatever their bodies spell."""
        wire = Wire()
        sent = []
        data = []
        for method, target, headers, body, in_chunks in parts:
            line = method + b" " + target
            if body is not None and in_chunks:
                data.append(
                    request(line, *headers, b"Transfer-Encoding: chunked") + chunked(body[:7], body[7:])
                )
                if len(body) <= 7:
                    data[-1] = request(line, *headers, b"Transfer-Encoding: chunked") + chunked(body or b"x")
            else:
                data.append(request(line, *headers, body=body))
            sent.append((method, target))
        wire.send(b"".join(data), piece)
        seen = [(method, uri) for method, uri, _ in wire.site.seen]
        self.assertEqual(seen, sent[: len(seen)])
        self.check(wire)
        self.assertEqual([path for path in stored(wire.site.driver) if "/manifests/" in path], [])


EDITS = st.lists(
    st.tuples(st.integers(0, 1500), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4
)


class MutationTests(FuzzCase):
    """What clients really send, damaged on the way."""

    @BOUNDED
    @given(EDITS, PIECES)
    def test_H11_damaged(self, edits: list[tuple[int, int, bytes]], piece: int) -> None:
        """Damaged traffic is answered in whole answers, one for each request, and leaves no error."""
        wire = Wire()
        upload = wire.begin()
        data = b"".join(
            [
                request(b"PATCH " + upload, b"Transfer-Encoding: chunked") + chunked(b"hello", b"world" * 10),
                request(b"GET /v2/nothing/blobs/" + DIGEST, b"Transfer-Encoding: chunked")
                + chunked(SMUGGLED),
                request(b"POST /v2/a/blobs/uploads/?digest=" + DIGEST, body=b""),
                request(b"PUT /v2/a/manifests/x", b"Content-Type: application/json", body=b"{}" * 20),
                PING,
            ]
        )
        for at, removed, added in edits:
            data = data[:at] + added + data[at + removed :]
        wire.send(data, piece)
        self.check(wire)


RANGES = st.sampled_from(
    ["none", "right", "too early", "too late", "too long", "too short", "malformed", "stale"]
)


class UploadTests(SynchronousTestCase):
    """Uploads as clients make them, and as they should not."""

    @BOUNDED
    @given(
        st.lists(st.tuples(st.integers(0, 2000), RANGES, st.booleans()), max_size=8),
        st.sampled_from(["none", "right", "too early", "too late"]),
        st.integers(0, 500),
        st.booleans(),
        PIECES,
    )
    def test_H11_sequences(
        self, chunks: list[tuple[int, str, bool]], last: str, rest: int, honest: bool, piece: int
    ) -> None:
        """What an upload holds is what was accepted, in order, and a blob is made of that and no other."""
        wire = Wire()
        first = location = wire.begin()
        content = b""
        for number, (size, kind, in_chunks) in enumerate(chunks):
            body = bytes([number]) * size
            where = first if kind == "stale" else location
            head, wanted = self.range(kind, len(content), size)
            if kind == "stale" and content:
                wanted = 416
            if not size and not in_chunks:
                # Nothing is sent, so nothing is out of place; but what cannot be read is refused.
                wanted = 400 if kind in ("malformed", "right", "too early", "too late", "too short") else 202
            answer = self.send(wire, b"PATCH " + where, head, body, in_chunks, piece)
            self.assertEqual(answer.status, wanted, (kind, size, in_chunks, len(content)))
            if answer.status == 202:
                content += body
                location = answer.location
            elif answer.closes:
                wire = wire.again()
            self.assert_holds(wire, location, content)
        body = b"\xff" * rest
        head, wanted = self.range(last, len(content), rest)
        wanted = 201 if wanted == 202 else wanted
        if not rest:
            wanted = 201 if last == "none" else 400
        whole = content + body
        digest = b"sha256:" + hashlib.sha256(whole if honest else whole + b"x").hexdigest().encode()
        if wanted == 201 and not honest:
            wanted = 400
        answer = self.send(wire, b"PUT " + location + b"&digest=" + digest, head, body, False, piece)
        self.assertEqual(answer.status, wanted, (last, rest, honest))
        blob = wire.again().ask(request(b"GET /v2/team/app/blobs/" + digest))
        if wanted == 201:
            self.assertEqual((blob.status, blob.body), (200, whole))
            self.assertEqual(wire.again().ask(request(b"GET " + location)).code(), "BLOB_UPLOAD_UNKNOWN")
        else:
            self.assertEqual(blob.code(), "BLOB_UNKNOWN")
            if answer.code() != "DIGEST_INVALID":
                self.assert_holds(wire.again(), location, content)
        self.assertEqual(self.flushLoggedErrors(), [])

    def range(self, kind: str, offset: int, size: int) -> tuple[list[bytes], int]:
        """Return the header of a chunk, and the status that it deserves where there is a body."""
        starts = {"too early": offset - 1, "too late": offset + 1}
        if kind in ("none", "stale"):
            return [], 202
        if kind == "malformed":
            return [b"Content-Range: 1_0-2"], 400
        start = starts.get(kind, offset)
        end = start + size - 1 + {"too long": 1, "too short": -1}.get(kind, 0)
        wanted = {"right": 202, "too long": 400, "too short": 400}.get(kind, 416)
        if start < 0 or end < start:
            wanted = 400
        return [b"Content-Range: %d-%d" % (start, end)], wanted

    def send(
        self, wire: Wire, line: bytes, head: list[bytes], body: bytes, in_chunks: bool, piece: int
    ) -> Answer:
        """Send a request with a body; return its answer."""
        if in_chunks:
            framed = chunked(body) if body else b"0\r\n\r\n"
            wire.send(request(line, *head, b"Transfer-Encoding: chunked") + framed, piece)
        else:
            wire.send(request(line, *head, body=body), piece)
        (answer,) = wire.answers()
        return answer

    def assert_holds(self, wire: Wire, location: bytes, content: bytes) -> None:
        """Check an upload's size."""
        status = wire.ask(request(b"GET " + location))
        self.assertEqual((status.status, status.header("Range")), (204, f"0-{max(0, len(content) - 1)}"))
