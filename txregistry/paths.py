"""Storage paths: how a driver's files are named.

A path is absolute, its parts are divided by ``/``, and each part is letters, digits, ``.``, ``_`` and ``-``.
The grammar is that of CNCF Distribution's drivers, less the parts ``.`` and ``..``, so that whatever the
registry stores, Distribution can walk.
"""

from __future__ import annotations

import re

from txregistry import errors

_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,255})+")


def check(path: str) -> str:
    """Return *path* if it is a storage path.

    :raises txregistry.errors.PathInvalid: it is not.
    """
    if _PATH.fullmatch(path) is None:
        raise errors.PathInvalid(path, "not a storage path")
    return path
