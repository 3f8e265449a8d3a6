"""One client's connection: HTTP/1.1 as :mod:`twisted.web` reads it, made stricter.

What Twisted lets pass and a registry behind proxies must not, because two programs could understand it
differently, is refused before a request exists: see :mod:`txregistry.web.heads`.  Limits of time are kept here too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers

from txregistry import errors
from txregistry.web import failures
from txregistry.web.body import Body
from txregistry.web.heads import FRAMING, REQUEST_LINE, Unacceptable, check, field, target
from txregistry.web.pace import LEAST_RATE, WINDOW
from txregistry.web.patience import Patience
from txregistry.web.sending import send

_log = Logger()

#: Seconds in which the headers of a request must arrive, once its first byte has; and in which the first byte
#: on a connection must.
HEADER_DEADLINE = 10
#: Bytes that are read from the kernel at once, and bytes of a body at most, where so many wait.
READ = Connection.bufferSize
LARGEST_READ = 512 * 1024
#: Bytes of later requests that are kept while one is being answered; beyond them the client is made to wait.
AHEAD_BYTES = 16 * 1024
#: Bytes that no chunk can have.
_CHUNK_LIMIT = 2**63
#: Seconds, and bytes, of a body that are read and thrown away after an answer that came before its end.
LINGER_SECONDS = 2
LINGER_BYTES = 1024 * 1024


class Channel(HTTPChannel):
    """Reads requests from one connection and writes their answers, one after the other."""

    MAX_LENGTH = 16384
    totalHeadersSize = 65536
    site: Any = None
    transport: Any

    _in_headers = False
    _has_deadline = False
    _refused = False
    _broken = False
    _lingering = False
    _lingered = 0
    _paused = False
    _expects = False
    _waits_for_body = False
    _ahead = 0
    _unread: Any = None
    _head = b""
    _pace: tuple[Body, float, int] | None = None
    #: Why the client may ask for nothing, if so.
    refusal: errors.Crowded | errors.TooManyRequests | None = None
    _peer: Any = None
    _host: Any = None
    _secure: bool | None = None

    def connectionMade(self) -> None:
        """Begin."""
        self._patience = Patience(self.site.reactor, self.timeoutConnection)
        super().connectionMade()
        self.setTimeout(min(HEADER_DEADLINE, self.site.timeOut))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        super().connectionLost(reason)
        self._patience.end()

    def setTimeout(self, period: float | None) -> float | None:
        """See :class:`twisted.protocols.policies.TimeoutMixin`."""
        previous: float | None = self.timeOut
        self.timeOut = period  # type: ignore[assignment]
        self._patience.set(period)
        return previous

    def resetTimeout(self) -> None:
        """See :class:`twisted.protocols.policies.TimeoutMixin`."""
        if self._patience.is_set:
            self._patience.set(self.timeOut)

    def getPeer(self) -> Any:
        """Return the address at the other end, which stays what it is."""
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def getHost(self) -> Any:
        """Return the local address, which stays what it is too."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def isSecure(self) -> bool:
        """Say whether the connection is encrypted, which stays as it is."""
        if self._secure is None:
            self._secure = super().isSecure()
        return self._secure

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client.  A deadline is not moved by them."""
        if self.transport.disconnecting:
            # Through TLS, bytes still come.
            return
        if self._lingering:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self.loseConnection()
            return
        if not self._in_headers and not self._has_deadline:
            self.resetTimeout()
        if self._begins_request() and not data[:1].isalpha() and data[:1] not in b"\r\n":
            # A client that tries TLS first sends no line, and would wait for the deadline to learn that.
            self.refuse(400, "this is not HTTP")
            return
        LineReceiver.dataReceived(self, data)
        begun = self._buffer or self.requests
        if self.line_mode and begun and not self._in_headers and not self._refused:
            self._in_headers = True
            self.setTimeout(HEADER_DEADLINE)

    def lineReceived(self, line: bytes) -> None:
        """Take one line of a request's head."""
        if self._refused:
            return
        self._receivedHeaderSize += len(line)
        if self._receivedHeaderSize > self.totalHeadersSize:
            self.refuse(431, "the headers are too long together")
        elif not self.requests:
            self._begin(line)
        elif not line:
            self.allHeadersReceived()
            if self.length == 0:
                self.allContentReceived()
            else:
                self.setRawMode()
        else:
            self.headerReceived(line)

    def _begin(self, line: bytes) -> None:
        if not line:
            # RFC 9112, 2.2: blank lines between requests are passed over.
            self._in_headers = False
            self.setTimeout(self.site.timeOut)
            return
        match = REQUEST_LINE.fullmatch(line)
        if match is None:
            self.refuse(400, "malformed request line")
            return
        self._command, self._path, self._version = match.groups()
        self.requests.append(self.requestFactory(self))

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is too long."""
        if self.requests:
            self.refuse(431, "a header is too long")
        else:
            self.refuse(414, "the request line is too long")

    def headerReceived(self, line: bytes) -> bool:
        """Take one header; say whether it is acceptable."""
        if self._receivedHeaderCount >= self.maxHeaders:
            self.refuse(431, "too many headers")
            return False
        try:
            name, value = field(line)
        except Unacceptable as error:
            self.refuse(error.status, error.why)
            return False
        if name.lower() in FRAMING:
            # Twisted chooses by it what reads the body.
            return bool(super().headerReceived(line))
        self._receivedHeaderCount += 1
        self.requests[-1].requestHeaders.addRawHeader(name, value)
        return True

    def allHeadersReceived(self) -> None:
        """Check the head as a whole, and begin the request."""
        self._in_headers = False
        if self.refusal is not None:
            # Not sooner: a client that has not asked would not take it for an answer.
            self.refuse(failures.status_of(self.refusal), self.refusal.text, self.refusal)
            return
        request = self.requests[-1]
        try:
            check(request.requestHeaders, self._version, self.length)
            self._path = target(self._command, self._path, request.requestHeaders)
        except Unacceptable as error:
            self.refuse(error.status, error.why)
            return
        self._expects = (
            self.length != 0 and self._version == b"HTTP/1.1" and request.requestHeaders.hasHeader(b"Expect")
        )
        self.persistent = self.checkPersistence(request, self._version)
        if self.site.draining:
            self.persistent = False
        self._waits_for_body = self.length != 0
        if self._waits_for_body:
            # A client that waits to be told to send is not timed.
            self.setTimeout(None if self._expects else self.site.timeOut)
        request.gotLength(self.length)

    def allContentReceived(self) -> None:
        """Note the end of a request."""
        if self._refused:
            return
        self._waits_for_body = self._has_deadline = False
        if getattr(self.transport, "bufferSize", READ) > READ:
            self.transport.bufferSize = READ
        # Twisted takes the time between two requests from here.
        self.setTimeout(self.site.timeOut)
        super().allContentReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Take bytes of a body, or of a request that must wait for its turn."""
        if self._refused or self._broken or self._lingering:
            return
        if self._handlingRequest:
            self._keep_ahead(data)
            return
        if len(data) == getattr(self.transport, "bufferSize", 0) < LARGEST_READ:
            # A client that sends faster than this reads is read from in larger pieces, for less work.
            self.transport.bufferSize *= 2
        super().rawDataReceived(data)
        if getattr(self._transferDecoder, "length", 0) >= _CHUNK_LIMIT:
            self._respondToBadRequestAndDisconnect()

    def requestDone(self, request: Any) -> None:
        """Go on to the next request, unless the client has yet to read the answer to this one.

        Else a client that reads nothing could have any number of answers made and kept for it.
        """
        if self._waitingForTransport and self.persistent:
            self._unread = request
            self.setTimeout(self.site.timeOut)
            return
        self._ahead = 0
        super().requestDone(request)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Take an answer's head, to be sent with what is written next."""
        lines = [
            b"%s: %s\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values
        ]
        self._head = b"%s %s %s\r\n%s\r\n" % (version, code, reason, b"".join(lines))

    def write(self, data: bytes) -> None:
        """Send an answer's head, if that is not done yet, and a piece of its body."""
        head, self._head = self._head, b""
        send(self.transport, head + data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send pieces of a body."""
        self.write(b"".join(iovec))

    def refuse(
        self, status: int, why: str, error: errors.Crowded | errors.TooManyRequests | None = None
    ) -> None:
        """Answer a request that cannot be read, and close the connection once the client could read why.

        :param error: what the client is told, if it is to come again; else that its request is at fault.
        """
        if self._refused:
            return
        self._refused = True
        self.persistent = False
        _log.info("refused a request from {peer}: {why}", peer=self.site.peer(self.transport), why=why)
        content = failures.content(error or errors.RequestInvalid(message=why))
        headers = Headers()
        for name, values in self.site.headers:
            headers.setRawHeaders(name, values)
        headers.setRawHeaders(b"Content-Type", [b"application/json"])
        headers.setRawHeaders(b"Content-Length", [b"%d" % len(content)])
        headers.setRawHeaders(b"Connection", [b"close"])
        if error is not None:
            headers.setRawHeaders(b"Retry-After", [b"%d" % error.seconds])
        self.writeHeaders(b"HTTP/1.1", b"%d" % status, failures.reason(status), headers)
        self.write(b"" if getattr(self, "_command", b"") == b"HEAD" else content)
        self.linger()

    def _respondToBadRequestAndDisconnect(self) -> None:
        if not self._waits_for_body:
            self.refuse(400, "malformed request")
            return
        # The request is being answered already: a second answer must not be mixed into that one.
        self._broken = True
        self.persistent = False
        self.requests[-1].body.fail(errors.RequestInvalid(message="malformed chunk"))

    def linger(self) -> None:
        """Throw away what still arrives, for a moment, so that closing does not reset the connection."""
        if self._lingering:
            return
        self._lingering = True
        self.setTimeout(None)
        self._networkProducer.resumeProducing()
        self._abortingCall = self.callLater(LINGER_SECONDS, self._end_linger)

    def _end_linger(self) -> None:
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close the connection when all that was written is sent; not to wait for ever, cut it off later."""
        super().loseConnection()
        if self._abortingCall is None:
            self._abortingCall = self.callLater(self.site.timeOut, self.forceAbortClient)

    def await_rest(self, seconds: float) -> None:
        """Take the rest of a body that no one reads, until a deadline."""
        self._has_deadline = True
        self.setTimeout(seconds)

    def timeoutConnection(self) -> None:
        """End a wait that was too long."""
        if self._in_headers:
            self.refuse(408, "the request did not arrive in time")
        elif self._waits_for_body and self.requests and not self.requests[-1].finished:
            self.persistent = False
            self.requests[-1].body.fail(errors.BodyTimeout())
        else:
            super().timeoutConnection()

    def check_pace(self, now: float) -> None:
        """End the wait for a body that arrives too slowly, though it never stops.

        What counts is the client's own slowness: whoever is made to wait is timed anew afterwards.
        """
        if not self._waits_for_body or self._expects or self._paused or self._has_deadline:
            self._pace = None
            return
        body = self.requests[-1].body
        if self._pace is None or self._pace[0] is not body:
            self._pace = body, now, body.received
            return
        _, since, received = self._pace
        if now - since < WINDOW:
            return
        if body.received - received < LEAST_RATE * (now - since):
            self.timeoutConnection()
        self._pace = body, now, body.received

    def want_body(self) -> None:
        """See :class:`~txregistry.web.body.Flow`."""
        if self._expects:
            self._expects = False
            self.setTimeout(self.site.timeOut)
            self._send100Continue()

    @property
    def withholds_body(self) -> bool:
        """Whether the client waits to be told to send its body, or not to."""
        return self._expects

    def pause_body(self) -> None:
        """See :class:`~txregistry.web.body.Flow`.  A client that is made to wait is not timed."""
        self._paused = True
        self._pace = None
        self.setTimeout(None)
        self._networkProducer.pauseProducing()

    def resume_body(self) -> None:
        """See :class:`~txregistry.web.body.Flow`."""
        self._paused = False
        if self._waits_for_body:
            self.setTimeout(self.site.timeOut)
        self._networkProducer.resumeProducing()

    def resumeProducing(self) -> None:
        """Go on after the client has read what was sent, unless a body is held back."""
        super().resumeProducing()
        if self._paused:
            self._networkProducer.pauseProducing()
        request, self._unread = self._unread, None
        if request is not None:
            self.requestDone(request)

    def _keep_ahead(self, data: bytes) -> None:
        # Twisted keeps any amount while the client does not read.
        self._dataBuffer.append(data)
        self._ahead += len(data)
        if self._ahead > AHEAD_BYTES:
            self._networkProducer.pauseProducing()

    def _begins_request(self) -> bool:
        return bool(self.line_mode and not self.requests and not self._buffer and not self._in_headers)
