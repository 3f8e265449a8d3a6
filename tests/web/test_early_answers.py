"""Answers that come before the body, and requests that come before the answer."""

from twisted.internet.task import Clock

from tests.web.edge import (
    CHUNKED,
    EXPECT,
    IDLE,
    INDEX,
    MANIFEST,
    EdgeTestCase,
    HeldDriver,
    digest_of,
    push,
    stored_size,
)
from tests.web.sockets import (
    PING,
    SMUGGLED,
    Answer,
    Wire,
    at_once,
    chunked,
    make_site,
    request,
)
from txregistry.web.body import BATCH
from txregistry.web.channel import AHEAD_BYTES


class EarlyAnswerTests(EdgeTestCase):
    """The body is not wanted."""

    def lines(self) -> dict[bytes, int]:
        """Requests with a body of any length that are refused, by what they are."""
        upload = self.wire.begin()
        self.wire.site.seen.clear()
        return {
            b"PUT /nothing": 404,
            b"PUT /v2/team/app/blobs/%2f": 404,
            b"PATCH /v2/team/app/blobs/uploads/6ba7b810-9dad-11d1-80b4-00c04fd430c8": 404,
            b"POST /v2/": 405,
            b"PUT /v2/_catalog": 405,
            b"PUT /v2/Upper/manifests/latest": 400,
            b"PUT /v2/team/app/manifests/.bad": 400,
            b"PUT " + upload + b"&digest=x": 400,
            b"PATCH " + upload + b"x": 404,
        }

    def test_H08_small_rest(self) -> None:
        """After a refusal a small body is passed over, and the connection goes on with the next request."""
        for line, status in self.lines().items():
            body = SMUGGLED * 20
            head = request(line, b"Content-Length: %d" % len(body))
            answer = self.wire.ask(head)
            self.assertEqual((answer.status, answer.closes), (status, False), line)
            answer.code()
            self.wire.send(body[:100])
            self.wire.send(body[100:] + PING)
            self.assertEqual([answer.status for answer in self.wire.answers()], [200], line)
            self.wire.send(head + body + PING)
            self.assertEqual([answer.status for answer in self.wire.answers()], [status, 200], line)
        self.assertEqual({uri for _, uri, code in self.wire.site.seen if code == 200}, {b"/v2/"})

    def test_H08_large_rest(self) -> None:
        """After a refusal a large body, or one of unknown length, ends the connection and is no request."""
        for line, status in self.lines().items():
            for header in (CHUNKED, b"Content-Length: 65537", b"Content-Length: 10000000000"):
                for at_first in (b"", SMUGGLED, b"0\r\n\r\n" + SMUGGLED):
                    self.wire = self.wire.again()
                    before = len(self.wire.site.seen)
                    answer = self.wire.ask(request(line, header) + at_first)
                    self.assertEqual((answer.status, answer.closes), (status, True), line)
                    self.wire.send(SMUGGLED * 10)
                    self.assert_ends()
                    self.wire.send(SMUGGLED)
                    self.assertEqual(self.wire.answers(), [])
                    self.assertEqual(len(self.wire.site.seen), before + 1)

    def test_H08_endless_rest(self) -> None:
        """A client that goes on sending after its refusal is cut off soon."""
        self.wire.ask(request(b"PUT /nothing", b"Content-Length: 10000000000"))
        self.assertLess(self.wire.send(b"a" * 10_000_000), 1_200_000)
        self.assertFalse(self.wire.open)

    def test_H08_rest_in_drops(self) -> None:
        """A small rest must arrive within seconds, however it is spread over them."""
        self.wire.ask(request(b"PUT /nothing", b"Content-Length: 1000"))
        for _ in range(5):
            self.assertTrue(self.wire.open)
            self.wire.send(b"a")
            self.wire.clock.advance(1)
        self.assertFalse(self.wire.open)

    def test_idle_after_rest(self) -> None:
        """After a small rest the connection may be idle as long as any other."""
        self.wire.ask(request(b"PUT /nothing", b"Content-Length: 1"))
        self.wire.send(b"a")
        self.assert_ends(IDLE)

    def test_manifest_too_large(self) -> None:
        """A manifest over the limit is refused by its length, or when so much of it has come."""
        line = b"PUT /v2/team/app/manifests/latest"
        answer = self.wire.ask(request(line, INDEX, b"Content-Length: %d" % (4 * 2**20 + 1)))
        self.assertEqual((answer.status, answer.code(), answer.closes), (413, "SIZE_INVALID", True))
        self.wire = self.wire.again()
        self.wire.send(request(line, INDEX, CHUNKED))
        sent = 0
        while not (answers := self.wire.answers()):
            sent += self.wire.send(chunked(b"a" * 65000)[:-5])
            self.assertLess(sent, 4 * 2**20 + 2 * BATCH)
        self.assertEqual((answers[0].status, answers[0].closes), (413, True))

    def test_out_of_order(self) -> None:
        """A chunk at the wrong place is refused before it comes, with the place that is right."""
        upload = self.wire.begin()
        answer = self.wire.ask(request(b"PATCH " + upload, b"Content-Range: 7-11", b"Content-Length: 5"))
        self.assertEqual((answer.status, answer.code()), (416, "BLOB_UPLOAD_INVALID"))
        self.assertEqual(answer.header("Range"), "0-0")
        self.wire.send(b"hello")
        self.assertEqual(self.wire.ask(request(b"PATCH " + answer.location, body=b"hello")).status, 202)

    def test_broken_in_answer(self) -> None:
        """A chunk that breaks while the answer is on its way does not put a second answer into the first."""
        blob = push(self.wire, b"a" * 1_000_000)
        self.wire = Wire(self.wire.site, room=1000)
        self.wire.send(request(b"GET " + blob, CHUNKED) + b"5\r\nhello\r\nzz\r\n" + SMUGGLED)
        while self.wire.transport.held:
            self.wire.transport.read(self.wire.transport.held)
        (answer,) = self.wire.answers()
        self.assertEqual((answer.status, answer.body, answer.closes), (200, b"a" * 1_000_000, True))
        self.assert_ends()

    def test_broken_upload(self) -> None:
        """A chunk that breaks ends the request with one answer, and the upload goes on from what was stored."""
        upload = self.wire.begin()
        self.wire.send(request(b"PATCH " + upload, CHUNKED) + b"5\r\nhello\r\n")
        self.wire.send(b"zz\r\n" + SMUGGLED)
        (answer,) = self.wire.answers()
        self.assertEqual((answer.status, answer.closes), (400, True))
        self.assert_ends()
        self.wire = self.wire.again()
        answer = self.wire.ask(request(b"GET " + upload))
        self.assertEqual(answer.header("Range"), "0-4")
        done = self.wire.ask(
            request(b"PUT " + answer.location + b"&digest=" + digest_of(b"hello!"), body=b"!")
        )
        self.assertEqual(done.status, 201)


