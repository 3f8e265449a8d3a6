"""One connection to Redis, over txredisapi's protocol: bounded in time, in what it holds and in what it believes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from txredisapi import BaseRedisProtocol, RedisError, ResponseError

#: Bytes of a value beyond which a reply is not read: a value that was put is never as long.
VALUE_LIMIT = 128 * 1024
#: Commands, and bytes of them, that may wait for their replies.
PENDING_LIMIT = 1000
PENDING_BYTES = 2 * 1024 * 1024

_LENGTH = re.compile(r"-1|[0-9]{1,7}")
_CODE = re.compile(r"[A-Z]{2,20}\b")


class Trouble(Exception):
    """The connection cannot be used any more; says why, in words of ours."""


class RedisConnection(BaseRedisProtocol):  # type: ignore[misc]
    """Asks and is answered, in order.

    Whatever is not a reply to one of the commands that a cache gives ends the connection, as does a reply that is
    late: after that, it would be taken for the next one's.

    :param clock: tells when a reply is late.
    :param lost: called once when the connection was made and is lost, with the reason.
    """

    MAX_LENGTH = 1024

    def __init__(self, clock: Any, lost: Callable[[RedisConnection, str], None]) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._clock = clock
        self._tell_lost = lost
        self._rest = b""
        self._pending = 0
        self._pending_bytes = 0
        self._reason = ""
        self.ended: Deferred[None] = Deferred()

    @property
    def is_full(self) -> bool:
        """Whether so much waits for replies that no more should be asked."""
        return self._pending >= PENDING_LIMIT or self._pending_bytes >= PENDING_BYTES

    def ask(self, timeout: float, *words: str | bytes) -> Deferred[Any]:
        """Give a command, and return what becomes of it.

        Fails with :exc:`Trouble` when the connection ends first, and with txredisapi's ``ResponseError`` when the
        server says no.

        :param timeout: seconds that the reply may take.
        """
        if self._reason:
            raise Trouble(self._reason)
        size = sum(map(len, words))
        self._pending += 1
        self._pending_bytes += size
        answer: Deferred[Any] = self.execute_command(*words)
        timer = self._clock.callLater(timeout, self._look_again, answer, timeout)

        def answered(result: Any) -> Any:
            self._pending -= 1
            self._pending_bytes -= size
            if timer.active():
                timer.cancel()
            return result

        return answer.addBoth(answered)

    def _look_again(self, answer: Deferred[Any], timeout: float) -> None:
        # If the reactor is late, the reply may be there and not read yet: it reads before it calls this.
        self._clock.callLater(0, self._late, answer, timeout)

    def _late(self, answer: Deferred[Any], timeout: float) -> None:
        if not answer.called:
            self.abort(f"no reply within {timeout * 1000:.0f} ms")

    def abort(self, reason: str) -> None:
        """End the connection at once, and all that waits for replies."""
        if not self._reason:
            self._reason = reason
            self._fail_waiting()
            self.transport.abortConnection()
            self._tell_lost(self, reason)

    def connectionLost(self, why: Failure = connectionDone) -> None:
        """See :class:`twisted.internet.interfaces.IProtocol`."""
        is_news, self._reason = not self._reason, self._reason or "the connection was lost"
        self._fail_waiting()
        super().connectionLost(why)
        if is_news:
            self._tell_lost(self, self._reason)
        self.ended.callback(None)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """See :class:`twisted.internet.interfaces.IProtocol`."""
        try:
            while data and not self._reason:
                self._rest = b""
                super().dataReceived(data)
                data = self._rest
        except Exception:
            # The base class trusts the server; this may be none of Redis's at all.
            self.abort("the reply makes no sense")

    def setLineMode(self, extra: bytes = b"") -> None:
        """Go on with lines at once, where the base class waits for a turn of the global reactor."""
        self.line_mode = 1
        self._rest = extra

    def lineReceived(self, line: str) -> None:
        """Take a line of a reply: a status, an error, a number, or a value's length."""
        kind, rest = line[:1], line[1:]
        if kind == "$":
            if not _LENGTH.fullmatch(rest) or int(rest) > VALUE_LIMIT:
                self.abort("the reply is too long")
                return
        elif kind not in ("+", "-", ":") or not rest:
            self.abort("the reply makes no sense")
            return
        if not self.replyQueue.waiting:
            self.abort("a reply came that nothing was asked for")
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """End the connection."""
        self.abort("the reply makes no sense")

    def _fail_waiting(self) -> None:
        while self.replyQueue.waiting:
            self.replyReceived(Trouble(self._reason))


def explain(error: BaseException | None) -> str:
    """Return what went wrong, in words that tell nothing of what a server may have echoed."""
    if isinstance(error, ResponseError):
        code = _CODE.match(str(error))
        return f"the server says {code[0] if code else 'no'}"
    if isinstance(error, Trouble):
        return str(error)
    return "the reply makes no sense" if isinstance(error, RedisError) else type(error).__name__
