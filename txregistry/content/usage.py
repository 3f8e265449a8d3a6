"""How many bytes repositories take."""

from __future__ import annotations

from contextlib import aclosing

from attrs import field, frozen

from txregistry.content import layout
from txregistry.content.links import Links, concurrently
from txregistry.content.tree import Tree
from txregistry.digest import ALGORITHMS, Digest
from txregistry.reference import RepositoryName

_SHARED = -1


@frozen
class RepositoryUsage:
    """What one repository takes.

    :param name: its name.
    :param manifests: how many it has.
    :param blobs: how many it has, manifests not among them.
    :param size: bytes of all of these.
    :param own: bytes of those that no other repository has.
    """

    name: str = field(converter=str)
    manifests: int
    blobs: int
    size: int
    own: int


@frozen
class Usage:
    """What all repositories take.

    :param repositories: each of them.
    :param total: bytes of all that they have, what several have counted once.
    """

    repositories: list[RepositoryUsage]
    total: int


async def measure(tree: Tree, links: Links) -> Usage:
    """Measure all repositories.  This holds a size and an owner for each blob: some 300 bytes."""
    sizes: dict[Digest, int] = {}
    owners: dict[Digest, int] = {}
    rows: list[tuple[RepositoryName, int, int, int]] = []

    async def measured(link: str) -> Digest | None:
        target = await links.read(link)
        if target is not None and target not in sizes:
            info = await links.bytes_of(target)
            if info is None:
                return None
            sizes[target] = info.size
        return target

    async with aclosing(tree.folders()) as folders:
        async for folder in folders:
            name = folder.name
            found: list[set[Digest]] = []
            for directory, link in (
                (layout.revisions, layout.revision_link),
                (layout.layers, layout.layer_link),
            ):
                paths = [
                    link(name, digest)
                    for algorithm in ALGORITHMS
                    for digest in await tree.digests(directory(name, algorithm), algorithm)
                ]
                found.append({target for target in await concurrently(measured, paths) if target is not None})
            manifests, blobs = found
            if manifests or blobs:
                for digest in manifests | blobs:
                    owners[digest] = _SHARED if digest in owners else len(rows)
                size = sum(sizes[digest] for digest in manifests | blobs)
                rows.append((name, len(manifests), len(blobs - manifests), size))
    own = [0] * len(rows)
    for digest, owner in owners.items():
        if owner != _SHARED:
            own[owner] += sizes[digest]
    repositories = [RepositoryUsage(*row, alone) for row, alone in zip(rows, own, strict=True)]
    return Usage(repositories, sum(sizes.values()))
