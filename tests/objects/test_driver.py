"""A driver over an object store keeps the storage contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.objects.memory_store import MemoryStore
from txregistry.interfaces import IStorageDriver
from txregistry.objects.discards import Pace
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.writer import Sizes
from txregistry.testing.storage import StorageDriverContract

T = TypeVar("T")

KIB = 1024


def in_thread(work: Callable[[], T]) -> Awaitable[T]:
    """Run *work* on one of the reactor's threads."""
    return deferToThread(work)


def driver_over(store: MemoryStore, pace: Pace | None = None) -> ObjectDriver:
    """Return a driver that waits for no one longer than it must, and cuts files small."""
    return ObjectDriver(store, reactor, in_thread, Sizes(100 * KIB, 3), pace or Pace(notice=0))


class TestContract(StorageDriverContract, TestCase):
    """What every driver promises."""

    deletes_at_once = False

    def make_driver(self) -> IStorageDriver:
        """See :class:`~txregistry.testing.storage.case.StorageCase`."""
        driver = driver_over(MemoryStore())
        driver.prepare()
        return driver
