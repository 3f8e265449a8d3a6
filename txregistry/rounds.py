"""What is done every now and then while the server runs, but not while it is read-only."""

from __future__ import annotations

from typing import Any

from attrs import field, mutable
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall


@mutable(eq=False, slots=False)
class Rounds(Service):
    """Does something every now and then.

    :ivar runs: how many runs ended.
    :ivar failures: how many of them failed.
    """

    runs: int = field(default=0, init=False)
    failures: int = field(default=0, init=False)
    _loop: LoopingCall = field(init=False)
    _first: Any = field(default=None, init=False)
    _running: Deferred[None] | None = field(default=None, init=False)
    _paused: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self._begin)

    @property
    def paused(self) -> bool:
        """Whether no run begins.  Where this is set, the run that is under way ends."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        if paused and self._running is not None:
            self._running.cancel()

    def plan(self, reactor: Any, delay: float, interval: float) -> None:
        """Run after a delay, and then at intervals.

        :param reactor: where time comes from.
        :param delay: seconds until the first run.
        :param interval: seconds between two.
        """
        self._loop.clock = reactor
        self._first = reactor.callLater(delay, self._loop.start, interval)

    def stopService(self) -> Deferred[None]:
        """End the run that is under way, and begin none."""
        super().stopService()
        if self._first is not None and self._first.active():
            self._first.cancel()
        if self._loop.running:
            self._loop.stop()
        ended: Deferred[None] = Deferred()
        if self._running is None:
            ended.callback(None)
        else:
            self._running.addCallback(ended.callback)
            self._running.cancel()
        return ended

    def _begin(self) -> Deferred[None] | None:
        if self._paused:
            return None
        self._running = Deferred.fromCoroutine(self._run())
        return self._running

    async def _run(self) -> None:
        try:
            await self.run()
        finally:
            self.runs += 1
            self._running = None

    async def run(self) -> None:
        """Do it once; count it in :attr:`failures` if that fails, and raise nothing, not even if cancelled."""
        raise NotImplementedError
