"""Who asks the store, and what shows it: signatures and tokens, made by Azure's own libraries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient, generate_blob_sas, generate_container_sas
from zope.interface import Interface, implementer

from txregistry import errors
from txregistry.waiting import InThread, Turns
from txregistry_azure.options import CLIENT_SECRET, SHARED_KEY, Options

#: Seconds for which the URL of a blob is good, as Distribution's is.
URL_LIFE = 20 * 60
#: Seconds for which a signature of requests is good, and used.
_SIGNED, _USED = 3600.0, 1800.0
#: Seconds before its end when a token, or a key of a user, is used no more.
_MARGIN = 300.0
#: Seconds for which a key of a user is asked for.
_DELEGATED = 6 * 3600.0
#: What the registry does: read, add, create, write, delete, list.
_PERMISSIONS = "racwdl"
_SCOPE = "https://storage.azure.com/.default"


@frozen
class Pass:
    """What goes with a request.

    :param query: a shared access signature; empty for none.
    :param bearer: a token; empty for none.
    """

    query: str = ""
    bearer: str = ""


class IAccess(Interface):
    """Shows the store who asks."""

    def prepare() -> None:
        """Get what the first requests need.  This may block.

        :raises txregistry.errors.ConfigError: it cannot be had.
        """

    def ask() -> Awaitable[Pass]:
        """Return what goes with a request.

        :raises txregistry.errors.StorageUnavailable: it cannot be had now.
        """

    def reading(name: str) -> Awaitable[str]:
        """Return a signature that lets anybody read one blob, for twenty minutes.

        :raises txregistry.errors.StorageUnavailable: it cannot be had now.
        """

    def expire() -> None:
        """Note that the store takes what it was shown no more."""

    #: Whether what :meth:`reading` returns may be given to clients.
    may_be_given: bool


def access_of(options: Options, run: InThread, now: Callable[[], float]) -> Any:
    """Return who asks, as options say.

    :param run: where what blocks is done.
    :param now: the time, in seconds since the epoch.
    """
    if options.kind == SHARED_KEY:
        return GivenAccess(options.sas) if options.sas else KeyAccess(options, now)
    return UserAccess(options, run, now)


@implementer(IAccess)
class KeyAccess:
    """Asks with a key of the account: it signs what it may do for an hour, rather than each request."""

    may_be_given = True

    def __init__(self, options: Options, now: Callable[[], float]) -> None:
        self._options = options
        self._now = now
        self._signed = float("-inf")
        self._query = ""

    def prepare(self) -> None:
        """See :class:`IAccess`."""
        try:
            self._sign()
        except ValueError as error:
            raise errors.ConfigError("accountkey", "expected a key of the account, in base64") from error

    async def ask(self) -> Pass:
        """See :class:`IAccess`."""
        if abs(self._now() - self._signed) > _USED:
            self._sign()
        return Pass(self._query)

    async def reading(self, name: str) -> str:
        """See :class:`IAccess`."""
        return _reading(self._options, name, self._now(), account_key=self._options.accountkey)

    def expire(self) -> None:
        """See :class:`IAccess`."""
        self._signed = float("-inf")

    def _sign(self) -> None:
        now = self._now()
        self._query = generate_container_sas(
            self._options.accountname,
            self._options.container,
            account_key=self._options.accountkey,
            permission=_PERMISSIONS,
            expiry=_moment(now + _SIGNED),
        )
        self._signed = now


@implementer(IAccess)
@frozen
class GivenAccess:
    """Asks with a signature that the configuration has.  It allows too much to be given to clients."""

    query: str
    may_be_given = False

    def prepare(self) -> None:
        """See :class:`IAccess`."""

    async def ask(self) -> Pass:
        """See :class:`IAccess`."""
        return Pass(self.query)

    async def reading(self, name: str) -> str:
        """See :class:`IAccess`."""
        return self.query

    def expire(self) -> None:
        """See :class:`IAccess`."""


@implementer(IAccess)
class UserAccess:
    """Asks as a user of Microsoft Entra: an application with its secret, or whoever azure-identity finds.

    Tokens, and the keys with which signatures are made in a user's name, are asked for in a thread.
    """

    may_be_given = True

    def __init__(self, options: Options, run: InThread, now: Callable[[], float]) -> None:
        self._options = options
        self._run = run
        self._now = now
        self._credential: Any = None
        self._token: Any = None
        self._key: Any = None
        self._key_ends = float("-inf")
        self._turns = Turns()

    def prepare(self) -> None:
        """See :class:`IAccess`."""
        try:
            self._get_token()
        except (AzureError, ValueError) as error:
            raise errors.ConfigError("credentials", f"no token can be had: {_line(error)}") from error

    async def ask(self) -> Pass:
        """See :class:`IAccess`."""
        if not self._fresh():
            await self._turns.run(self._renew)
        return Pass(bearer=self._token.token)

    async def reading(self, name: str) -> str:
        """See :class:`IAccess`."""
        if self._key_ends - self._now() < URL_LIFE + _MARGIN:
            await self._turns.run(self._renew_key)
        return _reading(self._options, name, self._now(), user_delegation_key=self._key)

    def expire(self) -> None:
        """See :class:`IAccess`."""
        self._token = None

    def _fresh(self) -> bool:
        return self._token is not None and self._token.expires_on - self._now() > _MARGIN

    async def _renew(self) -> None:
        if not self._fresh():
            await self._blocking(self._get_token)

    async def _renew_key(self) -> None:
        if self._key_ends - self._now() < URL_LIFE + _MARGIN:
            await self._blocking(self._get_key)

    async def _blocking(self, work: Callable[[], None]) -> None:
        try:
            await self._run(work)
        except (AzureError, ValueError) as error:
            raise errors.StorageUnavailable("", f"no token can be had: {type(error).__name__}") from error

    def _get_token(self) -> None:
        self._token = self._found().get_token(_SCOPE)

    def _get_key(self) -> None:
        now = self._now()
        verify = not self._options.skipverify
        with BlobServiceClient(self._options.service, self._found(), connection_verify=verify) as client:
            self._key = client.get_user_delegation_key(_moment(now - _MARGIN), _moment(now + _DELEGATED))
        self._key_ends = now + _DELEGATED

    def _found(self) -> Any:
        if self._credential is None:
            # It takes a second to import, which only those pay who use it.
            from azure.identity import ClientSecretCredential, DefaultAzureCredential

            given = self._options.credentials
            if given.type == CLIENT_SECRET:
                self._credential = ClientSecretCredential(given.tenantid, given.clientid, given.secret)
            else:
                self._credential = DefaultAzureCredential()
        return self._credential


def _reading(options: Options, name: str, now: float, **key: Any) -> str:
    query: str = generate_blob_sas(
        options.accountname,
        options.container,
        name,
        permission="r",
        expiry=_moment(now + URL_LIFE),
        **key,
    )
    return query


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
