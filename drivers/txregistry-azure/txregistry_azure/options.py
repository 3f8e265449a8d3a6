"""The section ``storage.azure`` of the configuration: Distribution's parameters, with its defaults and refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from txregistry.errors import ConfigError
from txregistry.objects.options import flag, number, one_of, root_directory, text

#: What ``credentials.type`` may be.
CLIENT_SECRET, SHARED_KEY, DEFAULT = "client_secret", "shared_key", "default_credentials"

#: The realm of the public cloud.
_REALM = "core.windows.net"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"\$root|[a-z0-9](?:-?[a-z0-9]){2,62}")
_HOST = re.compile(r"[A-Za-z0-9.-]+")
_URL = re.compile(
    r"(?i:https?)://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._-]+)*/?"
)
_KEY = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+|0")
_TEXT = re.compile(r"[\x20-\x7e]*")


@frozen
class Credentials:
    """What ``credentials`` says: who asks the store."""

    type: str = ""
    clientid: str = ""
    tenantid: str = ""
    secret: str = field(default="", repr=False)


@frozen
class Options:
    """What ``storage.azure`` says.  The names are Distribution's; where a default is not, it is none.

    :param sas: the shared access signature that the connection string has; empty for none.
    """

    accountname: str = ""
    container: str = ""
    accountkey: str = field(default="", repr=False)
    connectionstring: str = field(default="", repr=False)
    credentials: Credentials = Credentials()
    realm: str = _REALM
    rootdirectory: str = ""
    serviceurl: str = ""
    max_retries: int = 5
    retry_delay: str = "100ms"
    copy_status_poll_max_retry: int = 5
    copy_status_poll_delay: str = "100ms"
    skipverify: bool = False
    useragent: str = ""
    sas: str = field(default="", repr=False)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Return what the section says.

        :raises txregistry.errors.ConfigError: a key is unknown, missing or wrong.
        """
        options = cls(**_values(given, _KINDS, ""))._connected()
        options._check()
        return options

    @property
    def service(self) -> str:
        """The URL of the account's blobs, without a slash at its end."""
        url = self.serviceurl or f"https://{self.accountname}.blob.{self.realm}"
        return url.rstrip("/")

    @property
    def kind(self) -> str:
        """Who asks the store, as ``credentials.type`` says; where it says nothing, by what there is."""
        return self.credentials.type or (SHARED_KEY if self.accountkey or self.sas else DEFAULT)

    def _connected(self) -> Options:
        """Return these options with what the connection string says, where nothing else says it."""
        if not self.connectionstring:
            return self
        parts = {}
        for part in self.connectionstring.strip().strip(";").split(";"):
            name, divider, value = part.partition("=")
            if not divider:
                raise ConfigError("connectionstring", "expected names and values, as Name=Value;Name=Value")
            parts[name.strip().lower()] = value.strip()
        suffix = parts.get("endpointsuffix", "")
        options = evolve(
            self,
            accountname=self.accountname or parts.get("accountname", ""),
            serviceurl=self.serviceurl or parts.get("blobendpoint", ""),
            realm=suffix if suffix and self.realm == _REALM else self.realm,
        )
        if self.accountkey or self.credentials.type:
            return options
        sas = parts.get("sharedaccesssignature", "").lstrip("?")
        return evolve(options, accountkey=parts.get("accountkey", ""), sas=sas)

    def _check(self) -> None:
        if not _ACCOUNT.fullmatch(self.accountname):
            raise ConfigError("accountname", f"expected the name of an account, found {self.accountname!r}")
        if not _CONTAINER.fullmatch(self.container):
            raise ConfigError("container", f"expected the name of a container, found {self.container!r}")
        if not _HOST.fullmatch(self.realm):
            raise ConfigError("realm", "expected a domain, as core.windows.net")
        if self.serviceurl and not _URL.fullmatch(self.serviceurl):
            raise ConfigError("serviceurl", "expected a URL of scheme, host and path")
        if self.accountkey and not _KEY.fullmatch(self.accountkey):
            raise ConfigError("accountkey", "expected a key of the account, in base64")
        for key in ("retry_delay", "copy_status_poll_delay"):
            if not _DURATION.fullmatch(getattr(self, key)):
                raise ConfigError(key, "expected a duration, as 100ms")
        for key in ("useragent", "sas"):
            if not _TEXT.fullmatch(getattr(self, key)):
                raise ConfigError(key, "expected printable ASCII characters")
        if self.credentials.type == SHARED_KEY and not (self.accountkey or self.sas):
            raise ConfigError("accountkey", f"missing; credentials.type is {SHARED_KEY}")
        if self.credentials.type == CLIENT_SECRET:
            for key in ("clientid", "tenantid", "secret"):
                if not getattr(self.credentials, key):
                    raise ConfigError(f"credentials.{key}", f"missing; credentials.type is {CLIENT_SECRET}")


def _values(given: Mapping[str, Any], kinds: Mapping[str, Any], below: str) -> dict[str, Any]:
    if unknown := {str(key) for key in given} - set(kinds):
        raise ConfigError(
            f"{below}{min(unknown)}", f"unknown key; expected one of {', '.join(sorted(kinds))}"
        )
    return {
        key: kinds[key](f"{below}{key}", value) for key, value in given.items() if value not in (None, "")
    }


def _credentials(key: str, value: Any) -> Credentials:
    if not isinstance(value, Mapping):
        raise ConfigError(key, "expected keys and values")
    return Credentials(**_values(value, _CREDENTIALS, f"{key}."))


def _retries(key: str, value: Any) -> int:
    # Distribution takes -1 for not waiting at all.
    return -1 if str(value) == "-1" else number(key, value, 0, 1 << 31)


_CREDENTIALS: dict[str, Any] = {
    "type": one_of(CLIENT_SECRET, SHARED_KEY, DEFAULT),
    "clientid": text,
    "tenantid": text,
    "secret": text,
}

_KINDS: dict[str, Any] = {
    "accountname": text,
    "container": text,
    "accountkey": text,
    "connectionstring": text,
    "credentials": _credentials,
    "realm": text,
    "rootdirectory": root_directory,
    "serviceurl": text,
    "max_retries": _retries,
    "retry_delay": text,
    "copy_status_poll_max_retry": _retries,
    "copy_status_poll_delay": text,
    "skipverify": flag,
    "useragent": text,
}
