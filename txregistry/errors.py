"""What can go wrong, by the name that the field gives it.

Exceptions of the first family, :class:`RegistryError`, are answers to a client: each carries a code of the
OCI distribution spec ("Error Codes"), a message and a detail.  Exceptions of the second,
:class:`StorageError`, are what a storage driver raises; drivers translate foreign errors to them at their
own edge.  Those of the third, :class:`NotificationError`, are what a notifier raises.  HTTP status codes are
not known here.
"""

from __future__ import annotations

import re
from typing import ClassVar

#: Ends at the last at sign, for passwords may hold some.
_USER_INFO = re.compile(r"([^\s/:@'\"]*):[^\s/'\"]+@")


class RegistryError(Exception):
    """An answer other than the one the client hoped for.

    :param detail: what the client can use to mend its request, any JSON value; never a path or a traceback.
    :param message: for a person; the text of the spec's table when not given.
    """

    code: ClassVar[str] = "UNKNOWN"
    text: ClassVar[str] = "unknown error"

    def __init__(self, detail: object = None, *, message: str | None = None) -> None:
        super().__init__(message or self.text, detail)
        self.detail = detail
        self.message = message or self.text

    def __str__(self) -> str:
        return self.message


class BlobUnknown(RegistryError):
    """The repository holds no blob of that digest."""

    code = "BLOB_UNKNOWN"
    text = "blob unknown to registry"


class BlobUploadInvalid(RegistryError):
    """The upload session cannot be used as the client tried to."""

    code = "BLOB_UPLOAD_INVALID"
    text = "blob upload invalid"


class BlobUploadUnknown(RegistryError):
    """The repository has no upload session of that id."""

    code = "BLOB_UPLOAD_UNKNOWN"
    text = "blob upload unknown to registry"


class _NotNow(RegistryError):
    """The client can go on when it has seen how far the upload session is.

    :ivar size: bytes of the upload that are known to be stored.
    """

    code = "BLOB_UPLOAD_INVALID"

    def __init__(self, size: int) -> None:
        super().__init__({"offset": size})
        self.size = size


class ChunkOutOfOrder(_NotNow):
    """A chunk does not begin where the upload ends (distribution-spec, "Pushing a blob in chunks")."""

    text = "the chunk does not begin where the upload ends"


class UploadBusy(_NotNow):
    """Another request is writing to this upload session."""

    text = "another request is writing to this upload"


class DigestInvalid(RegistryError):
    """A digest is malformed, of an unknown algorithm, or not that of the content."""

    code = "DIGEST_INVALID"
    text = "provided digest did not match uploaded content"


class ManifestBlobUnknown(RegistryError):
    """A manifest names a blob or manifest that the repository does not hold.

    :ivar digests: every digest that is missing, in the manifest's order.
    """

    code = "MANIFEST_BLOB_UNKNOWN"
    text = "manifest references a manifest or blob unknown to registry"

    def __init__(self, digests: list[str]) -> None:
        super().__init__(digests)
        self.digests = digests


class ManifestInvalid(RegistryError):
    """A manifest is not one that can be accepted."""

    code = "MANIFEST_INVALID"
    text = "manifest invalid"


class ManifestTooLarge(RegistryError):
    """A manifest is larger than the registry accepts (distribution-spec, "Pushing Manifests")."""

    code = "SIZE_INVALID"
    text = "manifest is larger than this registry accepts"


class ManifestUnknown(RegistryError):
    """The repository holds no manifest of that tag or digest."""

    code = "MANIFEST_UNKNOWN"
    text = "manifest unknown to registry"


class NameInvalid(RegistryError):
    """A repository name is not of the spec's grammar."""

    code = "NAME_INVALID"
    text = "invalid repository name"


class NameUnknown(RegistryError):
    """There is no such repository, or nothing at that address."""

    code = "NAME_UNKNOWN"
    text = "repository name not known to registry"


class RangeUnsatisfiable(RegistryError):
    """A ``Range`` lies outside the content (RFC 9110, 14.1.2).

    :ivar size: bytes of the content.
    """

    code = "SIZE_INVALID"
    text = "the requested range lies outside the content"

    def __init__(self, size: int) -> None:
        super().__init__({"size": size})
        self.size = size