class ExpectTests(EdgeTestCase):
    """The client asks before it sends."""

    def test_H08_refused(self) -> None:
        """A request that is refused gets no 100, and the connection ends: the client may or may not send."""
        for line in (b"PUT /nothing", b"POST /v2/", b"PUT /v2/team/app/manifests/.bad"):
            for header in (b"Content-Length: 5", CHUNKED):
                self.wire = self.wire.again()
                answer = self.wire.ask(request(line, header, EXPECT))
                self.assertGreaterEqual(answer.status, 400)
                self.assertTrue(answer.closes)
                self.assert_ends()

    def test_wanted(self) -> None:
        """Exactly one 100 is sent when the body is wanted."""
        upload = self.wire.begin()
        self.assertEqual(self.wire.ask(request(b"PATCH " + upload, EXPECT, b"Content-Length: 5")).status, 100)
        self.wire.send(b"hel")
        self.wire.send(b"lo" + PING)
        self.assertEqual([answer.status for answer in self.wire.answers()], [202, 200])

    def test_not_waited_for(self) -> None:
        """A client that does not wait for its 100 is served the same."""
        upload = self.wire.begin()
        self.wire.send(request(b"PATCH " + upload, EXPECT, b"Content-Length: 5") + b"hello" + PING)
        self.assertEqual([answer.status for answer in self.wire.answers()], [100, 202, 200])

    def test_nothing_to_send(self) -> None:
        """No 100 is sent where there is no body, nor to HTTP/1.0."""
        self.assertEqual(self.wire.ask(request(b"GET /v2/", EXPECT)).status, 200)
        old = b"PUT /nothing HTTP/1.0\r\n" + EXPECT + b"\r\nContent-Length: 5\r\n\r\n"
        self.assertEqual(self.wire.ask(old).status, 404)

    def test_waits_long(self) -> None:
        """A client that waits for its 100 is not timed while it does, and is timed afterwards."""
        driver = HeldDriver()
        self.wire = Wire(make_site(driver, Clock(), at_once))
        upload = self.wire.begin()
        driver.hold_opening()
        self.wire.send(request(b"PATCH " + upload, EXPECT, b"Content-Length: 5"))
        self.wire.wait(3 * IDLE)
        self.assertTrue(self.wire.open)
        driver.let_go()
        self.assertEqual([answer.status for answer in self.wire.answers()], [100])
        self.wire.clock.advance(IDLE)
        (answer,) = self.wire.answers()
        self.assertEqual((answer.status, answer.closes), (408, True))


