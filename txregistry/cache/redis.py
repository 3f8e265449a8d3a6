"""A cache in Redis, ``storage.cache.blobdescriptor: redis``."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import ResponseError
from zope.interface import implementer

from txregistry.cache.connection import RedisConnection, explain
from txregistry.errors import ConfigError
from txregistry.interfaces import ICache

_log = Logger()

#: What the keys begin with: others may keep other things in the same database.
PREFIX = "txregistry:"
#: Seconds that a request waits for a reply at most.
PATIENCE = 0.05
#: Seconds for which an entry is kept that is not put again.
KEPT = 7 * 24 * 3600
_VALUE_LIMIT = 64 * 1024
#: Seconds that making a connection may take unless ``dialtimeout`` says otherwise: go-redis's.
_DIAL = 5.0
#: Seconds from one try to connect to the next: the first, and the longest.
_SHORTEST, _LONGEST = 0.1, 30.0
#: Seconds after which a connection that is lost was a good one all the same.
_PROVEN = 5.0


@implementer(ICache)
@define(eq=False)
class RedisCache:
    """Asks one server, over one connection, for as long as it answers in time.

    After any trouble it asks no more, and knows nothing, until a connection that was made in the background has
    proved to be quick.  Tries for one come ever more rarely while none succeeds.

    :param endpoint: makes the endpoint of the server, once.
    :param login: the commands that begin a connection.
    :param clock: tells the time.
    :param patience: seconds that a reply may take.
    :param dial: seconds that making a connection may take.
    :param spread: returns a number between 0 and 1: registries that lost one server come back one by one.
    """

    _endpoint: Callable[[], IStreamClientEndpoint]
    _login: Sequence[Sequence[str]]
    _clock: Any
    _patience: float
    _dial: float
    _spread: Callable[[], float]
    requests: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)
    _server: IStreamClientEndpoint = field(init=False)
    _connection: RedisConnection | None = field(default=None, init=False)
    _trying: Deferred[None] | None = field(default=None, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _closed: bool = field(default=False, init=False)
    _told: bool = field(default=False, init=False)
    _refused: bool = field(default=False, init=False)

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.ICache`.

        :raises txregistry.errors.ConfigError: a file with certificates or a key does not hold them.
        """
        self._server = self._endpoint()
        self._next = self._clock.callLater(0, self._begin)

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.ICache`."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._trying is not None:
            trying = self._trying
            trying.cancel()
            await trying
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.abort("the registry stops")
            await connection.ended

    async def get(self, key: str) -> bytes | None:
        """See :class:`~txregistry.interfaces.ICache`."""
        self.requests += 1
        connection = self._connection
        if connection is None or connection.is_full:
            self.errors += 1
            return None
        try:
            value = await connection.ask(self._patience, "GET", PREFIX + key)
        except CancelledError:
            raise
        except Exception as error:
            self.errors += 1
            connection.abort(explain(error))
            return None
        if value is None:
            return None
        if not isinstance(value, bytes):
            self.errors += 1
            connection.abort("the reply makes no sense")
            return None
        self.hits += 1
        return value

    async def put(self, key: str, value: bytes) -> None:
        """Send a value, without waiting for it to arrive."""
        if len(value) <= _VALUE_LIMIT:
            self._send("SET", PREFIX + key, value, "EX", str(KEPT))

    async def forget(self, key: str) -> None:
        """Send that a value is wrong, without waiting for it to be gone: whoever uses one compares it."""
        self._send("DEL", PREFIX + key)

    def _send(self, *words: str | bytes) -> None:
        connection = self._connection
        if connection is None or connection.is_full:
            return

        def failed(failure: Failure) -> None:
            if failure.check(ResponseError) and not self._refused:
                self._refused = True
                _log.warn("cannot write to the cache in Redis: {reason}", reason=explain(failure.value))

        connection.ask(self._patience, *words).addErrback(failed)

    def _begin(self) -> None:
        self._next = None
        self._trying = Deferred.fromCoroutine(self._try())

    async def _try(self) -> None:
        try:
            connection = await self._connect()
        except CancelledError:
            if not self._closed:
                self._failed("the connection took too long")
            return
        except Exception as error:
            self._failed(explain(error))
            return
        finally:
            self._trying = None
        self._connection, self._since = connection, self._clock.seconds()
        self._refused = False
        if self._told:
            _log.info("the cache in Redis is used again")
            self._told = False

    async def _connect(self) -> RedisConnection:
        factory = Factory.forProtocol(lambda: RedisConnection(self._clock, self._lost))
        factory.noisy = False
        connecting: Deferred[Any] = self._server.connect(factory)
        connection: RedisConnection = await connecting.addTimeout(self._dial, self._clock)
        try:
            for words in self._login:
                await connection.ask(self._dial, *words)
            await connection.ask(self._patience, "PING")
        except BaseException:
            connection.abort("the connection is of no use")
            await connection.ended
            raise
        return connection

    def _lost(self, connection: RedisConnection, reason: str) -> None:
        if connection is self._connection:
            self._connection = None
            if self._clock.seconds() - self._since >= _PROVEN:
                self._failures = 0
            self._failed(reason)

    def _failed(self, reason: str) -> None:
        if self._closed:
            return
        if not self._told:
            _log.warn(
                "the cache in Redis is not used: {reason}; tried again in the background", reason=reason
            )
            self._told = True
        pause = min(_LONGEST, _SHORTEST * 2 ** min(self._failures, 20)) * (0.75 + self._spread() / 2)
        self._failures += 1
        self._next = self._clock.callLater(pause, self._begin)


@frozen
class _Tls:
    """Files for TLS.

    :param certificate: the registry's own certificate; empty for none.
    :param key: its key.
    :param rootcas: authorities; those of the system if there are none.
    """

    certificate: str
    key: str
    rootcas: Sequence[str]

    def wrap(self, host: str, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        """Return an endpoint that speaks TLS over another.

        :raises txregistry.errors.ConfigError: a file does not hold what it should.
        """
        authorities = [one for path in self.rootcas for one in _certificates(path)]
        own = None
        if self.certificate:
            pem = _read("redis.tls.certificate", self.certificate) + b"\n" + _read("redis.tls.key", self.key)
            try:
                own = PrivateCertificate.loadPEM(pem)
            except Exception:
                problem = f"{self.certificate} and {self.key} do not hold a certificate and its key, in PEM"
                raise ConfigError("redis.tls.certificate", problem) from None
        trust = trustRootFromCertificates(authorities) if authorities else None
        return wrapClientTLS(optionsForClientTLS(host, trust, own), endpoint)


def _read(where: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(where, f"{path} cannot be read: {error.strerror}") from None


def _certificates(path: str) -> list[Certificate]:
    blocks = _read("redis.tls.rootcas", path).split(b"-----BEGIN CERTIFICATE-----")[1:]
    try:
        found = [Certificate.loadPEM(b"-----BEGIN CERTIFICATE-----" + block) for block in blocks]
    except Exception:
        found = []
    if not found:
        raise ConfigError("redis.tls.rootcas", f"{path} does not hold certificates, in PEM")
    return found


def make(options: Mapping[str, Any], reactor: Any) -> RedisCache:
    """Return a cache.

    :raises txregistry.errors.ConfigError: the section ``redis`` does not name one server.
    """
    keys = options["redis"]
    addresses = [] if keys is None else keys["addrs"] or [one for one in [keys["addr"]] if one]
    if not addresses:
        raise ConfigError("redis.addrs", "not set, but storage.cache.blobdescriptor says redis")
    if len(addresses) > 1:
        problem = f"found {len(addresses)} addresses, expected one: clusters and sentinels are not supported"
        raise ConfigError("redis.addrs", problem)
    host, _, port = addresses[0].rpartition(":")
    host = host.strip("[]") or "localhost"
    dial = keys["dialtimeout"] if keys["dialtimeout"] > 0 else _DIAL
    patience = min([PATIENCE, *(keys[key] for key in ("readtimeout", "writetimeout") if keys[key] > 0)])
    tls = keys["tls"] or {}
    if bool(tls.get("certificate")) != bool(tls.get("key")):
        raise ConfigError("redis.tls", "certificate and key belong together; expected both or neither")

    def endpoint() -> IStreamClientEndpoint:
        plain = HostnameEndpoint(reactor, host, int(port), timeout=dial)
        if not any(tls.values()):
            return plain
        return _Tls(tls["certificate"], tls["key"], tls["rootcas"]).wrap(host, plain)

    login: list[Sequence[str]] = []
    if keys["password"]:
        login.append(["AUTH", *([keys["username"]] if keys["username"] else []), keys["password"]])
    if keys["db"]:
        login.append(["SELECT", str(keys["db"])])
    return RedisCache(endpoint, login, reactor, patience, dial, random.Random().random)  # noqa: S311
