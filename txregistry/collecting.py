"""Garbage collection while the server runs: ``storage.maintenance.garbagecollection``."""

from __future__ import annotations

import time
from typing import Any

from attrs import field, mutable
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from txregistry import errors
from txregistry.config.collecting import GarbageCollection
from txregistry.content.garbage import ClockSet, Collection, Eligible, Rules, Time
from txregistry.interfaces import IStorageDriver
from txregistry.pace import Pace
from txregistry.rounds import Rounds

_log = Logger()

#: Manifests that are read, or files that are removed, at once: what clients ask for goes first.
_WORKERS = 2


@mutable(eq=False, slots=False)
class CollectingService(Rounds):
    """Collects garbage every now and then.

    :param reactor: what it runs on.
    :param driver: where it is.
    :param settings: what is collected, and how often.
    :param time: the clocks.
    :ivar removed: by kind, what was removed in all.
    :ivar removed_bytes: bytes that were freed in all.
    :ivar last_success: when the last that did not fail ended, in seconds since the epoch; 0 before.
    :ivar last_seconds: how long it took.
    """

    _reactor: Any
    _driver: IStorageDriver
    _settings: GarbageCollection
    _time: Time = field(factory=lambda: Time(time.time, time.monotonic))
    removed: dict[str, int] = field(factory=lambda: {"manifest": 0, "link": 0, "blob": 0}, init=False)
    removed_bytes: int = field(default=0, init=False)
    last_success: float = field(default=0.0, init=False)
    last_seconds: float = field(default=0.0, init=False)

    def startService(self) -> None:
        """Plan the first collection, an interval from now."""
        super().startService()
        self.plan(self._reactor, self._settings.interval, self._settings.interval)

    async def run(self) -> None:
        """Collect once."""
        began = self._time.monotonic()
        settings = self._settings
        collection = Collection(
            self._driver,
            Rules(settings.age, settings.deleteuntagged),
            self._time,
            Pace(self._reactor, settings.rate).turn,
            self._tell,
            _WORKERS,
        )
        try:
            tally = await collection.run()
        except CancelledError:
            _log.info("garbage collection was stopped")
        except errors.FileBusy:
            _log.info("garbage is being collected by another process")
        except (errors.StorageError, ClockSet) as error:
            self.failures += 1
            _log.error("garbage collection ended early: {error}", error=error)
        except Exception:
            self.failures += 1
            _log.failure("garbage collection failed", Failure())
        else:
            self.last_success = self._time.now()
            self.last_seconds = self._time.monotonic() - began
            _log.info(
                "garbage collected: {blobs} blobs, {manifests} manifests, {bytes} bytes in {seconds} s",
                blobs=tally.removed["blob"],
                manifests=tally.removed["manifest"],
                bytes=tally.bytes,
                seconds=round(self.last_seconds, 1),
            )

    def _tell(self, one: Eligible) -> None:
        self.removed[one.kind] += 1
        self.removed_bytes += one.size
        _log.debug(
            "garbage: {kind} {digest} of {repository}: {reason}",
            kind=one.kind,
            digest=str(one.digest),
            repository=one.repository or "all",
            reason=one.reason,
        )
