"""An auth backend as a third party would write it: the example of docs/writing-an-auth-backend.rst."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from txregistry.access import ANONYMOUS, Access, Attempt, Identity
from txregistry.errors import ConfigError, Unauthorized
from txregistry.interfaces import IAuthBackend


def make(options: Mapping[str, Any], reactor: Any) -> ApiKeys:
    """Make a backend from ``auth.apikeys``.

    :param options: ``path``, a file of lines ``name sha256-of-the-key``.
    """
    rest = dict(options)
    path = rest.pop("path", None)
    if rest:
        raise ConfigError(min(rest), "unknown key; expected path")
    if not isinstance(path, str):
        raise ConfigError("path", f"expected the path of a file, found {path!r}")
    return ApiKeys(path, ThreadPool(0, 1, "apikeys"), reactor)


@implementer(IAuthBackend)
class ApiKeys:
    """Knows those who send a key, ``Authorization: Bearer KEY``."""

    def __init__(self, path: str, threads: ThreadPool, reactor: Any) -> None:
        self._path = path
        self._threads = threads
        self._reactor = reactor

    def prepare(self) -> None:
        """Refuse to start with a file that cannot be used; then start the thread."""
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise ConfigError("path", f"cannot use {self._path}: {type(error).__name__}") from None
        self._threads.start()

    async def close(self) -> None:
        """Stop the thread."""
        if self._threads.started:
            self._threads.stop()

    async def authenticate(self, attempt: Attempt) -> Identity:
        """Say whose key it is."""
        if attempt.authorization is None:
            return ANONYMOUS
        scheme, _, key = attempt.authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized(error="invalid_token")
        digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
        names = await deferToThreadPool(self._reactor, self._threads, self._read)
        for name, known in names.items():
            if hmac.compare_digest(known, digest):
                return Identity(name)
        raise Unauthorized(error="invalid_token")

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """Ask for a key."""
        suffix = f', error="{error}"' if error else ""
        return [f'Bearer realm="keys"{suffix}']

    def _read(self) -> dict[str, str]:
        with open(self._path, encoding="ascii") as file:
            return dict(line.split() for line in file)
