"""The registry's own token service: whoever another backend knows gets short-lived tokens, and is known by them.

Docker's engine logs in once and then works with tokens; so passwords travel, and are checked, seldom.  What a token
grants is what was asked for and is allowed; when it is used, the rules are asked again.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Sequence

from attrs import evolve, frozen
from twisted.logger import Logger
from zope.interface import implementer

from txregistry import errors
from txregistry.access import ACTIONS, ALL, CATALOG, Access, Attempt, Identity, scopes
from txregistry.auth.basic import Credentials
from txregistry.auth.issuing import Answer, Signer
from txregistry.auth.oidc import IdentityTokens
from txregistry.auth.token import TokenBackend
from txregistry.interfaces import IAccessPolicy, IAuthBackend, IRereading, ITokenIssuing, IUserMarks
from txregistry.reference import RepositoryName

_log = Logger()

#: Where the service answers, below ``http.prefix``.
PATH = "/auth/token"
#: The user name under which an identity token is the password.
_WORKLOAD = "oidc"
#: A repository, to which docker's engine adds a class when it is one of plugins.
_REPOSITORY = re.compile(r"repository(?:\([a-z0-9]+\))?")
#: The claim of a refresh token by which it ends when the user's password is changed.
_MARK = "txregistry_mark"


@frozen
class Terms:
    """What tokens say, and for how long they are good.

    :param service: what the registry is called in them.
    :param issuer: what the token service is called in them.
    :param lifetime: seconds for which an access token is good.
    :param refresh_lifetime: seconds for which a refresh token is.
    """

    service: str
    issuer: str
    lifetime: int
    refresh_lifetime: int


@implementer(IAuthBackend, IRereading, ITokenIssuing)
class TokenService:
    """Gives tokens to those whom another backend knows, and knows those who come with one.

    :param backend: who knows passwords.
    :param policy: what is allowed.
    :param terms: what tokens say.
    :param now: the time, in seconds since the epoch.
    :param identity_tokens: who knows identity tokens; None if none are taken.
    """

    def __init__(
        self,
        backend: IAuthBackend,
        policy: IAccessPolicy,
        terms: Terms,
        now: Callable[[], float],
        identity_tokens: IdentityTokens | None = None,
    ) -> None:
        self._backend = backend
        self._policy = policy
        self.terms = terms
        self._now = now
        self.identity_tokens = identity_tokens

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`.  The passwords' backend alone; see :meth:`use`."""
        self._backend.prepare()

    def use(self, signer: Signer) -> None:
        """Sign tokens, and take those that are signed, with a key.  To be called before anything is served."""
        self._signer = signer
        self._tokens = TokenBackend(
            realm="",
            redirect=PATH,
            service=self.terms.service,
            issuer=self.terms.issuer,
            algorithms=(signer.algorithm,),
            load=signer.keys,
            now=self._now,
        )
        self._tokens.prepare()

    async def reread(self) -> None:
        """See :class:`~txregistry.interfaces.IRereading`.  The passwords' backend alone."""
        if IRereading.providedBy(self._backend):
            await IRereading(self._backend).reread()

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        await self._backend.close()
        if self.identity_tokens is not None:
            await self.identity_tokens.close()

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`~txregistry.interfaces.IAuthBackend`.

        A password is taken as well as a token, for clients that know no better.
        """
        if (attempt.authorization or "").lower().startswith("bearer "):
            return await self._tokens.authenticate(attempt)
        return await self.log_in(attempt)

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        return self._tokens.challenges(attempt, accesses, error)

    def login_challenges(self, attempt: Attempt) -> list[str]:
        """Return what to ask of a client that is to log in at the token service."""
        return self._backend.challenges(attempt, (), None)

    async def log_in(self, attempt: Attempt) -> Identity:
        """Return who comes with a password, or with an identity token as one.

        :raises txregistry.errors.Unauthorized: it is not good.
        :raises txregistry.errors.TooManyRequests: too many were not, lately.
        """
        if self.identity_tokens is not None and attempt.authorization is not None:
            credentials = Credentials.parse(attempt.authorization)
            if credentials.user == _WORKLOAD.encode("ascii"):
                return await self.identity_tokens.authenticate(credentials.password.decode("latin-1"))
        return await self._backend.authenticate(attempt)

    async def log_in_as(self, attempt: Attempt, user: str, password: str) -> Identity:
        """Return who has a password; see :meth:`log_in`."""
        pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        return await self.log_in(evolve(attempt, authorization=f"Basic {pair}"))

    async def resume(self, refresh_token: str) -> Identity:
        """Return whom a refresh token is of.

        :raises txregistry.errors.Unauthorized: it is not good, or the user is gone or has another password.
        """
        terms = self.terms
        found = self._signer.verify_refresh(refresh_token, terms.service, terms.issuer, self._now())
        claims = dict(found.claims)
        then, now = claims.pop(_MARK, None), await self._mark(found.name)
        if now is None or not hmac.compare_digest(str(then).encode(), now.encode()):
            raise errors.Unauthorized(error="invalid_token")
        return evolve(found, claims=claims)

    async def issue(self, identity: Identity, asked: Iterable[Access], refresh: bool) -> Answer:
        """Return a token for what is asked and allowed, which may be nothing.

        :param refresh: whether a refresh token is wanted too; only those get one whose credentials can be
            looked up later.
        """
        terms, now = self.terms, self._now()
        granted = [access for access in _spelt_out(asked) if self._allows(identity, access)]
        token = self._signer.issue(
            identity.name,
            terms.service,
            terms.issuer,
            granted,
            terms.lifetime,
            now,
            identity.groups,
            identity.claims,
        )
        refresh_token = None
        mark = await self._mark(identity.name) if refresh else None
        if identity.name and mark is not None:
            refresh_token = self._signer.refresh(
                identity.name,
                terms.service,
                terms.issuer,
                terms.refresh_lifetime,
                now,
                identity.groups,
                {**identity.claims, _MARK: mark},
            )
        return Answer(token, terms.lifetime, now, refresh_token, " ".join(scopes(granted)))

    async def _mark(self, name: str | None) -> str | None:
        if not name or not IUserMarks.providedBy(self._backend):
            return None
        return await IUserMarks(self._backend).mark(name)

    def _allows(self, identity: Identity, access: Access) -> bool:
        decision = self._policy.decide(identity, access)
        if not decision.allowed:
            _log.info(
                "no token for {user} with {access}: {reason}",
                user=identity.name or "anonymous",
                access=str(access),
                reason=decision.reason,
            )
        return decision.allowed


def _spelt_out(accesses: Iterable[Access]) -> Iterable[Access]:
    """Yield accesses, each once, with every action of a repository for the one that stands for all.

    What no request can need is left out, for anyone may ask for anything, and for a lot of it.
    """
    seen: set[Access] = set()
    for access in accesses:
        for one in _meant(access):
            if one not in seen:
                seen.add(one)
                yield one


def _meant(access: Access) -> list[Access]:
    """Return what an access in a scope is to the guard."""
    if access == CATALOG:
        return [access]
    actions = ACTIONS if access.action == ALL else (access.action,)
    if not set(actions) <= set(ACTIONS) or _REPOSITORY.fullmatch(access.kind) is None:
        return []
    try:
        return Access.repository(RepositoryName.parse(access.name), *actions)
    except errors.NameInvalid:
        return []
