"""Clients that take their time, and storage that takes its own."""

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.web.edge import CHUNKED, IDLE, EdgeTestCase, HeldDriver, digest_of, push, stored_size
from tests.web.sockets import (
    PING,
    SMUGGLED,
    Wire,
    at_once,
    chunked,
    make_site,
    request,
)
from txregistry.web.body import BATCH, HIGH_MARK
from txregistry.web.channel import HEADER_DEADLINE, LARGEST_READ, READ
from txregistry.web.pace import INTERVAL, LEAST_RATE, WINDOW, LeastPace


class SlowTests(EdgeTestCase):
    """Clients that take their time."""

    def test_H06_silence(self) -> None:
        """A connection on which nothing ever comes is closed within seconds."""
        self.assert_ends(HEADER_DEADLINE)
        self.assertEqual(self.wire.answers(), [])

    def test_idle(self) -> None:
        """A connection that has served may be idle longer."""
        self.assert_serves()
        self.assert_ends(IDLE)
        self.assertEqual(self.wire.answers(), [])

    def test_H03_slow_head(self) -> None:
        """The head of a request must arrive by its deadline, however it is spread; else the answer is 408."""
        for ping_first in (False, True):
            for piece in (1, 20):
                self.wire = self.wire.again()
                if ping_first:
                    self.assert_serves()
                head = request(b"GET /v2/", *[b"X-%d: y" % number for number in range(100)])
                for second in range(HEADER_DEADLINE):
                    self.assertEqual(self.wire.answers(), [])
                    self.wire.send(head[second * piece :][:piece])
                    self.wire.clock.advance(1)
                (answer,) = self.wire.answers()
                self.assertEqual((answer.status, answer.closes), (408, True))
                answer.code()
                self.assert_ends()

    def test_H03_blank_lines(self) -> None:
        """Blank lines between requests begin no request, however they are cut."""
        self.assert_serves()
        for piece in (b"\r", b"\n", b"\r\n\r", b"\n"):
            self.wire.send(piece)
        self.wire.wait(HEADER_DEADLINE + 1)
        self.assertEqual(self.wire.answers(), [])
        self.assert_serves()

    def test_H04_idle_body(self) -> None:
        """A body that stops arriving is 408; what came of it is stored, and the upload goes on after it."""
        content = os.urandom(700_000)
        for framing in (b"Content-Length: %d" % len(content), CHUNKED):
            self.wire = self.wire.again()
            upload = self.wire.begin()
            self.wire.send(request(b"PATCH " + upload, framing))
            first = content[:400_000]
            self.wire.send(chunked(first)[:-5] if framing == CHUNKED else first)
            self.wire.wait(IDLE - 1)
            self.assertEqual(self.wire.answers(), [])
            self.wire.clock.advance(1)
            (answer,) = self.wire.answers()
            self.assertEqual((answer.status, answer.closes), (408, True))
            answer.code()
            self.assert_ends()
            self.wire = self.wire.again()
            status = self.wire.ask(request(b"GET " + upload))
            self.assertEqual((status.status, status.header("Range")), (204, "0-399999"))
            line = b"PUT " + status.location + b"&digest=" + digest_of(content)
            self.assertEqual(self.wire.ask(request(line, body=content[400_000:])).status, 201)

    def paced(self) -> LeastPace:
        """Start what looks at how fast bodies arrive."""
        pace = LeastPace(self.wire.clock, self.wire.site)
        pace.startService()
        self.addCleanup(pace.stopService)
        return pace

    def test_H04_slow_body(self) -> None:
        """A body that keeps arriving is waited for, though not at a pace that would take for ever: that is 408."""
        self.paced()
        for each, status in ((LEAST_RATE + 100, 202), (LEAST_RATE - 100, 408), (1, 408)):
            for framing in (b"Content-Length: 70000", CHUNKED):
                self.wire = self.wire.again()
                upload = self.wire.begin()
                self.wire.send(request(b"PATCH " + upload, framing))
                sent = seconds = 0
                while self.wire.open and sent < 70000 and not self.wire.transport.value().endswith(b"}\n"):
                    size = min(each, 70000 - sent)
                    self.wire.send(chunked(b"a" * size)[:-5] if framing == CHUNKED else b"a" * size)
                    sent += size
                    self.wire.clock.advance(1)
                    seconds += 1
                if status == 202 and framing == CHUNKED:
                    self.wire.send(b"0\r\n\r\n")
                (answer,) = self.wire.answers()
                self.assertEqual((answer.status, answer.closes), (status, status == 408))
                if status == 408:
                    self.assertLessEqual(seconds, WINDOW + 2 * INTERVAL)
                    answer.code()
                    self.assert_ends()
                    status_of = self.wire.again().ask(request(b"GET " + upload))
                    self.assertGreaterEqual(stored_size(status_of), sent - 2 * each)

    def test_H04_made_to_wait(self) -> None:
        """A client that waits for its 100, or for the storage, is not slow, nor is one between two requests."""
        self.paced()
        upload = self.wire.begin()
        self.wire.send(request(b"GET " + upload))
        self.assertEqual([answer.status for answer in self.wire.answers()], [204])
        self.wire.wait(WINDOW + 2 * INTERVAL)
        driver = HeldDriver()
        self.wire = Wire(make_site(driver, self.wire.clock, at_once))
        self.paced()
        upload = self.wire.begin()
        driver.hold()
        self.wire.send(request(b"PATCH " + upload, b"Content-Length: 4000000"))
        sent = self.wire.send(b"a" * 4_000_000)
        self.wire.wait(5 * WINDOW)
        driver.let_go()
        self.wire.wait(WINDOW - 1, step=1)
        self.assertEqual(self.wire.answers(), [])
        while sent < 4_000_000:
            sent += self.wire.send(b"a" * (4_000_000 - sent))
        self.assertEqual([answer.status for answer in self.wire.answers()], [202])

    def test_H04_small_body_idle(self) -> None:
        """After the 408 of a small body the connection ends soon too."""
        upload = self.wire.begin()
        self.wire.send(request(b"PATCH " + upload, b"Content-Length: 5") + b"h")
        self.wire.clock.advance(IDLE)
        (answer,) = self.wire.answers()
        self.assertEqual((answer.status, answer.closes), (408, True))
        self.assert_ends()

    def test_L07_end_of_service(self) -> None:
        """A request under way when the server is to end is answered, and told that it was the last."""
        upload = self.wire.begin()
        self.wire.send(request(b"PATCH " + upload, b"Content-Length: 5"))
        done = Deferred.fromCoroutine(self.wire.site.drain(10))
        answer = self.wire.ask(b"hello")
        self.assertEqual((answer.status, answer.closes, self.wire.open), (202, True, False))
        self.wire.hang_up()
        self.assertIsNone(self.successResultOf(done))


