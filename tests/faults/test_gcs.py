"""A bucket of Cloud Storage behind a network that fails: right results or clear errors, and never a wrong blob."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from txregistry_gcs.driver import make_bucket
from txregistry_gcs.options import Options
from txregistry_gcs.store import GCSStore
from txregistry_gcs.test.bench import bench

from tests.faults import stores
from tests.faults.proxy import Head, Reply
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.writer import Sizes
from txregistry.testing.storage.case import MIB
from txregistry.waiting import in_thread


def error(status: int, message: str) -> Reply:
    """Return an answer of the store's that tells of an error."""
    body = f'{{"error": {{"code": {status}, "message": "{message}"}}}}'.encode()
    return Reply(status, {"Content-Type": "application/json"}, body)


class TestFaults(stores.ConditionalStoreFaults):
    """A bench behind the network."""

    writes = "POST"
    busy = error(503, "backendError")
    passing = (
        busy,
        error(429, "rateLimitExceeded"),
        error(403, "userRateLimitExceeded"),
        error(401, "Invalid Credentials"),
        Reply(502, {}, b"<html>not XML"),
    )
    gone = error(404, "The specified bucket does not exist.")
    gone_says = "404"

    def port(self) -> int:
        """See :class:`tests.faults.stores.StoreCase`."""
        return bench()

    def reads(self, path: str) -> Callable[[Head], bool]:
        """See :class:`tests.faults.stores.ConditionalStoreFaults`."""
        return stores.of("GET", f"{path.rpartition('/')[2]}?alt=media")

    def driver_by(self, port: int) -> ObjectDriver:
        """See :class:`tests.faults.stores.StoreCase`."""
        run = in_thread(reactor)
        retries = Retries(random.random, pause=0.05)
        options = Options.of({"bucket": "registry", "rootdirectory": self.root})
        bucket = make_bucket(options, reactor, run, f"http://127.0.0.1:{port}", retries, patience=1.0)
        driver = ObjectDriver(GCSStore(bucket, run), reactor, run, Sizes(MIB, 2))
        self.addCleanup(lambda: Deferred.fromCoroutine(driver.close()))
        return driver
