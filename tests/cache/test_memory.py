"""The cache in memory."""

from __future__ import annotations

import tracemalloc

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txregistry.cache.memory import BYTES, OVERHEAD, MemoryCache, make
from txregistry.interfaces import ICache
from txregistry.testing.cache import CacheContract


class MemoryContractTests(CacheContract, TestCase):
    """What every cache promises."""

    def make_cache(self) -> ICache:
        cache = make({"blobdescriptorsize": 100}, reactor)
        cache.prepare()
        return cache

    make_failing = make_cache


class BoundTests(SynchronousTestCase):
    """How much is kept."""

    def put(self, cache: MemoryCache, *keys: str, value: bytes = b"1") -> None:
        for key in keys:
            self.successResultOf(Deferred.fromCoroutine(cache.put(key, value)))

    def get(self, cache: MemoryCache, key: str) -> bytes | None:
        return self.successResultOf(Deferred.fromCoroutine(cache.get(key)))

    def kept(self, cache: MemoryCache, *keys: str) -> str:
        return "".join(key for key in keys if self.get(cache, key) is not None)

    def test_entries(self) -> None:
        """No more entries are kept than was said: what was not used for longest goes."""
        cache = MemoryCache(3)
        self.put(cache, "a", "b", "c")
        self.get(cache, "a")
        self.put(cache, "d", "c")
        self.assertEqual(self.kept(cache, *"abcd"), "acd")

    def test_bytes(self) -> None:
        """No more bytes are kept than was said, what an entry takes beside its value included."""
        cache = MemoryCache(0, limit=3 * OVERHEAD + 33)
        self.put(cache, "a", "b", "c", value=bytes(10))
        self.assertEqual(self.kept(cache, *"abc"), "abc")
        self.put(cache, "b", value=bytes(11))
        self.assertEqual(self.kept(cache, *"abc"), "bc")
        self.put(cache, "d", value=bytes(4 * OVERHEAD))
        self.assertEqual(self.kept(cache, *"abcd"), "")
        self.put(cache, "a", "b", "c", value=bytes(10))
        self.assertEqual(self.kept(cache, *"abc"), "abc")

    def test_forgotten(self) -> None:
        """What is forgotten makes room."""
        cache = MemoryCache(0, limit=2 * OVERHEAD + 4)
        for _ in range(5):
            self.put(cache, "a", "b")
            self.successResultOf(Deferred.fromCoroutine(cache.forget("a")))
        self.put(cache, "c")
        self.assertEqual(self.kept(cache, *"abc"), "bc")

    def test_no_limit_of_entries(self) -> None:
        """With 0 as many entries are kept as the bytes allow."""
        cache = make({"blobdescriptorsize": 0}, reactor)
        self.put(cache, *map(str, range(20000)))
        self.assertEqual(self.get(cache, "0"), b"1")
        self.assertEqual((cache.entries, cache.limit), (0, BYTES))

    def test_memory(self) -> None:
        """What an entry is taken to need is what it needs, so that the bound is one of memory."""
        cache = MemoryCache(0, limit=30_000 * (OVERHEAD + 83))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(40_000):
            self.put(cache, f"size:sha256:{number:064x}", value=b"%d" % (10**6 + number))
        taken = tracemalloc.get_traced_memory()[0]
        self.assertIsNone(self.get(cache, f"size:sha256:{9_999:064x}"))
        self.assertIsNotNone(self.get(cache, f"size:sha256:{10_000:064x}"))
        self.assertLess(taken, cache.limit)
