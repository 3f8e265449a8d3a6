"""Tokens and certificates, true ones and others."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from jwt import get_algorithm_by_name

from txregistry.auth.keys import public_jwk

#: When the tests take place.
NOW = 1_750_000_000
MOMENT = datetime.fromtimestamp(NOW, UTC)

#: Keys take a while to make, and none of these guards anything.
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
SECRET = b"s" * 64


def encoded(content: bytes) -> str:
    """Return bytes as a part of a token."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def text(value: object) -> bytes:
    """Return a value as JSON; bytes as they are."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def unsigned(header: object, claims: object) -> str:
    """Return the parts of a token that are signed."""
    return f"{encoded(text(header))}.{encoded(text(claims))}"


def token(key: Any, header: object, claims: object, algorithm: str | None = None) -> str:
    """Return a token, whatever its header says signed with *key* by *algorithm*."""
    name = algorithm or header["alg"]  # type: ignore[index]
    content = unsigned(header, claims)
    found = get_algorithm_by_name(name)
    material = key if isinstance(key, bytes) else found.prepare_key(key)
    return f"{content}.{encoded(found.sign(content.encode(), material))}"


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """Return the JWK of a private key's public part, or of a secret."""
    if isinstance(key, bytes):
        return {"kty": "oct", "k": encoded(key), **members}
    return {**public_jwk(key.public_key()), **members}


def jwks(*keys: dict[str, Any]) -> bytes:
    """Return a JWK set."""
    return json.dumps({"keys": keys}).encode()


def public_pem(key: Any) -> bytes:
    """Return the public part of a key in PEM."""
    content: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return content


def certificate(
    name: str,
    key: Any,
    issuer: tuple[x509.Certificate, Any] | None = None,
    authority: bool | None = None,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=1),
    usage: bool | None = None,
) -> x509.Certificate:
    """Return a certificate.

    :param issuer: who signs it, with its key; the certificate itself, if not given.
    :param authority: what its basic constraints say; it has none, if not given.
    :param begins: when it does, from :data:`NOW`.
    :param usage: whether its key may sign certificates; it does not say, if not given.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(MOMENT + begins)
        .not_valid_after(MOMENT + ends)
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
    if usage is not None:
        flags = [True, False, False, False, False, usage, False, False, False]
        builder = builder.add_extension(x509.KeyUsage(*flags), critical=True)
    signer = issuer[1] if issuer else key
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates in PEM."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def x5c(*certificates: x509.Certificate) -> list[str]:
    """Return certificates as a token's header holds them."""
    return [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in certificates]
