"""A request that is answered while its body arrives.

:mod:`twisted.web` calls a resource when the whole body has been spooled.  Here the resource is called when
the headers are in, and reads ``request.body``.  That makes answers possible that come before the body has:
they must not leave the rest of the body to be taken for the next request, so a small rest is read and thrown
away, and after a larger one the connection is closed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import Request as HttpRequest
from twisted.web.http import datetimeToString, parse_qs
from twisted.web.server import Request as ServerRequest

from txregistry import errors
from txregistry.access import ANONYMOUS
from txregistry.web import failures
from txregistry.web.body import Body
from txregistry.web.probes import PROBES

#: Bytes of an unread body for which a connection is kept.
_SMALL_REST = 64 * 1024
#: Seconds in which they must arrive.
_REST_SECONDS = 5

#: Names of requests need not be hard to guess, and need not cost a system call.
_ids = random.Random()  # noqa: S311

_date = lru_cache(maxsize=1)(datetimeToString)

_DIVIDERS = (b"%2f", b"%5c", b"%00")


class Request(ServerRequest):
    """One request and its answer.

    :ivar body: what the client sends.
    :ivar id: a name for this request, in the log and in the answer.
    :ivar aborted: whether the answer was broken off.
    :ivar variables: the parts of its address that its route names, as they were sent.
    :ivar identity: who makes it, once the guard has let it in.
    :ivar route: where below ``http.prefix`` it is to, decoded.
    :ivar handler: what its route is called, once that is known.
    """

    defaultContentType = None
    channel: Any
    site: Any
    route: str

    def __init__(self, channel: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self.body = Body(channel, 0)
        self.id = f"{_ids.getrandbits(64):016x}"
        self.started = channel.site.reactor.seconds()
        self.aborted = False
        self.variables: Mapping[str, str] = {}
        self.identity = ANONYMOUS
        self.handler: str | None = None
        self._begun = False
        self._keeps_connection = True
        self._answered = False

    def gotLength(self, length: int | None) -> None:
        """Begin, if there is a body to wait for; else :meth:`requestReceived` does so at once."""
        if length != 0:
            self.body = Body(self.channel, length)
            self._begin(self.channel._command, self.channel._path, self.channel._version)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.body.deliver(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Note the end of the request."""
        self.body.end()
        if not self._begun:
            self._begin(command, path, version)
        elif self._answered:
            super()._cleanup()

    def _begin(self, command: bytes, uri: bytes, version: bytes) -> None:
        self._begun = True
        self.method, self.uri, self.clientproto = command, uri, version
        self.path, _, query = uri.partition(b"?")
        self.args = parse_qs(query, True) if query else {}
        self.process()

    def process(self) -> None:
        """Find what answers, and let it."""
        self.site = site = self.channel.site
        for observer in site.observers:
            observer.began(self)
        # As setRawHeaders would, which looks at names and values that it has seen in every answer before.
        headers = self.responseHeaders._rawHeaders
        headers[b"Date"] = [_date(int(time.time()))]
        for name, values in site.headers:
            headers[name] = values[:]
        headers[b"X-Request-Id"] = [self.id.encode("ascii")]
        if self.path == b"*":
            self._handleStar()
            return
        try:
            self.route = self._route()
            if self.route not in PROBES and not site.condition.is_well:
                raise errors.Unhealthy
        except errors.RegistryError as error:
            self.write(failures.fail(self, error))
            self.finish()
            return
        site.resource.render(self)

    def routed(self, handler: str, route: str) -> None:
        """Note what answers.

        :param handler: what the route is called.
        :param route: its path, in Klein's notation.
        """
        self.handler = handler
        for observer in self.site.observers:
            observer.routed(self, route)

    def _route(self) -> str:
        """Return the decoded path below ``http.prefix``, with its first slash."""
        path = self.path
        if b"%" in path:
            lower = path.lower()
            if any(divider in lower for divider in _DIVIDERS):
                raise errors.NameUnknown()
            path = unquote_to_bytes(path)
        prefix = self.site.prefix
        # Werkzeug passes over any number of slashes at the beginning; what stands before us may not.
        if not path.isascii() or not path.startswith(prefix) or path.startswith(prefix + b"/"):
            raise errors.NameUnknown()
        return str(path[len(prefix) - 1 :], "ascii")

    @property
    def is_over(self) -> bool:
        """Whether the client has its answer, or is gone."""
        return bool(self.finished or self._disconnected)

    def certificate_subject(self) -> str | None:
        """Return the subject of the client's TLS certificate (RFC 4514); None where it showed none that counts."""
        if not self.site.verifies_clients:
            return None
        certificate = getattr(self.channel.transport, "getPeerCertificate", lambda: None)()
        return None if certificate is None else str(certificate.to_cryptography().subject.rfc4514_string())

    def text_argument(self, name: str) -> str | None:
        """Return a parameter of the query that may be given once.

        :raises txregistry.errors.RequestInvalid: it is given more than once, or is not ASCII.
        """
        values = self.args.get(name.encode("ascii"))
        if values is None:
            return None
        if len(values) > 1 or not values[0].isascii():
            raise errors.RequestInvalid({"parameter": name}, message="malformed query parameter")
        return str(values[0], "ascii")

    def text_header(self, name: str) -> str | None:
        """Return a header of the request, its last value if there are several."""
        value = self.getHeader(name.encode("ascii"))
        return None if value is None else str(value, "latin-1")

    def write(self, data: bytes) -> None:
        """Send a piece of the answer."""
        begins = not self.startedWriting and not self._disconnected
        if begins:
            self._decide_connection()
        # What twisted.web.server would do before is to look for a default Content-Type.
        HttpRequest.write(self, data)
        if begins and not self.sentLength:
            # Nothing follows the head, or not yet.
            self.channel.write(b"")

    def abort(self) -> None:
        """End the connection, for nothing can be said any more: the client sees that the answer is cut."""
        self.aborted = True
        if self.channel is not None:
            # What the client sent ahead is not begun.
            self.channel.persistent = False
            self.channel.transport.abortConnection()

    def _decide_connection(self) -> None:
        if not self.body.ended:
            rest = None if self.body.length is None else self.body.length - self.body.received
            if rest is None or rest > _SMALL_REST or self.channel.withholds_body:
                self.channel.persistent = False
            self._keeps_connection = self.channel.persistent
        if not self.channel.persistent:
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _cleanup(self) -> None:
        if self.body.ended:
            super()._cleanup()
            return
        self._answered = True
        self.body.discard()
        if self._keeps_connection:
            self.channel.await_rest(_REST_SECONDS)
        else:
            self.channel.linger()

    def connectionLost(self, reason: Failure) -> None:
        """Note that the client is gone.  What was answering it is cancelled."""
        if self._begun and not self.finished:
            self.site.log(self)
        super().connectionLost(reason)
        self.body.fail(errors.ClientGone())