class SizeInvalid(RegistryError):
    """A length is malformed or does not match what was sent."""

    code = "SIZE_INVALID"
    text = "provided length did not match content length"


class TagInvalid(RegistryError):
    """A tag is not of the spec's grammar."""

    code = "TAG_INVALID"
    text = "invalid tag"


class TagsTooMany(RegistryError):
    """A push by digest asks for more tags than one request may (distribution-spec, "Pushing Manifests")."""

    code = "UNSUPPORTED"
    text = "too many tags in one request"


class PageInvalid(RegistryError):
    """``n`` of a listing is not a number that can be answered."""

    code = "UNSUPPORTED"
    text = "invalid number of results requested"


class Unsupported(RegistryError):
    """The operation is one that this registry does not offer, or that its operator switched off."""

    code = "UNSUPPORTED"
    text = "the operation is unsupported"


class PreconditionFailed(RegistryError):
    """A precondition of the request does not hold (RFC 9110, 13.1)."""

    code = "UNSUPPORTED"
    text = "a precondition of the request does not hold"


class RequestInvalid(RegistryError):
    """The request itself is malformed, whatever it asked for."""

    code = "UNSUPPORTED"
    text = "malformed request"


class Unauthorized(RegistryError):
    """The request does not say who makes it, or what it says does not hold.

    :param error: ``invalid_token`` where credentials were given and are not good (RFC 6750, 3.1).
    """

    code = "UNAUTHORIZED"
    text = "authentication required"

    def __init__(self, detail: object = None, *, error: str | None = None) -> None:
        super().__init__(detail)
        self.error = error


class Denied(RegistryError):
    """Who makes the request may not have what it asks for."""

    code = "DENIED"
    text = "requested access to the resource is denied"


class TooManyRequests(RegistryError):
    """The client is to wait (RFC 6585, 4).

    :ivar seconds: how long.
    """

    code = "TOOMANYREQUESTS"
    text = "too many requests"

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds


class Crowded(RegistryError):
    """There are as many connections as there may be.

    :ivar seconds: after how long the client may come again.
    """

    code = "UNAVAILABLE"
    text = "too many connections"

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds


class Unhealthy(RegistryError):
    """A health check of the operator's fails, and so no request is answered; the words are Distribution's."""

    code = "UNAVAILABLE"
    text = "service unavailable"

    def __init__(self) -> None:
        super().__init__("health check failed: please see /debug/health")


class BodyTimeout(RegistryError):
    """The request's body stopped arriving (RFC 9110, 15.5.9)."""

    code = "UNSUPPORTED"
    text = "the request body stopped arriving"


class ClientGone(Exception):
    """The connection ended before the request's body did; there is no one left to answer."""


class StorageError(Exception):
    """A storage driver could not do what it was asked.

    :param path: the storage path (not a path of the machine's file system).
    """

    def __init__(self, path: str, reason: str = "") -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.reason else self.path


class PathInvalid(StorageError):
    """A storage path is not of the grammar of :mod:`txregistry.paths`."""


class PathUnknown(StorageError):
    """There is nothing at this path."""


class FileBusy(StorageError):
    """Another writer has this file open."""


class StorageFull(StorageError):
    """No room, no quota, or not writable at all: trying again will not help by itself."""


class StorageUnavailable(StorageError):
    """The back end is in passing trouble; the same call may succeed later."""


class StorageFault(StorageError):
    """The back end failed in a way that says nothing about a second try (an I/O error)."""


class NotificationError(Exception):
    """A notifier could not deliver an event.

    :param reason: one line, for the operator.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EventRefused(NotificationError):
    """Whoever was told of the event does not want it: it is this event's fault, others may be wanted."""


class EndpointFailed(NotificationError):
    """Whoever is to be told could not be, which says nothing about the event."""


class ConfigError(Exception):
    """The configuration cannot be used.

    :param where: the path of the key, dots between its parts (``http.tls.certificate``), or the file.
    :param problem: what was found and what was expected, one line.  A password before the host of an address
        is masked.
    """

    def __init__(self, where: str, problem: str) -> None:
        problem = _USER_INFO.sub(r"\1:********@", problem)
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"
