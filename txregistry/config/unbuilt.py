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


UNBUILT: dict[str, Callable[[Any], bool]] = {
    "log.reportcaller": lambda value: value is False,
    "storage.redirect": _says("disable", True),
    "storage.tag": _never,
    "middleware": _never,
    "redis": _never,
    "proxy": _never,
    "policy": _never,
    "catalog": _never,
    "tags": _never,
    "http.tls.letsencrypt": _never,
    "http.http2": _says("disabled", True),
    "http.h2c": _says("enabled", False),
}
"""Each key's path, and whether a value of it asks for just what the registry does without it."""

COMPLAINT = "this key of Distribution's is not supported by this version of txregistry; remove it"

OBSOLETE: dict[str, str] = {
    "compatibility": "manifests of schema 1 are not taken, nor made of others",
    "reporting": "nothing is reported to Bugsnag or New Relic",
}
"""Keys that files of Distribution 2 have and those of Distribution 3 have not, and what becomes of each."""
