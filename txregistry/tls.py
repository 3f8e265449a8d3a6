"""TLS for the listening port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import (
    AcceptableCiphers,
    Certificate,
    CertificateOptions,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from zope.interface import implementer

from txregistry.auth import files
from txregistry.config.schema import Tls
from txregistry.config.values import CIPHER_SUITES
from txregistry.errors import ConfigError

T = TypeVar("T")

_log = Logger()

#: OpenSSL's ``SSL_MODE_ENABLE_PARTIAL_WRITE``, which pyOpenSSL sets and does not name.
_PARTIAL_WRITE = 1
_VERSIONS = {"tls1.2": TLSVersion.TLSv1_2, "tls1.3": TLSVersion.TLSv1_3}
_MODERN = [name for name in CIPHER_SUITES.values() if name]


@implementer(IOpenSSLContextFactory)
class ServerCertificates:
    """The context of each new connection: what ``http.tls`` describes, as the files are now.

    HTTP/1.1 is the only protocol that is offered.

    :param tls: the configuration.
    :raises txregistry.errors.ConfigError: a file does not hold what it should, or the key is not that of the
        certificate.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._look()
        self._context = make_context(tls)

    def getContext(self) -> SSL.Context:
        """Return the context for a connection.  Twisted asks for each."""
        return self._context

    async def refresh(self, in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        """Take new files into use, if there are any and they are good; else go on with the old.

        A certificate and its key are often written one after the other: a pair that does not fit is tried
        again when one of them changes.
        """
        seen = await in_thread(self._look)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._context = await in_thread(lambda: make_context(self._tls))
        except ConfigError as error:
            _log.error("the new TLS files cannot be used, the old stay in force: {error}", error=error)
        else:
            _log.info("new TLS files are in force")

    def _look(self) -> list[files.State | None]:
        return [_state(path) for path in (self._tls.certificate, self._tls.key, *self._tls.clientcas)]


def make_context(tls: Tls) -> SSL.Context:
    """Return what ``http.tls`` describes.

    :raises txregistry.errors.ConfigError: a file does not hold what it should, or the key is not that of the
        certificate.
    """
    chain = _load("http.tls.certificate", tls.certificate, _certificates)
    key = _load("http.tls.key", tls.key, _private_key)
    roots = [
        Certificate(authority)
        for index, path in enumerate(tls.clientcas)
        for authority in _load(f"http.tls.clientcas.{index}", path, _certificates)
    ]
    names = [CIPHER_SUITES[name] for name in tls.ciphersuites if CIPHER_SUITES[name]] or _MODERN
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        raiseMinimumTo=_VERSIONS[tls.minimumtls],
        trustRoot=trustRootFromCertificates(roots) if roots else None,
        acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(":".join(names)),
        acceptableProtocols=[b"http/1.1"],
    )
    try:
        context = options.getContext()
        context.check_privatekey()
    except SSL.Error:
        raise ConfigError("http.tls.key", f"{tls.key} is not the key of {tls.certificate}") from None
    # A call encrypts all that it is given, not one record of it (txregistry.records).
    context.clear_mode(_PARTIAL_WRITE)
    _ask_for_certificate(context, tls.clientauth if roots else "")
    return context


def _ask_for_certificate(context: SSL.Context, clientauth: str) -> None:
    """Set what is asked of clients, in the words of Go and of Distribution."""
    modes = {
        "request-client-cert": SSL.VERIFY_PEER,
        "require-any-client-cert": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
        "verify-client-cert-if-given": SSL.VERIFY_PEER,
        "require-and-verify-client-cert": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
    }
    mode = modes.get(clientauth)
    if mode is None:
        return
    verifies = "verify" in clientauth

    def verify(connection: Any, certificate: Any, number: int, depth: int, good: int) -> bool:
        return bool(good) or not verifies

    context.set_verify(mode, verify)
    # A session that is resumed would be one whose client was not looked at again.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)


def _state(path: str) -> files.State | None:
    try:
        return files.state(path)
    except OSError:
        return None


def _certificates(content: bytes) -> list[crypto.X509]:
    return [crypto.X509.from_cryptography(one) for one in x509.load_pem_x509_certificates(content)]


def _private_key(content: bytes) -> crypto.PKey:
    return crypto.PKey.from_cryptography_key(load_pem_private_key(content, password=None))  # type: ignore[arg-type]


def _load(where: str, path: str, read: Callable[[bytes], T]) -> T:
    content = files.read(path, where)
    try:
        return read(content)
    except (ValueError, TypeError):
        raise ConfigError(
            where, f"{path} does not hold what it should, in PEM and without a password"
        ) from None
