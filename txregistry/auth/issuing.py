"""Tokens of the registry's own, in the format that :mod:`txregistry.auth.token` takes.

There are two kinds, of one key, and neither can be shown in place of the other: they differ in ``typ`` and in
``aud``.  An access token says what it gives access to and is good for minutes; a refresh token gives access to
nothing, says who may have access tokens without logging in again, and is good for days.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec
from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt import PyJWS

from txregistry.access import Access, Identity, by_name
from txregistry.auth import files
from txregistry.auth.claims import Refused, check, converted, read_header, texts, verified
from txregistry.auth.keys import TrustedKeys, algorithms_of, public_jwk, thumbprint
from txregistry.errors import ConfigError, Unauthorized

PrivateKey: TypeAlias = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)

_REFRESH_TYPE = "refresh+jwt"
#: Claims that a token's own meaning needs; no other claim may take their place.
_OWN = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access", "groups"})


@frozen
class Answer:
    """What a token server answers with (distribution, "docs/content/spec/auth/token.md" and ".../oauth.md").

    :param token: an access token.
    :param seconds: for how long it is good.
    :param issued_at: since when, in seconds since the epoch.
    :param refresh_token: one, if the client asked for it and may have it.
    :param scope: what was granted, for OAuth2's answer.
    """

    token: str = field(repr=False)
    seconds: int
    issued_at: float
    refresh_token: str | None = field(default=None, repr=False)
    scope: str | None = None

    def members(self) -> dict[str, Any]:
        """Return the members of the JSON object."""
        issued = datetime.fromtimestamp(int(self.issued_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        members = {
            "token": self.token,
            "access_token": self.token,
            "expires_in": self.seconds,
            "issued_at": issued,
        }
        if self.refresh_token is not None:
            members["refresh_token"] = self.refresh_token
        if self.scope is not None:
            members["scope"] = self.scope
        return members


@frozen
class Signer:
    """Signs tokens with one key.

    :param key: a private key.
    :param algorithm: of the signatures.
    :param kid: what tokens call the key, its thumbprint (RFC 7638).
    :param random: returns random bytes, as many as asked.
    """

    key: PrivateKey = field(repr=False)
    algorithm: str
    kid: str
    random: Callable[[int], bytes] = field(default=os.urandom, repr=False)

    @classmethod
    def of(cls, key: PrivateKey, random: Callable[[int], bytes] = os.urandom) -> Signer:
        """Return a signer with a key.

        :raises ValueError: it is not one for signatures of tokens, or too weak.
        """
        public = key.public_key()
        suited = algorithms_of(public)
        if not suited:
            raise ValueError("expected RSA of 2048 bits or more, P-256, P-384, P-521 or EdDSA")
        return cls(key, suited[0], thumbprint(public), random)

    @classmethod
    def load(cls, path: str, where: str) -> Signer:
        """Return a signer with the operator's key.  This blocks.

        :param path: a file with a private key in PEM, not encrypted.
        :param where: the configuration's key that named it.
        :raises txregistry.errors.ConfigError: it cannot be used.
        """
        content = files.read(path, where)
        try:
            key = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(
                where, f"{path} does not hold a private key in PEM without a password"
            ) from None
        try:
            if not isinstance(key, PrivateKey):
                raise ValueError("not a key for signatures of tokens")
            return cls.of(key)
        except ValueError as error:
            raise ConfigError(where, f"the key in {path} cannot be used: {error}") from None

    @classmethod
    def keep(cls, path: str, where: str) -> Signer:
        """Return a signer with the key in a file, which is made if there is none.  This blocks.

        Of several processes that make it at the same time all end up with the same key.

        :param path: the file; its directory must be there.
        :param where: the configuration's key that named it.
        :raises txregistry.errors.ConfigError: it cannot be used or made.
        """
        try:
            if not os.path.lexists(path):
                files.create(path, _new_key())
        except OSError as error:
            raise ConfigError(where, f"cannot make {path}: {error.strerror}") from None
        return cls.load(path, where)

    def jwks(self) -> dict[str, Any]:
        """Return the JWK set that tokens can be checked with (RFC 7517)."""
        members = public_jwk(self.key.public_key())
        return {"keys": [{**members, "kid": self.kid, "alg": self.algorithm, "use": "sig"}]}

    def keys(self) -> TrustedKeys:
        """Return what tokens can be checked with."""
        return TrustedKeys.from_jwks(json.dumps(self.jwks()).encode())

    def issue(
        self,
        identity_name: str | None,
        service: str,
        issuer: str,
        accesses: Iterable[Access],
        lifetime: int,
        now: float,
        groups: Collection[str] = (),
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """Return an access token.

        :param identity_name: whom it is for; None for one who did not say.
        :param service: the registry that it is for.
        :param issuer: who gives it.
        :param accesses: what it gives access to.
        :param lifetime: seconds for which it is good.
        :param now: since when, in seconds since the epoch.
        :param groups: what the user belongs to.
        :param claims: what else is known of the user, so that rules that ask for it can be kept.
        """
        granted = [
            {"type": kind, "name": name, "actions": actions}
            for (kind, name), actions in by_name(accesses).items()
        ]
        own = self._standard(identity_name, service, issuer, lifetime, now, groups)
        return self._signed("JWT", {**_others(claims), **own, "access": granted})

    def refresh(
        self,
        identity_name: str,
        service: str,
        issuer: str,
        lifetime: int,
        now: float,
        groups: Collection[str] = (),
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a refresh token; the parameters are those of :meth:`issue`."""
        own = self._standard(identity_name, _refreshing(service), issuer, lifetime, now, groups)
        return self._signed(_REFRESH_TYPE, {**_others(claims), **own})

    def verify_refresh(self, token: str, service: str, issuer: str, now: float) -> Identity:
        """Return whom a refresh token is for, with no grants: what it may have is to be decided anew.

        :raises txregistry.errors.Unauthorized: it is not one of this signer's, for this service and still good.
        """
        try:
            header = read_header(token, (self.algorithm,), (_REFRESH_TYPE,))
            # One key signs them all, and a token that names another is not of this signer.
            material = self.key.public_key() if header.kid == self.kid else None
            found = verified(token, header, material)
            check(found, issuer, (_refreshing(service),), now)
            name = converted(found, _Subject).sub
        except Refused:
            raise Unauthorized(error="invalid_token") from None
        return Identity(name, texts(found.get("groups")), _others(found))

    def _standard(
        self,
        name: str | None,
        audience: str,
        issuer: str,
        lifetime: int,
        now: float,
        groups: Collection[str],
    ) -> dict[str, Any]:
        since = int(now)
        claims: dict[str, Any] = {
            "iss": issuer,
            "sub": name or "",
            "aud": audience,
            "exp": since + lifetime,
            "nbf": since,
            "iat": since,
            "jti": base64.urlsafe_b64encode(self.random(15)).decode(),
        }
        if groups:
            claims["groups"] = sorted(groups)
        return claims

    def _signed(self, kind: str, claims: dict[str, Any]) -> str:
        content = json.dumps(claims, separators=(",", ":")).encode()
        return _jws.encode(content, self.key, self.algorithm, {"typ": kind, "kid": self.kid})


class _Subject(msgspec.Struct):
    sub: str


_jws = PyJWS()


def _refreshing(service: str) -> str:
    """Return the audience of refresh tokens, which is no registry."""
    return f"refresh:{service}"


def _others(claims: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (claims or {}).items() if name not in _OWN}


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
