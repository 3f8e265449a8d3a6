"""``/v2/<name>/tags/list`` (distribution-spec, end-8) and ``/v2/_catalog`` (Docker Registry HTTP API V2)."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from txregistry.content.registry import Registry
from txregistry.reference import RepositoryName
from txregistry.web.answers import answer_json
from txregistry.web.guard import Guard
from txregistry.web.locations import Locations
from txregistry.web.paging import LIMIT, link_next, wanted

#: A page of the catalog where the client does not say; Distribution's figure.
_CATALOG_PAGE = 100


@frozen
class ListingRoutes:
    """Answers what there is.

    :param registry: what is stored.
    :param locations: where the next page is.
    :param guard: who may see which repository.
    """

    registry: Registry
    locations: Locations
    guard: Guard

    async def tags(self, request: Any, name: RepositoryName) -> bytes:
        """List a repository's tags: all of them, unless the client asks for a number."""
        n = wanted(request)
        last = request.text_argument("last") or ""
        found = await self.registry.tags.names(name, last, None if n is None else n + 1)
        page = found if n is None else found[:n]
        if n and len(found) > n:
            link_next(request, self.locations.path(f"v2/{name}/tags/list"), page[-1], n)
        return answer_json(request, {"name": name, "tags": page})

    async def catalog(self, request: Any) -> bytes:
        """List repositories."""
        n = wanted(request)
        n = _CATALOG_PAGE if n is None else n
        last = request.text_argument("last") or ""
        found = await self._visible(request, n + 1, last) if n else []
        page = found[:n]
        if len(found) > n:
            link_next(request, self.locations.path("v2/_catalog"), page[-1], n)
        return answer_json(request, {"repositories": page})

    async def _visible(self, request: Any, limit: int, last: str) -> list[str]:
        """Return the repositories after *last* that whoever asks may pull from, at most *limit*."""
        visible: list[str] = []
        batch = limit
        while len(visible) < limit:
            found = await self.registry.catalog.names(batch, last)
            visible += [name for name in found if self.guard.may_see(request.identity, name)]
            if len(found) < batch:
                break
            last = found[-1]
            # Where most is hidden, a short page must not begin the walk anew for every other name.
            batch = min(2 * batch, LIMIT)
        return visible[:limit]
