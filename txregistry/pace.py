"""How fast work goes that can wait."""

from __future__ import annotations

from typing import Any

from attrs import field, mutable
from twisted.internet.task import deferLater

#: Turns after which others have theirs.
_TURNS = 64
#: Seconds for which it is not worth while to wait.
_SHORTEST = 0.01


@mutable
class Pace:
    """Gives turns to work that is done beside other work.

    :param reactor: whose other work has its turn too.
    :param rate: turns a second at most; 0 for no bound.
    """

    _reactor: Any
    _rate: float = 0
    _turns: int = field(default=0, init=False)
    _next: float = field(default=0.0, init=False)

    async def turn(self) -> None:
        """Return when the next turn has come."""
        self._turns += 1
        wait = 0.0
        if self._rate:
            now = self._reactor.seconds()
            self._next = max(self._next, now) + 1 / self._rate
            wait = self._next - now
        if wait > _SHORTEST or self._turns % _TURNS == 0:
            await deferLater(self._reactor, wait)
