"""HTTP's Basic authentication (RFC 7617)."""

from __future__ import annotations

import base64
import re

from attrs import field, frozen

from txregistry.errors import Unauthorized

_AUTHORIZATION = re.compile(
    r"basic +((?:[A-Z0-9+/]{4})*(?:[A-Z0-9+/]{2}==|[A-Z0-9+/]{3}=)?) *", re.IGNORECASE | re.ASCII
)
_TEXT = re.compile(r"[\x20-\x7e]+")


@frozen
class Credentials:
    """What a client says it is called, and what it gives as proof.  Bytes, for it may say anything.

    :param user: never logged as it is: people type passwords in its place.
    """

    user: bytes = field(repr=False)
    password: bytes = field(repr=False)

    @classmethod
    def parse(cls, authorization: str) -> Credentials:
        """Return what an ``Authorization`` header says.

        :raises txregistry.errors.Unauthorized: it is of another scheme, or malformed.
        """
        found = _AUTHORIZATION.fullmatch(authorization)
        if found is None:
            raise Unauthorized(error="invalid_token")
        user, colon, password = base64.b64decode(found[1]).partition(b":")
        if not colon:
            raise Unauthorized(error="invalid_token")
        return cls(user, password)


def is_realm(realm: object) -> bool:
    """Say whether something can be a realm: one line of printable ASCII."""
    return isinstance(realm, str) and _TEXT.fullmatch(realm) is not None


def challenge(realm: str) -> str:
    """Return the value of ``WWW-Authenticate`` that asks for a user and a password."""
    escaped = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{escaped}"'
