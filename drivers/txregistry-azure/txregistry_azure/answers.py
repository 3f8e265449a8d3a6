"""What the store says when it will not."""

from __future__ import annotations

from txregistry import errors
from txregistry.objects.store import Conflict
from txregistry.objects.transport import Answer

#: Codes that say nothing about a second try, whatever the status (Azure Storage, "Blob service error codes").
PASSING = frozenset({"AccountBeingCreated", "ContainerBeingDeleted", "PendingCopyOperation", "Md5Mismatch"})
#: Codes of signatures that are too old, or of a clock that was set.
EXPIRED = frozenset({"AuthenticationFailed", "InvalidAuthenticationInfo"})
_MISSING = frozenset({"BlobNotFound", "CannotVerifyCopySource", "ResourceNotFound"})
_CONFLICTS = frozenset({"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet"})
_FULL = frozenset({"RequestBodyTooLarge", "BlockCountExceedsLimit"})


class Refusal(errors.StorageFault):
    """The store will not do it.

    :param status: the answer's.
    :param code: Azure's word for it; empty if there is none.
    """

    def __init__(self, path: str, status: int, code: str) -> None:
        super().__init__(path, f"the store answers {status} {code}".rstrip())
        self.status = status
        self.code = code


def code_of(answer: Answer) -> str:
    """Return the code of an error; empty if there is none."""
    return answer.header("x-ms-error-code") or ""


def refuse(path: str, answer: Answer) -> Exception:
    """Return what is to be raised for an answer of a status of 300 or more."""
    code = code_of(answer)
    if answer.status == 404 and code in _MISSING:
        return errors.PathUnknown(path)
    if answer.status == 412 or code in _CONFLICTS:
        return Conflict(path)
    if answer.status in (413, 507) or code in _FULL:
        return errors.StorageFull(path, f"the store answers {answer.status} {code}".rstrip())
    return Refusal(path, answer.status, code)
