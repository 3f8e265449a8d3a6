"""From what went wrong to what the client is told: the only place that knows which status an error has."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from txregistry import errors

_log = Logger()

_STATUS: dict[type[BaseException], int] = {
    errors.BlobUnknown: 404,
    errors.BlobUploadInvalid: 404,
    errors.BlobUploadUnknown: 404,
    errors.BodyTimeout: 408,
    errors.ChunkOutOfOrder: 416,
    errors.Crowded: 503,
    errors.Denied: 403,
    errors.DigestInvalid: 400,
    errors.ManifestBlobUnknown: 400,
    errors.ManifestInvalid: 400,
    errors.ManifestTooLarge: 413,
    errors.ManifestUnknown: 404,
    errors.NameInvalid: 400,
    errors.NameUnknown: 404,
    errors.PageInvalid: 400,
    errors.PreconditionFailed: 412,
    errors.RangeUnsatisfiable: 416,
    errors.RequestInvalid: 400,
    errors.SizeInvalid: 400,
    errors.TagInvalid: 400,
    errors.TagsTooMany: 414,
    errors.TooManyRequests: 429,
    errors.Unauthorized: 401,
    errors.Unhealthy: 503,
    errors.Unsupported: 405,
    errors.UploadBusy: 409,
    errors.StorageFull: 507,
    errors.StorageUnavailable: 503,
}

#: Seconds after which a client may try again when the storage is in passing trouble.
_RETRY_AFTER = 5


def status_of(error: errors.RegistryError) -> int:
    """Return the status of an answer that tells of an error."""
    return _STATUS[type(error)]


def reason(status: int) -> bytes:
    """Return the reason phrase of a status."""
    return RESPONSES.get(status, b"Unknown Status")


def content(*failed: errors.RegistryError) -> bytes:
    """Return the body of an answer that tells of errors (distribution-spec, "Error Codes")."""
    listed: list[dict[str, Any]] = []
    for error in failed:
        if isinstance(error, errors.ManifestBlobUnknown):
            listed += [
                {"code": error.code, "message": error.message, "detail": {"digest": digest}}
                for digest in error.digests
            ]
        else:
            told = {"code": error.code, "message": error.message}
            listed.append(told if error.detail is None else {**told, "detail": error.detail})
    return json.dumps({"errors": listed}).encode("ascii") + b"\n"


def fail(request: Any, error: Exception) -> bytes:
    """Set an answer's status and headers by what went wrong, and return its body.

    What is not the client's doing is logged with the request's id, and the client is told no more than that.
    """
    if request.startedWriting or error.__class__ is errors.ClientGone or isinstance(error, CancelledError):
        # Nothing more can be said; ending the connection tells the client that the answer is not whole.
        if not isinstance(error, errors.ClientGone | CancelledError):
            _log.failure("request {id} failed in the middle of its answer", Failure(error), id=request.id)
        request.abort()
        return b""
    status, told = _told(request, error)
    body = content(told)
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def _told(request: Any, error: Exception) -> tuple[int, errors.RegistryError]:
    if isinstance(error, MethodNotAllowed):
        allowed = sorted(error.valid_methods or ())
        request.setHeader(b"Allow", ", ".join(allowed).encode("ascii"))
        return 405, errors.Unsupported()
    if isinstance(error, HTTPException):
        return 404, errors.NameUnknown()
    status = _STATUS.get(type(error), 500)
    if isinstance(error, errors.RegistryError):
        if isinstance(error, errors.RangeUnsatisfiable):
            request.setHeader(b"Content-Range", b"bytes */%d" % error.size)
        if isinstance(error, errors.TooManyRequests | errors.Crowded):
            request.setHeader(b"Retry-After", b"%d" % error.seconds)
        if isinstance(error, errors.Unhealthy):
            request.setHeader(b"Retry-After", b"%d" % _RETRY_AFTER)
        return status, error
    if isinstance(error, errors.StorageFull):
        _log.error("request {id}: storage is full or read-only: {error}", id=request.id, error=error)
        return status, _Unknown(message="the registry's storage is full or cannot be written to")
    if isinstance(error, errors.StorageUnavailable):
        _log.error("request {id}: storage is in trouble: {error}", id=request.id, error=error)
        request.setHeader(b"Retry-After", b"%d" % _RETRY_AFTER)
        return status, _Unavailable()
    _log.failure("request {id} failed", Failure(error), id=request.id)
    return 500, _Unknown()


class _Unknown(errors.RegistryError):
    pass


class _Unavailable(errors.RegistryError):
    code = "UNAVAILABLE"
    text = "the registry's storage is in passing trouble"
