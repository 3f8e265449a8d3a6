"""HTTP's Basic authentication (RFC 7617)."""

from __future__ import annotations

import base64
import re

from attrs import field, frozen

from txregistry.errors import Unauthorized
from txregistry.headers import quoted

_AUTHORIZATION = re.compile(
    r"basic +((?:[A-Z0-9+/]{4})*(?:[A-Z0-9+/]{2}==|[A-Z0-9+/]{3}=)?) *", re.IGNORECASE | re.ASCII
)


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


def challenge(realm: str) -> str:
    """Return the value of ``WWW-Authenticate`` that asks for a user and a password.

    :param realm: what the password is for, one line of printable ASCII.
    """
    return f"Basic realm={quoted(realm)}"
