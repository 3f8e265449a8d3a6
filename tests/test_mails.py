"""Mails about events, through a real SMTP server on loopback."""

from __future__ import annotations

import queue
import ssl
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.processes import free_port
from tests.test_service import make_certificate
from txregistry import mails
from txregistry.config.log import Log, LogHook, MailOptions, Smtp
from txregistry.errors import ConfigError
from txregistry.mails import Mailbox, MailService, mail_services

WAIT = 60


class Inbox:
    """What a mail server does with mails: it keeps them."""

    def __init__(self) -> None:
        self.mails: queue.Queue[Message] = queue.Queue()
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.put(message_from_bytes(envelope.content))
        return "250 taken"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right")


class MailTests(TestCase):
    """A service that mails, and a server that takes the mails."""

    def setUp(self) -> None:
        self.inbox = Inbox()
        self.publisher = LogPublisher()
        self.log = Logger(namespace="here", observer=self.publisher)
        self.patch(mails, "_GATHERING", 0.01)

    def serve(self, **options: Any) -> int:
        """Start a server; return its port."""
        port = free_port()
        controller = Controller(
            self.inbox,
            hostname="127.0.0.1",
            port=port,
            ready_timeout=WAIT,
            authenticator=self.inbox.authenticate,
            **options,
        )
        controller.start()
        self.addCleanup(controller.stop)
        return port

    def mail(self, port: int, **smtp: Any) -> MailService:
        """Start a service that mails errors."""
        from twisted.internet import reactor

        options = MailOptions(
            smtp=Smtp(addr=f"127.0.0.1:{port}", **smtp), sender="registry@example.com", to=["ops@example.com"]
        )
        service = MailService(
            reactor, Mailbox(options), frozenset({LogLevel.error}), Log(), publisher=self.publisher
        )
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    async def received(self) -> Message:
        """Return the next mail that the server took."""
        return await deferToThread(self.inbox.mails.get, True, WAIT)

    async def test_mail(self) -> None:
        """An event of a level that was asked for is mailed, and no other; a line in it begins no header."""
        self.mail(self.serve(), insecure=True)
        self.log.info("well")
        self.log.error("it\nBcc: {who}", who="all@example.com")
        mail = await self.received()
        self.assertIn("[error]", mail["Subject"])
        self.assertIn("it\\nBcc: all@example.com", mail["Subject"].replace("\n", ""))
        self.assertEqual(
            (mail["From"], mail["To"], mail["Bcc"]), ("registry@example.com", "ops@example.com", None)
        )
        text = mail.get_payload(decode=True)
        self.assertIn(b" error it\\nBcc: all@example.com", text)
        self.assertNotIn(b"well", text)

    async def test_flood(self) -> None:
        """Of many events a mail shows the first and counts the rest."""
        self.mail(self.serve(), insecure=True)
        for number in range(1000):
            self.log.error("error {number}.", number=number)
        text = (await self.received()).get_payload(decode=True)
        self.assertIn(b" error 19.", text)
        self.assertNotIn(b" error 20.", text)
        self.assertIn(b"980 more events", text)
        self.assertTrue(self.inbox.mails.empty())

    async def test_farewell(self) -> None:
        """What was gathered is mailed when the registry stops."""
        self.patch(mails, "_GATHERING", 10000)
        service = self.mail(self.serve(), insecure=True)
        self.log.error("the end")
        await service.stopService()
        self.assertIn(b"the end", self.inbox.mails.get_nowait().get_payload(decode=True))

    async def test_no_tls(self) -> None:
        """A server that does not offer TLS is told nothing; the log says so, and no mail is made of that."""
        service = self.mail(self.serve(), username="ops", password="right")
        self.log.error("secret")
        await service.stopService()
        self.assertTrue(self.inbox.mails.empty())
        self.assertEqual(self.inbox.logins, [])
        self.assertEqual(len(service._gathered.lines), 1)

    async def test_starttls(self) -> None:
        """Where TLS is offered it is used before the login; a certificate of no known authority is refused."""
        certificate, key = make_certificate(self.mktemp_directory(), "mail")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        port = self.serve(tls_context=context, require_starttls=True)
        strict = self.mail(port, username="ops", password="right")
        self.log.error("one")
        await strict.stopService()
        self.assertEqual(self.inbox.logins, [])
        self.mail(port, username="ops", password="right", insecure=True)
        self.log.error("two")
        self.assertIn(b" two", (await self.received()).get_payload(decode=True))
        self.assertEqual(self.inbox.logins, [(b"ops", b"right")])

    def mktemp_directory(self) -> str:
        """Make a directory."""
        import os

        path = os.path.abspath(self.mktemp())
        os.makedirs(path)
        return path


class Late:
    """A mailbox whose server does not answer before a test does."""

    options = MailOptions(sender="a@example.com", to=["b@example.com"])

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.answers: list[Deferred[Any]] = []

    def send(self, reactor: Any, mail: Any) -> Deferred[Any]:
        self.sent.append(mail.get_content())
        self.answers.append(Deferred())
        return self.answers[-1]


class Clockwork(Clock):
    """A clock on which a call from a thread is made at once."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


class PaceTests(SynchronousTestCase):
    """When mails are sent."""

    def setUp(self) -> None:
        self.clock, self.mailbox = Clockwork(), Late()
        self.publisher = LogPublisher()
        self.log = Logger(namespace="here", observer=self.publisher)
        self.service = MailService(
            self.clock, self.mailbox, frozenset({LogLevel.error}), Log(), publisher=self.publisher
        )
        self.service.startService()

    def test_one_at_a_time(self) -> None:
        """A mail is not begun before the last was taken, nor within a minute of it."""
        self.log.error("one")
        self.clock.advance(3)
        self.log.error("two")
        self.clock.advance(100)
        self.assertEqual(len(self.mailbox.sent), 1)
        self.mailbox.answers[0].callback(None)
        self.clock.advance(3)
        self.assertEqual(len(self.mailbox.sent), 2)
        self.mailbox.answers[1].callback(None)
        self.log.error("three")
        self.clock.advance(30)
        self.assertEqual(len(self.mailbox.sent), 2)
        self.clock.advance(30)
        self.assertEqual(len(self.mailbox.sent), 3)

    def test_failure(self) -> None:
        """What a mail told of that was not taken is in the next, which is sent a minute later."""
        self.log.error("one")
        self.clock.advance(3)
        self.mailbox.answers[0].errback(OSError("no server"))
        self.log.error("two")
        self.clock.advance(60)
        self.assertIn(" one", self.mailbox.sent[1])
        self.assertIn(" two", self.mailbox.sent[1])

    def test_stop(self) -> None:
        """A server that does not answer holds up the end for seconds, not for ever."""
        self.log.error("one")
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.clock.advance(5)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class HookTests(SynchronousTestCase):
    """What a hook needs."""

    def test_missing(self) -> None:
        """A hook without a server is refused by the key's name, unless it is disabled."""
        hook = LogHook(type="mail", levels=["error"])
        error = self.assertRaises(ConfigError, mail_services, Log(hooks=[hook]), Clock())
        self.assertEqual(error.where, "log.hooks.0.options.smtp.addr")
        self.assertEqual(mail_services(Log(hooks=[LogHook(type="mail", disabled=True)]), Clock()), [])
