"""Bearer tokens of a token server, as CNCF Distribution has them: ``auth.token``.

A token names whom it is for, until when, and what it gives access to; the signature of a trusted key is all
that vouches for it.  Beside the names that Distribution 3 knows keys by, those of registry:2 are known too, so
that the token servers of either can be used.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from twisted.logger import Logger
from zope.interface import implementer

from txregistry.access import ANONYMOUS, Access, Attempt, Identity, scopes
from txregistry.auth.claims import (
    ACCESS_TYPES,
    LONGEST,
    Header,
    Refused,
    check,
    converted,
    read_header,
    texts,
    verified,
)
from txregistry.auth.keys import ALGORITHMS, ASYMMETRIC, Material, TrustedKeys
from txregistry.errors import ConfigError, Unauthorized
from txregistry.headers import is_printable, quoted
from txregistry.interfaces import IAuthBackend

_log = Logger()

_REQUIRED = ("realm", "service", "issuer")
_FILES = ("rootcertbundle", "jwks")
_OPTIONS = (*_REQUIRED, *_FILES, "signingalgorithms", "autoredirect", "autoredirectpath")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

#: Claims that are not about the user.
_STANDARD = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"})
#: Tokens that need not be checked again, and for how many seconds; a certificate may end in that time.
_REMEMBERED_TOKENS = 512
_REMEMBERED = 60


def make(options: Mapping[str, Any], reactor: Any, now: Callable[[], float] = time.time) -> TokenBackend:
    """Make a backend from ``auth.token``.

    :param options: Distribution's: ``realm``, ``service``, ``issuer``; ``rootcertbundle`` and ``jwks``, files,
        at least one of them; ``signingalgorithms``, by default all whose keys are public; ``autoredirect`` and
        ``autoredirectpath``.
    :param now: the time, in seconds since the epoch.
    :raises txregistry.errors.ConfigError: another key, one that is missing, or a value of another kind.
    """
    for option in options:
        if option not in _OPTIONS:
            raise ConfigError(option, f"unknown key; expected one of {', '.join(_OPTIONS)}")
    for option in _REQUIRED:
        if option not in options:
            raise ConfigError(option, "missing")
        if not is_printable(options[option]):
            raise ConfigError(option, f"expected a text of printable ASCII, found {options[option]!r}")
    files = {option: options[option] for option in _FILES if options.get(option) not in (None, "")}
    for option, path in files.items():
        if not isinstance(path, str) or "\0" in path:
            raise ConfigError(option, f"expected the path of a file, found {path!r}")
    if not files:
        raise ConfigError("rootcertbundle", "no keys; expected this, jwks, or both")
    algorithms = _algorithms(options.get("signingalgorithms"))
    return TokenBackend(
        realm=options["realm"],
        redirect=_redirect(options),
        service=options["service"],
        issuer=options["issuer"],
        algorithms=algorithms,
        load=lambda: load_keys(files, algorithms),
        now=now,
    )


def _algorithms(names: object) -> frozenset[str]:
    if names is None or names == []:
        return ASYMMETRIC
    if not isinstance(names, list):
        raise ConfigError("signingalgorithms", f"expected a list of algorithms, found {names!r}")
    for name in names:
        if not isinstance(name, str) or name not in ALGORITHMS:
            known = ", ".join(sorted(ALGORITHMS))
            raise ConfigError("signingalgorithms", f"expected algorithms out of {known}, found {name!r}")
    return frozenset(names)


def _redirect(options: Mapping[str, Any]) -> str | None:
    """Return the path of the registry's own that clients are sent to, if they are."""
    switch, path = options.get("autoredirect", False), options.get("autoredirectpath") or "/auth/token"
    if not isinstance(switch, bool):
        raise ConfigError("autoredirect", f"expected true or false, found {switch!r}")
    if not isinstance(path, str) or not is_printable(path) or not path.startswith("/"):
        raise ConfigError("autoredirectpath", f"expected a path that begins with a slash, found {path!r}")
    return path if switch else None


