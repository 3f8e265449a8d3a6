"""HTTP to an object store: one pool of connections, bounded in time, in what is read, and in what is tried again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS, IResponse

from txregistry import errors
from txregistry.objects.bodies import PiecesProducer, StreamBody, named
from txregistry.objects.retries import Retries

T = TypeVar("T")

_log = Logger()

#: Requests whose answers are waited for at once; streams that are being read do not count.
_AT_ONCE = 64
#: Seconds that a connection may take to be made, and is kept for the next request.
_CONNECTING = 5.0
_KEPT = 50.0
#: Seconds for which nothing may move before a try counts as failed.
PATIENCE = 8.0
#: Bytes of an answer that are read at most where nothing else is said.
_LONGEST = 4 * 1024 * 1024
#: Answers that say nothing about a second try (RFC 9110, 15.5.9 and 15.6; RFC 6585, 4).
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


@frozen
class Request:
    """A request, signed and ready to be sent.

    :param headers: without ``Content-Length`` and ``Host``.
    :param pieces: the body, one after the other.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(factory=dict)
    pieces: Sequence[bytes] = ()


Prepare: TypeAlias = Callable[[], Awaitable[Request]]
"""Makes a request for one try: a signature has a time in it."""


@frozen
class Answer:
    """An answer, read to its end.

    :param tries: how often it was asked: after the first, what the others did is not known.
    """

    status: int
    headers: Headers
    content: bytes
    tries: int = 1

    def header(self, name: str) -> str | None:
        """Return the value of a header; None where there is none."""
        return header(self.headers, name)

    @property
    def date(self) -> float:
        """What the store's clock showed, in seconds since the epoch; 0 where it does not say."""
        return date(self.header("Date"))


@frozen
class Stream:
    """An answer whose body is still to come.  The body is to be closed.

    :param length: the body's bytes; None where the answer does not say.
    """

    status: int
    headers: Headers
    body: StreamBody
    length: int | None = None

    def header(self, name: str) -> str | None:
        """Return the value of a header; None where there is none."""
        return header(self.headers, name)


def whole_size(path: str, stream: Stream, start: int) -> int:
    """Return the bytes of a whole object, of which an answer has those from *start* on.

    :raises txregistry.errors.StorageFault: the answer is none to that question.
    """
    whole = (stream.header("Content-Range") or "").rpartition("/")[2]
    size = stream.length if not start else int(whole) if whole.isdigit() else None
    if size is None or stream.status != (206 if start else 200):
        raise errors.StorageFault(path, f"the store answers {stream.status}, and not with what was asked for")
    return size


def header(headers: Headers, name: str) -> str | None:
    """Return the last value of a header; None where there is none."""
    values = headers.getRawHeaders(name)
    return values[-1] if values else None


def date(text: str | None) -> float:
    """Return the time of an HTTP date, in seconds since the epoch; 0 for none."""
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (TypeError, ValueError):
        return 0.0


