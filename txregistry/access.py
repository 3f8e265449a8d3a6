"""Who asks, what is asked, and what is granted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

PULL = "pull"
PUSH = "push"
DELETE = "delete"
#: What can be done with a repository.
ACTIONS = (PULL, PUSH, DELETE)
#: Every action; also what listing the catalog is called.
ALL = "*"


@frozen
class Access:
    """One thing that a request needs leave for, in the terms of Distribution's token scopes.

    :param kind: ``repository``, or ``registry`` for what concerns all of it.
    :param name: a repository's name, or ``catalog``.
    :param action: ``pull``, ``push``, ``delete`` or ``*``.
    """

    kind: str
    name: str
    action: str

    @classmethod
    def repository(cls, name: str, *actions: str) -> list[Access]:
        """Return accesses to one repository."""
        return [cls("repository", name, action) for action in actions]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{self.action}"


#: What listing all repositories needs.
CATALOG = Access("registry", "catalog", ALL)


def by_name(accesses: Iterable[Access]) -> dict[tuple[str, str], list[str]]:
    """Return the actions of accesses by their kinds and names, each once, all in order."""
    actions: dict[tuple[str, str], list[str]] = {}
    for access in accesses:
        known = actions.setdefault((access.kind, access.name), [])
        if access.action not in known:
            known.append(access.action)
    return actions


def scopes(accesses: Iterable[Access]) -> list[str]:
    """Return accesses as token scopes, ``repository:team/app:pull,push``, one for each name, in order."""
    return [f"{kind}:{name}:{','.join(actions)}" for (kind, name), actions in by_name(accesses).items()]


def parse_scope(text: str) -> list[Access]:
    """Return the accesses that one token scope spells; none of a scope that is not understood.

    A repository's name may hold colons, as when it begins with a host and a port: the first colon ends the
    kind, the last begins the actions.
    """
    kind, _, rest = text.partition(":")
    name, _, actions = rest.rpartition(":")
    if not kind or not name:
        return []
    return [Access(kind, name, action) for action in actions.split(",") if action]


@frozen
class Identity:
    """Who makes a request.

    :param name: what the user is called; None for one who did not say.
    :param groups: what the user belongs to.
    :param claims: what else is known of the user, as a token or certificate says.
    :param grants: what the user's credentials are limited to, as a token is; None for no such limit.
    """

    name: str | None = None
    groups: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(factory=dict)
    grants: frozenset[Access] | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether the user did not say who it is."""
        return self.name is None

    def holds(self, access: Access) -> bool:
        """Say whether the user's credentials reach as far as *access*."""
        if self.grants is None:
            return True
        every = Access(access.kind, access.name, ALL)
        return access in self.grants or every in self.grants


ANONYMOUS = Identity()


@frozen
class Decision:
    """An answer to: may they?

    :param allowed: the answer.
    :param reason: the rule that gave it, or why none did, for the operator.
    """

    allowed: bool
    reason: str


@frozen
class Attempt:
    """What a request says of who makes it.

    :param authorization: the ``Authorization`` header; None where there is none.
    :param address: the client's address, without its port.
    :param origin: what the client reached the registry by, ``https://hub.example``, with ``http.prefix`` and
        without a slash at its end.
    :param subject: the subject of the client's TLS certificate (RFC 4514), which an authority of the operator's
        vouches for; None where it showed none.
    """

    authorization: str | None = field(default=None, repr=False)
    address: str = ""
    origin: str = ""
    subject: str | None = None
