"""Who signs: keys from the configuration, or from wherever botocore's chain finds some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from txregistry import errors
from txregistry.waiting import InThread, Turns

#: Seconds after which it is asked again for keys that may change.
_KEPT = 60.0


class Signers:
    """Gives the keys to sign with.

    The chain is botocore's: environment, shared files and profiles, web identity, container and instance.  What of
    it blocks is done in a thread, each time that keys may have changed.

    :param fixed: keys that do not change; None to ask the chain.
    :param in_thread: where the chain is asked.
    :param monotonic: seconds since some moment.
    """

    def __init__(
        self, fixed: Credentials | None, in_thread: InThread, monotonic: Callable[[], float]
    ) -> None:
        self._source: Any = fixed
        self._fixed = fixed is not None
        self._in_thread = in_thread
        self._monotonic = monotonic
        self._frozen: Any = None
        self._asked = 0.0
        self._turns = Turns()

    def prepare(self) -> None:
        """Find keys.  This blocks.

        :raises txregistry.errors.ConfigError: there are none.
        """
        try:
            if self._source is None:
                self._source = Session().get_credentials()
            self._frozen = None if self._source is None else self._source.get_frozen_credentials()
        except BotoCoreError as error:
            raise errors.ConfigError("accesskey", f"no credentials: {error}") from error
        if self._frozen is None:
            raise errors.ConfigError(
                "accesskey", "missing, and no credentials in the environment, in files, or of the instance"
            )
        self._asked = self._monotonic()

    async def keys(self) -> Any:
        """Return an access key with its secret, and a token if there is one.

        :raises txregistry.errors.StorageUnavailable: none can be had now.
        """
        if not self._fresh():
            await self._turns.run(self._renew)
        return self._frozen

    def expire(self) -> None:
        """Note that the keys are not taken any more."""
        self._asked = float("-inf")

    @property
    def frozen(self) -> Any:
        """The keys that were found last."""
        return self._frozen

    def _fresh(self) -> bool:
        return self._frozen is not None and (self._fixed or self._monotonic() - self._asked < _KEPT)

    async def _renew(self) -> None:
        if self._fresh():
            return
        try:
            await self._in_thread(self.prepare)
        except errors.ConfigError as error:
            raise errors.StorageUnavailable("", error.problem) from error
