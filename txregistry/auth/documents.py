"""Small documents that others publish over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS

_LONGEST = 1024 * 1024
_OK = 200


class Unavailable(Exception):
    """A document cannot be had, and why, in one line."""


class Documents:
    """Fetches documents as they are: no redirects, no content codings, no more than a megabyte.

    This is Twisted's agent without treq around it, which always asks for gzip and undoes it without a limit.

    :param reactor: what connects.
    :param policy: which TLS certificates will do; by default those of the system's authorities.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS | None = None) -> None:
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent(reactor, policy or BrowserLikePolicyForHTTPS(), pool=pool)

    async def fetch(self, url: str) -> bytes:
        """Return a document.  Cancelling this closes the connection.

        :raises Unavailable: it cannot be had.
        """
        headers = Headers(
            {"Accept": ["application/json"], "Accept-Encoding": ["identity"], "User-Agent": ["txregistry"]}
        )
        try:
            response = await self._agent.request(b"GET", url.encode("ascii"), headers)
            body = _Body()
            problem = _problem(response.code, response.headers.getRawHeaders("Content-Encoding", []))
            if problem is not None:
                body.refuse(problem)
            # Refused or not: this is also the way to let go of the connection.
            response.deliverBody(body)
            return await body.done
        except (CancelledError, Unavailable):
            raise
        except Exception as error:
            raise Unavailable(f"the connection failed ({_named(error)})") from error


def _problem(code: int, codings: Iterable[str]) -> str | None:
    if code != _OK:
        return f"the answer was {code}"
    if any(coding.strip().lower() not in ("", "identity") for coding in codings):
        return "the answer has a content coding that was not asked for"
    return None


def _named(error: Exception) -> str:
    """Return the names of an error and of those that Twisted's client wraps in it."""
    reasons = getattr(error, "reasons", None)
    if isinstance(reasons, list):
        return ", ".join(_named(reason.value) for reason in reasons)
    return type(error).__name__


class _Body(Protocol):
    """Collects the body of an answer."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._chunks: list[bytes] = []
        self._size = 0

    def refuse(self, problem: str) -> None:
        """Have no more of it, for there is something wrong with it."""
        if not self.done.called:
            self.done.errback(Unavailable(problem))
            self._stop()

    def connectionMade(self) -> None:
        if self.done.called:
            self._stop()

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= _LONGEST:
            self._chunks.append(data)
        else:
            self.refuse(f"the answer is longer than {_LONGEST} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._chunks))
        else:
            self.done.errback(reason)

    def _stop(self) -> None:
        if self.transport is not None:
            # Twisted's client gives body protocols a proxy of the transport, which has this and no more.
            self.transport.loseConnection()
