"""From a section of the configuration to a driver."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import DeferredSemaphore

from txregistry import __version__
from txregistry.errors import ConfigError
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.transport import PATIENCE, Answer, Transport
from txregistry.objects.writer import Sizes
from txregistry.waiting import InThread, in_thread
from txregistry_gcs.access import Access
from txregistry_gcs.bucket import Bucket
from txregistry_gcs.options import Options
from txregistry_gcs.store import GCSStore

_ENDPOINT = "https://storage.googleapis.com"
#: Where Google's own libraries are told of an emulator.
_EMULATOR = "STORAGE_EMULATOR_HOST"


def make(options: Mapping[str, Any], reactor: Any, **more: Any) -> ObjectDriver:
    """Make a driver from ``storage.gcs``.

    :param more: what :class:`txregistry.objects.driver.ObjectDriver` is given, too.
    :raises txregistry.errors.ConfigError: an option is unknown, missing or wrong.
    """
    chosen = Options.of(options)
    emulator = os.environ.get(_EMULATOR, "")
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    if emulator and not emulator.startswith(("http://", "https://")):
        raise ConfigError("bucket", f"the variable {_EMULATOR} is no address")
    run = in_thread(reactor)
    store = GCSStore(make_bucket(chosen, reactor, run, emulator.rstrip("/")), run)
    return ObjectDriver(store, reactor, run, **{"sizes": Sizes(chosen.chunksize), **more})


def make_bucket(
    options: Options,
    reactor: Any,
    run: InThread,
    emulator: str = "",
    retries: Retries | None = None,
    patience: float = PATIENCE,
) -> Bucket:
    """Return the bucket that options name.

    :param run: where what blocks is done.
    :param emulator: scheme and host of an emulator, which is asked without a token; empty for Google's own.
    :param retries: when a request is sent again.
    :param patience: seconds for which nothing may move.
    """
    access = Access(options, bool(emulator), run, time.monotonic)

    def is_passing(answer: Answer) -> bool:
        if answer.status == 401:
            access.expire()
        limited = answer.status == 403 and b"ateLimitExceeded" in answer.content
        return limited or answer.status == 401

    transport = Transport(reactor, retries or Retries(random.random), None, is_passing, patience)
    agent = options.useragent or f"txregistry/{__version__}"
    slots = DeferredSemaphore(options.maxconcurrency)
    return Bucket(options, transport, access, emulator or _ENDPOINT, agent, slots)
