"""Bodies of requests and answers, given and taken no faster than both sides can."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from txregistry import errors
from txregistry.objects.store import IBody

#: Bytes of an answer that may wait to be read, before the store is made to wait.
_HIGH = 1024 * 1024
_LOW = 256 * 1024
#: Bytes of a body that are written in one go: between two of them it can be seen that it goes on.
_SLICE = 256 * 1024


@implementer(IBodyProducer)
class PiecesProducer:
    """Sends pieces of bytes, one after the other, as the connection takes them.

    :param pieces: the body; not copied as a whole.
    :param progress: called whenever some of it was taken.
    """

    def __init__(self, pieces: Sequence[bytes], progress: Callable[[], None]) -> None:
        self._pieces = pieces
        self._progress = progress
        self._next = self._at = 0
        self._paused = False
        self._done: Deferred[None] = Deferred()
        self._consumer: IConsumer | None = None
        self.length = sum(map(len, pieces))

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See :class:`twisted.web.iweb.IBodyProducer`."""
        self._consumer = consumer
        self._go_on()
        return self._done

    def pauseProducing(self) -> None:
        """See :class:`twisted.web.iweb.IBodyProducer`."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See :class:`twisted.web.iweb.IBodyProducer`."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """See :class:`twisted.web.iweb.IBodyProducer`."""
        self._consumer = None

    def _go_on(self) -> None:
        while self._consumer is not None and not self._paused:
            self._progress()
            if self._next == len(self._pieces):
                self._consumer = None
                self._done.callback(None)
                return
            piece = self._pieces[self._next]
            part = piece[self._at : self._at + _SLICE]
            self._at += len(part)
            if self._at == len(piece):
                self._next, self._at = self._next + 1, 0
            self._consumer.write(part)


@implementer(IBody)
class StreamBody(Protocol):
    """The body of an answer, read piece by piece while it arrives.

    :param path: what it is of, for errors.
    :param reactor: what tells when it stalls.
    :param patience: seconds for which nothing may come while something is waited for.
    """

    #: Twisted's client gives bodies a proxy of the transport, which pauses, resumes and loses it, and no more.
    transport: Any

    def __init__(self, path: str, reactor: Any, patience: float) -> None:
        self._path = path
        self._reactor = reactor
        self._patience = patience
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._paused = False
        self._waiting: Deferred[None] | None = None
        self._ended = False
        self._problem = ""

    def dataReceived(self, data: bytes) -> None:
        """See :class:`twisted.internet.interfaces.IProtocol`."""
        if self._ended:
            return
        self._chunks.append(data)
        self._held += len(data)
        if self._held > _HIGH and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See :class:`twisted.internet.interfaces.IProtocol`."""
        if not self._ended and not reason.check(ResponseDone):
            self._problem = f"the answer was cut off ({named(reason.value)})"
        self._ended = True
        self._wake()

    async def read(self, size: int) -> bytes:
        """See :class:`~txregistry.objects.store.IBody`."""
        while not self._chunks:
            if self._problem:
                raise errors.StorageUnavailable(self._path, self._problem)
            if self._ended:
                return b""
            await self._wait()
        chunk = self._chunks.popleft()
        if len(chunk) > size:
            self._chunks.appendleft(chunk[size:])
            chunk = chunk[:size]
        self._held -= len(chunk)
        if self._paused and self._held < _LOW and self.transport is not None:
            self._paused = False
            self.transport.resumeProducing()
        return chunk

    async def rest(self, limit: int) -> bytes:
        """Return all that is left.

        :raises txregistry.errors.StorageFault: that is more than *limit* bytes.
        """
        found, size = [], 0
        while chunk := await self.read(_HIGH):
            found.append(chunk)
            size += len(chunk)
            if size > limit:
                self.abort(f"longer than {limit} bytes")
                raise errors.StorageFault(self._path, self._problem)
        return b"".join(found)

    async def close(self) -> None:
        """See :class:`~txregistry.objects.store.IBody`."""
        self.abort("closed")

    def abort(self, problem: str) -> None:
        """End the connection, unless the answer is whole."""
        if not self._ended:
            self._ended, self._problem = True, problem
            if self.transport is not None:
                self.transport.loseConnection()
        self._chunks.clear()
        self._wake()

    async def _wait(self) -> None:
        late = self._reactor.callLater(self._patience, self._stalled)
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            self._waiting = None
            if late.active():
                late.cancel()

    def _stalled(self) -> None:
        self.abort(f"nothing came for {self._patience:g} s")

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


def named(error: BaseException | None) -> str:
    """Return the names of an error and of those that Twisted's client wraps in it, which tell nothing secret."""
    reasons = getattr(error, "reasons", None)
    if isinstance(reasons, list):
        return ", ".join(named(reason.value) for reason in reasons)
    return type(error).__name__
