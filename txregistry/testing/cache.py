"""What every cache promises, each promise a test.

A cache's own tests mix it in, before :class:`twisted.trial.unittest.TestCase`, and say how to make one::

    class TestMyCache(CacheContract, TestCase):
        def make_cache(self):      # prepared, with room for a hundred entries
            ...

        def make_failing(self):    # prepared, whose server cannot be reached; the same if it has none
            ...
"""

from __future__ import annotations

import time

from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from txregistry.interfaces import ICache
from txregistry.testing.closing import ClosingCase, started

__all__ = ["CacheContract"]

#: What values may hold: anything, also what a protocol of lines would stumble over.
_VALUES = (b"10240", b"\0\xff\r\n+OK\r\n$-1\r\n" * 10, bytes(range(256)) * 256)
#: Seconds that the interface allows, and as many for a machine that is busy.
_PATIENCE = 10


class CacheContract(ClosingCase):
    """The promises of :class:`~txregistry.interfaces.ICache`."""

    def make_cache(self) -> ICache:
        """Return a cache, prepared, with room for a hundred entries of 64 KiB."""
        raise NotImplementedError

    def make_failing(self) -> ICache:
        """Return a cache, prepared, whose server cannot be reached; any if it has no server."""
        raise NotImplementedError

    async def ready(self, cache: ICache) -> None:
        """Return when a cache that was just made keeps values; at once unless this is overridden."""

    def test_interface(self) -> None:
        """It has what the interface asks for."""
        cache = self.make_cache()
        self.closing(cache)
        verifyObject(ICache, cache)

    def test_kept(self) -> Deferred[None]:
        """What is put can be had, byte for byte, under its key and under no other."""
        cache = self.make_cache()
        self.closing(cache)

        async def work() -> None:
            await self.ready(cache)
            self.assertIsNone(await cache.get("contract:none"))
            for number, value in enumerate(_VALUES):
                await cache.put(f"contract:{number}", value)
            for number, value in enumerate(_VALUES):
                self.assertEqual(await cache.get(f"contract:{number}"), value)
            self.assertIsNone(await cache.get("contract:none"))

        return Deferred.fromCoroutine(work())

    def test_replaced(self) -> Deferred[None]:
        """A value takes the place of the one before."""
        cache = self.make_cache()
        self.closing(cache)

        async def work() -> None:
            await self.ready(cache)
            for value in _VALUES:
                await cache.put("contract:one", value)
                self.assertEqual(await cache.get("contract:one"), value)

        return Deferred.fromCoroutine(work())

    def test_forgotten(self) -> Deferred[None]:
        """What is forgotten is not there, and the rest is; forgetting what is not there is nothing."""
        cache = self.make_cache()
        self.closing(cache)

        async def work() -> None:
            await self.ready(cache)
            await cache.put("contract:one", b"1")
            await cache.put("contract:two", b"2")
            await cache.forget("contract:one")
            await cache.forget("contract:one")
            self.assertIsNone(await cache.get("contract:one"))
            self.assertEqual(await cache.get("contract:two"), b"2")

        return Deferred.fromCoroutine(work())

    def test_many_at_once(self) -> Deferred[None]:
        """Those who ask at the same time each get what they asked for."""
        cache = self.make_cache()
        self.closing(cache)

        async def work() -> None:
            await self.ready(cache)
            keys = [f"contract:{number}" for number in range(50)]
            for key in keys:
                await cache.put(key, key.encode())
            found = await gatherResults([started(cache.get(key)) for key in keys])
            self.assertEqual(found, [key.encode() for key in keys])

        return Deferred.fromCoroutine(work())

    def test_counted(self) -> Deferred[None]:
        """Each question is counted, and each that had an answer."""
        cache = self.make_cache()
        self.closing(cache)

        async def work() -> None:
            await self.ready(cache)
            requests, hits = cache.requests, cache.hits
            await cache.put("contract:one", b"1")
            for key in ("contract:one", "contract:one", "contract:none"):
                await cache.get(key)
            self.assertEqual((cache.requests - requests, cache.hits - hits), (3, 2))

        return Deferred.fromCoroutine(work())

    def test_failing(self) -> Deferred[None]:
        """In trouble it neither raises nor keeps anyone waiting."""
        cache = self.make_failing()
        self.closing(cache)

        async def work() -> None:
            begin = time.monotonic()
            for number in range(100):
                await cache.put(f"contract:{number}", b"1")
                await cache.get(f"contract:{number}")
                await cache.forget(f"contract:{number}")
            self.assertLess(time.monotonic() - begin, _PATIENCE)

        return Deferred.fromCoroutine(work())

    def test_closed(self) -> Deferred[None]:
        """Closed, it leaves no threads, connections or timers."""
        self.closing(self.make_cache())
        return self.close().addCallback(lambda _: self.assert_no_threads_left())
