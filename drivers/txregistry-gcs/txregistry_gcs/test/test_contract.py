"""The driver keeps the storage contract: all of it on a bench, and on an emulator what that can do."""

from __future__ import annotations

import uuid

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from txregistry.interfaces import IStorageDriver
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.writer import Sizes
from txregistry.testing.storage import StorageDriverContract
from txregistry.testing.storage.contents import ContentsContract
from txregistry.testing.storage.paths import PathsContract
from txregistry.testing.storage.readers import ReadersContract
from txregistry.testing.storage.tree import TreeContract
from txregistry.testing.storage.writers import WritersContract
from txregistry.waiting import in_thread
from txregistry_gcs.driver import make_bucket
from txregistry_gcs.options import SMALLEST_CHUNK, Options
from txregistry_gcs.store import GCSStore
from txregistry_gcs.test.bench import bench
from txregistry_gcs.test.servers import fake_gcs

BUCKET = "registry"


def driver_on(port: int, root: str) -> ObjectDriver:
    """Return a driver that is made ready."""
    options = Options.of({"bucket": BUCKET, "rootdirectory": root, "chunksize": SMALLEST_CHUNK})
    run = in_thread(reactor)
    store = GCSStore(make_bucket(options, reactor, run, f"http://127.0.0.1:{port}"), run)
    driver = ObjectDriver(store, reactor, run, Sizes(options.chunksize))
    driver.prepare()
    return driver


class TestOnBench(StorageDriverContract, TestCase):
    """On what does as Google's reference says."""

    deletes_at_once = False
    # A key has 1,024 bytes at most, those of the root directory among them.
    longest_path = 900

    def make_driver(self) -> IStorageDriver:
        """See :class:`txregistry.testing.storage.case.StorageCase`."""
        return driver_on(bench(), f"/{uuid.uuid4().hex}")


class TestOnEmulator(
    ContentsContract, PathsContract, ReadersContract, TreeContract, WritersContract, TestCase
):
    """On fake-gcs-server, which keeps no conditions but those of puts: so no touches and discards."""

    deletes_at_once = False
    longest_path = 900

    def make_driver(self) -> IStorageDriver:
        """See :class:`txregistry.testing.storage.case.StorageCase`."""
        return driver_on(fake_gcs(), f"/{uuid.uuid4().hex}")
