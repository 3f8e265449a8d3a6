"""Tags that must stay as they are: ``immutable`` in the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from attrs import frozen

from txregistry.globs import matches


@frozen
class TagProtection:
    """Says which tags can be neither moved nor deleted.

    :param protected: patterns of ``repository:tag`` (:mod:`txregistry.globs`).
    :param exempt: patterns of those that can be all the same.
    """

    protected: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """Return the protection that a list of patterns describes; ``!`` makes one an exception."""
        listed = list(patterns)
        return cls(
            tuple(pattern for pattern in listed if not pattern.startswith("!")),
            tuple(pattern[1:] for pattern in listed if pattern.startswith("!")),
        )

    def covers(self, name: str, tag: str) -> bool:
        """Say whether a tag is protected."""
        whole = f"{name}:{tag}"
        return any(matches(pattern, whole) for pattern in self.protected) and not any(
            matches(pattern, whole) for pattern in self.exempt
        )
