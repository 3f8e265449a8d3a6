"""The configuration's schema: every key, its meaning and its default.

Keys, meanings and defaults are those of CNCF Distribution unless a description says otherwise.  Durations
are seconds here and Go's spelling in the file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from txregistry.config.cache import CacheKeys
from txregistry.config.collecting import GarbageCollection
from txregistry.config.health import Health
from txregistry.config.kinds import (
    BaseUrl,
    CipherSuite,
    Duration,
    HeaderName,
    HeaderValue,
    Network,
    OptionalAddress,
    PagePath,
    Pattern,
    Prefix,
    ReadableFile,
    TagPattern,
    WarningText,
    WorkerCount,
)
from txregistry.config.limits import LimitKeys
from txregistry.config.log import Log
from txregistry.config.notifications import NotificationKeys
from txregistry.config.purging import UploadPurging
from txregistry.config.redis import RedisKeys


class Delete(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage.delete``."""

    enabled: Annotated[bool, Meta(description="Let clients delete tags, manifests and blobs.")] = False


class Redirect(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage.redirect``."""

    disable: Annotated[
        bool, Meta(description="Send blobs even where the storage could send them to clients itself.")
    ] = False


class ReadOnly(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage.maintenance.readonly``."""

    enabled: Annotated[bool, Meta(description="Refuse whatever would change the storage.")] = False


class Maintenance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage.maintenance``."""

    readonly: Annotated[ReadOnly, Meta(description="Read-only operation.")] = field(default_factory=ReadOnly)
    uploadpurging: Annotated[
        UploadPurging, Meta(description="The end of uploads that nobody goes on with.")
    ] = field(default_factory=UploadPurging)
    garbagecollection: Annotated[
        GarbageCollection,
        Meta(description="The end of what no manifest needs.  (Not a key of Distribution's.)"),
    ] = field(default_factory=GarbageCollection)


class Storage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``storage``: where the content is kept.

    In the file the driver's options stand below a key of the driver's name, beside ``delete``, ``cache`` and
    ``maintenance``.
    """

    driver: Annotated[str, Meta(description="The storage driver's name.")]
    options: Annotated[dict[str, Any], Meta(description="The driver's own keys, as YAML read them.")] = field(
        default_factory=dict
    )
    delete: Annotated[Delete, Meta(description="Deletion by clients.")] = field(default_factory=Delete)
    redirect: Annotated[Redirect, Meta(description="Where clients have blobs from.")] = field(
        default_factory=Redirect
    )
    cache: Annotated[CacheKeys, Meta(description="What is remembered of the storage.")] = field(
        default_factory=CacheKeys
    )
    maintenance: Annotated[Maintenance, Meta(description="Maintenance modes.")] = field(
        default_factory=Maintenance
    )


class Tls(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``http.tls``: absent or empty means plain HTTP."""

    certificate: Annotated[ReadableFile, Meta(description="File with the certificate and its chain, PEM.")]
    key: Annotated[ReadableFile, Meta(description="File with the certificate's private key, PEM.")]
    clientcas: Annotated[
        list[ReadableFile],
        Meta(description="Files with authorities, PEM; a client must show a certificate of one of them."),
    ] = field(default_factory=list)
    clientauth: Annotated[
        Literal[
            "request-client-cert",
            "require-any-client-cert",
            "verify-client-cert-if-given",
            "require-and-verify-client-cert",
        ],
        Meta(description="What is asked of clients where there are clientcas."),
    ] = "require-and-verify-client-cert"
    minimumtls: Annotated[
        Literal["tls1.2", "tls1.3"], Meta(description="The oldest version of TLS that is spoken.")
    ] = "tls1.2"
    ciphersuites: Annotated[
        list[CipherSuite],
        Meta(
            description="Cipher suites of TLS 1.2 that are offered, by their IANA names; those of 1.3 are set."
        ),
    ] = field(default_factory=list)


class Prometheus(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``http.debug.prometheus``: figures, on the debug server."""

    enabled: Annotated[bool, Meta(description="Count, and show the figures.")] = False
    path: Annotated[PagePath, Meta(description="Where on the debug server they are.")] = "/metrics"


class Debug(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``http.debug``: a server for operators, which tells of this one."""

    addr: Annotated[
        OptionalAddress, Meta(description="Where it listens, host:port or :port; nowhere when empty.")
    ] = ""
    prometheus: Annotated[Prometheus, Meta(description="Figures for Prometheus.")] = field(
        default_factory=Prometheus
    )


class Http(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``http``: how the registry is reached."""

    addr: Annotated[
        str, Meta(description="Where to listen: host:port, :port, or a socket's path where net is unix.")
    ] = ":5000"
    net: Annotated[Literal["tcp", "unix"], Meta(description="Whether addr is of TCP or a Unix socket.")] = (
        "tcp"
    )
    prefix: Annotated[
        Prefix,
        Meta(description="Path below which the registry is served; begins and ends with a slash."),
    ] = "/"
    host: Annotated[
        BaseUrl,
        Meta(
            description="URL under which clients reach the registry, for the addresses it hands out; "
            "derived from the request when empty."
        ),
    ] = ""
    relativeurls: Annotated[
        bool, Meta(description="Hand out addresses without scheme and host; of no effect with host.")
    ] = False
    secret: Annotated[
        str,
        Meta(
            description="What upload addresses are signed with; must be the same for all instances behind "
            "one address.  Empty means a random one, made at each start."
        ),
    ] = ""
    headers: Annotated[
        dict[HeaderName, list[HeaderValue]],
        Meta(description="Headers that every answer carries; a list of values, or one."),
    ] = field(default_factory=dict)
    draintimeout: Annotated[
        Duration,
        Meta(
            description="How long requests under way may take to end when the registry is stopped. "
            "(Distribution's default is 0.)",
        ),
    ] = 30.0
    idletimeout: Annotated[
        Duration,
        Meta(
            description="How long a connection may be silent while headers or a body are awaited, or while "
            "an answer is not being read; the first byte of a connection and all headers have 10 s at most.  "
            "(Not a key of Distribution's.)",
        ),
    ] = 60.0
    limits: Annotated[
        LimitKeys,
        Meta(description="What clients may have at once.  (Not a key of Distribution's.)"),
    ] = field(default_factory=LimitKeys)
    trustedproxies: Annotated[
        list[Network],
        Meta(
            description="Addresses and networks of the proxies before the registry, or unix for who connects "
            "to its Unix socket.  With any, only their Forwarded and X-Forwarded headers count, and a client "
            "is whom they name.  (Not a key of Distribution's.)"
        ),
    ] = field(default_factory=list)
    workers: Annotated[
        WorkerCount,
        Meta(
            description="How many processes answer requests; auto for as many as there are processors.  "
            "(Not a key of Distribution's.)"
        ),
    ] = "1"
    tls: Annotated[Tls | None, Meta(description="TLS; plain HTTP without it.")] = None
    debug: Annotated[Debug, Meta(description="The debug server.")] = field(default_factory=Debug)


class Urls(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``validation.manifests.urls``: where layers may be had that are not to be distributed."""

    allow: Annotated[
        list[Pattern],
        Meta(description="Regular expressions, one of which a layer's URL must match; none allows none."),
    ] = field(default_factory=list)
    deny: Annotated[
        list[Pattern], Meta(description="Regular expressions, none of which a layer's URL may match.")
    ] = field(default_factory=list)


class PlatformKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of ``validation.manifests.indexes.platformlist``."""

    architecture: Annotated[str, Meta(description="As in the index, amd64.")] = ""
    os: Annotated[str, Meta(description="As in the index, linux.")] = ""


class Indexes(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``validation.manifests.indexes``: which manifests of an index must be in the repository."""

    platforms: Annotated[
        Literal["all", "none", "list"], Meta(description="All, none, or those for platformlist.")
    ] = "all"
    platformlist: Annotated[list[PlatformKey], Meta(description="Platforms, for platforms: list.")] = field(
        default_factory=list
    )


class ManifestValidation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``validation.manifests``."""

    urls: Annotated[Urls, Meta(description="URLs of layers.")] = field(default_factory=Urls)
    indexes: Annotated[Indexes, Meta(description="Manifests of indexes.")] = field(default_factory=Indexes)


class Validation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``validation``: which manifests are accepted."""

    disabled: Annotated[
        bool, Meta(description="Allow every http and https URL, and indexes without their manifests.")
    ] = False
    manifests: Annotated[ManifestValidation, Meta(description="Rules for manifests.")] = field(
        default_factory=ManifestValidation
    )


class TokenServiceKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``tokenservice``: tokens for whom ``auth`` knows."""

    key: Annotated[
        str, Meta(description="File with the private key that signs tokens, PEM; made if it is not there.")
    ]
    service: Annotated[str, Meta(description="What the registry is called in tokens.")] = "txregistry"
    issuer: Annotated[str, Meta(description="What the token service is called in tokens.")] = "txregistry"
    lifetime: Annotated[Duration, Meta(description="How long a token is good.")] = 300.0
    oidc: Annotated[
        Any, Meta(description="Issuers whose identity tokens are taken as passwords of the user oidc.")
    ] = None
    refreshlifetime: Annotated[Duration, Meta(description="How long a refresh token is good.")] = 2592000.0


class Warn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of ``warnings``."""

    repositories: Annotated[
        str, Meta(description="A pattern of repository names; * stands for no slash, ** for anything.")
    ] = "**"
    text: Annotated[WarningText, Meta(description="What clients are to show to their users.")]


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    version: Annotated[Literal["0.1"], Meta(description="The version of this format.")]
    loglevel: Annotated[
        Literal["", "error", "warn", "info", "debug"],
        Meta(description="What log.level was once called; log.level has the last word."),
    ] = ""
    log: Annotated[Log, Meta(description="Logging.")] = field(default_factory=Log)
    storage: Annotated[Storage, Meta(description="Storage.")]
    http: Annotated[Http, Meta(description="The HTTP server.")] = field(default_factory=Http)
    health: Annotated[Health, Meta(description="What must be well for requests to be answered.")] = field(
        default_factory=Health
    )
    auth: Annotated[
        Any, Meta(description="Who clients are: an auth backend's name, and below it its own keys.")
    ] = None
    tokenservice: Annotated[
        TokenServiceKeys | None,
        Meta(description="The registry's own token service.  (Not a key of Distribution's.)"),
    ] = None
    access: Annotated[
        Any,
        Meta(
            description="Who may do what: a list of rules, or an access policy's name and below it its own "
            "keys.  (Not a key of Distribution's.)"
        ),
    ] = None
    groups: Annotated[
        dict[str, list[str]],
        Meta(description="Groups of users, for the rules of access.  (Not a key of Distribution's.)"),
    ] = field(default_factory=dict)
    immutable: Annotated[
        list[TagPattern],
        Meta(
            description="Patterns of repository:tag that can be neither moved nor deleted; with ! before it, "
            "of those that can all the same.  (Not a key of Distribution's.)"
        ),
    ] = field(default_factory=list)
    validation: Annotated[Validation, Meta(description="Which manifests are accepted.")] = field(
        default_factory=Validation
    )
    notifications: Annotated[NotificationKeys, Meta(description="Who is told of what happens.")] = field(
        default_factory=NotificationKeys
    )
    redis: Annotated[RedisKeys | None, Meta(description="The server that the cache of that name is in.")] = (
        None
    )
    warnings: Annotated[
        list[Warn],
        Meta(description="Warnings that answers about repositories carry.  (Not a key of Distribution's.)"),
    ] = field(default_factory=list)
