"""The removal of a whole repository, while others may push to it."""

from __future__ import annotations

from txregistry import errors
from txregistry.content import layout
from txregistry.content.tree import Pause, Tree
from txregistry.reference import RepositoryName


async def own(tree: Tree, name: RepositoryName) -> list[str]:
    """Return the names of a repository's own directories; none where there is no such repository.

    Its manifests come first: without them it is none any more, and what is left then can be removed at any time.
    """
    found = [one for one in await tree.names(layout.repository(name)) if one.startswith(layout.OWN)]
    return sorted(found, key=lambda one: (one != layout.MANIFESTS, one))


async def remove(tree: Tree, name: RepositoryName, settle: Pause) -> None:
    """Remove a repository, but for the bytes of its blobs and for the repositories below it.

    A push that is under way may write its manifest after the manifests have been removed, and be acknowledged before
    its blobs are.  So this goes on until nothing has come for a while.

    :param settle: awaited before it is looked whether something has come.
    """
    while names := await own(tree, name):
        for one in names:
            try:
                await tree.driver.delete(f"{layout.repository(name)}/{one}")
            except errors.PathUnknown:
                continue
        await settle()