def load_keys(files: Mapping[str, str], algorithms: Collection[str]) -> TrustedKeys:
    """Return the keys in files.  This blocks.

    :param files: by ``rootcertbundle`` and ``jwks``, paths.
    :param algorithms: those that will do.
    :raises txregistry.errors.ConfigError: one cannot be used, or no key in them suits an algorithm.
    """
    keys = TrustedKeys()
    for option, path in files.items():
        read = TrustedKeys.from_certificates if option == "rootcertbundle" else TrustedKeys.from_jwks
        keys |= TrustedKeys.load(path, option, read)
    if keys.algorithms().isdisjoint(algorithms):
        suited = ", ".join(sorted(keys.algorithms()))
        raise ConfigError("signingalgorithms", f"no key suits any of them; the keys suit {suited}")
    return keys


class _Entry(msgspec.Struct):
    """One of a token's ``access``."""

    type: str
    name: str
    actions: list[str] | None = None


class _Grants(msgspec.Struct):
    """The claims that say who a token is for and what it gives.  Go's token servers spell empty lists null."""

    sub: str | None = None
    access: list[_Entry] | None = None


@implementer(IAuthBackend)
class TokenBackend:
    """Knows those who come with a token of an issuer that it trusts.

    :param realm: the token server's URL, which clients are sent to.
    :param redirect: instead, a path below the registry's own address; None for *realm*.
    :param service: what the registry is called in tokens.
    :param issuer: what the token server is called in tokens.
    :param algorithms: signature algorithms that will do.
    :param load: returns the keys, in :meth:`prepare`.
    :param now: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        *,
        realm: str,
        redirect: str | None,
        service: str,
        issuer: str,
        algorithms: Collection[str],
        load: Callable[[], TrustedKeys],
        now: Callable[[], float],
    ) -> None:
        self._realm = realm
        self._redirect = redirect
        self._service = service
        self._issuer = issuer
        self._algorithms = frozenset(algorithms)
        self._load = load
        self._now = now
        self._keys = TrustedKeys()
        # By the digest of a token, whose it is, when that was checked and until when it holds; oldest first.
        self._remembered: dict[bytes, tuple[Identity, float, float]] = {}

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        self._keys = self._load()

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        if attempt.authorization is None:
            return ANONYMOUS
        scheme, _, token = attempt.authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized
        try:
            return self._identity(token)
        except Refused as refused:
            _log.info("token from {address} refused: {reason}", address=attempt.address, reason=str(refused))
            raise Unauthorized(error="invalid_token") from None

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        realm = self._realm if self._redirect is None else attempt.origin + self._redirect
        parameters = {"realm": realm, "service": self._service}
        if accesses:
            parameters["scope"] = " ".join(scopes(accesses))
        if error is not None:
            parameters["error"] = error
        spelt = [f"{name}={quoted(_UNPRINTABLE.sub('', text))}" for name, text in parameters.items()]
        return ["Bearer " + ",".join(spelt)]

    def _identity(self, token: str) -> Identity:
        now = self._now()
        if len(token) > LONGEST:
            raise Refused("it is too long")
        place = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._remembered.get(place)
        if known is not None and known[1] <= now < known[2]:
            return known[0]
        header = read_header(token, self._algorithms, ACCESS_TYPES)
        claims = verified(token, header, self._key(header, now))
        until = check(claims, self._issuer, (self._service,), now)
        identity = _identified(claims)
        self._remembered.pop(place, None)
        self._remembered[place] = (identity, now, min(until, now + _REMEMBERED))
        if len(self._remembered) > _REMEMBERED_TOKENS:
            del self._remembered[next(iter(self._remembered))]
        return identity

    def _key(self, header: Header, now: float) -> Material | None:
        """Return the key that a token is to be checked with, in Distribution's order; None if there is none.

        The first of ``x5c``, ``jwk`` and ``kid`` that is there counts, and no other.
        """
        if header.x5c:
            return self._keys.certified(header.x5c, header.alg, now)
        if header.jwk is not None and header.jwk.x5c:
            return self._keys.certified(header.jwk.x5c, header.alg, now)
        kid = header.kid if header.jwk is None else header.jwk.kid
        return self._keys.find(kid, header.alg) if kid else None


def _identified(claims: dict[str, Any]) -> Identity:
    """Return whom a token is for.

    A token server may not say whom, as for those who did not log in: that is a user with an empty name, who
    holds what the token grants, and whom no rule for a user fits.
    """
    found = converted(claims, _Grants)
    grants = frozenset(
        Access(entry.type, entry.name, action)
        for entry in found.access or ()
        for action in entry.actions or ()
    )
    others = {name: value for name, value in claims.items() if name not in _STANDARD}
    return Identity(found.sub or "", texts(claims.get("groups")), others, grants)
