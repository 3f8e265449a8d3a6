"""The in-memory driver keeps the contract."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriver
from txregistry.storage.memory import make
from txregistry.testing.storage import StorageDriverContract


class MemoryContractTests(StorageDriverContract, TestCase):
    """What every driver promises."""

    def make_driver(self) -> IStorageDriver:
        driver = make({}, reactor)
        driver.prepare()
        return driver


class MemoryOptionsTests(SynchronousTestCase):
    """What ``storage.inmemory`` may hold."""

    def test_no_options(self) -> None:
        """An option is refused by its name."""
        error = self.assertRaises(ConfigError, make, {"size": 1}, reactor)
        self.assertEqual(error.where, "size")
