"""Signed tokens (RFC 7515, RFC 7519): from a text that anyone may have written to claims that hold.

Everything before the signature is checked is bounded: by the size of the token, by two dots, and by there
being one key at most that is tried.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from txregistry.auth.keys import ALGORITHMS, Material

#: Characters of a token; longer ones are not looked at.
LONGEST = 16 * 1024
#: Seconds by which clocks may differ, as in Distribution.
LEEWAY = 60
#: What ``typ`` may say of a token that is shown for access, in small letters.
ACCESS_TYPES = frozenset({"", "jwt", "at+jwt"})

T = TypeVar("T")

_jws = PyJWS(sorted(ALGORITHMS))


class Refused(Exception):
    """A token is not to be believed, and why, in words that hold nothing of the token."""


class EmbeddedKey(msgspec.Struct):
    """What is read of a ``jwk`` in a header: never the key itself."""

    kid: str | None = None
    x5c: list[str] | None = None


class Header(msgspec.Struct):
    """What is read of a token's header; ``jku`` and ``x5u`` are not."""

    alg: str
    typ: str | None = None
    kid: str | None = None
    x5c: list[str] | None = None
    jwk: EmbeddedKey | None = None
    crit: Any = msgspec.UNSET
    b64: Any = True


class Standard(msgspec.Struct):
    """The claims that say for whom, by whom and when a token is good (RFC 7519, 4.1)."""

    iss: str
    aud: str | list[str]
    exp: float
    nbf: float | None = None


#: Objects and arrays of a header at most; how deep a parser goes by itself depends on the Python.
_HEADER_BRACKETS = 100


def read_header(token: str, algorithms: Collection[str], types: Collection[str]) -> Header:
    """Return a token's header, which nothing vouches for yet.

    :param algorithms: those that will do.
    :param types: what ``typ`` may be, in small letters and without ``application/``.
    :raises Refused: the token is none, or not one that will do.
    """
    if len(token) > LONGEST:
        raise Refused("it is too long")
    if token.count(".") != 2:
        raise Refused("it does not have three parts")
    try:
        content = _segment(token, 0)
        if content.count(b"[") + content.count(b"{") > _HEADER_BRACKETS:
            raise Refused("its header is too deep")
        header = msgspec.json.decode(content, type=Header)
    except (ValueError, RecursionError):
        raise Refused("its header cannot be read") from None
    if header.alg not in algorithms:
        raise Refused("its algorithm is not among those allowed")
    if header.crit is not msgspec.UNSET or header.b64 is not True:
        raise Refused("its header asks for extensions that are not known")
    if (header.typ or "").lower().removeprefix("application/") not in types:
        raise Refused("it is of another type")
    return header


def read_issuer(token: str) -> str:
    """Return who a token says it is from, which nothing vouches for yet.

    :param token: one whose header could be read.
    :raises Refused: it does not say.
    """
    try:
        return msgspec.json.decode(_segment(token, 1), type=_Issued).iss
    except (ValueError, RecursionError):
        raise Refused("its claims cannot be read") from None


def verified(token: str, header: Header, material: Material | None) -> dict[str, Any]:
    """Return the claims of a token that was signed with a key.

    :param header: what :func:`read_header` made of the token.
    :param material: the key, one that suits ``header.alg``; None where there is none.
    :raises Refused: the signature is not of that key, or there is no such key.
    """
    if material is None:
        raise Refused("its key is not a trusted one")
    try:
        content = _jws.decode_complete(token, material, [header.alg])["payload"]
    except (PyJWTError, ValueError, TypeError):
        raise Refused("its signature is wrong") from None
    try:
        claims: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise Refused("its claims cannot be read") from None
    return claims


def check(claims: dict[str, Any], issuer: str, audiences: Collection[str], now: float) -> float:
    """Check that a token's claims are good here and now, and return until when, in seconds since the epoch.

    :param audiences: ``aud`` must be or contain one of these.
    :raises Refused: they are not.
    """
    standard = converted(claims, Standard)
    if standard.iss != issuer:
        raise Refused("it is from another issuer")
    named = [standard.aud] if isinstance(standard.aud, str) else standard.aud
    if not any(audience in named for audience in audiences):
        raise Refused("it is for another audience")
    if now > standard.exp + LEEWAY:
        raise Refused("it has expired")
    if now < (standard.nbf or 0) - LEEWAY:
        raise Refused("it is not yet valid")
    return standard.exp + LEEWAY


def converted(claims: dict[str, Any], kind: type[T]) -> T:
    """Return claims as a structure.

    :raises Refused: one is missing, or of another kind.
    """
    try:
        return msgspec.convert(claims, kind)
    except (ValueError, RecursionError):
        raise Refused("a claim is missing or is not of the right kind") from None


def texts(value: object) -> frozenset[str]:
    """Return the texts in a claim that may be one, a list of them, or neither."""
    values = value if isinstance(value, list) else [value]
    return frozenset(text for text in values if isinstance(text, str))


class _Issued(msgspec.Struct):
    iss: str


def _segment(token: str, number: int) -> bytes:
    text = token.split(".")[number].encode("ascii")
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
