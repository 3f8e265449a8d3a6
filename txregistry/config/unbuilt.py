"""The keys of Distribution's that this version does not honour.

They are refused by name rather than ignored: an operator who wrote ``auth`` must not get a registry that
lets everybody in.  A key that is built moves from here to :mod:`txregistry.config.schema`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _never(value: Any) -> bool:
    return False


def _says(key: str, off: bool) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and value.get(key) is off


def _any(value: Any) -> bool:
    return True


def _is(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(one) and value == one for one in values)


def _bounds_of_2(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= {"maxidle", "maxactive", "idletimeout"}


UNBUILT: dict[str, Callable[[Any], bool]] = {
    "log.reportcaller": lambda value: value is False,
    "storage.tag": _never,
    "middleware": _never,
    "proxy": _never,
    "policy": _never,
    "catalog": _never,
    "tags": _never,
    "http.tls.letsencrypt": _never,
    "http.http2": _says("disabled", True),
    "http.h2c": _says("enabled", False),
    # Of the clients for Redis: bounds of a pool, of which there is one connection for all.
    "redis.connmaxidletime": _any,
    "redis.connmaxlifetime": _any,
    "redis.maxactiveconns": _any,
    "redis.maxidleconns": _any,
    "redis.pool": _bounds_of_2,
    "redis.poolfifo": _any,
    "redis.poolsize": _any,
    "redis.pooltimeout": _any,
    "redis.minidleconns": _is(0, 1),
    # What is asked is given up when the request has waited long enough, and is not asked again.
    "redis.contexttimeoutenabled": _any,
    "redis.maxretries": _is(-1),
    "redis.minretrybackoff": _is(-1),
    "redis.maxretrybackoff": _is(-1),
    "redis.protocol": _is(2),
    "redis.clientname": _never,
    "redis.disableidentity": _is(True),
    "redis.identitysuffix": _never,
    "redis.unstableresp3": _is(False),
    # Of clusters and sentinels.
    "redis.mastername": _never,
    "redis.sentinelusername": _never,
    "redis.sentinelpassword": _never,
    "redis.maxredirects": _is(-1),
    "redis.readonly": _is(False),
    "redis.routebylatency": _is(False),
    "redis.routerandomly": _is(False),
}
"""Each key's path, and whether a value of it asks for just what the registry does without it."""

COMPLAINT = "this key of Distribution's is not supported by this version of txregistry; remove it"

OBSOLETE: dict[str, str] = {
    "compatibility": "manifests of schema 1 are not taken, nor made of others",
    "reporting": "nothing is reported to Bugsnag or New Relic",
}
"""Keys that files of Distribution 2 have and those of Distribution 3 have not, and what becomes of each."""