class BackPressureTests(EdgeTestCase):
    """One side is slower than the other."""

    def setUp(self) -> None:
        self.driver = HeldDriver()
        self.wire = Wire(make_site(self.driver, Clock(), at_once))

    def buffered(self) -> int:
        """Bytes that the body holds."""
        body = self.wire.channel.requests[0].body
        return sum(map(len, body._chunks))

    def test_slow_storage(self) -> None:
        """A client that sends faster than it is stored is made to wait, is not timed, and loses nothing."""
        content = os.urandom(4_000_000)
        for framing, wire_form in (
            (b"Content-Length: %d" % len(content), content),
            (CHUNKED, chunked(*[content[at : at + 50_000] for at in range(0, len(content), 50_000)])),
        ):
            self.wire = self.wire.again()
            upload = self.wire.begin()
            self.driver.hold()
            self.wire.send(request(b"PATCH " + upload, framing))
            sent = self.wire.send(wire_form)
            self.assertEqual(self.wire.transport.producerState, "paused")
            self.assertLess(self.buffered(), HIGH_MARK + 64 * 1024)
            self.assertLess(sent, HIGH_MARK + BATCH + 3 * 64 * 1024)
            self.wire.wait(5 * IDLE, step=10)
            self.assertEqual((self.wire.open, self.wire.answers()), (True, []))
            self.driver.let_go()
            while sent < len(wire_form):
                sent += self.wire.send(wire_form[sent:])
            (answer,) = self.wire.answers()
            self.assertEqual(answer.status, 202)
            line = b"PUT " + answer.location + b"&digest=" + digest_of(content)
            self.assertEqual(self.wire.ask(request(line, body=b"")).status, 201)

    def test_fast_client(self) -> None:
        """A client that sends faster than it is read from is read from in larger pieces, until its body ends."""
        transport: Any = self.wire.transport
        transport.bufferSize = READ
        upload = self.wire.begin()
        self.wire.send(request(b"PATCH " + upload, b"Content-Length: 8000000"))
        self.assertEqual(transport.bufferSize, READ)
        self.wire.send(b"a" * 1_000_000, READ - 1)
        self.assertEqual(transport.bufferSize, READ)
        sent = 1_000_000
        while sent < 7_000_000:
            sent += self.wire.send(b"a" * transport.bufferSize, transport.bufferSize)
        self.assertEqual(transport.bufferSize, LARGEST_READ)
        self.wire.send(b"a" * (8_000_000 - sent))
        self.assertEqual([answer.status for answer in self.wire.answers()], [202])
        self.assertEqual(transport.bufferSize, READ)

    def test_timed_again(self) -> None:
        """A client that was made to wait is timed again when it may send."""
        upload = self.wire.begin()
        self.driver.hold()
        self.wire.send(request(b"PATCH " + upload, b"Content-Length: 4000000"))
        self.wire.send(b"a" * 4_000_000)
        self.driver.let_go()
        self.assertEqual(self.wire.transport.producerState, "producing")
        self.wire.clock.advance(IDLE)
        self.assertEqual([answer.status for answer in self.wire.answers()], [408])

    def test_H04_tiny_chunks(self) -> None:
        """Chunks of two bytes do not take more memory than large ones."""
        upload = self.wire.begin()
        self.driver.hold()
        self.wire.send(request(b"PATCH " + upload, CHUNKED))
        self.wire.send(b"2\r\nab\r\n" * 400_000)
        self.assertEqual(self.wire.transport.producerState, "paused")
        body = self.wire.channel.requests[0].body
        self.assertLess(len(body._chunks) * 50, HIGH_MARK + 512 * 1024)

    def test_vanished(self) -> None:
        """A client that vanishes while it waits leaves an upload that can go on."""
        content = os.urandom(2_000_000)
        upload = self.wire.begin()
        self.driver.hold()
        self.wire.send(request(b"PATCH " + upload, b"Content-Length: %d" % len(content)))
        self.wire.send(content)
        self.wire.hang_up()
        self.driver.let_go()
        self.wire = self.wire.again()
        status = self.wire.ask(request(b"GET " + upload))
        offset = stored_size(status)
        line = b"PUT " + status.location + b"&digest=" + digest_of(content)
        self.assertEqual(self.wire.ask(request(line, body=content[offset:])).status, 201)

    def test_H05_slow_reader(self) -> None:
        """A download is made as fast as it is read, and no faster."""
        content = os.urandom(4_000_000)
        blob = push(self.wire, content)
        self.wire = Wire(self.wire.site, room=0)
        self.wire.send(request(b"GET " + blob) + PING)
        most = 0
        while self.wire.transport.held:
            most = max(most, self.wire.transport.held)
            self.wire.clock.advance(IDLE - 1)
            self.wire.transport.read(self.wire.transport.held)
        download, ping = self.wire.answers()
        self.assertEqual((download.body == content, ping.status), (True, 200))
        self.assertLess(most, 512 * 1024)

    def test_H05_no_reader(self) -> None:
        """A client that stops reading a download is cut off, and nothing that it sent ahead is begun."""
        blob = push(self.wire, b"a" * 4_000_000)
        self.wire.hang_up()
        self.wire = Wire(self.wire.site, room=100_000)
        self.wire.site.seen.clear()
        self.wire.send(request(b"GET " + blob) + SMUGGLED)
        self.wire.clock.advance(IDLE - 1)
        self.assertTrue(self.wire.open)
        self.wire.clock.advance(1)
        self.assertTrue(self.wire.transport.disconnected)
        self.wire.hang_up()
        self.assertEqual(len(self.wire.site.seen), 1)
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])
