"""A small auth backend for tests in memory: it knows a few users, and answers at once."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence

from attrs import field, frozen
from zope.interface import implementer

from txregistry.access import ANONYMOUS, Access, Attempt, Identity, scopes
from txregistry.auth.basic import Credentials, challenge
from txregistry.errors import Unauthorized
from txregistry.interfaces import IAuthBackend

_REALM = "tests"


def password_of(user: str) -> str:
    """Return the password that each user here has."""
    return f"the password of {user}"


def authorization(user: str, password: str | None = None) -> str:
    """Return the header by which a user logs in, with its own password unless another is given."""
    pair = f"{user}:{password_of(user) if password is None else password}"
    return "Basic " + b64encode(pair.encode()).decode("ascii")


@implementer(IAuthBackend)
@frozen
class BasicBackend:
    """Knows users by their names and passwords.

    :param users: by the name that is logged in with, who that is.
    """

    users: Mapping[str, Identity] = field(factory=dict)

    @classmethod
    def of(cls, *identities: Identity) -> BasicBackend:
        """Return a backend that knows some people by their own names."""
        return cls({identity.name or "": identity for identity in identities})

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        if attempt.authorization is None:
            return ANONYMOUS
        credentials = Credentials.parse(attempt.authorization)
        user = credentials.user.decode("utf-8", "replace")
        expected = password_of(user).encode("utf-8", "replace")
        if user not in self.users or not hmac.compare_digest(credentials.password, expected):
            raise Unauthorized(error="invalid_token")
        return self.users[user]

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        return [challenge(_REALM)]


@implementer(IAuthBackend)
@frozen
class ScopedBackend(BasicBackend):
    """The same, whose challenges say what is asked for and what was wrong, as those for tokens do."""

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        parts = [f'Bearer realm="{attempt.origin}/token"', f'scope="{" ".join(scopes(accesses))}"']
        if error is not None:
            parts.append(f'error="{error}"')
        return [",".join(parts), challenge(_REALM)]
