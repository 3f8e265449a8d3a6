"""The catalog: which repositories there are."""

from __future__ import annotations

from attrs import frozen

from txregistry import errors
from txregistry.content import layout
from txregistry.interfaces import IStorageDriver


@frozen
class Catalog:
    """Walks the tree of repositories.

    :param driver: where it is.
    """

    driver: IStorageDriver

    async def names(self, limit: int, last: str = "") -> list[str]:
        """Return the names of repositories after *last*, in byte order, at most *limit*.

        Only what lies between *last* and the end of the page is looked at.  ``a/b`` sorts after ``a-b``,
        though its folder sorts before: a folder is visited twice, once as the name ``a`` and once as all that
        begins with ``a/``.
        """
        found: list[str] = []
        pending = await self._visits("")
        while pending and len(found) < limit:
            visit = pending.pop()
            if visit.endswith("/"):
                if visit > last or last.startswith(visit):
                    pending += await self._visits(visit)
            elif visit > last and await self._is_repository(visit):
                found.append(visit)
        return found

    async def _visits(self, prefix: str) -> list[str]:
        """Return what to visit below a folder, the first last."""
        try:
            names = await self.driver.list(f"{layout.REPOSITORIES}/{prefix}".rstrip("/"))
        except errors.PathUnknown:
            return []
        folders = [prefix + name for name in names if not name.startswith("_")]
        return sorted([*folders, *(folder + "/" for folder in folders)], reverse=True)

    async def _is_repository(self, name: str) -> bool:
        try:
            await self.driver.stat(layout.manifests(name))
        except errors.PathUnknown:
            return False
        return True
