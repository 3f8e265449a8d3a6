"""What only real connections show, plain and through TLS."""

import datetime
import os
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.web.edge import (
    CHUNKED,
    digest_of,
    stored_size,
)
from tests.web.sockets import (
    PING,
    SMUGGLED,
    SeeingSite,
    Served,
    chunked,
    reactor,
    request,
    settled,
    until,
)
from txregistry import tls
from txregistry.config.schema import Tls
from txregistry.storage.filesystem import make as make_filesystem
from txregistry.storage.memory import MemoryDriver
from txregistry.web import channel
from txregistry.web.body import BATCH
from txregistry.web.channel import LARGEST_READ, LINGER_SECONDS


class SocketTests(TestCase):
    """What only a real connection shows."""

    timeout = 60

    def serve(self, driver: Any = None, **options: Any) -> Served:
        served = Served(driver or MemoryDriver(), **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(served.close()))
        return served

    def filesystem(self) -> Any:
        return make_filesystem({"rootdirectory": os.path.abspath(self.mktemp())}, reactor)

    async def push(self, served: Served, content: bytes, connect: Any = None) -> bytes:
        client = await served.connect(connect)
        digest = digest_of(content)
        line = b"POST /v2/team/app/blobs/uploads/?digest=" + digest
        self.assertEqual((await client.ask(request(line, body=content))).status, 201)
        return b"/v2/team/app/blobs/" + digest

    async def test_H08_refused_while_sending(self) -> None:
        """A client in the middle of a large body can read its refusal, and the connection ends in seconds."""
        served = self.serve()
        for framing, body in (
            (b"Content-Length: 100000000", b"a" * 8_000_000),
            (CHUNKED, chunked(*[b"a" * 50_000] * 100)[:-5]),
        ):
            client = await served.connect()
            began = reactor.seconds()
            client.send(request(b"PUT /nothing", framing) + body)
            answer = await client.answer()
            self.assertEqual((answer.status, answer.closes), (404, True))
            await client.ended
            self.assertLess(reactor.seconds() - began, LINGER_SECONDS + 3)
        self.assertEqual(len(served.site.seen), 2)

    async def test_vanished(self) -> None:
        """A client that vanishes in the middle of a body can go on from the offset that it is told."""
        content = os.urandom(3_000_000)
        for driver in (MemoryDriver(), self.filesystem()):
            served = self.serve(driver)
            client = await served.connect()
            upload = (await client.ask(request(b"POST /v2/team/app/blobs/uploads/"))).location
            client.send(
                request(b"PATCH " + upload, b"Content-Length: %d" % len(content)) + content[:2_000_000]
            )
            await until(lambda served=served: [one.body.received for one in served.requests] == [2_000_000])
            client.hang_up()
            await client.ended
            client = await served.connect()
            status = await settled(client, upload)
            offset = stored_size(status)
            # What was read last from the network may be on its way to the storage, and as much may wait behind it.
            self.assertGreater(offset, 2_000_000 - BATCH - 2 * LARGEST_READ)
            line = b"PUT " + status.location + b"&digest=" + digest_of(content)
            self.assertEqual((await client.ask(request(line, body=content[offset:]))).status, 201)

    async def test_downloads(self) -> None:
        """A blob comes whole from memory and from files, through TLS too, to a client that reads in bursts."""
        content = os.urandom(5_000_000)
        for driver in (MemoryDriver(), self.filesystem()):
            for secure in (False, True):
                options, connect = self.secured() if secure else ({}, None)
                served = self.serve(driver, **options)
                blob = await self.push(served, content, connect)
                client = await served.connect(connect)
                transport: Any = client.transport
                client.send(request(b"GET " + blob) + PING)
                for _ in range(5):
                    transport.pauseProducing()
                    await deferLater(reactor, 0.02)
                    transport.resumeProducing()
                    await deferLater(reactor, 0.001)
                self.assertTrue((await client.answer()).body == content)
                self.assertEqual((await client.answer()).status, 200)

    async def test_H05_no_reader_through_tls(self) -> None:
        """Little is kept for a client that does not read, through TLS too."""
        content = os.urandom(30_000_000)
        options, connect = self.secured()
        served = self.serve(**options)
        blob = await self.push(served, content, connect)
        client = await served.connect(connect)
        await client.ask(PING)
        transport: Any = client.transport
        transport.pauseProducing()
        client.send(request(b"GET " + blob))
        await until(lambda: any(one.sentLength for one in served.requests))
        (sending,) = served.requests
        before = -1
        while sending.sentLength != before:
            before = sending.sentLength
            await deferLater(reactor, 0.3)
        self.assertLess(before, 20_000_000)
        raw = sending.channel.transport.transport
        self.assertLess(len(raw.dataBuffer) + sum(map(len, raw._tempDataBuffer)), 1_000_000)
        transport.resumeProducing()
        self.assertTrue((await client.answer()).body == content)

    async def test_vanished_reader(self) -> None:
        """A client that vanishes in the middle of a download leaves nothing open and no error behind."""
        for driver in (MemoryDriver(), self.filesystem()):
            for secure in (False, True):
                options, connect = self.secured() if secure else ({}, None)
                served = self.serve(driver, **options)
                blob = await self.push(served, os.urandom(20_000_000), connect)
                await deferLater(reactor, 0.1)
                before = len(os.listdir("/proc/self/fd"))
                for size in (1, 100_000, 5_000_000, 10_000_000):
                    client = await served.connect(connect)
                    client.send(request(b"GET " + blob) + SMUGGLED)
                    await until(lambda client=client, size=size: client.total >= size)
                    client.hang_up()
                    await client.ended
                await until(lambda served=served: len(served.site.channels) == 1)
                await until(lambda before=before: len(os.listdir("/proc/self/fd")) <= before)
                self.assertEqual(self.flushLoggedErrors(), [])

    async def test_H02_unread_answers(self) -> None:
        """Answers to many requests at once are made as they are read, whatever carries them."""
        for driver in (MemoryDriver(), self.filesystem()):
            for secure in (False, True):
                options, connect = self.secured() if secure else ({}, None)
                served = self.serve(driver, **options)
                content = os.urandom(60_000)
                blob = await self.push(served, content, connect)
                client = await served.connect(connect)
                await client.ask(PING)
                transport: Any = client.transport
                transport.pauseProducing()
                client.send(request(b"GET " + blob) * 1000)
                await deferLater(reactor, 0.3)
                self.assertLess(len(served.site.seen), 500)
                transport.resumeProducing()
                for _ in range(1000):
                    self.assertTrue((await client.answer()).body == content)

    async def test_H06_no_handshake(self) -> None:
        """A connection on which no TLS handshake is ended is closed within seconds."""
        self.patch(channel, "HEADER_DEADLINE", 0.2)
        served = self.serve(**self.secured()[0])
        for sent in (b"", b"\x16\x03\x01\x02\x00\x01\x00", b"\x16\x03\x01"):
            client = await served.connect()
            client.send(sent)
            await client.ended
            self.assertEqual(client.received, b"")
        client = await served.connect()
        client.send(PING)
        await client.ended
        self.assertEqual(served.site.seen, [])

    async def test_H06_tls_refusal(self) -> None:
        """A refusal ends a connection through TLS as well, and nothing that follows is a request."""
        options, connect = self.secured()
        served = self.serve(**options)
        client = await served.connect(connect)
        client.send(request(b"GET /v2/", b"X-A: \x80") + SMUGGLED)
        self.assertEqual((await client.answer()).status, 400)
        client.send(SMUGGLED)
        await client.ended
        self.assertEqual((client.received, served.site.seen), (b"", []))

    def secured(self) -> tuple[dict[str, Any], Any]:
        """Return how to listen, and how to connect, through TLS."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "r")])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        certificate = (
            x509.CertificateBuilder(
                name, name, key.public_key(), x509.random_serial_number(), now - day, now + day
            )
        ).sign(key, hashes.SHA256())
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(certificate.public_bytes(serialization.Encoding.PEM))
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        factory = tls.ServerCertificates(Tls(certificate=path, key=path))

        def listen(site: SeeingSite) -> Any:
            return reactor.listenSSL(0, site, factory, interface="127.0.0.1")

        def connect(number: int) -> Any:
            return wrapClientTLS(_Trusting(), TCP4ClientEndpoint(reactor, "127.0.0.1", number))

        return {"listen": listen}, connect


@implementer(IOpenSSLClientConnectionCreator)
class _Trusting:
    """A client that takes any certificate."""

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See :class:`twisted.internet.interfaces.IOpenSSLClientConnectionCreator`."""
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
