"""Upload purging: ``storage.maintenance.uploadpurging``, while the server runs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from attrs import field, mutable
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txregistry import errors
from txregistry.config.purging import UploadPurging
from txregistry.content.leftovers import Leftovers
from txregistry.content.tree import Tree
from txregistry.interfaces import IStorageDriver, ITidying
from txregistry.rounds import Rounds

_log = Logger()

#: Seconds within which the first run begins: not at once, and not in all instances at the same time.
_FIRST_WITHIN = 3600
#: Seconds that the time may differ from what has passed, before it is taken to have been set.
_CLOCK_TOLERANCE = 300


@mutable(eq=False, slots=False)
class PurgingService(Rounds):
    """Purges uploads every now and then, and lets the driver tidy up.

    :param reactor: what it runs on.
    :param driver: where the uploads are.
    :param settings: which are purged, and how often it is looked for them.
    :param now: the time, in seconds since the epoch.
    :param monotonic: seconds since some moment, whatever is done to the clock.
    :param fraction: which part of the longest delay the first run waits, from 0 to 1.
    :ivar purged: uploads that were purged.
    :ivar purged_bytes: their bytes.
    """

    _reactor: Any
    _driver: IStorageDriver
    _settings: UploadPurging
    _now: Callable[[], float] = time.time
    _monotonic: Callable[[], float] = time.monotonic
    _fraction: Callable[[], float] = random.random
    purged: int = field(default=0, init=False)
    purged_bytes: int = field(default=0, init=False)
    #: What the clock showed when nothing had passed of the monotonic time.
    _origin: float = field(default=0.0, init=False)

    def startService(self) -> None:
        """Plan the first run: within an hour, or within the interval if that is shorter."""
        super().startService()
        self._origin = self._now() - self._monotonic()
        delay = self._fraction() * min(self._settings.interval, _FIRST_WITHIN)
        self.plan(self._reactor, delay, self._settings.interval)

    async def run(self) -> None:
        """Purge once."""
        try:
            if not self._clock_was_set():
                await self._purge()
            if ITidying.providedBy(self._driver):
                await self._driver.tidy()
        except CancelledError:
            _log.info("purging of uploads was stopped")
        except errors.StorageError as error:
            self.failures += 1
            _log.error("purging of uploads ended early: {error}", error=error)
        except Exception:
            self.failures += 1
            _log.failure("purging of uploads failed", Failure())

    def _clock_was_set(self) -> bool:
        """Say whether the clock jumped since the last run: what is written to now would then look old."""
        origin = self._now() - self._monotonic()
        jumped = abs(origin - self._origin) > _CLOCK_TOLERANCE
        self._origin = origin
        if jumped:
            _log.warn("the clock was set: uploads are not purged this time")
        return jumped

    async def _purge(self) -> None:
        settings = self._settings
        tree = Tree(self._driver, lambda: deferLater(self._reactor, 0, lambda: None))
        found = await Leftovers(tree).purge(self._now() - settings.age, settings.dryrun)
        for leftover in found:
            _log.info(
                "{what} upload {upload} of {repository}: {size} bytes, idle for {idle} s",
                what="would purge" if settings.dryrun else "purged",
                upload=leftover.id,
                repository=leftover.repository,
                size=leftover.size,
                idle=round(self._now() - leftover.modified),
            )
        if not settings.dryrun:
            self.purged += len(found)
            self.purged_bytes += sum(leftover.size for leftover in found)
