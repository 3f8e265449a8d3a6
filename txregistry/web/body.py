"""A request's body as it arrives: read in batches, never kept whole."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

#: Bytes beyond which the client is made to wait.
HIGH_MARK = 1024 * 1024
#: Bytes that are gathered before the reader is woken, so that storing them costs one thread hop and not many.
BATCH = 256 * 1024
#: Bytes that keeping a piece takes beside its own: a client may send pieces of one byte.
_PIECE_COST = 64


class Flow(Protocol):
    """What a body can ask of the connection it arrives on."""

    def want_body(self) -> None:
        """Tell a client that asked first (``Expect: 100-continue``) to send."""
        ...

    def pause_body(self) -> None:
        """Receive no more for now."""
        ...

    def resume_body(self) -> None:
        """Receive again."""
        ...


class Body:
    """The body of one request.

    :param flow: the connection.
    :param length: bytes announced by ``Content-Length``; None for a chunked body.
    """

    def __init__(self, flow: Flow, length: int | None) -> None:
        self._flow = flow
        self.length = length
        #: Bytes that have arrived.
        self.received = 0
        #: Whether all of it has arrived.
        self.ended = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._asked = False
        self._paused = False
        self._discarding = False
        self._failure: Exception | None = None
        self._waiting: Deferred[None] | None = None

    @property
    def asked(self) -> bool:
        """Whether anyone has begun to read it."""
        return self._asked

    @property
    def is_here(self) -> bool:
        """Whether all of it has arrived, so that reading it asks nothing of the connection."""
        return self.ended and not self._paused

    async def read(self) -> list[bytes]:
        """Return the next pieces, in order, about :data:`BATCH` bytes or more; an empty list at the end.

        :raises txregistry.errors.ClientGone: the connection ended first.
        :raises txregistry.errors.BodyTimeout: the body stopped arriving.
        """
        if not self._asked:
            self._asked = True
            if not self.ended:
                self._flow.want_body()
        while self._buffered < BATCH and not self.ended and self._failure is None:
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        chunks, self._chunks, self._buffered = self._chunks, [], 0
        if not chunks and self._failure is not None:
            raise self._failure
        if self._paused:
            self._paused = False
            self._flow.resume_body()
        return chunks

    async def read_all(self, limit: int) -> bytes | None:
        """Return the whole of a small body; None if it is over *limit* bytes, once that is known."""
        if self.length is not None and self.length > limit:
            return None
        pieces: list[bytes] = []
        while chunks := await self.read():
            pieces += chunks
            if self.received > limit:
                return None
        return b"".join(pieces)

    def deliver(self, chunk: bytes) -> None:
        """Take a piece that arrived."""
        self.received += len(chunk)
        if self._discarding:
            return
        self._chunks.append(chunk)
        self._buffered += len(chunk) + _PIECE_COST
        if self._buffered >= HIGH_MARK and not self._paused:
            self._paused = True
            self._flow.pause_body()
        if self._buffered >= BATCH:
            self._wake()

    def end(self) -> None:
        """Note that all has arrived."""
        self.ended = True
        self._wake()

    def fail(self, failure: Exception) -> None:
        """Note that no more will arrive, and why; the first reason counts."""
        self._failure = self._failure or failure
        self._wake()

    def discard(self) -> None:
        """Forget what is here and what is yet to come."""
        self._discarding = True
        self._chunks, self._buffered = [], 0
        if self._paused:
            self._paused = False
            self._flow.resume_body()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)
