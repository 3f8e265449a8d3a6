"""TLS for the listening port."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates

from txregistry.config.schema import Tls
from txregistry.errors import ConfigError

T = TypeVar("T")

_VERSIONS = {"tls1.2": TLSVersion.TLSv1_2, "tls1.3": TLSVersion.TLSv1_3}


def context_factory(tls: Tls) -> CertificateOptions:
    """Return what a listening port needs of ``http.tls``.

    HTTP/1.1 is the only protocol that is offered.  With ``clientcas``, a client must show a certificate that
    one of them signed.

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
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        raiseMinimumTo=_VERSIONS[tls.minimumtls],
        trustRoot=trustRootFromCertificates(roots) if roots else None,
        acceptableProtocols=[b"http/1.1"],
    )
    try:
        options.getContext().check_privatekey()
    except SSL.Error:
        raise ConfigError("http.tls.key", f"{tls.key} is not the key of {tls.certificate}") from None
    return options


def _certificates(content: bytes) -> list[crypto.X509]:
    return [crypto.X509.from_cryptography(one) for one in x509.load_pem_x509_certificates(content)]


def _private_key(content: bytes) -> crypto.PKey:
    return crypto.PKey.from_cryptography_key(load_pem_private_key(content, password=None))  # type: ignore[arg-type]


def _load(where: str, path: str, read: Callable[[bytes], T]) -> T:
    try:
        with open(path, "rb") as file:
            return read(file.read())
    except OSError as error:
        raise ConfigError(where, f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigError(
            where, f"{path} does not hold what it should, in PEM and without a password"
        ) from None
