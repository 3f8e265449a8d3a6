"""Users and passwords in an htpasswd file, as CNCF Distribution has them."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from txregistry.access import ANONYMOUS, Access, Attempt, Identity
from txregistry.auth.basic import Credentials, challenge
from txregistry.auth.flights import Flights
from txregistry.auth.password_file import PasswordFile
from txregistry.auth.passwords import Passwords
from txregistry.auth.throttle import Throttle, network
from txregistry.errors import ConfigError, TooManyRequests, Unauthorized
from txregistry.headers import is_printable
from txregistry.interfaces import IAuthBackend, IRereading, IUserMarks

_log = Logger()

#: Threads that bcrypt may keep busy.  One more looks at the file, so that this never waits for bcrypt.
_CHECKERS = 2
#: How many checks may wait for one of them.
_QUEUE = 64
#: Seconds for which a password that was right is not checked again, and for how many users.
_REMEMBERED = 60
_REMEMBERED_USERS = 16384
#: Seconds between two looks at the file.
_LOOKS = 1
#: Attempts that fail, in a minute: of one client as one user, and as whoever.
_ATTEMPTS_AS_USER = 10
_ATTEMPTS = 30
_MINUTE = 60

_OPTIONS = ("path", "realm")


def make(options: Mapping[str, Any], reactor: Any) -> Htpasswd:
    """Make a backend from ``auth.htpasswd``.

    :param options: ``realm``, what a client is told that the password is for; ``path``, the file.
    :raises txregistry.errors.ConfigError: another key, one that is missing, or a value of another kind.
    """
    for option in options:
        if option not in _OPTIONS:
            raise ConfigError(option, f"unknown key; expected {' and '.join(_OPTIONS)}")
    for option in _OPTIONS:
        if option not in options:
            raise ConfigError(option, "missing")
    realm, path = options["realm"], options["path"]
    if not is_printable(realm):
        raise ConfigError("realm", f"expected a text of printable ASCII, found {realm!r}")
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigError("path", f"expected the path of a file, found {path!r}")
    threads = ThreadPool(0, _CHECKERS + 1, "txregistry-htpasswd")
    return Htpasswd(realm, PasswordFile(os.path.abspath(path)), threads, reactor, secrets.token_bytes(32))


@implementer(IAuthBackend, IRereading, IUserMarks)
class Htpasswd:
    """Knows those who are in an htpasswd file.

    :param realm: what a client is told that the password is for.
    :param file: where users and hashes are.
    :param threads: where bcrypt runs and the file is read; started and stopped by this backend.
    :param reactor: where results are delivered, and whose clock is looked at.
    :param key: random bytes, with which passwords that were right are remembered.
    """

    def __init__(self, realm: str, file: PasswordFile, threads: ThreadPool, reactor: Any, key: bytes) -> None:
        self._challenge = challenge(realm)
        self._file = file
        self._threads = threads
        self._reactor = reactor
        self._key = key
        self._passwords = Passwords({})
        self._looked = 0.0
        self._looks: Flights[None] = Flights()
        self._checkers = DeferredSemaphore(_CHECKERS)
        self._checks: Flights[bool] = Flights()
        self._by_user = Throttle(reactor, _ATTEMPTS_AS_USER, _MINUTE)
        self._by_client = Throttle(reactor, _ATTEMPTS, _MINUTE)
        # By user, what was right and when it was checked, the oldest first.
        self._remembered: dict[bytes, tuple[bytes, float]] = {}

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        self._passwords = self._file.load()
        self._looked = self._reactor.seconds()
        self._threads.start()

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        for waiting in list(self._checkers.waiting):
            waiting.cancel()
        if self._threads.started:
            self._threads.stop()

    def challenges(self, attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        return [self._challenge]

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        if attempt.authorization is None:
            return ANONYMOUS
        credentials = Credentials.parse(attempt.authorization)
        await self._look_if_due()
        if not await self._holds(credentials, attempt.address):
            raise Unauthorized(error="invalid_token")
        return Identity(credentials.user.decode())

    async def mark(self, user: str) -> str | None:
        """See :class:`~txregistry.interfaces.IUserMarks`."""
        await self._look_if_due()
        stored = self._passwords.hashes.get(user.encode("utf-8"))
        return None if stored is None else hashlib.sha256(stored).hexdigest()

    async def reread(self) -> None:
        """See :class:`~txregistry.interfaces.IRereading`."""
        await self._looks.join(None, self._look)

    async def _look_if_due(self) -> None:
        # The clock is one that can be set back, here as below.
        if not 0 <= self._reactor.seconds() - self._looked < _LOOKS:
            await self._looks.join(None, self._look)

    async def _holds(self, credentials: Credentials, address: str) -> bool:
        """Say whether a user has given its password, after checking it if that was not done lately."""
        passwords = self._passwords
        stored = passwords.hashes.get(credentials.user, b"")
        proof = self._digest(credentials.user, credentials.password, stored)
        if self._remembers(credentials.user, proof):
            return True
        client = network(address)
        pair = self._digest(client.encode("utf-8", "surrogatepass"), credentials.user)
        if proof not in self._checks:
            wait = max(self._by_user.wait(pair), self._by_client.wait(client))
            if wait:
                raise TooManyRequests(wait)
            if len(self._checkers.waiting) >= _QUEUE:
                raise TooManyRequests(1)

        async def check() -> bool:
            # Taken before and put back after, so that attempts that are made all at once count too.
            self._by_user.take(pair)
            self._by_client.take(client)
            holds: bool = await self._checkers.run(
                deferToThreadPool,
                self._reactor,
                self._threads,
                passwords.check,
                credentials.user,
                credentials.password,
            )
            if holds:
                self._by_user.put_back(pair)
                self._by_client.put_back(client)
                self._remember(credentials.user, proof)
            else:
                user = credentials.user.decode() if stored else "an unknown user"
                _log.info("login from {address} as {user} failed", address=address, user=user)
            return holds

        return await self._checks.join(proof, check)

    def _remembers(self, user: bytes, proof: bytes) -> bool:
        known, since = self._remembered.get(user, (b"", 0.0))
        return hmac.compare_digest(known, proof) and 0 <= self._reactor.seconds() - since < _REMEMBERED

    def _remember(self, user: bytes, proof: bytes) -> None:
        now = self._reactor.seconds()
        self._remembered.pop(user, None)
        self._remembered[user] = (proof, now)
        while True:
            oldest = next(iter(self._remembered))
            if len(self._remembered) <= _REMEMBERED_USERS and now - self._remembered[oldest][1] < _REMEMBERED:
                break
            del self._remembered[oldest]

    async def _look(self) -> None:
        """Take over what the file says if it has changed; go on with what it said before if that is wrong."""
        try:
            found = await deferToThreadPool(self._reactor, self._threads, self._file.changed)
        except ConfigError as error:
            _log.error("{problem}; what it said before stays in force", problem=error.problem)
        else:
            if found is not None:
                self._passwords = found
                _log.info("{path} has changed and was read again", path=self._file.path)
        finally:
            self._looked = self._reactor.seconds()

    def _digest(self, *parts: bytes) -> bytes:
        """Return what stands for *parts*, in that order, and is of no use outside this process."""
        digest = hmac.new(self._key, digestmod="sha256")
        for part in parts:
            digest.update(b"%d:%b" % (len(part), part))
        return digest.digest()
