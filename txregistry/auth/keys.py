"""Keys that signatures are checked with: from certificates and from JWK sets (RFC 7517).

A key is only ever handed out together with an algorithm that suits it, so that no token can have a public RSA
key taken for a shared secret, or an elliptic curve for another.  Key material comes from the operator's files
and trusted issuers alone, never from a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from txregistry.auth import files
from txregistry.errors import ConfigError

PublicKey: TypeAlias = (
    rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
)
#: What a signature is checked with: a public key, or a secret shared with the issuer.
Material: TypeAlias = PublicKey | bytes

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
#: Algorithms of shared secrets, and the bytes that a secret must at least have (RFC 7518, 3.2).
_SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}
_SMALLEST_RSA = 2048

#: Algorithms whose keys are public; and all that are known.
ASYMMETRIC = frozenset({*_RSA, *_CURVES.values(), "EdDSA"})
ALGORITHMS = ASYMMETRIC | frozenset(_SECRETS)

#: More than any issuer has; a set of more is not read.
_MOST_KEYS = 256
#: Certificates in a chain, the leaf and the root with them.
_LONGEST_CHAIN = 5


def algorithms_of(material: Material) -> tuple[str, ...]:
    """Return the signature algorithms that a key suits, the usual one first; none where it is too weak."""
    if isinstance(material, bytes):
        return tuple(name for name, least in _SECRETS.items() if len(material) >= least)
    if isinstance(material, rsa.RSAPublicKey):
        return _RSA if material.key_size >= _SMALLEST_RSA else ()
    if isinstance(material, ec.EllipticCurvePublicKey):
        algorithm = _CURVES.get(material.curve.name)
        return (algorithm,) if algorithm else ()
    return ("EdDSA",)


def public_jwk(key: PublicKey) -> dict[str, str]:
    """Return the members of a public key's JWK that make the key (RFC 7518, 6; RFC 8037, 2)."""
    found: Mapping[str, Any]
    if isinstance(key, rsa.RSAPublicKey):
        found = RSAAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        found = ECAlgorithm.to_jwk(key, as_dict=True)
    else:
        found = OKPAlgorithm.to_jwk(key, as_dict=True)
    return {name: found[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in found}


def thumbprint(key: PublicKey) -> str:
    """Return a key's JWK thumbprint (RFC 7638), what Distribution 3 calls it."""
    members = json.dumps(public_jwk(key), sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()


def fingerprint(key: PublicKey) -> str:
    """Return a key's libtrust fingerprint, ``ABCD:EFGH:…``, what Distribution 2 and its token servers call it.

    It is the first 240 bits of the SHA-256 of the key (SubjectPublicKeyInfo in DER), in base32.
    """
    content = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(content).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


@frozen
class TrustedKeys:
    """Keys by what tokens may call them, each under every algorithm that it suits.

    :param named: by ``kid`` and ``alg``, what to check the signature with.
    :param roots: certificates that a chain in a token may end in.
    """

    named: Mapping[tuple[str, str], Material] = field(factory=dict, repr=False)
    roots: tuple[x509.Certificate, ...] = ()

    @classmethod
    def from_certificates(cls, content: bytes) -> TrustedKeys:
        """Return the keys of certificates, each under its thumbprint and its fingerprint.

        Their dates do not matter here, as they do not to Distribution: it is the keys that are trusted.

        :param content: certificates in PEM.
        :raises ValueError: there are none, or one cannot be used; why, in one line.
        """
        try:
            roots = x509.load_pem_x509_certificates(content)
        except ValueError:
            raise ValueError("does not hold certificates in PEM") from None
        named: dict[tuple[str, str], Material] = {}
        for number, root in enumerate(roots, 1):
            key = certified_key(root)
            if key is None:
                raise ValueError(
                    f"the key of certificate {number} cannot be used; expected RSA of {_SMALLEST_RSA} bits or "
                    "more, P-256, P-384, P-521 or EdDSA"
                )
            named.update(_named(key, (thumbprint(key), fingerprint(key)), algorithms_of(key)))
        return cls(named, tuple(roots))

    @classmethod
    def from_jwks(cls, content: bytes) -> TrustedKeys:
        """Return the keys of a JWK set, each under its ``kid``, or its thumbprint if it has none.

        Keys of unknown types, keys that are too weak and keys that are not for signatures are left out (RFC
        7517, 5); of a private key, the public part is taken.

        :param content: JSON.
        :raises ValueError: it is not a JWK set, or none of its keys can be used; why, in one line.
        """
        try:
            document = msgspec.json.decode(content, type=_KeySet)
        except (ValueError, RecursionError):
            raise ValueError("is not a JWK set") from None
        if len(document.keys) > _MOST_KEYS:
            raise ValueError(f"is a JWK set of more than {_MOST_KEYS} keys")
        named = {place: material for key in document.keys for place, material in _of_jwk(key)}
        if not named:
            raise ValueError("is a JWK set without a key that can be used for signatures")
        return cls(named)

    @classmethod
    def load(cls, path: str, where: str, read: Callable[[bytes], TrustedKeys]) -> TrustedKeys:
        """Return the keys in a file.  This blocks.

        :param where: the configuration's key that named it.
        :param read: :meth:`from_certificates` or :meth:`from_jwks`.
        :raises txregistry.errors.ConfigError: it cannot be used.
        """
        content = files.read(path, where)
        try:
            return read(content)
        except ValueError as error:
            raise ConfigError(where, f"{path} {error}") from None

    def __or__(self, other: TrustedKeys) -> TrustedKeys:
        return TrustedKeys({**self.named, **other.named}, self.roots + other.roots)

    def algorithms(self) -> frozenset[str]:
        """Return the algorithms that there are keys for."""
        return frozenset(algorithm for _, algorithm in self.named)

    def find(self, kid: str, algorithm: str) -> Material | None:
        """Return the key of that name, if it suits the algorithm."""
        return self.named.get((kid, algorithm))

    def certified(self, chain: Sequence[str], algorithm: str, now: float) -> PublicKey | None:
        """Return the key that a chain of certificates vouches for, if it suits the algorithm.

        :param chain: certificates, the leaf first, each in DER and base64, as in ``x5c`` (RFC 7515, 4.1.6).
        :param now: when all of them must be valid, in seconds since the epoch.
        :return: None where the chain does not end in one of the roots.
        """
        if not self.roots or not 0 < len(chain) <= _LONGEST_CHAIN:
            return None
        try:
            leaf, *others = [
                x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in chain
            ]
            moment = datetime.fromtimestamp(now, UTC)
            if len({one.subject for one in others}) < len(others):
                # With several of one name there are many ways to try, and each costs signature checks.
                return None
            if leaf in self.roots:
                # Vouched for by the operator, whatever its extensions say it is for.
                valid = leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc
            else:
                builder = PolicyBuilder().store(Store(list(self.roots))).time(moment)
                builder = builder.max_chain_depth(_LONGEST_CHAIN - 2)
                builder = builder.extension_policies(ca_policy=_AUTHORITY, ee_policy=_ANYONE)
                valid = bool(builder.build_client_verifier().verify(leaf, others).chain)
        except (ValueError, VerificationError, UnsupportedAlgorithm, OverflowError):
            return None
        key = certified_key(leaf) if valid else None
        return key if key is not None and algorithm in algorithms_of(key) else None


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def certified_key(certificate: x509.Certificate) -> PublicKey | None:
    """Return a certificate's key; None if it is of no use for signatures of tokens."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, PublicKey) and algorithms_of(key) else None


def _named(
    material: Material, names: Iterable[str], algorithms: Iterable[str]
) -> Iterator[tuple[tuple[str, str], Material]]:
    for name in names:
        for algorithm in algorithms:
            yield (name, algorithm), material


def _of_jwk(members: dict[str, Any]) -> Iterator[tuple[tuple[str, str], Material]]:
    material = _material(members)
    operations = members.get("key_ops", ["verify"])
    if material is None or members.get("use", "sig") != "sig" or not isinstance(operations, list):
        return
    if "verify" not in operations and "sign" not in operations:
        return
    suited = algorithms_of(material)
    if "alg" in members:
        suited = tuple(algorithm for algorithm in suited if algorithm == members["alg"])
    name = members.get("kid")
    if isinstance(name, str) and name:
        yield from _named(material, (name,), suited)
    elif not isinstance(material, bytes):
        yield from _named(material, (thumbprint(material),), suited)


def _material(members: dict[str, Any]) -> Material | None:
    key: Any
    try:
        match members.get("kty"):
            case "RSA":
                key = RSAAlgorithm.from_jwk(members)
            case "EC":
                key = ECAlgorithm.from_jwk(members)
            case "OKP":
                key = OKPAlgorithm.from_jwk(members)
            case "oct":
                return HMACAlgorithm.from_jwk(members)
            case _:
                return None
        public: PublicKey = key if isinstance(key, PublicKey) else key.public_key()
        return public
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
        return None


def _check_usage(policy: Policy, certificate: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("not a key that signs certificates")


#: Whoever signs certificates must be an authority (which the library sees to) and its key be meant for that.
#: What a leaf is meant for, Distribution does not ask.
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _check_usage)
)
_ANYONE = ExtensionPolicy.permit_all()
