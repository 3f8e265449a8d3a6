"""Repository names and tags: what a client may call things (distribution-spec, "Pulling manifests")."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Self

from txregistry import errors
from txregistry.digest import Digest

#: What stands between the slashes of a repository's name.
COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_NAME = re.compile(rf"{COMPONENT.pattern}(?:/{COMPONENT.pattern})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

#: Characters of a repository name at most; Distribution's limit, and what clients accept.
NAME_LIMIT = 255

#: Names that are not parsed again: the same are asked for over and over.
_REMEMBERED = 1024


class RepositoryName(str):
    """The name of a repository, ``library/debian``."""

    __slots__ = ()

    @classmethod
    @lru_cache(maxsize=_REMEMBERED)
    def parse(cls, text: str) -> Self:
        """Return *text* as a name.

        :raises txregistry.errors.NameInvalid: it is not of the grammar, or over :data:`NAME_LIMIT`.
        """
        if len(text) > NAME_LIMIT or _NAME.fullmatch(text) is None:
            raise errors.NameInvalid({"name": text[:NAME_LIMIT]})
        return cls(text)


class Tag(str):
    """A tag, ``1.0-alpine``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return *text* as a tag.

        :raises txregistry.errors.TagInvalid: it is not of the grammar.
        """
        if _TAG.fullmatch(text) is None:
            raise errors.TagInvalid({"tag": text[:128]})
        return cls(text)


def parse_reference(text: str) -> Tag | Digest:
    """Return *text* as what a manifest is asked for by: a digest if it holds a colon, else a tag.

    :raises txregistry.errors.DigestInvalid: a malformed digest.
    :raises txregistry.errors.TagInvalid: a malformed tag.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)
