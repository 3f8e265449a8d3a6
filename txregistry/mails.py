"""Mails that tell operators of some of the log's events: ``log.hooks``."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from io import BytesIO
from threading import Lock
from typing import Any

from attrs import define, field, frozen, mutable
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, LogPublisher, globalLogPublisher
from zope.interface import implementer

from txregistry.config.log import Log, LogHook, MailOptions
from txregistry.config.values import address
from txregistry.errors import ConfigError
from txregistry.logs import accepted, escape, formatter, level_name, message

_log = Logger()

#: Seconds between the first event and the mail that tells of it, so that it tells of those that belong to it.
_GATHERING = 2
#: Seconds between the sending of two mails.
_INTERVAL = 60
#: Events that a mail tells of; of the rest it says how many they are.
_EVENTS = 20
#: Characters of an event that a mail has.
_LENGTH = 8000
#: Seconds in which the server must answer each step.
_PATIENCE = 30
#: Seconds that the last mail may take when the registry stops.
_FAREWELL = 5
_SUBJECT = 160

_LEVELS = {
    "panic": LogLevel.critical,
    "fatal": LogLevel.critical,
    "error": LogLevel.error,
    "warn": LogLevel.warn,
    "warning": LogLevel.warn,
    "info": LogLevel.info,
    "debug": LogLevel.debug,
    "trace": LogLevel.debug,
}


def mail_services(settings: Log, reactor: Any) -> list[MailService]:
    """Return a service for each hook that is not disabled.

    :raises txregistry.errors.ConfigError: a hook lacks what it needs.
    """
    services = []
    for number, hook in enumerate(settings.hooks):
        if hook.disabled:
            continue
        where = f"log.hooks.{number}"
        for key, value in (
            ("levels", hook.levels),
            ("options.smtp.addr", hook.options.smtp.addr),
            ("options.from", hook.options.sender),
            ("options.to", [one for one in hook.options.to if one]),
        ):
            if not value:
                raise ConfigError(f"{where}.{key}", "missing; a hook that is not disabled needs it")
        services.append(MailService(reactor, Mailbox(hook.options), _wanted(hook, settings), settings))
    return services


def _wanted(hook: LogHook, settings: Log) -> frozenset[Any]:
    return frozenset(_LEVELS[level] for level in hook.levels) & accepted(settings.level)


@frozen
class Mailbox:
    """Where mails go, and by which server.

    :param options: of the hook.
    """

    options: MailOptions

    def send(self, reactor: Any, mail: EmailMessage) -> Deferred[Any]:
        """Send a mail; the result comes when the server has taken it.

        Cancelling breaks the connection.
        """
        # Importing it installs a reactor, and takes a while.
        from twisted.internet.ssl import CertificateOptions
        from twisted.mail.smtp import ESMTPSenderFactory

        smtp, server = self.options.smtp, address(self.options.smtp.addr)
        sent: Deferred[Any] = Deferred(lambda _: connector.disconnect())
        factory = ESMTPSenderFactory(
            smtp.username.encode(),
            smtp.password.encode(),
            self.options.sender,
            [one for one in self.options.to if one],
            BytesIO(mail.as_bytes(policy=SMTP).replace(b"\r\n", b"\n")),
            sent,
            retries=0,
            timeout=_PATIENCE,
            contextFactory=CertificateOptions() if smtp.insecure else None,
            heloFallback=True,
            requireAuthentication=bool(smtp.username),
            requireTransportSecurity=not smtp.insecure,
            hostname=server.host,
        )
        factory.noisy = False
        connector = reactor.connectTCP(server.host, server.port, factory, timeout=_PATIENCE)
        return sent


@define
class _Gathered:
    """Events that a mail is to tell of.

    :ivar lines: the first of them, as text.
    :ivar more: how many came after those.
    """

    subject: str = ""
    lines: list[str] = field(factory=list)
    more: int = 0

    def add(self, subject: str, line: str) -> None:
        self.subject = self.subject or subject
        self.lines.append(line)

    def before(self, later: _Gathered) -> _Gathered:
        """Return these and later ones together."""
        lines = [*self.lines, *later.lines]
        more = self.more + later.more + max(0, len(lines) - _EVENTS)
        return _Gathered(self.subject or later.subject, lines[:_EVENTS], more)


@implementer(ILogObserver)
@mutable(eq=False, slots=False)
class MailService(Service):
    """Gathers events and mails them, one mail at a time.

    An event costs who logs it no more than its text, and that only for the first few of each mail.  What goes
    wrong with a mail is logged and never mailed, and what it told of is in the next one.

    :param reactor: what it runs on.
    :param mailbox: where the mails go.
    :param levels: the levels of the events that are mailed.
    :param settings: the log's.
    :param publisher: where events come from.
    """

    _reactor: Any
    _mailbox: Any
    _levels: frozenset[Any]
    _settings: Log
    _publisher: LogPublisher = globalLogPublisher
    _lock: Any = field(factory=Lock, init=False)
    _gathered: _Gathered = field(factory=_Gathered, init=False)
    _timer: Any = field(default=None, init=False)
    _sending: Deferred[None] | None = field(default=None, init=False)
    _next: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._line = formatter("text", self._settings.fields)

    def startService(self) -> None:
        """Begin to listen to the log."""
        super().startService()
        self._publisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """Take an event, on whatever thread it happens."""
        if event.get("log_level", LogLevel.info) not in self._levels:
            return
        if event.get("log_namespace") == _log.namespace:
            return
        with self._lock:
            first = not self._gathered.lines
            if len(self._gathered.lines) < _EVENTS:
                self._gathered.add(_subject(event), self._line(event)[:_LENGTH])
            else:
                self._gathered.more += 1
        if first:
            self._reactor.callFromThread(self._plan)

    def stopService(self) -> Deferred[None]:
        """Send what there is to say, if that can be done in a moment."""
        super().stopService()
        self._publisher.removeObserver(self)
        return Deferred.fromCoroutine(self._stop())

    def _plan(self) -> None:
        """See to it that a mail is sent, if none is planned or under way."""
        if self.running and self._timer is None and self._sending is None and self._gathered.lines:
            wait = max(_GATHERING, self._next - self._reactor.seconds())
            self._timer = self._reactor.callLater(wait, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._next = self._reactor.seconds() + _INTERVAL
        self._sending = Deferred.fromCoroutine(self._send())
        self._sending.addBoth(self._ended)

    def _ended(self, _: Any) -> None:
        self._sending = None
        self._plan()

    async def _send(self) -> None:
        with self._lock:
            told, self._gathered = self._gathered, _Gathered()
        sent = False
        try:
            await self._mailbox.send(self._reactor, _mail(self._mailbox.options, told))
            sent = True
        except CancelledError:
            _log.warn(
                "a mail of {count} events was not sent before the end", count=len(told.lines) + told.more
            )
        except Exception as error:
            _log.error(
                "a mail to {to} cannot be sent: {reason}", to=self._mailbox.options.to, reason=_reason(error)
            )
        finally:
            if not sent:
                with self._lock:
                    self._gathered = told.before(self._gathered)

    async def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is None and self._gathered.lines:
            self._begin()
        sending = self._sending
        if sending is None:
            return
        end = self._reactor.callLater(_FAREWELL, sending.cancel)
        await sending
        if end.active():
            end.cancel()


def _subject(event: LogEvent) -> str:
    text = f"[{level_name(event)}] {socket.gethostname()}: {escape(message(event))}"
    return text if len(text) <= _SUBJECT else f"{text[:_SUBJECT]}..."


def _mail(options: MailOptions, told: _Gathered) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = told.subject
    mail["From"] = options.sender
    mail["To"] = ", ".join(one for one in options.to if one)
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain="txregistry")
    mail["Auto-Submitted"] = "auto-generated"
    rest = f"\n{told.more} more events are in the log.\n" if told.more else ""
    mail.set_content("".join(told.lines) + rest)
    return mail


def _reason(error: Exception) -> str:
    """Return what went wrong, without the conversation with the server: that has the password in it."""
    code, response = getattr(error, "code", None), getattr(error, "resp", None)
    if code is None:
        return str(error) or type(error).__name__
    text = response.decode("ascii", "replace") if isinstance(response, bytes) else str(response)
    return text if code == -1 else f"{code} {text}"
