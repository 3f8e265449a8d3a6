"""A time that may be over, and is put off much more often than it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall


class Patience:
    """Calls a function once a time is over.

    Whoever waits for a client does so several times for each request, and nearly always in vain.  To make and
    cancel a delayed call each time costs more than all the rest of it.  So one is left to ring, and looks then
    whether the time is really over.

    :param clock: where time comes from.
    :param over: what is called.
    """

    def __init__(self, clock: Any, over: Callable[[], object]) -> None:
        self._clock = clock
        self._over = over
        self._until: float | None = None
        self._call: IDelayedCall | None = None
        self._rings = 0.0

    @property
    def is_set(self) -> bool:
        """Whether a time runs."""
        return self._until is not None

    def set(self, seconds: float | None) -> None:
        """Let the time be over in so many *seconds* from now; None: never."""
        if seconds is None:
            self._until = None
            return
        self._until = until = self._clock.seconds() + seconds
        if self._call is None:
            self._ring_at(until)
        elif until < self._rings:
            self._call.cancel()
            self._ring_at(until)

    def end(self) -> None:
        """Never call again."""
        self._until = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _ring_at(self, time: float) -> None:
        self._rings = time
        self._call = self._clock.callLater(max(0.0, time - self._clock.seconds()), self._ring)

    def _ring(self) -> None:
        self._call = None
        if self._until is None:
            return
        if self._until > self._rings:
            self._ring_at(self._until)
        else:
            self._until = None
            self._over()
