"""Keys of objects, as Distribution makes them of paths."""

from __future__ import annotations

from typing import Protocol


class Rooted(Protocol):
    """Options that say where in a store everything is."""

    @property
    def rootdirectory(self) -> str:
        """Where."""
        ...


class Keys:
    """Knows paths by their keys, and keys by their paths.

    :ivar options: say where in the store everything is.
    """

    options: Rooted

    def key(self, path: str) -> str:
        """Return the key of a path, or the beginning of keys of the beginning of a path; it is Distribution's."""
        return (self.options.rootdirectory.rstrip("/") + path).lstrip("/")

    def path(self, key: str) -> str:
        """Return the path of a key."""
        return "/" + key[len(self.key("/")) :]
