"""Checks that are made again and again, and what has come of them."""

from __future__ import annotations

from typing import Any

from attrs import field, mutable
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from txregistry.health.probes import Probe, Unwell

_log = Logger()


@mutable(eq=False, slots=False)
class Check(Service):
    """Looks at one thing, the first time when one interval has passed, as Distribution does.

    While a look is under way no other is begun; one that has no end counts as a failure for each interval
    that passes.

    :param name: what ``/debug/health`` calls it.
    :param probe: what looks.
    :param interval: seconds between two looks.
    :param threshold: how many looks must fail one after the other before the check does; 0 is 1.
    :ivar failures: how many failed, since the last that did not.
    """

    name: str
    _reactor: Any
    _probe: Probe
    _interval: float
    _threshold: int = 0
    failures: int = field(default=0, init=False)
    _error: str = field(default="", init=False)
    _looping: LoopingCall = field(init=False)
    _looking: Deferred[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._looping = LoopingCall(self._look)
        self._looping.clock = self._reactor

    @property
    def error(self) -> str | None:
        """What is wrong, once it has been so as often as the threshold says."""
        return self._error if self.failures >= max(self._threshold, 1) else None

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._looping.start(self._interval, now=False)

    def stopService(self) -> None:
        """End, and a look that is under way with it."""
        super().stopService()
        self._looping.stop()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> Deferred[None]:
        self._looking = Deferred.fromCoroutine(self._run())
        return self._looking

    async def _run(self) -> None:
        overdue = LoopingCall(self._fail, f"no answer within {self._interval:g} s")
        overdue.clock = self._reactor
        overdue.start(self._interval, now=False)
        try:
            await self._probe()
        except CancelledError:
            return
        except Unwell as error:
            self._fail(str(error))
        except Exception:
            _log.failure("the health check {name} is broken", Failure(), name=self.name)
            self._fail("the check itself failed; the log says why")
        else:
            if self.error is not None:
                _log.info("health check {name}: well again", name=self.name)
            self.failures = 0
        finally:
            overdue.stop()
            self._looking = None

    def _fail(self, error: str) -> None:
        if not self.running:
            return
        before = self.error
        self.failures, self._error = self.failures + 1, error
        if before is None and self.error is not None:
            _log.error("health check {name}: {error}", name=self.name, error=error)
