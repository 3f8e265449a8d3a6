"""No authentication: everyone is nobody in particular."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from zope.interface import implementer

from txregistry.access import ANONYMOUS, Access, Attempt, Identity
from txregistry.interfaces import IAuthBackend


@implementer(IAuthBackend)
@frozen
class Anonymous:
    """Knows no one, and asks no one."""

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        return ANONYMOUS

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        return []
