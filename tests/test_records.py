"""TLS connections that send much at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.servers import make_certificate
from txregistry.config.schema import Tls
from txregistry.records import RecordsFactory
from txregistry.tls import ServerCertificates


class Talker(Protocol):
    """Says what it has to say before the handshake, and again when it is asked."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def connectionMade(self) -> None:
        """Say it."""
        assert self.transport is not None
        self.transport.write(self.content)

    def dataReceived(self, data: bytes) -> None:
        """Say it again."""
        self.connectionMade()


class TestRecords(SynchronousTestCase):
    """A server's end, and a client's, with no network between them."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        made = make_certificate(directory.name)
        contexts = ServerCertificates(Tls(certificate=made.certificate, key=made.key))
        self.content = os.urandom(1_000_001)
        wrapped = Factory.forProtocol(lambda: Talker(self.content))
        factory = RecordsFactory(contexts, wrapped, MemoryReactorClock())
        self.server: Any = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.server.makeConnection(self.transport)
        self.client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.client.set_connect_state()

    def exchange(self) -> bytes:
        """Carry bytes to and fro until there are none; return what the client was told."""
        told = b""
        while True:
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    told += self.client.recv(1 << 20)
            try:
                self.server.dataReceived(self.client.bio_read(1 << 20))
            except SSL.WantReadError:
                if not self.transport.value():
                    return told
            self.client.bio_write(self.transport.value())
            self.transport.clear()

    def test_before_the_handshake(self) -> None:
        """What is written before there can be encryption comes after it, whole."""
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.exchange(), self.content)

    def test_large(self) -> None:
        """What is written at once comes whole, however many records it is."""
        self.exchange()
        self.client.send(b"again")
        self.assertEqual(self.exchange(), self.content)

    def test_one_call(self) -> None:
        """Records are not handed on one by one."""
        self.exchange()
        written: list[int] = []
        write = self.transport.write
        self.transport.write = lambda data: (written.append(len(data)), write(data))  # type: ignore[method-assign]
        self.client.send(b"again")
        self.exchange()
        self.assertLess(len(written), len(self.content) / 32768)
