"""The driver keeps the storage contract, on two stores."""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from txregistry.interfaces import IStorageDriver
from txregistry.objects.discards import Pace
from txregistry.objects.driver import ObjectDriver
from txregistry.testing.storage import StorageDriverContract
from txregistry_s3.driver import make
from txregistry_s3.test.servers import Server, moto, seaweed


def driver_on(server: Server, root: str, **options: Any) -> ObjectDriver:
    """Return a driver that never relies on what it saw before, made ready."""
    driver = make(server.options(root, **options), reactor, pace=Pace(notice=0))
    driver.prepare()
    return driver


class TestOnMoto(StorageDriverContract, TestCase):
    """On moto's store."""

    deletes_at_once = False
    # A key has 1,024 bytes at most, those of the root directory among them.
    longest_path = 900

    def make_driver(self) -> IStorageDriver:
        """See :class:`txregistry.testing.storage.case.StorageCase`."""
        return driver_on(moto(), f"/{uuid.uuid4().hex}")


class TestOnSeaweedFS(StorageDriverContract, TestCase):
    """On SeaweedFS."""

    deletes_at_once = False
    # Its copies and its deletions of one object are not one after the other.
    touch_brings_back = True
    # A key has 1,024 bytes at most, those of the root directory among them.
    longest_path = 900

    def make_driver(self) -> IStorageDriver:
        """See :class:`txregistry.testing.storage.case.StorageCase`."""
        return driver_on(seaweed(), f"/{uuid.uuid4().hex}")
