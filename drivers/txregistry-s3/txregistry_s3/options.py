"""The section ``storage.s3`` of the configuration: Distribution's parameters, with its defaults and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from txregistry.errors import ConfigError
from txregistry.objects.options import flag, number, one_of, root_directory, text

MIB = 1024 * 1024
#: Bytes of a part of a multipart upload, at least and at most (Amazon S3, "Multipart upload limits").
SMALLEST_PART = 5 * MIB
LARGEST_PART = 5 * 1024 * MIB

STORAGE_CLASSES = (
    "NONE",
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "OUTPOSTS",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
)
ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "aws-exec-read",
    "authenticated-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)
LOG_LEVELS = (
    "off",
    "debug",
    "debugwithsigning",
    "debugwithhttpbody",
    "debugwithrequestretries",
    "debugwithrequesterrors",
    "debugwitheventstreambody",
)

_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_TEXT = re.compile(r"[\x20-\x7e]*")


@frozen
class Options:
    """What ``storage.s3`` says.  The names are Distribution's; where a default is not, it is none."""

    bucket: str
    region: str = ""
    regionendpoint: str = ""
    forcepathstyle: bool = False
    accesskey: str = ""
    secretkey: str = ""
    sessiontoken: str = ""
    encrypt: bool = False
    keyid: str = ""
    secure: bool = True
    skipverify: bool = False
    v4auth: bool = True
    chunksize: int = 10 * MIB
    multipartcopychunksize: int = 32 * MIB
    multipartcopymaxconcurrency: int = 100
    multipartcopythresholdsize: int = 32 * MIB
    rootdirectory: str = ""
    storageclass: str = "STANDARD"
    objectacl: str = "private"
    usedualstack: bool = False
    accelerate: bool = False
    usefipsendpoint: bool = False
    useragent: str = ""
    loglevel: str = "off"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Return what the section says.

        :raises txregistry.errors.ConfigError: a key is unknown, missing or wrong.
        """
        if unknown := set(given) - set(_KINDS):
            raise ConfigError(min(unknown), f"unknown key; expected one of {', '.join(sorted(_KINDS))}")
        options = cls(
            **{key: _KINDS[key](key, value) for key, value in given.items() if value not in (None, "")}
            | ({} if given.get("bucket") else {"bucket": ""})
        )
        options._check()
        return options

    @property
    def endpoint(self) -> tuple[str, str] | None:
        """The scheme and host that ``regionendpoint`` names; None where there is none."""
        if not self.regionendpoint:
            return None
        scheme, divider, rest = self.regionendpoint.rpartition("://")
        return (scheme.lower() if divider else ("https" if self.secure else "http"), rest.rstrip("/"))

    def _check(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise ConfigError("bucket", f"expected the name of a bucket, found {self.bucket!r}")
        if not self.region and not self.regionendpoint:
            raise ConfigError("region", "missing; the bucket's region is needed, or a regionendpoint")
        endpoint = self.endpoint
        if endpoint is not None and (
            endpoint[0] not in ("http", "https") or not _HOST.fullmatch(endpoint[1])
        ):
            raise ConfigError("regionendpoint", "expected a host, or a URL of no more than scheme and host")
        if bool(self.accesskey) != bool(self.secretkey):
            missing = "secretkey" if self.accesskey else "accesskey"
            raise ConfigError(missing, "missing; accesskey and secretkey are given together, or neither")
        if not self.v4auth and endpoint is None:
            raise ConfigError("v4auth", "Amazon S3 takes no signatures but those of version 4")
        if self.keyid and not self.encrypt:
            raise ConfigError("keyid", "has no meaning without encrypt: true")
        for key in ("useragent", "keyid", "region", "sessiontoken"):
            if not _TEXT.fullmatch(getattr(self, key)):
                raise ConfigError(key, "expected printable ASCII characters")
        if endpoint is not None:
            for key in ("accelerate", "usedualstack", "usefipsendpoint"):
                if getattr(self, key):
                    raise ConfigError(key, "is of Amazon's own endpoints; remove it, or regionendpoint")


def _part(key: str, value: Any) -> int:
    return number(key, value, SMALLEST_PART, LARGEST_PART)


def _threshold(key: str, value: Any) -> int:
    return number(key, value, 0, LARGEST_PART)


def _count(key: str, value: Any) -> int:
    return number(key, value, 1, 1 << 62)


_KINDS: dict[str, Any] = {
    "bucket": text,
    "region": text,
    "regionendpoint": text,
    "forcepathstyle": flag,
    "accesskey": text,
    "secretkey": text,
    "sessiontoken": text,
    "encrypt": flag,
    "keyid": text,
    "secure": flag,
    "skipverify": flag,
    "v4auth": flag,
    "chunksize": _part,
    "multipartcopychunksize": _part,
    "multipartcopymaxconcurrency": _count,
    "multipartcopythresholdsize": _threshold,
    "rootdirectory": root_directory,
    "storageclass": one_of(*STORAGE_CLASSES),
    "objectacl": one_of(*ACLS),
    "usedualstack": flag,
    "accelerate": flag,
    "usefipsendpoint": flag,
    "useragent": text,
    "loglevel": one_of(*LOG_LEVELS),
}
