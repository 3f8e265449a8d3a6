"""The line between a crew and a worker: a socket on which each can ask the other."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from txregistry import errors
from txregistry.workers.messages import Answer, Ask, Message, Start, decode, encode

_log = Logger()

#: What can go wrong at the other end and is told here as what it is.
_ERRORS: dict[str, Callable[[str], Exception]] = {
    "StorageFull": lambda reason: errors.StorageFull("", reason),
    "StorageFault": lambda reason: errors.StorageFault("", reason),
}


class Line(Int32StringReceiver):
    """One end of it.

    :param answer: answers what the other end asks.
    :param lost: is told once when there is no other end any more, before those are who wait for an answer.
    """

    MAX_LENGTH = 256 * 1024 * 1024

    def __init__(self, answer: Callable[[Message], Awaitable[Any]], lost: Callable[[], None]) -> None:
        self._answer = answer
        self._lost = lost
        self._numbers = itertools.count()
        self._asked: dict[int, Deferred[Any]] = {}

    async def ask(self, message: Message) -> Any:
        """Return what the other end answers.

        :raises txregistry.errors.StorageError: it could not do what was asked, or is gone.
        """
        number, answer = next(self._numbers), Deferred[Any]()
        if not self.connected:
            raise errors.StorageUnavailable("", "the other process is gone")
        self._asked[number] = answer
        try:
            self.sendString(encode(Ask(number, message)))
            return await answer
        finally:
            self._asked.pop(number, None)

    def begin(self, start: Start) -> None:
        """Say the first thing, which is not answered."""
        self.sendString(encode(Ask(-1, start)))

    def stringReceived(self, string: bytes) -> None:
        """Answer what was asked, or take an answer."""
        envelope = decode(string)
        if isinstance(envelope, Ask):
            Deferred.fromCoroutine(self._reply(envelope))
            return
        # Who asked may have gone.
        waiting = self._asked.pop(envelope.number, None)
        if waiting is None:
            return
        if envelope.problem is None:
            waiting.callback(envelope.value)
        else:
            kind, reason = envelope.problem
            make = _ERRORS.get(kind, lambda reason: errors.StorageUnavailable("", reason))
            waiting.errback(make(reason))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell those who wait for an answer that none will come."""
        super().connectionLost(reason)
        self._lost()
        asked, self._asked = self._asked, {}
        for waiting in asked.values():
            waiting.errback(errors.StorageUnavailable("", "the other process is gone"))

    async def _reply(self, ask: Ask) -> None:
        try:
            answer = Answer(ask.number, await self._answer(ask.message))
        except CancelledError:
            raise
        except errors.StorageError as error:
            answer = Answer(ask.number, problem=(type(error).__name__, error.reason or "failed"))
        except Exception as error:
            _log.failure("what another process asked could not be done", Failure())
            answer = Answer(ask.number, problem=(type(error).__name__, str(error)))
        if self.connected:
            self.sendString(encode(answer))


class _Once(Factory):
    noisy = False

    def __init__(self, line: Line) -> None:
        self._line = line

    def buildProtocol(self, addr: Any) -> Line:
        return self._line


def adopt(reactor: Any, line: Line, end: socket.socket) -> None:
    """Have a line speak by one end of a pair of sockets, which is then its own."""
    end.setblocking(False)
    reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, _Once(line))
    end.close()


def beginning(end: socket.socket) -> Start:
    """Wait for the first thing that the other end says, and return it.

    :raises EOFError: there is no other end.
    """
    with end.dup().makefile("rb", buffering=0) as file:
        size = struct.calcsize(Int32StringReceiver.structFormat)
        (length,) = struct.unpack(Int32StringReceiver.structFormat, _exactly(file, size))
        envelope = decode(_exactly(file, length))
    assert isinstance(envelope, Ask)
    assert isinstance(envelope.message, Start)
    return envelope.message


def _exactly(file: Any, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = file.read(size - len(found))
        if not more:
            raise EOFError
        found += more
    return found
