"""``/auth/token``: docker's token protocol, and the OAuth2 form of it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any
from urllib.parse import parse_qs

from attrs import frozen

from txregistry import errors
from txregistry.access import Access, Attempt, Identity, parse_scope
from txregistry.auth.issuing import Answer
from txregistry.auth.tokens import TokenService
from txregistry.web.answers import answer_json, ask_for_credentials
from txregistry.web.guard import Guard

_FORM_LIMIT = 64 * 1024
#: Scopes of one request at most; a client asks for one repository, or two when it mounts.
_SCOPES_LIMIT = 100


@frozen
class TokenRoutes:
    """Answers who wants a token.

    :param service: who gives it.
    :param guard: what requests say of who makes them.
    """

    service: TokenService
    guard: Guard

    async def get(self, request: Any) -> bytes:
        """Give a token to who logs in with Basic credentials, or to nobody in particular."""
        arguments = {
            str(name, "latin-1"): [str(value, "latin-1") for value in values]
            for name, values in request.args.items()
        }
        self._check_service(arguments)
        attempt = self.guard.attempt(request)
        identity = await self._known(request, attempt, self.service.log_in(attempt))
        refresh = arguments.get("offline_token", [""])[-1] == "true"
        return self._answer(request, await self.service.issue(identity, _asked(arguments), refresh))

    async def post(self, request: Any) -> bytes:
        """Give a token for a password or for a refresh token (RFC 6749, 4.3 and 6)."""
        content = await request.body.read_all(_FORM_LIMIT)
        try:
            arguments = parse_qs((content or b"").decode("utf-8"), max_num_fields=_SCOPES_LIMIT)
        except ValueError:
            raise errors.RequestInvalid(message="malformed form") from None
        self._check_service(arguments)
        attempt = self.guard.attempt(request)
        kind = _one(arguments, "grant_type")
        if kind == "refresh_token":
            finding = self.service.resume(_one(arguments, "refresh_token"))
        elif kind == "password":
            user, password = _one(arguments, "username"), _one(arguments, "password")
            finding = self.service.log_in_as(attempt, user, password)
        else:
            raise errors.RequestInvalid(message="grant_type must be password or refresh_token")
        identity = await self._known(request, attempt, finding)
        refresh = arguments.get("access_type", [""])[-1] == "offline"
        return self._answer(request, await self.service.issue(identity, _asked(arguments), refresh))

    async def _known(self, request: Any, attempt: Attempt, finding: Awaitable[Identity]) -> Identity:
        """Return who was found; ask a client whose credentials are not good for others."""
        try:
            return await finding
        except errors.Unauthorized:
            ask_for_credentials(request, self.service.login_challenges(attempt))
            raise

    def _check_service(self, arguments: dict[str, list[str]]) -> None:
        for named in arguments.get("service", []):
            if named != self.service.terms.service:
                raise errors.RequestInvalid(message="this token service is not for that registry")

    def _answer(self, request: Any, answer: Answer) -> bytes:
        request.setHeader(b"Cache-Control", b"no-store")
        return answer_json(request, answer.members())


def _asked(arguments: dict[str, list[str]]) -> Iterable[Access]:
    """Return what the scopes of a request spell: several parameters, or several scopes in one."""
    texts = [scope for value in arguments.get("scope", []) for scope in value.split(" ")]
    if len(texts) > _SCOPES_LIMIT:
        raise errors.RequestInvalid(message="too many scopes")
    return [access for text in texts for access in parse_scope(text)]


def _one(arguments: dict[str, list[str]], name: str) -> str:
    values = arguments.get(name, [])
    if len(values) != 1:
        raise errors.RequestInvalid(message=f"{name} must be given once")
    return values[0]
