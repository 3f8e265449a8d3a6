"""Passwords that any checker of Twisted's knows: ``auth: {cred: "file:…"}`` (:mod:`twisted.cred.strcred`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import InvalidAuthArgumentString, InvalidAuthType, makeChecker
from twisted.internet.defer import maybeDeferred
from zope.interface import implementer

from txregistry.access import ANONYMOUS, Access, Attempt, Identity
from txregistry.auth.basic import Credentials, challenge
from txregistry.errors import ConfigError, Unauthorized
from txregistry.headers import is_printable
from txregistry.interfaces import IAuthBackend

_NAME = "cred"


def make(options: Mapping[str, Any], reactor: Any) -> CredBackend:
    """Make a backend from ``auth.cred``.

    :param options: ``cred``, a checker as ``twist`` spells it (``file:/etc/passwords``); ``realm``.
    :raises txregistry.errors.ConfigError: there is no such checker, or it does not take passwords.
    """
    rest = dict(options)
    text, realm = rest.pop(_NAME, None), rest.pop("realm", "registry")
    if rest:
        raise ConfigError(min(rest), f"unknown key; expected {_NAME} or realm")
    if not is_printable(realm):
        raise ConfigError("realm", f"expected a line of printable ASCII, found {realm!r}")
    if not isinstance(text, str):
        raise ConfigError("", f"expected a checker such as file:/etc/passwords, found {text!r}")
    try:
        checker = makeChecker(text)
    except (InvalidAuthType, InvalidAuthArgumentString, TypeError, ValueError, KeyError) as error:
        raise ConfigError("", f"{text.partition(':')[0]} is no checker that can be used: {error}") from None
    if IUsernamePassword not in checker.credentialInterfaces:
        raise ConfigError("", f"the checker {text.partition(':')[0]} does not take user names and passwords")
    return CredBackend(checker, realm)


@implementer(IAuthBackend)
@frozen
class CredBackend:
    """Knows those whom a checker knows.  What the checker does on the reactor's thread is its own affair.

    :param checker: it takes user names and passwords.
    :param realm: what browsers show to the user.
    """

    checker: ICredentialsChecker
    realm: str

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        if attempt.authorization is None:
            return ANONYMOUS
        given = Credentials.parse(attempt.authorization)
        try:
            found = await maybeDeferred(
                self.checker.requestAvatarId, UsernamePassword(given.user, given.password)
            )
            name = found.decode("utf-8") if isinstance(found, bytes) else str(found)
        except (UnauthorizedLogin, UnicodeDecodeError):
            raise Unauthorized(error="invalid_token") from None
        if not name:
            # Some checkers say so of anyone.
            raise Unauthorized(error="invalid_token")
        return Identity(name)

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        return [challenge(self.realm)]
