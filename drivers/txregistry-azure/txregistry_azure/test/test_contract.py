"""The driver keeps the storage contract, on Azurite."""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from txregistry.interfaces import IStorageDriver
from txregistry.objects.driver import ObjectDriver
from txregistry.testing.storage import StorageDriverContract
from txregistry_azure.driver import make
from txregistry_azure.test.servers import Server, azurite


def driver_on(server: Server, root: str, **options: Any) -> ObjectDriver:
    """Return a driver that is made ready."""
    driver = make(server.options(root, **options), reactor)
    driver.prepare()
    return driver


class TestOnAzurite(StorageDriverContract, TestCase):
    """On Azurite."""

    deletes_at_once = False
    # A name has 1,024 characters at most, those of the root directory among them.
    longest_path = 900

    def make_driver(self) -> IStorageDriver:
        """See :class:`txregistry.testing.storage.case.StorageCase`."""
        return driver_on(azurite(), f"/{uuid.uuid4().hex}")
