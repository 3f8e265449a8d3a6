"""From a section of the configuration to a driver."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from txregistry import __version__
from txregistry.objects.certificates import Unverified
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.transport import PATIENCE, Answer, Transport
from txregistry.waiting import InThread, in_thread
from txregistry_azure.access import access_of
from txregistry_azure.answers import EXPIRED, PASSING, code_of
from txregistry_azure.container import Container
from txregistry_azure.options import Options
from txregistry_azure.store import AzureStore


def make(options: Mapping[str, Any], reactor: Any, **more: Any) -> ObjectDriver:
    """Make a driver from ``storage.azure``.

    :param more: what :class:`txregistry.objects.driver.ObjectDriver` is given, too.
    :raises txregistry.errors.ConfigError: an option is unknown, missing or wrong.
    """
    run = in_thread(reactor)
    return ObjectDriver(
        AzureStore(make_container(Options.of(options), reactor, run), run), reactor, run, **more
    )


def make_container(
    options: Options,
    reactor: Any,
    run: InThread,
    retries: Retries | None = None,
    patience: float = PATIENCE,
) -> Container:
    """Return the container that options name.

    :param run: where what blocks is done.
    :param retries: when a request is sent again.
    :param patience: seconds for which nothing may move.
    """
    access = access_of(options, run, time.time)

    def is_passing(answer: Answer) -> bool:
        code = code_of(answer)
        if answer.status == 401 or code in EXPIRED:
            access.expire()
            return True
        return code in PASSING

    transport = Transport(
        reactor,
        retries or Retries(random.random),
        Unverified() if options.skipverify else None,
        is_passing,
        patience,
    )
    return Container(options, transport, access, options.useragent or f"txregistry/{__version__}")
