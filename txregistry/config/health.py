"""The section ``health``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from txregistry.config.kinds import CheckedAddress, CheckedUri, Duration, HeaderName, HeaderValue

_INTERVAL = "How long to wait between two checks."
_THRESHOLD = "How many checks must fail one after the other before requests are refused; 0 means 1."
_TIMEOUT = "How long a check may take; 0 means the interval.  (Distribution's 0 means for ever.)"


class StorageCheck(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``health.storagedriver``."""

    enabled: Annotated[bool, Meta(description="Refuse requests while the storage does not answer.")] = False
    interval: Annotated[Duration, Meta(description=_INTERVAL)] = 10.0
    threshold: Annotated[int, Meta(ge=0, description=_THRESHOLD)] = 0


class FileCheck(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of ``health.file``."""

    file: Annotated[str, Meta(description="Requests are refused while there is a file of this name.")]
    interval: Annotated[Duration, Meta(description=_INTERVAL)] = 10.0


class HttpCheck(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of ``health.http``."""

    uri: Annotated[CheckedUri, Meta(description="What is asked for with HEAD.")]
    headers: Annotated[
        dict[HeaderName, list[HeaderValue]],
        Meta(description="Headers of the request; a list of values, or one."),
    ] = field(default_factory=dict)
    statuscode: Annotated[
        int, Meta(ge=0, le=599, description="The status that must be answered; 0 means 200.")
    ] = 200
    timeout: Annotated[Duration, Meta(description=_TIMEOUT)] = 0.0
    interval: Annotated[Duration, Meta(description=_INTERVAL)] = 10.0
    threshold: Annotated[int, Meta(ge=0, description=_THRESHOLD)] = 0


class TcpCheck(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of ``health.tcp``."""

    addr: Annotated[CheckedAddress, Meta(description="The host:port that must accept a connection.")]
    timeout: Annotated[Duration, Meta(description=_TIMEOUT)] = 0.0
    interval: Annotated[Duration, Meta(description=_INTERVAL)] = 10.0
    threshold: Annotated[int, Meta(ge=0, description=_THRESHOLD)] = 0


class Health(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``health``: what must be well for requests to be answered."""

    storagedriver: Annotated[StorageCheck, Meta(description="The storage.")] = field(
        default_factory=StorageCheck
    )
    file: Annotated[
        list[FileCheck],
        Meta(description="Files that must not be there.", extra={"variable": "FILECHECKERS"}),
    ] = field(default_factory=list)
    http: Annotated[
        list[HttpCheck],
        Meta(description="Servers that must answer.", extra={"variable": "HTTPCHECKERS"}),
    ] = field(default_factory=list)
    tcp: Annotated[
        list[TcpCheck],
        Meta(description="Addresses that must accept connections.", extra={"variable": "TCPCHECKERS"}),
    ] = field(default_factory=list)
