"""The section ``redis``: the server that the cache of that name is in."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from txregistry.config.kinds import CheckedAddress, Duration, ReadableFile, ServerAddress


class RedisTls(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``redis.tls``: TLS is spoken when any of it is set."""

    enabled: Annotated[bool, Meta(description="Speak TLS, also where no file is named.")] = False
    certificate: Annotated[
        ReadableFile, Meta(description="File with the registry's own certificate, PEM.")
    ] = ""
    key: Annotated[ReadableFile, Meta(description="File with the certificate's private key, PEM.")] = ""
    rootcas: Annotated[
        list[ReadableFile],
        Meta(
            description="Files with the authorities that the server's certificate may be of; the system's if none."
        ),
    ] = field(default_factory=list)


class RedisKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``redis``."""

    addrs: Annotated[list[CheckedAddress], Meta(description="Where the server is, host:port; one.")] = field(
        default_factory=list
    )
    addr: Annotated[
        ServerAddress, Meta(description="What addrs was once called; addrs has the last word.")
    ] = ""
    username: Annotated[str, Meta(description="The user, with the password.")] = ""
    password: Annotated[str, Meta(description="The password; none when empty.")] = ""
    db: Annotated[int, Meta(ge=0, description="The number of the database.")] = 0
    dialtimeout: Annotated[
        Duration,
        Meta(description="How long making a connection may take; 5s when 0.  No request waits for it."),
    ] = 0.0
    readtimeout: Annotated[
        Duration, Meta(description="How long a request waits for a reply: at most 50ms, whatever it says.")
    ] = 0.0
    writetimeout: Annotated[
        Duration, Meta(description="The same: what is written is waited for together with its reply.")
    ] = 0.0
    tls: Annotated[RedisTls, Meta(description="TLS.")] = field(default_factory=RedisTls)
