"""How late the reactor is: what keeps it busy keeps every client waiting."""

from __future__ import annotations

from typing import Any

from attrs import field, mutable
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall

_INTERVAL = 0.1
#: How much of the last value is kept at each measurement: about five seconds are remembered.
_MEMORY = 0.98


@mutable(eq=False, slots=False)
class ReactorLag(Service):
    """Measures ten times a second how much later than asked the reactor calls.

    :ivar last: seconds, when it was last measured.
    :ivar smoothed: seconds, a moving average over about five seconds.
    :ivar worst: seconds, the most since the start.
    :ivar total: seconds, all lags since the start added up.
    :ivar count: how often it was measured.
    """

    _reactor: Any
    last: float = field(default=0.0, init=False)
    smoothed: float = field(default=0.0, init=False)
    worst: float = field(default=0.0, init=False)
    total: float = field(default=0.0, init=False)
    count: int = field(default=0, init=False)
    _due: float = field(default=0.0, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)

    def startService(self) -> None:
        """Begin when the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._ask)

    def stopService(self) -> None:
        """End."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _ask(self) -> None:
        if self.running:
            self._due = self._reactor.seconds() + _INTERVAL
            self._call = self._reactor.callLater(_INTERVAL, self._measure)

    def _measure(self) -> None:
        self.last = max(self._reactor.seconds() - self._due, 0.0)
        self.smoothed = self.smoothed * _MEMORY + self.last * (1 - _MEMORY)
        self.worst = max(self.worst, self.last)
        self.total += self.last
        self.count += 1
        self._ask()
