"""Garbage: what no manifest needs any more, and how it is collected while others push.

A collection first marks all that manifests name, and then removes what has no mark.  Whoever pushes meanwhile
is not waited for and waits for no one:

* What was written or touched at the beginning of the collection or later is never removed.
* A manifest is acknowledged after all that it names was touched, and that is done when its link is there.  So for
  each manifest either the link was there before the collection began to mark, and what it names is marked; or it
  was touched after the collection began, and stays; or it was removed before, the touch found nothing, and the
  manifest was refused.

Storage drivers see to it that a touch and a removal do not overlap
(:meth:`txregistry.interfaces.IStorageDriver.discard`).  All of this needs one clock, which must not be set back
meanwhile: a collection that sees that it was ends.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Literal

from attrs import field, frozen, mutable
from twisted.logger import Logger

from txregistry import errors, manifest
from txregistry.content import layout
from txregistry.content.links import Links
from txregistry.content.tree import Folder, Tree
from txregistry.digest import ALGORITHMS, CANONICAL, Digest
from txregistry.interfaces import FileInfo, IStorageDriver
from txregistry.reference import RepositoryName, Tag
from txregistry.waiting import by_workers

_log = Logger()

#: Seconds by which the times of files may lag behind the clock.
_MARGIN = 2.0
#: Seconds by which the clock may move otherwise than time does.
_DRIFT = 1.0
_TOGETHER = 64


@frozen
class Eligible:
    """Something that may be removed.

    :param kind: a manifest of a repository, a repository's link to a blob, or a blob's bytes.
    :param digest: what it is of.
    :param repository: whose it is; None for bytes.
    :param reason: why.
    :param size: bytes that it takes; 0 for a link.
    """

    kind: Literal["manifest", "link", "blob"]
    digest: Digest
    repository: RepositoryName | None
    reason: str
    size: int = 0


@mutable
class Tally:
    """What a collection has come to.

    :ivar manifests_read: manifests that were read.
    :ivar marked: digests that are needed.
    :ivar removed: by kind, what was removed, or would be.
    :ivar kept: by kind, what no manifest needs, but is too young.
    :ivar bytes: bytes that were freed, or would be.
    """

    manifests_read: int = 0
    marked: int = 0
    removed: dict[str, int] = field(factory=lambda: {"manifest": 0, "link": 0, "blob": 0})
    kept: dict[str, int] = field(factory=lambda: {"manifest": 0, "link": 0, "blob": 0})
    bytes: int = 0


@frozen
class _Doubtful:
    """The manifests of a repository that may go.

    :param name: the repository.
    :param named: by manifest, what it names.
    """

    name: RepositoryName
    named: Mapping[Digest, frozenset[Digest]]

    def levels(self) -> list[list[Digest]]:
        """Return the manifests in an order in which each comes before those that it names.

        Digests see to it that manifests do not name each other in a circle.
        """
        named_by = Counter(one for names in self.named.values() for one in names if one in self.named)
        found = []
        level = [digest for digest in self.named if not named_by[digest]]
        while level:
            found.append(level)
            following = []
            for digest in level:
                for one in self.named[digest] & self.named.keys():
                    named_by[one] -= 1
                    if not named_by[one]:
                        following.append(one)
            level = following
        return found


@frozen
class Time:
    """Two clocks.

    :param now: seconds since the epoch.
    :param monotonic: seconds since some moment, whatever is done to the clock.
    """

    now: Callable[[], float]
    monotonic: Callable[[], float]


@frozen
class Rules:
    """What is collected.

    :param age: seconds that must have passed since something was pushed or asked for.
    :param untagged: whether manifests are collected that no tag leads to.
    :param dry_run: whether everything is only told.
    """

    age: float
    untagged: bool = False
    dry_run: bool = False


class ClockSet(Exception):
    """The clock was set back while garbage was collected, so that it cannot be told what is young."""


@mutable
class Collection:
    """One collection of garbage.

    :param driver: where it is.
    :param rules: what is collected.
    :param time: the clocks.
    :param turn: awaited before each manifest that is read and each file that is removed.
    :param told: told of each thing that is removed, or would be.
    :param workers: how many of these are done at once.
    """

    driver: IStorageDriver
    rules: Rules
    time: Time
    turn: Callable[[], Awaitable[object]]
    told: Callable[[Eligible], None]
    workers: int = 8
    tally: Tally = field(factory=Tally)
    _marks: set[bytes] = field(factory=set, init=False)
    _doubtful: list[_Doubtful] = field(factory=list, init=False)
    _links: list[Eligible] = field(factory=list, init=False)
    #: What manifests of repositories name that were in doubt and turned out to be wanted.
    _saved: dict[RepositoryName, set[Digest]] = field(factory=lambda: defaultdict(set), init=False)
    _started: float = field(init=False)
    _origin: float = field(init=False)
    _tree: Tree = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._started = self.time.now()
        self._origin = self._started - self.time.monotonic()
        self._tree = Tree(self.driver, self.turn)

    async def run(self) -> Tally:
        """Collect, and return what came of it.

        :raises txregistry.errors.FileBusy: another collection is under way on this storage.
        :raises txregistry.errors.StorageError: what is needed cannot be told; nothing was removed if that came
            before the end of marking.
        :raises ClockSet: the clock was set back.
        """
        held = await self.driver.open_writer(layout.COLLECTING)
        try:
            await self.mark()
            await self.sweep()
        finally:
            await held.close()
        return self.tally

    async def mark(self) -> None:
        """Find out what is needed.  Removes nothing."""
        batch: list[Folder] = []
        async with aclosing(self._tree.folders()) as folders:
            async for folder in folders:
                batch.append(folder)
                if len(batch) == _TOGETHER:
                    await by_workers(self._mark_repository, batch, self.workers)
                    batch = []
        await by_workers(self._mark_repository, batch, self.workers)
        self.tally.marked = len(self._marks)

    async def sweep(self) -> None:
        """Remove what is not: manifests first, then links, then bytes, so that no link outlives its bytes."""

        async def link(one: Eligible) -> None:
            assert one.repository is not None
            if one.digest not in self._saved[one.repository]:
                await self._remove(one, layout.layer_link(one.repository, one.digest))

        async def blob(digest: Digest) -> None:
            one = Eligible("blob", digest, None, "no manifest names it")
            await self._remove(one, layout.blob_data(digest))

        await by_workers(self._sweep_manifests, self._doubtful, self.workers)
        await by_workers(link, self._links, self.workers)
        async with aclosing(self._tree.blobs()) as batches:
            async for batch in batches:
                await by_workers(blob, (one for one in batch if _key(one) not in self._marks), self.workers)

    async def _sweep_manifests(self, doubtful: _Doubtful) -> None:
        """Remove manifests; what names others first, for who pushes an index has touched what that names, no more.

        One that has been touched is wanted, and with it all that it names.
        """
        name, named = doubtful.name, doubtful.named
        gone, saved = set[Digest](), set[Digest]()

        async def remove(digest: Digest) -> None:
            one = Eligible("manifest", digest, name, "no tag leads to it, nor does what one leads to")
            if await self._remove(one, layout.revision_link(name, digest)):
                gone.add(digest)
            else:
                saved.update(_reachable([digest], named))

        for level in doubtful.levels():
            await by_workers(remove, [digest for digest in level if digest not in saved], self.workers)
        for digest in saved:
            self._saved[name] |= {digest, *named[digest]}
        await self._mark(name, self._saved[name])
        if gone and not self.rules.dry_run:
            await self._forget(name, gone)

    @property
    def _before(self) -> float:
        return self._started - max(self.rules.age, _MARGIN)

    async def _mark_repository(self, folder: Folder) -> None:
        name, needed = folder.name, set[Digest]()
        found = [
            digest
            for algorithm in ALGORITHMS
            for digest in await self._tree.digests(layout.revisions(name, algorithm), algorithm)
        ]
        named: dict[Digest, frozenset[Digest]] = {}
        subjects: dict[Digest, Digest] = {}
        young = set[Digest]()

        async def read(several: Sequence[Digest]) -> None:
            # Looked at in one go, and left as they are.
            links = await self.driver.touch([layout.revision_link(name, one) for one in several], math.inf)
            for digest, link in zip(several, links, strict=True):
                if link is None:
                    continue
                named[digest], subject = await self._named_by(name, digest)
                if subject is not None:
                    subjects[digest] = subject
                if link.modified >= self._before:
                    young.add(digest)

        batches = [found[start : start + _TOGETHER] for start in range(0, len(found), _TOGETHER)]
        await by_workers(read, batches, self.workers)
        kept = set(named)
        if self.rules.untagged:
            leads_to = {digest: set(names) for digest, names in named.items()}
            for digest, subject in subjects.items():
                leads_to.get(subject, set()).add(digest)
            kept = _reachable(await self._tagged(name), leads_to)
            self.tally.kept["manifest"] += len(young - kept)
            kept |= _reachable(young, leads_to)
            doubtful = {digest: names for digest, names in named.items() if digest not in kept}
            self._doubtful.append(_Doubtful(name, doubtful))
        for digest in kept:
            needed |= {digest, *named[digest]}
        await self._mark(name, needed)
        for algorithm in ALGORITHMS:
            for digest in await self._tree.digests(layout.layers(name, algorithm), algorithm):
                if digest not in needed:
                    reason = "no manifest of the repository names it"
                    self._links.append(Eligible("link", digest, name, reason))

    async def _mark(self, name: RepositoryName, needed: Iterable[Digest]) -> None:
        """Mark what a repository needs."""
        for digest in needed:
            self._marks.add(_key(digest))
            if digest.algorithm != CANONICAL:
                # Distribution keeps the bytes of such a blob under their canonical digest.
                target = await Links(self.driver).read(layout.layer_link(name, digest))
                self._marks.add(_key(target or digest))

    async def _named_by(
        self, name: RepositoryName, digest: Digest
    ) -> tuple[frozenset[Digest], Digest | None]:
        """Return what a manifest names, and its subject.

        :raises txregistry.errors.StorageFault: that cannot be told, since its bytes are not those that were pushed.
        """
        await self.turn()
        self.tally.manifests_read += 1
        path = layout.blob_data(digest)
        try:
            content = await self.driver.read(path, manifest.SIZE_LIMIT)
        except errors.PathUnknown:
            _log.warn("the manifest {digest} of {name} has no bytes", digest=str(digest), name=name)
            return frozenset(), None
        if Digest.of(content, digest.algorithm) != digest:
            raise errors.StorageFault(
                path, f"damaged, so it cannot be told what manifest {digest} of {name} needs"
            )
        return manifest.named_by(content)

    async def _tagged(self, name: RepositoryName) -> set[Digest]:
        """Return what a repository's tags point to."""
        links, found = Links(self.driver), set[Digest]()
        for tag in await self._tags(name):
            target = await links.read(layout.tag_link(name, tag))
            # A link that is damaged, or being made, may lead to whatever the tag has ever pointed to.
            found.update(await self._history(name, tag) if target is None else [target])
        return found

    async def _remove(self, one: Eligible, path: str) -> bool:
        """Remove a file unless it is too young, or see whether it would be; say whether it is gone."""
        await self.turn()
        if self.time.now() - self.time.monotonic() < self._origin - _DRIFT:
            raise ClockSet("the clock was set back; what is left stays for the next collection")
        if self.rules.dry_run:
            info = await self._look(path)
            gone = info is not None and info.modified < self._before
        else:
            info = await self.driver.discard(path, self._before)
            gone = info is not None
        if gone and info is not None:
            size = info.size if one.kind == "blob" else 0
            self.tally.removed[one.kind] += 1
            self.tally.bytes += size
            self.told(Eligible(one.kind, one.digest, one.repository, one.reason, size))
        else:
            self.tally.kept[one.kind] += 1
        return gone

    async def _look(self, path: str) -> FileInfo | None:
        # A touch that leaves everything as it is tells of touches, too.
        (found,) = await self.driver.touch([path], math.inf)
        return found

    async def _tags(self, name: RepositoryName) -> list[Tag]:
        found = []
        for text in await self._tree.names(layout.tags(name)):
            try:
                found.append(Tag.parse(text))
            except errors.TagInvalid:
                continue
        return found

    async def _history(self, name: RepositoryName, tag: Tag) -> list[Digest]:
        return [
            digest
            for algorithm in ALGORITHMS
            for digest in await self._tree.digests(layout.tag_history(name, tag, algorithm), algorithm)
        ]

    async def _forget(self, name: RepositoryName, gone: set[Digest]) -> None:
        """Remove what tags and referrers tell of manifests that are gone."""
        links = Links(self.driver)
        for tag in await self._tags(name):
            for digest in await self._history(name, tag):
                if digest in gone:
                    await links.delete(layout.tag_history_link(name, tag, digest))
        for algorithm in ALGORITHMS:
            for subject in await self._tree.digests(layout.subjects(name, algorithm), algorithm):
                for entry in await self._tree.names(layout.referrers(name, subject)):
                    algorithm_, _, encoded = entry.partition("-")
                    if Digest(algorithm_, encoded) in gone:
                        await links.delete(layout.referrer(name, subject, Digest(algorithm_, encoded)))


def _key(digest: Digest) -> bytes:
    """Return a digest in few bytes; algorithms differ in length."""
    return bytes.fromhex(digest.hex)


def _reachable(roots: Iterable[Digest], leads_to: Mapping[Digest, Iterable[Digest]]) -> set[Digest]:
    """Return what of the keys roots lead to, themselves included."""
    pending = [root for root in roots if root in leads_to]
    reached = set(pending)
    while pending:
        for found in leads_to[pending.pop()]:
            if found in leads_to and found not in reached:
                reached.add(found)
                pending.append(found)
    return reached
