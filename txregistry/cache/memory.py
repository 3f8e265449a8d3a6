"""A cache in this process's memory, ``storage.cache.blobdescriptor: inmemory``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from zope.interface import implementer

from txregistry.interfaces import ICache

#: Bytes that are kept at most, however many entries that is.
BYTES = 64 * 1024 * 1024
#: Bytes that an entry takes beside those of its key and value; measured: 182 at most.
OVERHEAD = 200


@implementer(ICache)
@define(eq=False)
class MemoryCache:
    """Keeps what was used last.

    :param entries: how many are kept at most; 0 for as many as the bytes allow.
    :param limit: bytes that are kept at most.
    """

    entries: int
    limit: int = BYTES
    requests: int = field(default=0, init=False)
    hits: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)
    _kept: OrderedDict[str, bytes] = field(factory=OrderedDict, init=False, repr=False)
    _size: int = field(default=0, init=False)

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.ICache`."""

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.ICache`."""
        self._kept.clear()
        self._size = 0

    async def get(self, key: str) -> bytes | None:
        """See :class:`~txregistry.interfaces.ICache`."""
        self.requests += 1
        value = self._kept.get(key)
        if value is not None:
            self.hits += 1
            self._kept.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes) -> None:
        """Keep a value, in place of those that were not used for longest."""
        await self.forget(key)
        self._kept[key] = value
        self._size += _size(key, value)
        while self._size > self.limit or (self.entries and len(self._kept) > self.entries):
            self._size -= _size(*self._kept.popitem(last=False))

    async def forget(self, key: str) -> None:
        """See :class:`~txregistry.interfaces.ICache`."""
        value = self._kept.pop(key, None)
        if value is not None:
            self._size -= _size(key, value)


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD


def make(options: Mapping[str, Any], reactor: Any) -> MemoryCache:
    """Return a cache."""
    return MemoryCache(options["blobdescriptorsize"])
