"""The cache in Redis, with a real server that is killed, stopped, started again and locked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.peers.case import run_program
from tests.processes import end_process, find_program, free_port
from tests.registry_client import RegistryClient
from tests.telemetry.test_service import DebuggedServer
from tests.test_caching import SharedStorageCase
from txregistry.cache.redis import make
from txregistry.config.redis import RedisKeys
from txregistry.interfaces import ICache
from txregistry.testing.cache import CacheContract

#: Seconds until what comes back by itself must have: the longest pause between two tries is 30.
PATIENCE = 90.0


@define
class RedisServer:
    """A Redis on a port of its own, which keeps nothing on disk.

    :param directory: where its log goes.
    :param arguments: beside the usual ones.
    """

    directory: str
    arguments: list[str] = field(factory=list)
    port: int = field(factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it listens."""
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.directory]
        command = [find_program("redis-server"), *where, "--save", "", *self.arguments]
        with open(os.path.join(self.directory, "redis.log"), "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            assert self._process.poll() is None and time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def end(self) -> None:
        """End it, if it runs; also if it is stopped."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            end_process(process)

    def say(self, *words: str) -> str:
        """Return what it answers to a command."""
        return run_program("redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *words).strip()


class ContractTests(CacheContract, TestCase):
    """What every cache promises."""

    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        self.redis = RedisServer(directory, self.arguments(directory))
        self.redis.start()
        self.addCleanup(self.redis.end)

    def arguments(self, directory: str) -> list[str]:
        """Return how the server is started."""
        return []

    def keys(self) -> dict[str, Any]:
        """Return how it is reached."""
        return {}

    def cache(self, **more: Any) -> ICache:
        default = {"addrs": [self.redis.address], "addr": "", "username": "", "password": "", "db": 0}
        times = dict.fromkeys(("dialtimeout", "readtimeout", "writetimeout"), 0.0)
        tls = {"enabled": False, "certificate": "", "key": "", "rootcas": []}
        self.assertEqual({*default, *times, "tls"}, set(RedisKeys.__struct_fields__))
        keys = {**default, **times, "tls": tls, **self.keys(), **more}
        cache = make({"blobdescriptorsize": 10000, "redis": keys}, reactor)
        cache.prepare()
        return cache

    def make_cache(self) -> ICache:
        return self.cache()

    def make_failing(self) -> ICache:
        return self.cache(addrs=[f"127.0.0.1:{free_port()}"])

    async def ready(self, cache: ICache) -> None:
        """Wait until the cache keeps what is put."""
        deadline = time.monotonic() + PATIENCE
        while await cache.get("contract:ready") is None:
            self.assertLess(time.monotonic(), deadline)
            await cache.put("contract:ready", b"1")
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]

    def test_in_use_and_closed(self) -> Deferred[None]:
        """A cache that was used leaves no connection and no timer when it is closed."""
        cache = self.make_cache()
        self.closing(cache)

        async def work() -> None:
            await self.ready(cache)
            await cache.put("contract:one", b"1")
            await self.close()

        return Deferred.fromCoroutine(work())

    def test_expiry(self) -> Deferred[None]:
        """What is kept does not fill the server for ever."""
        cache = self.make_cache()
        self.closing(cache)

        async def work() -> None:
            await self.ready(cache)
            seconds = int(self.say("TTL", "txregistry:contract:ready"))
            self.assertTrue(600_000 < seconds <= 604_800, seconds)

        return Deferred.fromCoroutine(work())

    def say(self, *words: str) -> str:
        """Return what the server answers to a command."""
        return self.redis.say(*words)


class LockedTests(ContractTests):
    """A server with users, and a database that is not the first."""

    def arguments(self, directory: str) -> list[str]:
        allowed = ["~txregistry:*", "+get", "+set", "+del", "+ping", "+select"]
        return ["--requirepass", "root", "--user", "registry", "on", ">hush", *allowed]

    def keys(self) -> dict[str, Any]:
        return {"username": "registry", "password": "hush", "db": 3}

    def say(self, *words: str) -> str:
        return self.redis.say("--no-auth-warning", "-a", "root", "-n", "3", *words)

    def test_wrong_login(self) -> Deferred[None]:
        """With a wrong password, user or database, and without a password, the cache knows nothing."""

        async def work() -> None:
            for wrong in ({"password": "no"}, {"username": "nobody"}, {"password": ""}, {"db": 99}):
                cache = self.cache(**wrong)
                try:
                    for _ in range(20):
                        await cache.put("a", b"1")
                        self.assertIsNone(await cache.get("a"), wrong)
                        await deferLater(reactor, 0.01)  # type: ignore[arg-type]
                finally:
                    await cache.close()

        return Deferred.fromCoroutine(work())


class TlsTests(ContractTests):
    """A server that speaks TLS alone, and wants to see a certificate."""

    def arguments(self, directory: str) -> list[str]:
        def path(name: str) -> str:
            return os.path.join(directory, name)

        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        for name in ("server", "client", "other"):
            files = ["-keyout", path(f"{name}.key"), "-out", path(f"{name}.pem")]
            names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
            run_program("openssl", *new, *files, *names)
        self.path = path
        return [
            *("--tls-port", str(self.port), "--tls-cert-file", path("server.pem")),
            *("--tls-key-file", path("server.key"), "--tls-ca-cert-file", path("client.pem")),
        ]

    def setUp(self) -> None:
        self.port = free_port()
        super().setUp()

    def keys(self) -> dict[str, Any]:
        own = {"certificate": self.path("client.pem"), "key": self.path("client.key")}
        tls = {"enabled": False, "rootcas": [self.path("server.pem")], **own}
        return {"addrs": [f"127.0.0.1:{self.port}"], "tls": tls}

    def test_not_trusted(self) -> Deferred[None]:
        """A server whose certificate is of another authority is told nothing."""
        tls = {**self.keys()["tls"], "rootcas": [self.path("other.pem")]}

        async def work() -> None:
            cache = self.cache(tls=tls, password="hush")
            try:
                for _ in range(20):
                    self.assertIsNone(await cache.get("a"))
                    await deferLater(reactor, 0.01)  # type: ignore[arg-type]
            finally:
                await cache.close()

        return Deferred.fromCoroutine(work())


class ServerTests(SharedStorageCase):
    """Registries with a Redis that comes and goes."""

    def setUp(self) -> None:
        super().setUp()
        self.redis = RedisServer(self.directory)
        self.addCleanup(self.redis.end)
        self.more = {
            "storage": {"cache": {"blobdescriptor": "redis"}},
            "redis": {"addrs": [self.redis.address]},
            "log": {"level": "info", "accesslog": {"disabled": True}},
        }

    def figures(self, server: DebuggedServer) -> dict[str, float]:
        """Return what the figures say of the cache."""
        name = "registry_storage_cache_"
        lines = [line for line in server.ask("/metrics")[1].splitlines() if line.startswith(name)]
        return {line.removeprefix(name).partition("_")[0]: float(line.split()[1]) for line in lines}

    def registry(self) -> tuple[DebuggedServer, RegistryClient, str]:
        """Start a registry that counts; return it, a client, and the path of a blob."""
        server = DebuggedServer("txregistry", self.directory, os.path.join(self.directory, "data"))
        server.prometheus = {"enabled": True}
        server.environ = {
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
            "REGISTRY_REDIS_ADDRS": f"[{self.redis.address}]",
            "REGISTRY_LOG_LEVEL": "info",
        }
        server.start()
        self.addCleanup(server.stop)
        client = RegistryClient(server.host)
        return server, client, f"/v2/a/blobs/{client.push_bytes('a', b'a small blob')}"

    def until_used(self, server: DebuggedServer, client: RegistryClient, path: str) -> None:
        """Return when the cache has answered; every request until then is answered all the same."""
        hits, deadline = self.figures(server)["hits"], time.monotonic() + PATIENCE
        while self.figures(server)["hits"] == hits:
            self.assertEqual(client.request("GET", path).body, b"a small blob")
            self.assertLess(time.monotonic(), deadline, server.log())

    def until_said(self, server: DebuggedServer, client: RegistryClient, path: str, text: str) -> None:
        """Return when the log has a text; every request until then is answered all the same."""
        deadline = time.monotonic() + PATIENCE
        while text not in server.log():
            self.assertEqual(client.request("GET", path).body, b"a small blob")
            self.assertLess(time.monotonic(), deadline, server.log())

    def test_nothing_stale(self) -> None:
        """What is deleted in one process, or past both, is 404 in the other at once."""
        self.redis.start()
        first, second = self.start(**self.more)
        digest = first.push_bytes("b", b"x")
        deadline = time.monotonic() + PATIENCE
        while not self.redis.say("KEYS", "*"):
            self.assertLess(time.monotonic(), deadline)
            first.request("GET", f"/v2/b/blobs/{digest}")
        self.exercise(first, second)
        self.assertIn("txregistry:manifest:", self.redis.say("KEYS", "*"))

    def test_down_at_start(self) -> None:
        """A Redis that is down keeps no registry from starting and serving, and is used when it is up."""
        server, client, path = self.registry()
        self.until_said(server, client, path, "the cache in Redis is not used: ConnectionRefusedError")
        self.assertEqual(self.figures(server)["hits"], 0)
        self.redis.start()
        self.until_used(server, client, path)
        self.assertIn("the cache in Redis is used again", server.log())

    def test_killed(self) -> None:
        """A Redis that is killed is missed by no request; one that takes its place is used by itself."""
        self.redis.start()
        server, client, path = self.registry()
        self.until_used(server, client, path)
        for _ in range(3):
            self.redis.end()
            for _ in range(20):
                self.assertEqual(client.request("GET", path).body, b"a small blob")
            self.redis.start()
            self.until_used(server, client, path)

    def test_stopped(self) -> None:
        """A Redis that hangs costs the first requests a moment and the others nothing; it is used when it goes on."""
        self.redis.start()
        server, client, path = self.registry()
        self.until_used(server, client, path)
        self.redis.send(signal.SIGSTOP)
        begin = time.monotonic()
        for _ in range(200):
            self.assertEqual(client.request("GET", path).body, b"a small blob")
        # 200 requests that each waited would take 10 s at least.
        self.assertLess(time.monotonic() - begin, 8)
        self.assertGreaterEqual(self.figures(server)["errors"], 190)
        self.redis.send(signal.SIGCONT)
        self.until_used(server, client, path)

    def test_full(self) -> None:
        """A Redis that has no room left is still asked, and the log says why it learns nothing."""
        self.redis.arguments = ["--maxmemory", "1", "--maxmemory-policy", "noeviction"]
        self.redis.start()
        server, client, path = self.registry()
        self.until_said(server, client, path, "cannot write to the cache in Redis: the server says OOM")
        self.redis.say("CONFIG", "SET", "maxmemory", "0")
        self.until_used(server, client, path)
