"""Attempts that are limited, for each of those who make them."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Hashable
from typing import Any

#: What is lost in adding up fractions of an attempt.
_ROUNDING = 1e-6


class Throttle:
    """A bucket of attempts for each key.  It is full at first, and fills again evenly.

    Only the keys that are short of attempts take up memory.  When there are too many of these, those that made
    none for the longest time are forgotten.

    :param clock: tells the time.
    :param attempts: how many fill a bucket.
    :param seconds: how long an empty one takes to fill.
    :param size: how many buckets are kept.
    """

    def __init__(self, clock: Any, attempts: int, seconds: float, size: int = 16384) -> None:
        self._clock = clock
        self._attempts = attempts
        self._seconds = seconds
        self._size = size
        # Those that were taken from last are at the end.
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, key: Hashable) -> int:
        """Return how many seconds it is, rounded up, until there is an attempt to take; 0 if there is one."""
        missing = 1 - self._level(key)
        if missing <= _ROUNDING:
            return 0
        return max(1, math.ceil(missing * self._seconds / self._attempts - _ROUNDING))

    def take(self, key: Hashable) -> None:
        """Take an attempt, which is there."""
        level = self._level(key)
        self._buckets.pop(key, None)
        self._buckets[key] = (max(0.0, level - 1), self._clock.seconds())
        self._forget()

    def put_back(self, key: Hashable) -> None:
        """Put back an attempt that was taken."""
        level = self._level(key) + 1
        if level >= self._attempts:
            self._buckets.pop(key, None)
        else:
            self._buckets[key] = (level, self._clock.seconds())

    def _level(self, key: Hashable) -> float:
        found = self._buckets.get(key)
        if found is None:
            return self._attempts
        level, then = found
        passed: float = self._clock.seconds() - then
        if passed < 0:
            # Someone has set the clock back.  That must not lock anyone out until it has caught up.
            return self._attempts
        return min(self._attempts, level + passed * self._attempts / self._seconds)

    def _forget(self) -> None:
        full_since = self._clock.seconds() - self._seconds
        while self._buckets:
            key = next(iter(self._buckets))
            if len(self._buckets) <= self._size and self._buckets[key][1] > full_since:
                break
            del self._buckets[key]


def network(address: str) -> str:
    """Return what is taken for one client: an IPv4 address, or the /64 of an IPv6 one, all of which is its own.

    What is no address, as of a Unix socket, stands for itself.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
