"""Identity tokens of others: OpenID Connect, as continuous integration and clusters give them to their jobs.

A job logs in with such a token in place of a password.  Its issuer's keys are found by discovery (OpenID
Connect Discovery 1.0) and kept; a token never says where to find them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from txregistry.access import Identity
from txregistry.auth.claims import ACCESS_TYPES, Refused, check, read_header, read_issuer, texts, verified
from txregistry.auth.documents import Unavailable
from txregistry.auth.flights import Flights
from txregistry.auth.keys import ASYMMETRIC, TrustedKeys
from txregistry.errors import ConfigError, Unauthorized
from txregistry.globs import matches

_log = Logger()

#: Seconds between two fetches of one issuer's keys, whatever became of the first.
_PAUSE = 60
#: Seconds after which keys are fetched again although they do, so that those an issuer gave up are let go.
_FRESH = 3600
#: Seconds that a fetch may take.
_PATIENCE = 10

_OPTIONS = ("issuer", "audience", "claims", "username", "groups", "jwks", "jwksuri")
_TEMPLATE = re.compile(r"(?:[^{}]|\{[^{}]+\})+")
_CLAIM = re.compile(r"\{([^{}]+)\}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"http": 80, "https": 443}


@frozen
class Issuer:
    """An issuer whose tokens are believed, some of them.

    :param url: what it calls itself.
    :param audiences: what its tokens must be meant for, one of these.
    :param conditions: by claim, patterns (:mod:`txregistry.globs`) one of which must fit.
    :param username: what users are called, claims in braces.
    :param groups: the claim that holds their groups.
    :param jwks: a file with its keys, which are then not fetched.
    :param jwks_uri: where its keys are, where that is not to be discovered.
    """

    url: str
    audiences: tuple[str, ...]
    conditions: Mapping[str, tuple[str, ...]]
    username: str = "oidc:{sub}"
    groups: str | None = None
    jwks: str | None = None
    jwks_uri: str | None = None

    def identity(self, claims: dict[str, Any], now: float) -> Identity:
        """Return whom a token of this issuer is for.

        :raises Refused: it is not one of those that are believed.
        """
        check(claims, self.url, self.audiences, now)
        for claim, patterns in self.conditions.items():
            value = claims.get(claim)
            found = [_spelled(one) for one in (value if isinstance(value, list) else [value])]
            if not any(text is not None and matches(pattern, text) for text in found for pattern in patterns):
                raise Refused(f"its claim {claim} does not fit")
        groups = texts(claims.get(self.groups)) if self.groups is not None else frozenset()
        return Identity(self._name(claims), groups, claims)

    def _name(self, claims: dict[str, Any]) -> str:
        def value(found: re.Match[str]) -> str:
            text = _spelled(claims.get(found[1]))
            if not text or not text.isprintable():
                raise Refused(f"its claim {found[1]} cannot be part of a user's name")
            return text

        return _CLAIM.sub(value, self.username)


class _Discovered(msgspec.Struct):
    """What is read of an issuer's metadata."""

    issuer: str
    jwks_uri: str


