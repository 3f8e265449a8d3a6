"""Putting right what an inspection found, as far as no data need be made up for it.

Nothing is removed that is not kept in quarantine.  A server may be writing meanwhile, so everything is looked at
once more just before it is changed, or just after, and then put back.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import msgspec
from attrs import frozen

from txregistry import errors
from txregistry.content import layout
from txregistry.content.inspection import Finding
from txregistry.content.links import Links
from txregistry.content.manifests import Manifests
from txregistry.content.tree import Tree
from txregistry.digest import ALGORITHMS, Digest
from txregistry.manifest import SIZE_LIMIT
from txregistry.reference import RepositoryName
from txregistry.waiting import InThread

#: Seconds in which a push has written a manifest's link after its entry among the referrers.
_PUSH = 600


class Reason(msgspec.Struct, frozen=True):
    """Why a file is in quarantine.

    :param path: where it was.
    :param kind: the kind of finding.
    :param problem: what was wrong.
    :param time: when it was moved, in seconds since the epoch.
    """

    path: str
    kind: str
    problem: str
    time: float


@frozen
class Repair:
    """Puts right what one run finds.

    :param links: what is put right.
    :param tree: the same.
    :param manifests: what lists referrers.
    :param in_thread: where bytes are hashed.
    :param run: what the directory of this run is called in the quarantine.
    :param now: the present, in seconds since the epoch.
    """

    links: Links
    tree: Tree
    manifests: Manifests
    in_thread: InThread
    run: str
    now: Callable[[], float]

    async def mend(self, finding: Finding) -> bool:
        """Put right what was found; say whether it is."""
        ways: dict[str, Callable[[Finding], Awaitable[bool]]] = {
            "blob-damaged": self._blob,
            "link-broken": self._link,
            "referrer-missing": self._unlisted,
            "referrer-stale": self._stale,
            "tag-broken": self._tag,
        }
        way = ways.get(finding.kind)
        try:
            return way is not None and await way(finding)
        except (errors.PathUnknown, errors.StorageFault):
            return False

    async def _blob(self, finding: Finding) -> bool:
        """Move damaged bytes away, so that a client that looks for them pushes them again."""
        digest = Digest.parse(finding.what)
        kept = await self._explain(finding, finding.path)
        await self.links.driver.move(finding.path, kept)
        if await self.links.hashed(kept, digest.algorithm, self.in_thread) == digest:
            # They have been pushed again meanwhile.
            await self.links.driver.move(kept, finding.path)
            await self.links.delete(f"{kept}.why")
        return True

    async def _link(self, finding: Finding) -> bool:
        """Write a link again, if what its directory is named for is stored, and is what its name says."""
        digest = Digest.parse(finding.what.rpartition("@")[2])
        path = layout.blob_data(digest)
        if await self.links.hashed(path, digest.algorithm, self.in_thread) != digest:
            return False
        # A client may have deleted it while the bytes were read: then it must not come back.
        await self.links.driver.stat(finding.path)
        await self.links.write(finding.path, digest)
        return True

    async def _unlisted(self, finding: Finding) -> bool:
        """List all referrers of the repository, the first time that one is found not to be."""
        if not await self._is_there(finding.path):
            await self.manifests.index_referrers(RepositoryName(finding.repository))
        return await self._is_there(finding.path)

    async def _stale(self, finding: Finding) -> bool:
        info = await self.links.driver.stat(finding.path)
        link = layout.revision_link(finding.repository, Digest.parse(finding.what))
        if info.modified > self.now() - _PUSH or await self._is_there(link):
            return False
        return await self._set_aside(finding, finding.path)

    async def _tag(self, finding: Finding) -> bool:
        """Set a tag's files aside if it has never pointed to a manifest that is still there."""
        name, tag = RepositoryName(finding.repository), finding.what
        histories = [layout.tag_history(name, tag, algorithm) for algorithm in ALGORITHMS]
        files = [layout.tag_link(name, tag)]
        for algorithm, history in zip(ALGORITHMS, histories, strict=True):
            for digest in await self.tree.digests(history, algorithm):
                target = await self.links.read(layout.revision_link(name, digest))
                if target is not None and await self.links.bytes_of(target) is not None:
                    return False
                files.append(layout.tag_history_link(name, tag, digest))
        for path in files:
            if await self._is_there(path):
                await self._set_aside(finding, path)
        # Empty directories may be left, which are the tag still: a client that deletes it is rid of them.
        return not await self._is_there(layout.tag(name, tag))

    async def _set_aside(self, finding: Finding, path: str) -> bool:
        """Move a small file away with the directories that are empty then, unless it is written meanwhile."""
        info = await self.links.driver.stat(path)
        content = await self.links.driver.read(path, SIZE_LIMIT)
        kept = await self._explain(finding, path)
        await self.links.driver.write(kept, content)
        gone = await self.links.driver.discard(path, math.nextafter(info.modified, math.inf))
        if gone is None:
            await self.links.delete(kept)
            await self.links.delete(f"{kept}.why")
        return gone is not None

    async def _explain(self, finding: Finding, path: str) -> str:
        """Write down why a file is moved, before it is; return where to."""
        kept = layout.quarantine(self.run) + path
        reason = Reason(path, finding.kind, finding.problem, self.now())
        await self.links.driver.write(f"{kept}.why", msgspec.json.encode(reason) + b"\n")
        return kept

    async def _is_there(self, path: str) -> bool:
        try:
            await self.links.driver.stat(path)
        except errors.PathUnknown:
            return False
        return True
