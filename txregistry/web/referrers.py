"""``/v2/<name>/referrers/<digest>`` (distribution-spec, end-12)."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from txregistry import media
from txregistry.content.referrers import listing
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.reference import RepositoryName
from txregistry.web.answers import answer
from txregistry.web.locations import Locations
from txregistry.web.paging import LIMIT, link_next, wanted


@frozen
class ReferrerRoutes:
    """Answers what refers to a manifest.

    :param registry: what is stored.
    :param locations: where the next page is.
    """

    registry: Registry
    locations: Locations

    async def get(self, request: Any, name: RepositoryName, digest: Digest) -> bytes:
        """List the referrers of a manifest, which need not exist: then there are none."""
        n = wanted(request)
        n = LIMIT if n is None else n
        # No media type has a blank: what was one in the query is a plus sign that the client did not encode.
        artifact_type = (request.text_argument("artifactType") or "").replace(" ", "+") or None
        last = request.text_argument("last") or ""
        page = await self.registry.referrers.page(name, digest, n, last, artifact_type)
        headers = {"Content-Type": media.OCI_INDEX}
        if artifact_type is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        if page.last is not None:
            path = self.locations.path(f"v2/{name}/referrers/{digest}")
            more = {} if artifact_type is None else {"artifactType": artifact_type}
            link_next(request, path, page.last, n, **more)
        return answer(request, 200, listing(page.referrers), headers)