class PipelineTests(EdgeTestCase):
    """Several requests at once."""

    def test_H02_order(self) -> None:
        """Requests that are sent together are answered in their order, each with its own content."""
        blobs = [push(self.wire, b"%d" % number * 1000) for number in range(5)]
        for piece in (1 << 20, 64 * 1024, 1000):
            upload = self.wire.begin()
            parts = [request(b"GET " + blob) for blob in blobs]
            parts[2:2] = [request(b"PATCH " + upload, CHUNKED) + chunked(SMUGGLED, b"a" * 300_000)]
            self.wire.send(b"".join(parts), piece)
            answers = self.wire.answers()
            self.assertEqual([answer.status for answer in answers], [200, 200, 202, 200, 200, 200])
            bodies = [answer.body for answer in answers if answer.status == 200]
            self.assertEqual(bodies, [b"%d" % number * 1000 for number in range(5)])
            self.assertEqual(stored_size(answers[2]), len(SMUGGLED) + 300_000)

    def test_H02_thousand(self) -> None:
        """A thousand requests at once get a thousand answers."""
        self.wire.send(PING * 1000)
        self.assertEqual([answer.status for answer in self.wire.answers()], [200] * 1000)

    def test_H02_unread(self) -> None:
        """A client that asks and does not read has few answers kept for it, and goes on when it reads."""
        blob = push(self.wire, b"a" * 60_000)
        self.wire = Wire(self.wire.site, room=0)
        self.wire.send(request(b"GET " + blob) * 100)
        self.assertLess(self.wire.transport.held, 200_000)
        self.wire.transport.read(None)
        self.assertEqual([len(answer.body) for answer in self.wire.answers()], [60_000] * 100)
        self.assert_serves()

    def test_H02_unread_for_long(self) -> None:
        """A client that never reads what it asked for is cut off."""
        blob = push(self.wire, b"a" * 60_000)
        self.wire = Wire(self.wire.site, room=0)
        self.wire.send(request(b"GET " + blob) * 100)
        self.wire.clock.advance(IDLE)
        self.wire.clock.advance(self.wire.channel.abortTimeout)
        self.assertTrue(self.wire.transport.disconnected)

    def test_H02_sent_ahead(self) -> None:
        """What a client sends while it does not read is not taken in."""
        blob = push(self.wire, b"a" * 1_000_000)
        self.wire = Wire(self.wire.site, room=0)
        self.wire.send(request(b"GET " + blob))
        self.assertLess(self.wire.send(PING * 100_000), AHEAD_BYTES + 2 * 64 * 1024)

    def test_H02_not_read_at_the_end(self) -> None:
        """A connection that is to end, but whose client does not read, is cut off."""
        blob = push(self.wire, b"a" * 60_000)
        self.wire = Wire(self.wire.site, room=0)
        self.wire.send(request(b"GET " + blob, b"Connection: close"))
        self.assertFalse(self.wire.transport.disconnected)
        self.wire.clock.advance(IDLE)
        self.assertTrue(self.wire.transport.disconnected)


class HeadTests(EdgeTestCase):
    """HEAD is GET without the content."""

    def test_same(self) -> None:
        """HEAD has the status and the headers that GET has, whatever is asked for."""
        small, large = push(self.wire, b"small"), push(self.wire, b"large" * 100_000)
        for tag in (b"one", b"two"):
            line = b"PUT /v2/team/app/manifests/" + tag
            self.assertEqual(self.wire.ask(request(line, INDEX, body=MANIFEST)).status, 201)
        targets = [
            *(b"/", b"/v2/", b"/v2/_catalog", b"/v2/_catalog?n=x", b"/v2/team/app/tags/list"),
            *(
                b"/v2/team/app/tags/list?n=1",
                b"/v2/none/tags/list",
                b"/v2/team/app/manifests/one",
                small,
                large,
            ),
            *(b"/v2/team/app/manifests/none", b"/v2/team/app/manifests/" + digest_of(MANIFEST)),
            *(b"/v2/team/app/blobs/" + digest_of(b"none"), b"/v2/team/app/blobs/x", b"/nothing", b"/v2/UP/x"),
            *(b"/v2/team/app/blobs/uploads/", b"/v2/team/app/referrers/" + digest_of(MANIFEST)),
        ]
        for target in targets:
            for extra in (b"X-A: b", b"Range: bytes=1-2", b"Range: bytes=9999999-", b'If-None-Match: "x", *'):
                got = self.wire.ask(request(b"GET " + target, extra))
                self.wire.send(request(b"HEAD " + target, extra))
                headed = self.wire.head()
                self.assertEqual(headed.status, got.status, target)
                self.assertEqual(without_id(headed), without_id(got), target)
        self.assert_serves()


def without_id(answer: Answer) -> list[tuple[str, str]]:
    """Return the headers that do not differ from answer to answer."""
    assert answer.header("X-Request-Id")
    assert answer.header("Date")
    return [header for header in answer.headers if header[0].lower() not in ("x-request-id", "date")]
