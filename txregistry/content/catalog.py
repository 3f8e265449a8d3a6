"""The catalog: which repositories there are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush

from attrs import frozen

from txregistry import errors
from txregistry.content import layout
from txregistry.interfaces import IStorageDriver

#: What makes a folder a repository.
_MARK = layout.manifests("").rpartition("/")[2]
#: Characters of a repository's name, and so of a folder's, at most.
_LONGEST = 256


@frozen
class _Folder:
    """What is known of a folder of the tree.

    :param is_repository: whether it is one.
    :param names: the folders in it, in byte order.
    """

    is_repository: bool
    names: list[str]


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
        seen: dict[str, _Folder] = {}
        walks = [_visits("", await self._look(""), last)]
        while walks and len(found) < limit:
            visit = next(walks[-1], None)
            if visit is None:
                walks.pop()
            elif visit.endswith("/"):
                if visit > last or last.startswith(visit):
                    folder = seen.pop(visit) if visit in seen else await self._look(visit)
                    walks.append(_visits(visit, folder, last))
            elif visit > last:
                folder = seen[visit + "/"] = await self._look(visit)
                if folder.is_repository:
                    found.append(visit)
        return found

    async def _look(self, folder: str) -> _Folder:
        try:
            names = await self.driver.list(f"{layout.REPOSITORIES}/{folder}".rstrip("/"))
        except errors.PathUnknown:
            return _Folder(False, [])
        return _Folder(_MARK in names, [name for name in names if not name.startswith("_")])


def _visits(prefix: str, folder: _Folder, last: str) -> Iterator[str]:
    """Return what to visit in a folder, in byte order, as far as it may come after *last*.

    Nothing is sorted, so that a page of a folder of many takes no longer than a page of one of few.
    """
    names = folder.names
    begin = last[len(prefix) :].partition("/")[0] if last.startswith(prefix) else ""
    start = bisect_left(names, begin)
    # What begins with the slash after a name comes later than what begins with the name and a hyphen or dot.
    later: list[str] = []
    for name in (begin[:length] for length in range(1, min(len(begin), _LONGEST))):
        at = bisect_left(names, name)
        if at < start and names[at] == name:
            heappush(later, f"{prefix}{name}/")
    for at in range(start, len(names)):
        name = prefix + names[at]
        while later and later[0] < name:
            yield heappop(later)
        yield name
        heappush(later, name + "/")
    while later:
        yield heappop(later)
