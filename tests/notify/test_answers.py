"""Receivers whose answers are long, late or without an end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable
from itertools import chain, repeat

from tests.notify.test_delivery import DeliveryCase
from tests.registry_client import RegistryClient

#: What a server may need more than before, in bytes, whatever it is answered.
ROOM = 48 << 20


class Drawl:
    """A receiver that answers with what it is given, until no one listens any more.

    :param answer: makes the pieces of an answer.
    :param port: where it listens.
    :ivar asked: counts requests.
    """

    def __init__(self, answer: Iterable[bytes], port: int) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", port))
        self.asked = threading.Semaphore(0)
        #: Set when a client has closed a connection.
        self.closed = threading.Semaphore(0)
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            self.asked.release()
            for piece in self._answer:
                connection.sendall(piece)
            while connection.recv(1 << 16):
                pass
        self.closed.release()


class AnswerTests(DeliveryCase):
    """What a receiver answers does the registry no harm."""

    def setUp(self) -> None:
        super().setUp()
        self.receiver.keeps = False
        self.server = self.notifying(threshold=1, timeout="500ms")
        self.push(self.server, "a", "first")
        self.receiver.wait(1)
        self.memory = self.server.peak_memory()

    def drawl(self, answer: Iterable[bytes], taken: bool) -> None:
        """Put another receiver in the place of the first one, push, and bring the first one back.

        :param answer: what the other one answers.
        :param taken: whether that takes the event.
        """
        self.receiver.stop()
        other = Drawl(answer, self.receiver.port)
        self.addCleanup(other.stop)
        self.push(self.server, "a", "second")
        for semaphore in (other.asked, other.closed):
            self.assertTrue(semaphore.acquire(timeout=60))
        self.assertEqual(RegistryClient(self.server.host).tags("a"), ["first", "second"])
        other.stop()
        self.receiver.start()
        self.push(self.server, "a", "third")
        expected = ["first", "third"] if taken else ["first", "second", "third"]
        self.assertEqual([one["target"]["tag"] for one in self.receiver.wait(len(expected))], expected)
        self.assertLess(self.server.peak_memory() - self.memory, ROOM)

    def test_endless_body(self) -> None:
        """A 200 takes the event, though its body never ends; the connection is closed."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.drawl(chain([head], repeat(b"10000\r\n" + b"x" * 65536 + b"\r\n")), taken=True)

    def test_body_that_does_not_come(self) -> None:
        """A 200 takes the event, though its body never comes."""
        self.drawl([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12"], taken=True)

    def test_silence(self) -> None:
        """Who does not answer within the time is given the event again."""
        self.drawl([], taken=False)

    def test_endless_line(self) -> None:
        """A header without an end is no answer, and is not kept."""
        self.drawl(chain([b"HTTP/1.1 200 OK\r\nX: "], repeat(b"x" * 65536)), taken=False)

    def test_endless_headers(self) -> None:
        """Headers without number are no answer, and are not kept beyond the time."""
        self.drawl(chain([b"HTTP/1.1 200 OK\r\n"], repeat(b"X: y\r\n" * 10000)), taken=False)

    def test_interim_answers(self) -> None:
        """Interim answers without number are no answer."""
        self.drawl(repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), taken=False)

    def test_nonsense(self) -> None:
        """What is no HTTP is no answer."""
        self.drawl([b"220 mail.example ESMTP\r\n"], taken=False)
