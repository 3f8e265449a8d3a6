"""What every storage driver promises, each promise a test.

A driver's own tests mix it in, before :class:`twisted.trial.unittest.TestCase`::

    class TestMyDriver(StorageDriverContract, TestCase):
        def make_driver(self):
            driver = MyDriver(self.mktemp())
            driver.prepare()
            return driver

Nothing is needed beyond Twisted.  Drivers that answer at once and drivers that work on threads pass alike.
"""

from __future__ import annotations

from txregistry.testing.storage.contents import ContentsContract
from txregistry.testing.storage.driver import DriverContract
from txregistry.testing.storage.local import LocalFilesContract
from txregistry.testing.storage.paths import PathsContract
from txregistry.testing.storage.readers import ReadersContract
from txregistry.testing.storage.tree import TreeContract
from txregistry.testing.storage.wanted import WantedContract
from txregistry.testing.storage.writers import WritersContract

__all__ = ["LocalFilesContract", "StorageDriverContract"]


class StorageDriverContract(
    DriverContract,
    PathsContract,
    ContentsContract,
    TreeContract,
    WantedContract,
    ReadersContract,
    WritersContract,
):
    """The contract of :class:`txregistry.interfaces.IStorageDriver` and of the readers and writers it opens.

    A driver that provides :class:`txregistry.interfaces.ILocalFiles` mixes in
    :class:`LocalFilesContract` too.
    """