class _Source:
    """The keys of an issuer, as far as they are known.

    :param issuer: whose.
    :param reactor: whose clock limits a fetch.
    :param fetch: returns the document of a URL.
    :param now: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        issuer: Issuer,
        reactor: Any,
        fetch: Callable[[str], Awaitable[bytes]],
        now: Callable[[], float],
    ) -> None:
        self._issuer = issuer
        self._reactor = reactor
        self._fetch = fetch
        self._now = now
        self._keys = TrustedKeys()
        self._asked: float | None = None
        self._answered: float | None = None
        self._flights: Flights[None] = Flights()
        self._work: Deferred[TrustedKeys] | None = None

    def prepare(self) -> None:
        """Read the keys, where they are in a file."""
        if self._issuer.jwks is not None:
            self._keys = TrustedKeys.load(self._issuer.jwks, "jwks", TrustedKeys.from_jwks)

    def close(self) -> None:
        """Fetch no more."""
        if self._work is not None:
            self._work.cancel()

    async def keys(self, kid: str, algorithm: str) -> TrustedKeys:
        """Return the keys, after fetching them if that one is not among them and they may be fetched again."""
        if self._issuer.jwks is not None:
            return self._keys
        known = self._keys.find(kid, algorithm) is not None
        due = None not in self._flights and not _within(self._asked, self._now(), _PAUSE)
        if not known and (due or None in self._flights):
            await self._flights.join(None, self._refresh)
        elif due and not _within(self._answered, self._now(), _FRESH):
            # Nobody need wait for this, and it logs what goes wrong.
            Deferred.fromCoroutine(self._flights.join(None, self._refresh))
        return self._keys

    async def _refresh(self) -> None:
        self._asked = self._now()
        self._work = Deferred.fromCoroutine(self._fetched())
        self._work.addTimeout(_PATIENCE, self._reactor)
        try:
            self._keys = await self._work
        except TimeoutError:
            self._complain("it took too long")
        except CancelledError:
            self._complain("this is closing")
        except (Unavailable, ValueError, RecursionError) as error:
            self._complain(str(error))
        else:
            self._answered = self._now()
        finally:
            self._work = None

    async def _fetched(self) -> TrustedKeys:
        where = self._issuer.jwks_uri
        if where is None:
            content = await self._fetch(self._issuer.url.rstrip("/") + "/.well-known/openid-configuration")
            found = msgspec.json.decode(content, type=_Discovered)
            if found.issuer != self._issuer.url:
                raise ValueError("its metadata are those of another issuer")
            where = found.jwks_uri
            if _origin(where) != _origin(self._issuer.url):
                raise ValueError("its keys are on another host; say where by jwksuri, if that is right")
        try:
            return TrustedKeys.from_jwks(await self._fetch(where))
        except ValueError as error:
            raise ValueError(f"what it publishes {error}") from None

    def _complain(self, reason: str) -> None:
        _log.warn(
            "cannot fetch the keys of {issuer}: {reason}; those known before stay in force",
            issuer=self._issuer.url,
            reason=reason,
        )


class IdentityTokens:
    """Knows those who come with an identity token of an issuer that is believed.

    :param issuers: the issuers; of several of one URL, the first whose conditions a token fits counts.
    :param reactor: whose clock limits a fetch.
    :param fetch: returns the document of a URL, or raises :exc:`txregistry.auth.documents.Unavailable`.
    :param now: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        issuers: tuple[Issuer, ...],
        reactor: Any,
        fetch: Callable[[str], Awaitable[bytes]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        sources: dict[tuple[str, str | None, str | None], _Source] = {}
        self._issuers: list[tuple[Issuer, _Source]] = []
        for issuer in issuers:
            place = (issuer.url, issuer.jwks, issuer.jwks_uri)
            if place not in sources:
                sources[place] = _Source(issuer, reactor, fetch, now)
            self._issuers.append((issuer, sources[place]))

    def prepare(self) -> None:
        """Read what keys are in files.  This blocks.

        :raises txregistry.errors.ConfigError: one cannot be used; its ``where`` is the issuer's number and key.
        """
        for number, (_, source) in enumerate(self._issuers):
            try:
                source.prepare()
            except ConfigError as error:
                raise ConfigError(f"{number}.{error.where}", error.problem) from None

    async def close(self) -> None:
        """Let go of connections."""
        for _, source in self._issuers:
            source.close()

    async def authenticate(self, token: str) -> Identity:
        """Return whom an identity token is for.

        :raises txregistry.errors.Unauthorized: it is not one that is believed.
        """
        try:
            return await self._identity(token)
        except Refused as refused:
            _log.info("identity token refused: {reason}", reason=str(refused))
            raise Unauthorized(error="invalid_token") from None

    async def _identity(self, token: str) -> Identity:
        # Only kid says which key it is: what x5c and jwk hold is the token's own word.
        header = read_header(token, ASYMMETRIC, ACCESS_TYPES)
        url, kid = read_issuer(token), header.kid
        if not kid:
            raise Refused("it does not name its key")
        refused = Refused("its issuer is not a trusted one")
        for issuer, source in self._issuers:
            if issuer.url == url:
                keys = await source.keys(kid, header.alg)
                try:
                    claims = verified(token, header, keys.find(kid, header.alg))
                    return issuer.identity(claims, self._now())
                except Refused as error:
                    refused = error
        raise refused


def issuers(options: object) -> tuple[Issuer, ...]:
    """Return the issuers that a configuration describes.

    :param options: a list of mappings: ``issuer``, a URL; ``audience``, a text or several; ``claims``, by claim
        a pattern or several, at least one claim, since anyone can have tokens of the large public issuers;
        ``username``, ``oidc:{sub}`` if not given; ``groups``, a claim; ``jwks``, a file, or ``jwksuri``.
    :raises txregistry.errors.ConfigError: something is wrong; its ``where`` is the issuer's number and key.
    """
    if not isinstance(options, list):
        raise ConfigError("", f"expected a list of issuers, found {options!r}")
    return tuple(_issuer(number, option) for number, option in enumerate(options))


def _issuer(number: int, option: object) -> Issuer:
    if not isinstance(option, Mapping):
        raise ConfigError(str(number), f"expected issuer, audience, claims, …, found {option!r}")

    def wrong(key: str, expected: str) -> ConfigError:
        problem = f"expected {expected}, found {option[key]!r}" if key in option else f"missing: {expected}"
        return ConfigError(f"{number}.{key}", problem)

    for key in option:
        if key not in _OPTIONS:
            raise ConfigError(f"{number}.{key}", f"unknown key; expected one of {', '.join(_OPTIONS)}")
    for key in ("issuer", "jwksuri"):
        if (key == "issuer" or key in option) and _origin(option.get(key)) is None:
            raise wrong(key, "an https URL, or an http URL of this machine")
    if "?" in option["issuer"]:
        raise wrong("issuer", "a URL without a query")
    for key in ("groups", "jwks"):
        if key in option and (not isinstance(option[key], str) or not option[key] or "\0" in option[key]):
            raise wrong(key, "a text")
    if "jwks" in option and "jwksuri" in option:
        raise wrong("jwksuri", "either this or jwks")
    audiences = _patterns(option.get("audience"))
    if not audiences:
        raise wrong("audience", "a text or a list of texts")
    conditions = option.get("claims")
    if not isinstance(conditions, Mapping) or not conditions:
        raise wrong("claims", "conditions, at least one, by claims")
    by_claim = {str(claim): _patterns(value) for claim, value in conditions.items()}
    for claim, patterns in by_claim.items():
        if not patterns:
            raise ConfigError(f"{number}.claims.{claim}", "expected a pattern or a list of patterns")
    username = option.get("username", Issuer("", (), {}).username)
    if not isinstance(username, str) or _TEMPLATE.fullmatch(username) is None or not username.isprintable():
        raise wrong("username", "a text in which claims stand in braces, as {sub}")
    return Issuer(
        option["issuer"],
        audiences,
        by_claim,
        username,
        option.get("groups"),
        option.get("jwks"),
        option.get("jwksuri"),
    )


def _patterns(value: object) -> tuple[str, ...]:
    """Return the texts that a value is or lists; none if it is or lists anything else."""
    spelled = [_spelled(one) for one in (value if isinstance(value, list) else [value])]
    found = tuple(text for text in spelled if text)
    return found if len(found) == len(spelled) else ()


def _spelled(value: object) -> str | None:
    """Return how a claim's value is spelled in patterns and names; None if it is not a single one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) else None


def _origin(url: object) -> tuple[str, str, int] | None:
    """Return the scheme, host and port of a URL that keys may come from; None if they may not."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None or "@" in parts.netloc or parts.fragment:
        return None
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return None
    return parts.scheme, parts.hostname, port


def _within(since: float | None, now: float, seconds: float) -> bool:
    """Say whether something happened in the last *seconds*, by a clock that can be set back."""
    return since is not None and 0 <= now - since < seconds