class Transport:
    """Sends requests, and sends them again when that may help.

    :param reactor: what connects and tells the time.
    :param retries: when a request is sent again.
    :param policy: which TLS certificates will do; by default those of the system's authorities.
    :param is_passing: whether an answer, beside those whose status says so, tells of trouble that may pass.
    :param patience: seconds for which neither a byte of a request may leave nor one of its answer come.
    """

    def __init__(
        self,
        reactor: Any,
        retries: Retries,
        policy: IPolicyForHTTPS | None = None,
        is_passing: Callable[[Answer], bool] = lambda answer: False,
        patience: float = PATIENCE,
    ) -> None:
        self._reactor = reactor
        self._retries = retries
        self._is_passing = is_passing
        self._patience = patience
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = _AT_ONCE
        self._pool.cachedConnectionTimeout = _KEPT  # type: ignore[assignment]
        # Whether to repeat a request is not the pool's to decide.
        self._pool.retryAutomatically = False
        self._agent = Agent(
            reactor,
            policy or BrowserLikePolicyForHTTPS(),
            connectTimeout=_CONNECTING,
            pool=self._pool,
        )
        self._slots = DeferredSemaphore(_AT_ONCE)

    async def close(self) -> None:
        """Close the connections that nothing uses."""
        # What has just been answered comes back to the pool in this turn.
        await self.sleep(0)
        await self._pool.closeCachedConnections()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self._reactor, seconds, lambda: None)

    async def ask(
        self,
        path: str,
        prepare: Prepare,
        patience: float | None = None,
        once: bool = False,
        limit: int = _LONGEST,
        wrong: Callable[[Answer], str | None] = lambda answer: None,
    ) -> Answer:
        """Send a request, and return its answer, whatever its status, unless that is one of passing trouble.

        :param path: what it is about, for errors.
        :param prepare: makes it, for each try.
        :param patience: another one than usual.
        :param once: do not try again.
        :param limit: bytes of the answer that are read.
        :param wrong: says why an answer cannot be right, so that another is asked for; None if it can.
        :raises txregistry.errors.StorageUnavailable: no try came through; what became of them is not known.
        :raises txregistry.errors.StorageFault: the answer is too long.
        """

        async def attempt(tries: int) -> Answer:
            await self._slots.acquire()
            try:
                stream = await self._send(path, await prepare(), patience or self._patience)
                content = await _content(stream, limit)
            finally:
                self._slots.release()
            answer = self._judged(path, Answer(stream.status, stream.headers, content, tries))
            problem = wrong(answer)
            if problem is not None:
                raise errors.StorageUnavailable(path, problem)
            return answer

        return await self._persistently(path, attempt, once)

    async def open(self, path: str, prepare: Prepare) -> Stream:
        """Send a request, and return its answer when the head of it is there; as :meth:`ask` otherwise.

        What happens to the body from then on is not tried again here.

        :raises Refused: the answer has a status of 400 or more.
        """

        async def attempt(tries: int) -> Stream:
            await self._slots.acquire()
            try:
                stream = await self._send(path, await prepare(), self._patience)
                if stream.status < 400:
                    return stream
                content = await _content(stream, _LONGEST)
            finally:
                self._slots.release()
            raise Refused(self._judged(path, Answer(stream.status, stream.headers, content, tries)))

        return await self._persistently(path, attempt, once=False)

    async def _persistently(self, path: str, attempt: Callable[[int], Awaitable[T]], once: bool) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                result = await attempt(tries)
            except errors.StorageUnavailable as error:
                if once:
                    raise
                await self._pause(path, tries, error.reason)
            else:
                self._retries.budget.earn()
                return result

    def _judged(self, path: str, answer: Answer) -> Answer:
        """Return an answer.

        :raises txregistry.errors.StorageUnavailable: it tells of trouble that may pass.
        """
        if answer.status in _PASSING or self._is_passing(answer):
            raise errors.StorageUnavailable(path, f"the store answers {answer.status}")
        return answer

    async def _pause(self, path: str, tries: int, reason: str) -> None:
        """Wait until it is time for another try.

        :raises txregistry.errors.StorageUnavailable: there is to be none.
        """
        seconds = self._retries.wait(tries)
        if seconds is None:
            raise errors.StorageUnavailable(path, reason)
        _log.debug(
            "{path}: {reason}; trying again in {seconds:.2f} s", path=path, reason=reason, seconds=seconds
        )
        await self.sleep(seconds)

    async def _send(self, path: str, request: Request, patience: float) -> Stream:
        given_up = left = False

        def give_up() -> None:
            nonlocal given_up
            given_up = True
            asking.cancel()

        def leave(_: Deferred[IResponse]) -> None:
            nonlocal left
            left = True
            asking.cancel()

        def progress() -> None:
            if late.active():
                late.reset(patience)

        headers = Headers({name: [value] for name, value in request.headers.items()})
        # What comes is read as it is, without a limit on what it could unfold to.
        headers.setRawHeaders("Accept-Encoding", ["identity"])
        late = self._reactor.callLater(patience, give_up)
        try:
            producer = PiecesProducer(request.pieces, progress) if request.pieces else None
            asking = self._agent.request(
                request.method.encode("ascii"), request.url.encode("ascii"), headers, producer
            )
            waiting: Deferred[IResponse] = Deferred(leave)
            asking.chainDeferred(waiting)
            response = await waiting
        except (CancelledError, Exception) as error:
            if given_up:
                raise errors.StorageUnavailable(path, f"no answer within {patience:g} s") from error
            if left:
                # Whoever waited is gone: this is not to be tried again.  What a request that is cancelled fails with
                # depends on where it was, and may look as if no name could be resolved.
                raise CancelledError from error
            raise errors.StorageUnavailable(path, named(error)) from error
        finally:
            if late.active():
                late.cancel()
        body = StreamBody(path, self._reactor, patience)
        response.deliverBody(body)
        # Twisted's client keeps this header for itself.
        length = response.length if isinstance(response.length, int) else None
        return Stream(response.code, response.headers, body, length)


async def _content(stream: Stream, limit: int) -> bytes:
    try:
        return await stream.body.rest(limit)
    finally:
        await stream.body.close()


class Refused(Exception):
    """A stream was asked for, and the answer is another.

    :param answer: which.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer
