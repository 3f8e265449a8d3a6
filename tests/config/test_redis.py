"""The section ``redis``."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from tests.config.loading import SMALLEST, LoadingCase
from txregistry.cache.redis import RedisCache
from txregistry.config.caches import cache
from txregistry.config.masks import MASK
from txregistry.config.show import render
from txregistry.errors import ConfigError

USED = "version: 0.1\nstorage: {inmemory: , cache: {blobdescriptor: redis}}\n"


class RedisTests(LoadingCase):
    """What the section may hold."""

    def made(self, keys: str, **environ: str) -> RedisCache:
        """Return the cache that the section makes."""
        text = f"{USED}redis: {keys}\n" if keys else USED
        found = cache(self.config(text, environ), Clock())
        assert isinstance(found, RedisCache)
        return found

    def refusal(self, keys: str) -> str:
        """Return the complaint about a section that cannot be used."""
        return str(self.assertRaises(ConfigError, self.made, keys))

    def login(self, cache: RedisCache) -> list[list[str]]:
        return [list(words) for words in cache._login]

    def test_one_address(self) -> None:
        """One server is named, by the key of Distribution 3 or by that of 2."""
        for keys in ("{addrs: [a:6379]}", "{addrs: a:6379}", "{addr: a:6379}", "{addrs: ['[::1]:6379']}"):
            self.made(keys)
        for keys in ("", "{}", "{addrs: []}", "{db: 1}"):
            self.assertEqual(
                self.refusal(keys), "redis.addrs: not set, but storage.cache.blobdescriptor says redis"
            )

    def test_several_addresses(self) -> None:
        """Several servers, which are a cluster or sentinels for Distribution, are refused in one line."""
        self.assertEqual(
            self.refusal("{addrs: [a:1, b:2]}"),
            "redis.addrs: found 2 addresses, expected one: clusters and sentinels are not supported",
        )

    def test_no_address(self) -> None:
        """What is no address is refused by its key."""
        for keys, key in (("{addrs: [redis]}", "redis.addrs.0"), ("{addr: redis}", "redis.addr")):
            self.assertIn(f"{key}: found", self.complaint(f"{USED}redis: {keys}\n"))

    def test_login(self) -> None:
        """A password is given, with a user if there is one, and a database chosen, unless it is the first."""
        for keys, login in (
            ("{addr: a:1}", []),
            ("{addr: a:1, username: u, db: 0}", []),
            ("{addr: a:1, password: p, db: 2}", [["AUTH", "p"], ["SELECT", "2"]]),
            ("{addr: a:1, username: u, password: 0123}", [["AUTH", "u", "0123"]]),
        ):
            self.assertEqual(self.login(self.made(keys)), login, keys)

    def test_timeouts(self) -> None:
        """No timeout lets a request wait for longer than 50 ms; 0 is the default."""
        for keys, patience, dial in (
            ("", 0.05, 5),
            (", readtimeout: 0, dialtimeout: 0", 0.05, 5),
            (", readtimeout: 3s, writetimeout: 3s, dialtimeout: 1s", 0.05, 1),
            (", readtimeout: 10ms, writetimeout: 20ms", 0.01, 5),
            (", readtimeout: 40ms, writetimeout: 20ms", 0.02, 5),
        ):
            made = self.made(f"{{addr: a:1{keys}}}")
            self.assertEqual((made._patience, made._dial), (patience, dial), keys)

    def test_variables(self) -> None:
        """Distribution's variables reach the keys, of 3 and of 2, with and without a section in the file."""
        authorities = self.file("ca")
        environ: dict[str, Any] = {
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
            "REGISTRY_REDIS_ADDRS": "[redis:6379]",
            "REGISTRY_REDIS_PASSWORD": "hush",
            "REGISTRY_REDIS_DB": "4",
            "REGISTRY_REDIS_TLS_ROOTCAS": f"[{authorities}]",
            "REGISTRY_REDIS_POOLSIZE": "8",
            "REGISTRY_REDIS_POOL_MAXIDLE": "16",
        }
        for text in (SMALLEST, SMALLEST + "redis: {addrs: [b:1], db: 1}\n"):
            keys = self.config(text, environ).redis
            assert keys is not None
            self.assertEqual((keys.addrs, keys.password, keys.db), (["redis:6379"], "hush", 4))
            self.assertEqual(keys.tls.rootcas, [authorities])
        keys = self.config(SMALLEST, {"REGISTRY_REDIS_ADDRS_0": "a:1", "REGISTRY_REDIS_ADDR": "b:1"}).redis
        assert keys is not None
        self.assertEqual((keys.addrs, keys.addr), (["a:1"], "b:1"))

    def test_files_of_distribution(self) -> None:
        """The examples of both versions of Distribution are accepted as they are."""
        self.made(
            "{addrs: [localhost:6379], password: asecret, db: 0, dialtimeout: 10ms, readtimeout: 10ms, "
            "writetimeout: 10ms, maxidleconns: 16, poolsize: 64, connmaxidletime: 300s, "
            "tls: {certificate: , key: , rootcas: []}}"
        )
        self.made(
            "{addr: localhost:6379, password: asecret, db: 0, dialtimeout: 10ms, readtimeout: 10ms, "
            "writetimeout: 10ms, pool: {maxidle: 16, maxactive: 64, idletimeout: 300s}, tls: {enabled: false}}"
        )

    def test_not_built(self) -> None:
        """A key that asks for what is not done is refused by its name; one that does not is accepted."""
        for key, wrong, right in (
            ("clientname", "a", "''"),
            ("protocol", "3", "2"),
            ("maxretries", "3", "-1"),
            ("minidleconns", "4", "1"),
            ("mastername", "a", ""),
            ("sentinelpassword", "a", ""),
            ("readonly", "true", "false"),
            ("routerandomly", "true", "false"),
            ("disableidentity", "false", "true"),
            ("identitysuffix", "a", ""),
            ("unstableresp3", "true", "false"),
            ("pool", "{size: 3}", "{maxactive: 3}"),
        ):
            said = self.complaint(f"{USED}redis: {{addr: a:1, {key}: {wrong}}}\n")
            self.assertTrue(
                said.startswith(f"redis.{key}: this key of Distribution's is not supported"), said
            )
            self.made(f"{{addr: a:1, {key}: {right}}}")
        self.assertIn(
            "redis.adrs: unknown key; did you mean", self.complaint(f"{USED}redis: {{adrs: [a:1]}}\n")
        )

    def test_shown(self) -> None:
        """The password is not shown, the names of files are."""
        path = self.file("pem")
        shown = render(self.config(f"{USED}redis: {{addr: a:1, password: hush, tls: {{key: {path}}}}}\n"))
        self.assertIn(f"  password: '{MASK}'\n", shown)
        self.assertIn(f"    key: {path}\n", shown)
        self.assertNotIn("hush", shown)

    def test_certificates(self) -> None:
        """Files that hold no certificates are refused by their key when the registry starts."""
        path = self.file("nothing of the kind")
        self.assertIn("redis.tls: certificate and key", self.refusal(f"{{addr: a:1, tls: {{key: {path}}}}}"))
        for tls, key in (
            (f"{{rootcas: [{path}]}}", "redis.tls.rootcas"),
            (f"{{certificate: {path}, key: {path}}}", "redis.tls.certificate"),
        ):
            made = self.made(f"{{addr: a:1, tls: {tls}}}")
            self.assertEqual(self.assertRaises(ConfigError, made.prepare).where, key)
