"""Sending content as fast as the client takes it, and no faster."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from txregistry import errors
from txregistry.interfaces import IFileReader
from txregistry.ranges import ByteRange
from txregistry.waiting import InThread
from txregistry.web.pace import LEAST_RATE
from txregistry.web.sending import is_plain
from txregistry.web.taken import taken

_PIECE = 256 * 1024
#: Bytes that the kernel is asked to send between two looks at the event loop.
_SLICE = 4 * 1024 * 1024


@implementer(IPushProducer)
class Drain:
    """Tells when a client can be sent more.

    :param request: the request being answered; no one else may register a producer with it.
    :param timeout: seconds of so little progress after which the connection is aborted.
    """

    def __init__(self, request: Any, timeout: float) -> None:
        self._request = request
        self._timeout = timeout
        self._full = False
        self._gone = False
        self._waiting: Deferred[None] | None = None
        self._stalled: IDelayedCall | None = None
        self._taken: int | None = None
        request.registerProducer(self, True)

    async def ready(self) -> None:
        """Return when what was written has left enough room for more.

        :raises txregistry.errors.ClientGone: it never will.
        """
        while self._full and not self._gone:
            await self._wait()
        if self._gone:
            raise errors.ClientGone

    async def writable(self) -> None:
        """Return when all that was written is with the kernel, and the socket takes more.

        :raises txregistry.errors.ClientGone: it never will.
        """
        transport = self._request.channel.transport
        # The transport calls its paused producer when its buffer is empty and its socket can be written to.
        self._full = transport.producerPaused = True
        transport.startWriting()
        await self.ready()

    def close(self) -> None:
        """Stop listening to the connection, if it is still there."""
        if self._request.channel is not None:
            self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        """See :class:`twisted.internet.interfaces.IPushProducer`."""
        self._full = True

    def resumeProducing(self) -> None:
        """See :class:`twisted.internet.interfaces.IPushProducer`."""
        self._full = False
        self._wake()

    def stopProducing(self) -> None:
        """See :class:`twisted.internet.interfaces.IPushProducer`."""
        self._gone = True
        self._wake()

    async def _wait(self) -> None:
        self._look_later()
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            self._waiting = None
            if self._stalled is not None and self._stalled.active():
                self._stalled.cancel()

    def _look_later(self) -> None:
        self._taken = taken(self._request.channel.transport)
        self._stalled = self._request.site.reactor.callLater(self._timeout, self._look)

    def _look(self) -> None:
        """Give up a client that takes nothing, or next to nothing.

        The kernel says that there is room when a third of megabytes is free, which takes a slow client minutes.
        """
        transport = self._request.channel.transport
        before, now = self._taken, taken(transport)
        if before is not None and now is not None and now - before >= LEAST_RATE * self._timeout:
            self._look_later()
        else:
            transport.abortConnection()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


async def send_reader(request: Any, reader: IFileReader, length: int) -> None:
    """Send the next *length* bytes of a file that is read piece by piece.

    :raises txregistry.errors.StorageFault: the file ends before that.
    """
    drain = Drain(request, request.site.timeOut)
    try:
        while length:
            piece = await reader.read(min(_PIECE, length))
            if not piece:
                raise errors.StorageFault("", "a file is shorter than it was")
            request.write(piece)
            length -= len(piece)
            await drain.ready()
    finally:
        drain.close()


def can_send_descriptor(request: Any) -> bool:
    """Say whether the kernel can send to this client by itself: not through TLS."""
    return is_plain(request.channel.transport)


async def send_descriptor(request: Any, descriptor: int, run: ByteRange, in_thread: InThread) -> None:
    """Let the kernel send a part of a local file.

    The work is done in a thread, since reading the file may mean waiting for the disk, and on a duplicate of
    the socket's descriptor, since the reactor may close its own meanwhile.  *descriptor* is closed.

    :raises txregistry.errors.StorageFault: the file ends before the part does.
    """
    sending = _Sending(descriptor, request.channel.transport.fileno(), run)
    drain = Drain(request, request.site.timeOut)
    try:
        request.write(b"")
        while not sending.done:
            await drain.writable()
            sent = await in_thread(sending.step)
            request.sentLength += sent
    finally:
        drain.close()
        await in_thread(sending.close)


class _Sending:
    """One file on its way to one socket.  Steps and the closing exclude each other, whatever is cancelled."""

    def __init__(self, descriptor: int, socket: int, run: ByteRange) -> None:
        self._lock = threading.Lock()
        self._file = descriptor
        try:
            self._socket = os.dup(socket)
        except OSError as error:
            os.close(descriptor)
            raise errors.StorageUnavailable("", os.strerror(error.errno or 0)) from error
        self._position, self._stop = run.start, run.stop
        self._closed = False

    @property
    def done(self) -> bool:
        return self._position >= self._stop

    def step(self) -> int:
        """Send until the socket is full, at most a slice; return how many bytes that was."""
        with self._lock:
            begin = self._position
            stop = min(begin + _SLICE, self._stop)
            try:
                while self._position < stop and not self._closed:
                    sent = os.sendfile(self._socket, self._file, self._position, stop - self._position)
                    if not sent:
                        raise errors.StorageFault("", "a file is shorter than it was")
                    self._position += sent
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno == errno.EIO:
                    raise errors.StorageFault("", "I/O error") from error
                raise errors.ClientGone from error
            return self._position - begin

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for descriptor in (self._file, self._socket):
                with suppress(OSError):
                    os.close(descriptor)
