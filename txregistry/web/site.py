"""The server's side of all connections: what they share, and how they come to an end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Site

from txregistry.health.condition import Condition
from txregistry.web.channel import Channel
from txregistry.web.crowd import Crowd, Limits, Place
from txregistry.web.observers import RequestObserver
from txregistry.web.proxies import Proxies
from txregistry.web.request import Request

_log = Logger()
_access = Logger(namespace="txregistry.access")

#: Seconds in which idle clients must take part in the end of their connections.
_FAREWELL = 2
_MINUTE = 60

_STATE = re.compile(r"_state=[^&]+")

#: What Distribution calls a part of an address, where it is not what a route calls it.
_NAMES = {"upload_id": "uuid"}

_ALWAYS = {
    "Docker-Distribution-Api-Version": ["registry/2.0"],
    "X-Content-Type-Options": ["nosniff"],
}


class TrackedChannel(Channel):
    """A connection that its site knows of."""

    place: Place

    def connectionMade(self) -> None:
        """Begin, or end at once where there is no room even to say so."""
        self.place = self.site.crowd.enter(getattr(self.transport.getPeer(), "host", None))
        self.refusal = self.place.refusal
        if self.refusal is not None:
            self.site.tell_of_crowd()
        super().connectionMade()
        self.site.channels.add(self)
        if self.refusal is not None and not self.place.told:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        super().connectionLost(reason)
        self.site.crowd.leave(self.place)
        self.site.lost(self)


class RegistrySite(Site):
    """Makes channels, and knows those that are open.

    :param resource: what answers.
    :param reactor: where time comes from.
    :param prefix: ``http.prefix``.
    :param headers: ``http.headers``: what every answer carries.
    :param timeout: seconds of silence after which a connection is given up.
    :param access_log: whether every answer is logged.
    :param verifies_clients: whether TLS lets only such client certificates in as an authority signed.
    :param observers: who is told of every request.
    :param condition: whether the registry is well; always if not given.
    :param limits: how many connections there may be.
    :param proxies: the proxies that stand before it.
    """

    protocol = TrackedChannel  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        resource: IResource,
        reactor: Any,
        prefix: str = "/",
        headers: Mapping[str, Iterable[str]] | None = None,
        timeout: float = 60,
        access_log: bool = True,
        verifies_clients: bool = False,
        observers: Sequence[RequestObserver] = (),
        condition: Condition | None = None,
        limits: Limits | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        super().__init__(
            resource, requestFactory=Request, reactor=reactor, timeout=timeout, parsePOSTFormSubmission=False
        )
        self.prefix = prefix.encode("ascii")
        everywhere = {name: list(values) for name, values in {**_ALWAYS, **(headers or {})}.items()}
        self.headers = list(Headers(everywhere).getAllRawHeaders())
        self.channels: set[TrackedChannel] = set()
        self.proxies = proxies or Proxies()
        self.crowd = Crowd(limits or Limits(), self.proxies)
        self._told_of_crowd: tuple[float, int] | None = None
        self.draining = False
        self.verifies_clients = verifies_clients
        self.observers = observers
        self.access_log = access_log
        self.condition = condition or Condition()
        self._emptied: Deferred[None] | None = None

    def startFactory(self) -> None:
        """Do nothing: the access log is not Twisted's."""

    def stopFactory(self) -> None:
        """Do nothing, for the same reason."""

    def log(self, request: Any) -> None:
        """Note the end of an answer: whole if the request is finished, cut short by the client if not."""
        seconds = self.reactor.seconds() - request.started
        cut = request._disconnected or request.aborted or not request.startedWriting
        status = 499 if cut else request.code
        for observer in self.observers:
            observer.ended(request, status, seconds)
        if not self.access_log:
            return
        method, uri = str(request.method, "ascii"), str(request.uri, "latin-1")
        # Whoever has an upload's state can go on with the upload.
        uri = _STATE.sub("_state=...", uri) if "?" in uri else uri
        fields = {
            "http.request.id": request.id,
            "http.request.remoteaddr": self.client(request),
            "http.request.host": request.text_header("Host") or "",
            "http.request.method": method,
            "http.request.uri": uri,
            "http.request.useragent": request.text_header("User-Agent") or "",
            **{f"vars.{_NAMES.get(name, name)}": text for name, text in request.variables.items()},
            "auth.user.name": request.identity.name or "",
            "http.response.status": status,
            "http.response.written": request.sentLength,
            "http.response.duration": round(seconds, 6),
        }
        _access.info("{method} {path}", method=method, path=uri.partition("?")[0], fields=fields)

    def tell_of_crowd(self) -> None:
        """Log how many connections were turned away, not more than once a minute."""
        now, refused = self.reactor.seconds(), self.crowd.refused
        if self._told_of_crowd is None or now - self._told_of_crowd[0] >= _MINUTE:
            since = 0 if self._told_of_crowd is None else self._told_of_crowd[1]
            self._told_of_crowd = now, refused
            _log.warn(
                "connections over http.limits are turned away: {count} since this was last said",
                count=refused - since,
            )

    def client(self, request: Any) -> str:
        """Return where a request comes from, as text: what the proxies say, or the other end's address and port."""
        return self.proxies.client(request) if self.proxies else _text(request.client)

    def peer(self, transport: Any) -> str:
        """Return the address and port at the other end, as text."""
        return _text(transport.getPeer())

    def lost(self, channel: TrackedChannel) -> None:
        """Forget a connection that ended."""
        self.channels.discard(channel)
        if not self.channels and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    async def drain(self, seconds: float) -> None:
        """End all connections: those between two requests now, the others when they have answered.

        :param seconds: after these, those that are left are cut.
        """
        self.draining = True
        idle = set()
        for channel in list(self.channels):
            if channel.requests:
                channel.persistent = False
            else:
                idle.add(channel)
                channel.loseConnection()
        if not self.channels:
            return
        # Through TLS the end is an exchange, which an idle client may have no part in.
        deadlines = [
            self.reactor.callLater(min(_FAREWELL, seconds), lambda: self._cut(idle & self.channels)),
            self.reactor.callLater(seconds, lambda: self._cut(self.channels)),
        ]
        self._emptied = Deferred()
        await self._emptied
        for deadline in deadlines:
            if deadline.active():
                deadline.cancel()

    def hurry(self) -> None:
        """End all connections now."""
        self._cut(self.channels)

    def _cut(self, channels: Iterable[TrackedChannel]) -> None:
        for channel in list(channels):
            channel.transport.abortConnection()


def _text(address: IAddress) -> str:
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    return "unix" if host is None else f"{host}:{port}"
