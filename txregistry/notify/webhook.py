"""Posts events to a URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from txregistry import errors, events
from txregistry.events import Event
from txregistry.headers import is_printable
from txregistry.interfaces import INotifier

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: What the request itself says.
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"}
)
#: Seconds that a connection is kept for the next event.
_KEPT = 60.0
#: Bytes of an answer that are read, so that its connection can be used again.
_LONGEST_ANSWER = 64 * 1024
#: Client errors that say nothing about the event (RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4).
_PASSING = frozenset({408, 425, 429})

_FORMS: Mapping[str, tuple[str, Callable[[Event], bytes]]] = {
    "distribution": (events.ENVELOPE_TYPE, events.envelope),
    "cloudevents": (events.CLOUD_EVENT_TYPE, events.cloud_event),
}


def make(options: Mapping[str, Any], reactor: Any) -> Webhook:
    """Make a webhook from an endpoint's keys ``url``, ``headers`` and ``format``.

    :raises txregistry.errors.ConfigError: one is missing, wrong or unknown.
    """
    if unknown := set(options) - {"url", "headers", "format"}:
        raise errors.ConfigError(min(unknown), "unknown key; a webhook has url, headers and format")
    form = options.get("format") or "distribution"
    if form not in _FORMS:
        raise errors.ConfigError("format", f"found {form!r}, expected one of {', '.join(_FORMS)}")
    media_type, body = _FORMS[form]
    headers = {**_headers(options.get("headers") or {}), "Content-Type": [media_type]}
    return Webhook(_url(options.get("url")), headers, body, reactor)


def _url(text: object) -> str:
    expected = "an absolute URL such as https://example.com/events"
    try:
        parts = urlsplit(text if isinstance(text, str) else "")
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not re.fullmatch(r"[\x21-\x7e]+", str(text)):
        # What was found is not shown: it may hold a password.
        raise errors.ConfigError("url", f"expected {expected}")
    if "@" in parts.netloc:
        raise errors.ConfigError(
            "url", f"expected {expected}, without user and password; headers can say who sends"
        )
    return str(text)


def _headers(given: object) -> dict[str, list[str]]:
    if not isinstance(given, dict):
        raise errors.ConfigError("headers", "expected a mapping of names to lists of values")
    found = {}
    for name, value in given.items():
        where = f"headers.{name}"
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise errors.ConfigError(
                where, "expected the name of a header that the request does not set itself"
            )
        values = value if isinstance(value, list) else [value]
        texts = [str(one) for one in values if isinstance(one, str | int)]
        if len(texts) != len(values) or not all(is_printable(text) for text in texts):
            raise errors.ConfigError(where, "expected values of printable ASCII characters")
        found[name] = texts
    return found


@implementer(INotifier)
class Webhook:
    """Posts each event to one URL, and takes any 2xx for its being taken.

    Redirects are not followed: an event goes where the operator said, or nowhere.

    :param url: where to.
    :param headers: what each request carries.
    :param body: makes an event's bytes.
    :param reactor: what connects.
    :param policy: which TLS certificates will do; by default those of the system's authorities.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, list[str]],
        body: Callable[[Event], bytes],
        reactor: Any,
        policy: IPolicyForHTTPS | None = None,
    ) -> None:
        self._url = url
        self._headers = Headers({"User-Agent": ["txregistry"], **headers})
        self._body = body
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 1
        self._pool.cachedConnectionTimeout = _KEPT  # type: ignore[assignment]
        # A request that failed may have been taken: whether to repeat it is not the pool's to decide.
        self._pool.retryAutomatically = False
        self._agent = _PlainAgent(Agent(reactor, policy or BrowserLikePolicyForHTTPS(), pool=self._pool))

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.INotifier`."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.INotifier`."""
        await self._pool.closeCachedConnections()

    async def notify(self, event: Event) -> None:
        """See :class:`~txregistry.interfaces.INotifier`."""
        try:
            # A client for each request: it would keep cookies for the next.
            response = await HTTPClient(self._agent).post(
                self._url,
                data=self._body(event),
                headers=self._headers.copy(),
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            )
        except CancelledError:
            raise
        except Exception as error:
            raise errors.EndpointFailed(f"the connection failed ({_named(error)})") from error
        rest = _Rest()
        response.deliverBody(rest)
        # It is the status that counts, whatever becomes of the rest.
        await rest.ended
        if 200 <= response.code < 300:
            return
        if 400 <= response.code < 500 and response.code not in _PASSING:
            raise errors.EventRefused(f"the answer was {response.code}")
        raise errors.EndpointFailed(f"the answer was {response.code}")


@implementer(IAgent)
@frozen
class _PlainAgent:
    """Keeps treq from asking for gzip, and from undoing it without a limit."""

    _agent: IAgent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See :class:`~twisted.web.iweb.IAgent`."""
        plain = Headers() if headers is None else headers.copy()
        plain.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, plain, bodyProducer).addCallback(self._answered)

    def _answered(self, response: IResponse) -> IResponse:
        response.headers.removeHeader(b"Content-Encoding")
        return response


class _Rest(Protocol):
    """Reads an answer's body and throws it away, closing the connection if it is long or takes too long.

    :ivar ended: fires when there is no more to wait for; cancelling it ends the waiting, too.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred(self._stop)
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self._size += len(data)
        if self._size > _LONGEST_ANSWER:
            self._stop(self.ended)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        if not self.ended.called:
            self.ended.callback(None)

    def _stop(self, ended: Deferred[None]) -> None:
        if self.transport is not None:
            # Twisted's client gives body protocols a proxy of the transport, which has this and no more.
            self.transport.loseConnection()
        if not ended.called:
            ended.callback(None)


def _named(error: Exception) -> str:
    """Return the names of an error and of those that Twisted's client wraps in it."""
    reasons = getattr(error, "reasons", None)
    if isinstance(reasons, list):
        return ", ".join(_named(reason.value) for reason in reasons)
    return type(error).__name__
