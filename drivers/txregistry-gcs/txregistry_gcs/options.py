"""The section ``storage.gcs`` of the configuration: Distribution's parameters, with its defaults and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from txregistry.errors import ConfigError
from txregistry.objects.options import number, root_directory, text

KIB = 1024
#: What the bytes of a chunk are a multiple of.
SMALLEST_CHUNK = 256 * KIB
LEAST_CONCURRENCY = 25

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_TEXT = re.compile(r"[\x20-\x7e]*")


@frozen
class Options:
    """What ``storage.gcs`` says.  The names are Distribution's; where a default is not, it is none."""

    bucket: str = ""
    keyfile: str = ""
    credentials: Mapping[str, Any] = field(factory=dict, repr=False)
    rootdirectory: str = ""
    chunksize: int = 16 * 1024 * KIB
    maxconcurrency: int = 50
    useragent: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Return what the section says.

        :raises txregistry.errors.ConfigError: a key is unknown, missing or wrong.
        """
        if unknown := {str(key) for key in given} - set(_KINDS):
            raise ConfigError(min(unknown), f"unknown key; expected one of {', '.join(sorted(_KINDS))}")
        options = cls(
            **{key: _KINDS[key](key, value) for key, value in given.items() if value not in (None, "")}
        )
        if not _BUCKET.fullmatch(options.bucket):
            raise ConfigError("bucket", f"expected the name of a bucket, found {options.bucket!r}")
        if not _TEXT.fullmatch(options.useragent):
            raise ConfigError("useragent", "expected printable ASCII characters")
        return options


def _credentials(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigError(key, "expected the keys and values of a service account's key file")
    return value


def _chunk(key: str, value: Any) -> int:
    size = number(key, value, SMALLEST_CHUNK, 1 << 40)
    if size % SMALLEST_CHUNK:
        raise ConfigError(key, f"expected a multiple of {SMALLEST_CHUNK}, found {size}")
    return size


def _concurrency(key: str, value: Any) -> int:
    return max(LEAST_CONCURRENCY, number(key, value, 0, 1 << 31))


_KINDS: dict[str, Any] = {
    "bucket": text,
    "keyfile": text,
    "credentials": _credentials,
    "rootdirectory": root_directory,
    "chunksize": _chunk,
    "maxconcurrency": _concurrency,
    "useragent": text,
}
