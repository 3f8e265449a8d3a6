"""A container behind a network that fails: right results or clear errors, and never a wrong blob."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from txregistry_azure.driver import make_container
from txregistry_azure.options import Options
from txregistry_azure.store import AzureStore
from txregistry_azure.test.servers import Server, azurite

from tests.faults import stores
from tests.faults.proxy import Head, Reply
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.writer import Sizes
from txregistry.testing.storage.case import MIB
from txregistry.waiting import in_thread


def error(status: int, code: str) -> Reply:
    """Return an answer of the store's that tells of an error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
    return Reply(status, {"Content-Type": "application/xml", "x-ms-error-code": code}, body)


class TestFaults(stores.ConditionalStoreFaults):
    """Azurite behind the network."""

    writes = "PUT"
    busy = error(503, "ServerBusy")
    passing = (
        busy,
        error(500, "OperationTimedOut"),
        error(400, "Md5Mismatch"),
        error(403, "AuthenticationFailed"),
        Reply(502, {}, b"<html>not XML"),
    )
    gone = error(404, "ContainerNotFound")
    gone_says = "ContainerNotFound"

    def port(self) -> int:
        """See :class:`tests.faults.stores.StoreCase`."""
        return azurite().port

    def reads(self, path: str) -> Callable[[Head], bool]:
        """See :class:`tests.faults.stores.ConditionalStoreFaults`."""
        return stores.of("GET", path)

    def driver_by(self, port: int) -> ObjectDriver:
        """See :class:`tests.faults.stores.StoreCase`."""
        run = in_thread(reactor)
        retries = Retries(random.random, pause=0.05)
        options = Options.of(Server(port).options(self.root))
        container = make_container(options, reactor, run, retries, patience=1.0)
        driver = ObjectDriver(AzureStore(container, run), reactor, run, Sizes(MIB, 2))
        self.addCleanup(lambda: Deferred.fromCoroutine(driver.close()))
        return driver
