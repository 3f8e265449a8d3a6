"""From a section of the configuration to a driver."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from botocore.credentials import Credentials
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from txregistry import __version__
from txregistry.objects.driver import ObjectDriver
from txregistry.objects.retries import Retries
from txregistry.objects.transport import Answer, Transport
from txregistry.objects.writer import InThread, Sizes
from txregistry_s3.answers import EXPIRED, PASSING, code_of
from txregistry_s3.bucket import Bucket
from txregistry_s3.credentials import Signers
from txregistry_s3.options import Options
from txregistry_s3.signing import Address, Signing
from txregistry_s3.store import S3Store

T = TypeVar("T")

_log = Logger()


def make(options: Mapping[str, Any], reactor: Any, **more: Any) -> ObjectDriver:
    """Make a driver from ``storage.s3``.

    :param more: what :class:`txregistry.objects.driver.ObjectDriver` is given, too.
    :raises txregistry.errors.ConfigError: an option is unknown, missing or wrong.
    """
    chosen = Options.of(options)
    run = _in_thread(reactor)
    store = S3Store(make_bucket(chosen, reactor, run), run)
    return ObjectDriver(store, reactor, run, prunes=True, **{"sizes": Sizes(chosen.chunksize), **more})


def make_bucket(options: Options, reactor: Any, run: InThread) -> Bucket:
    """Return the bucket that options name.

    :param run: where what blocks is done.
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
        Retries(random.random),
        _Unverified() if options.skipverify else None,
        is_passing,
    )
    agent = options.useragent or f"txregistry/{__version__}"
    return Bucket(options, transport, Signing(Address.of(options), options.v4auth, agent), signers)


def _in_thread(reactor: Any) -> InThread:
    def run(work: Callable[[], T]) -> Awaitable[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return run


@implementer(IPolicyForHTTPS)
class _Unverified:
    """Takes any certificate: ``skipverify``."""

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """See :class:`twisted.web.iweb.IPolicyForHTTPS`."""
        return _AnyCertificate(hostname.decode("ascii"))


@implementer(IOpenSSLClientConnectionCreator)
class _AnyCertificate:
    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See :class:`twisted.internet.interfaces.IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._hostname.encode("ascii"))
        return connection
