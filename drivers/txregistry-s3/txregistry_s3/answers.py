"""What a store says in XML, and what it says when it will not."""

from __future__ import annotations

from datetime import datetime

from txregistry import errors
from txregistry.objects.documents import document
from txregistry.objects.store import Conflict
from txregistry.objects.transport import Answer

#: Codes that say nothing about a second try, whatever the status (Amazon S3, "Error responses").
PASSING = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "XAmzContentSHA256Mismatch",
        "SlowDown",
    }
)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_FULL = frozenset({"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "EntityTooLarge"})
_MISSING = frozenset({"NoSuchKey", "NotFound", "404", ""})


def code_of(content: bytes) -> str:
    """Return the code of an error; empty if there is none."""
    try:
        root = document("", content)
    except errors.StorageUnavailable:
        return ""
    return (root.findtext("Code") or "") if root.tag == "Error" else ""


def wrong_answer(answer: Answer, root: str) -> str | None:
    """Say what is wrong with an answer that may be an error though its status is 200; None if nothing is.

    :param root: the name of the element that a good one has.
    """
    if answer.status >= 300:
        return None
    try:
        found = document("", answer.content)
    except errors.StorageUnavailable as error:
        return error.reason
    return None if found.tag == root else f"the store answers {found.findtext('Code') or found.tag}"


def refuse(path: str, answer: Answer) -> Exception:
    """Return what is to be raised for an answer of a status of 300 or more."""
    code = code_of(answer.content)
    if answer.status == 404 and code in _MISSING:
        return errors.PathUnknown(path)
    if answer.status == 412:
        return Conflict(path)
    if answer.status == 507 or code in _FULL:
        return errors.StorageFull(path, f"the store answers {answer.status} {code}".rstrip())
    return errors.StorageFault(path, f"the store answers {answer.status} {code}".rstrip())


def moment(text: str | None) -> float:
    """Return the time of a timestamp in XML, in whole seconds since the epoch, as headers tell it."""
    try:
        return float(int(datetime.fromisoformat((text or "").replace("Z", "+00:00")).timestamp()))
    except ValueError:
        return 0.0
