"""Who asks the store: tokens and signatures, made by Google's own libraries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import google.auth
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud.storage import Client
from google.oauth2.service_account import Credentials

from txregistry import errors
from txregistry.waiting import InThread, Turns
from txregistry_gcs.options import Options

#: How long a URL is good, as Distribution's is.
URL_LIFE = timedelta(minutes=20)
#: Seconds for which a token is used before it is looked at whether it is still good.
_USED = 60.0
_SCOPE = "https://www.googleapis.com/auth/devstorage.full_control"


class Access:
    """Gives tokens, and signs URLs where there is a key to sign with.

    What of it blocks is done in a thread.

    :param anonymous: whether nobody asks, as emulators want it.
    :param run: where tokens are asked for.
    :param monotonic: seconds since some moment.
    """

    def __init__(
        self, options: Options, anonymous: bool, run: InThread, monotonic: Callable[[], float]
    ) -> None:
        self._options = options
        self._run = run
        self._monotonic = monotonic
        self._credentials: Any = AnonymousCredentials() if anonymous else None
        self._anonymous = anonymous
        self._client: Any = None
        self._token = ""
        self._asked = float("-inf")
        self._turns = Turns()

    def prepare(self) -> None:
        """Get a token.  This blocks.

        :raises txregistry.errors.ConfigError: there is none.
        """
        where = "keyfile" if self._options.keyfile else "credentials"
        try:
            self._find()
        except (GoogleAuthError, OSError, ValueError) as error:
            line = str(error).partition("\n")[0]
            raise errors.ConfigError(where, f"no token can be had: {line}") from error

    async def token(self) -> str:
        """Return a token; empty for nobody's.

        :raises txregistry.errors.StorageUnavailable: none can be had now.
        """
        if not self._fresh():
            await self._turns.run(self._renew)
        return self._token

    @property
    def present(self) -> str:
        """The token that was found last."""
        return self._token

    def expire(self) -> None:
        """Note that the token is not taken any more."""
        self._asked = float("-inf")
        if not self._anonymous and self._credentials is not None:
            self._credentials.expiry, self._credentials.token = None, None

    def url(self, key: str, method: str) -> str | None:
        """Return a URL of an object that anybody may use for a while; None where there is no key to sign with."""
        if not isinstance(self._credentials, Credentials):
            # Others are signed for by Google, which is a request for each.
            return None
        if self._client is None:
            self._client = Client(project="none", credentials=self._credentials)
        blob = self._client.bucket(self._options.bucket).blob(key)
        url: str = blob.generate_signed_url(version="v4", expiration=URL_LIFE, method=method)
        return url

    def _fresh(self) -> bool:
        return self._anonymous or self._monotonic() - self._asked < _USED

    async def _renew(self) -> None:
        if self._fresh():
            return
        try:
            await self._run(self._find)
        except (GoogleAuthError, OSError, ValueError) as error:
            raise errors.StorageUnavailable("", f"no token can be had: {type(error).__name__}") from error

    def _find(self) -> None:
        if self._anonymous:
            return
        if self._credentials is None:
            if self._options.keyfile:
                found = Credentials.from_service_account_file(self._options.keyfile, scopes=[_SCOPE])
            elif self._options.credentials:
                found = Credentials.from_service_account_info(
                    dict(self._options.credentials), scopes=[_SCOPE]
                )
            else:
                found, _ = google.auth.default(scopes=[_SCOPE])
            self._credentials = found
        if not self._credentials.valid:
            self._credentials.refresh(Request())
        self._token, self._asked = self._credentials.token, self._monotonic()
