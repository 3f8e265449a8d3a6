"""From a section of the configuration to a driver."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from botocore.credentials import Credentials
from twisted.logger import Logger

from txregistry import __version__
from txregistry.objects.certificates import Unverified
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.transport import PATIENCE, Answer, Transport
from txregistry.objects.writer import Sizes
from txregistry.waiting import InThread, in_thread
from txregistry_s3.answers import EXPIRED, PASSING, code_of
from txregistry_s3.bucket import Bucket
from txregistry_s3.credentials import Signers
from txregistry_s3.options import Options
from txregistry_s3.signing import Address, Signing
from txregistry_s3.store import S3Store

_log = Logger()


def make(options: Mapping[str, Any], reactor: Any, **more: Any) -> ObjectDriver:
    """Make a driver from ``storage.s3``.

    :param more: what :class:`txregistry.objects.driver.ObjectDriver` is given, too.
    :raises txregistry.errors.ConfigError: an option is unknown, missing or wrong.
    """
    chosen = Options.of(options)
    run = in_thread(reactor)
    store = S3Store(make_bucket(chosen, reactor, run), run)
    return ObjectDriver(store, reactor, run, prunes=True, **{"sizes": Sizes(chosen.chunksize), **more})


def make_bucket(
    options: Options,
    reactor: Any,
    run: InThread,
    retries: Retries | None = None,
    patience: float = PATIENCE,
) -> Bucket:
    """Return the bucket that options name.

    :param run: where what blocks is done.
    :param retries: when a request is sent again.
    :param patience: seconds for which nothing may move.
    """
    fixed = None
    if options.accesskey:
        fixed = Credentials(options.accesskey, options.secretkey, options.sessiontoken or None)
    signers = Signers(fixed, run, time.monotonic)

    def is_passing(answer: Answer) -> bool:
        if answer.status < 400:
            return False
        code = code_of(answer.content)
        if options.loglevel != "off":
            _log.debug("the store answers {status} {code}", status=answer.status, code=code)
        if code in EXPIRED:
            signers.expire()
        return code in PASSING

    transport = Transport(
        reactor,
        retries or Retries(random.random),
        Unverified() if options.skipverify else None,
        is_passing,
        patience,
    )
    agent = options.useragent or f"txregistry/{__version__}"
    return Bucket(options, transport, Signing(Address.of(options), options.v4auth, agent), signers)
