"""Tags of repositories."""

from __future__ import annotations

from bisect import bisect_right

from attrs import frozen

from txregistry import errors
from txregistry.content import layout
from txregistry.content.links import Links, concurrently
from txregistry.digest import Digest
from txregistry.interfaces import IOrderedListing
from txregistry.reference import RepositoryName, Tag


@frozen
class Tags:
    """Names of manifests that can be moved.

    :param links: where they are.
    """

    links: Links

    async def resolve(self, name: RepositoryName, tag: Tag) -> Digest | None:
        """Return what a tag points to; None where there is no such tag."""
        return await self.links.read(layout.tag_link(name, tag))

    async def point(self, name: RepositoryName, tag: Tag, digest: Digest) -> None:
        """Make a tag point to a manifest that is stored, and remember that it did.

        The history of a new tag follows it: else there would be, after a crash even, a directory of the tag's
        name, and so a tag in every list, that leads nowhere.
        """
        links = [layout.tag_history_link(name, tag, digest), layout.tag_link(name, tag)]
        try:
            await self.links.driver.stat(links[-1])
        except errors.PathUnknown:
            links.reverse()
        for link in links:
            await self.links.write(link, digest)

    async def delete(self, name: RepositoryName, tag: Tag) -> bool:
        """Remove a tag and its history; say whether there was one."""
        return await self.links.delete(layout.tag(name, tag))

    async def names(self, name: RepositoryName, last: str = "", limit: int | None = None) -> list[str]:
        """Return a repository's tags after *last*, in byte order.

        :param limit: how many at most; None for all.
        :raises txregistry.errors.NameUnknown: there is no such repository.
        """
        try:
            found = await self._listed(layout.tags(name), last, limit)
        except errors.PathUnknown:
            try:
                await self.links.driver.stat(layout.manifests(name))
            except errors.PathUnknown:
                raise errors.NameUnknown({"name": name}) from None
            return []
        return found

    async def _listed(self, path: str, last: str, limit: int | None) -> list[str]:
        driver = self.links.driver
        if limit is not None and IOrderedListing.providedBy(driver):
            found = await IOrderedListing(driver).list_after(path, last, limit)
            if not found:
                # Is this the end, or is there no such repository?
                await driver.stat(path)
            return found
        found = await driver.list(path)
        start = bisect_right(found, last)
        return found[start:] if limit is None else found[start : start + limit]

    async def pointing_to(self, name: RepositoryName, digest: Digest) -> list[Tag]:
        """Return the tags that point to a manifest."""
        try:
            names = [Tag(found) for found in await self.names(name)]
        except errors.NameUnknown:
            return []
        targets = await concurrently(lambda tag: self.resolve(name, tag), names)
        return [tag for tag, target in zip(names, targets, strict=True) if target == digest]
