"""The gate: who asks, and may they?  Every route is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.logger import Logger

from txregistry import errors
from txregistry.access import PULL, Access, Attempt, Identity
from txregistry.auth.anonymous import Anonymous
from txregistry.auth.rules import Everything
from txregistry.interfaces import IAccessPolicy, IAuthBackend
from txregistry.reference import RepositoryName
from txregistry.web.answers import ask_for_credentials
from txregistry.web.locations import Locations

_log = Logger()

#: What an error of RFC 6750, 3.1 means for who asks.
_UNAUTHORIZED = {"invalid_token": "invalid", "insufficient_scope": "insufficient"}


@frozen
class Guard:
    """Lets requests in.

    :param backend: who asks.
    :param policy: may they.
    :param locations: what the registry is reached by.
    :param note: told what became of each request: ``anonymous`` or ``authenticated`` if it was let in; else
        ``challenged`` (no credentials), ``invalid`` (not good), ``insufficient`` (good for less), ``denied``,
        ``throttled`` or ``failed``.
    """

    backend: IAuthBackend
    policy: IAccessPolicy
    locations: Locations
    note: Callable[[str], object] = lambda outcome: None

    @classmethod
    def open(cls, locations: Locations) -> Guard:
        """Return a guard that lets everyone do everything."""
        return cls(Anonymous(), Everything(), locations)

    @property
    def is_open(self) -> bool:
        """Whether everyone may do everything."""
        return isinstance(self.policy, Everything)

    async def admit(self, request: Any, accesses: Sequence[Access], login: bool) -> Identity:
        """Return who makes a request that may be answered.

        Nothing that is stored is looked at, so that an answer tells nothing of what there is to those who may
        not know.

        :param accesses: what it needs.
        :param login: whether whoever makes it must say who it is, where there is a way to.
        :raises txregistry.errors.NameInvalid: it is about what cannot be a repository.
        :raises txregistry.errors.Unauthorized: the client may try again with credentials, or better ones.
        :raises txregistry.errors.Denied: it need not.
        """
        outcome = "failed"
        try:
            identity = await self._admit(request, accesses, login)
            outcome = "anonymous" if identity.is_anonymous else "authenticated"
        except errors.Unauthorized as error:
            given = request.text_header("Authorization") is not None
            outcome = _UNAUTHORIZED.get(error.error or "", "invalid" if given else "challenged")
            raise
        except errors.Denied:
            outcome = "denied"
            raise
        except errors.TooManyRequests:
            outcome = "throttled"
            raise
        finally:
            self.note(outcome)
        return identity

    async def _admit(self, request: Any, accesses: Sequence[Access], login: bool) -> Identity:
        for access in accesses:
            if access.kind == "repository":
                # Anyone may send anything; no policy, no challenge and no log has to do with what is no name.
                RepositoryName.parse(access.name)
        attempt = self.attempt(request)
        try:
            identity = await self.backend.authenticate(attempt)
        except errors.Unauthorized as error:
            _log.info("request {id}: its credentials are not good", id=request.id)
            self._challenge(request, attempt, accesses, error.error)
            raise
        if attempt.subject is not None:
            identity = _certified(identity, attempt.subject)
        if login and identity.is_anonymous and self._challenge(request, attempt, accesses, None):
            raise errors.Unauthorized([])
        for access in accesses:
            decision = self.policy.decide(identity, access)
            if not decision.allowed:
                _log.info(
                    "request {id}: {user} may not have {access}: {reason}",
                    id=request.id,
                    user=identity.name or "anonymous",
                    access=str(access),
                    reason=decision.reason,
                )
                self._refuse(request, attempt, identity, accesses, limited=not identity.holds(access))
        return identity

    def may_pull(self, identity: Identity, name: str) -> bool:
        """Say whether someone may pull from a repository."""
        return self.policy.decide(identity, Access("repository", name, PULL)).allowed

    def may_see(self, identity: Identity, name: str) -> bool:
        """Say whether the catalog, which someone was let into, shows a repository.

        A token for the catalog grants nothing on repositories; what counts is what its bearer may pull.
        """
        return self.may_pull(evolve(identity, grants=None), name)

    def attempt(self, request: Any) -> Attempt:
        """Return what a request says of who makes it.

        :raises txregistry.errors.RequestInvalid: it says so twice; a proxy before us may have read the other.
        """
        if len(request.requestHeaders.getRawHeaders(b"Authorization", [])) > 1:
            raise errors.RequestInvalid(message="more than one Authorization header")
        return Attempt(
            authorization=request.text_header("Authorization"),
            address=self.locations.proxies.client(request),
            origin=self.locations.origin(request),
            subject=request.certificate_subject(),
        )

    def _refuse(
        self, request: Any, attempt: Attempt, identity: Identity, accesses: Sequence[Access], limited: bool
    ) -> None:
        wanted = [{"Type": one.kind, "Name": one.name, "Action": one.action} for one in accesses]
        if not identity.name or limited:
            error = "insufficient_scope" if limited else None
            if self._challenge(request, attempt, accesses, error):
                raise errors.Unauthorized(wanted, error=error)
        raise errors.Denied(wanted)

    def _challenge(
        self, request: Any, attempt: Attempt, accesses: Sequence[Access], error: str | None
    ) -> bool:
        """Ask the client for credentials, if there is a way to; say whether there is."""
        challenges = self.backend.challenges(attempt, accesses, error)
        if challenges:
            ask_for_credentials(request, challenges)
        return bool(challenges)


def _certified(identity: Identity, subject: str) -> Identity:
    """Return someone whose certificate is known too: who did not log in is called by its subject."""
    name = subject if identity.is_anonymous else identity.name
    return evolve(identity, name=name, claims={**identity.claims, "subject": subject})
