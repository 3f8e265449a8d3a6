"""Looking through all that is stored for what is not as it should be.

A server may be writing meanwhile, so whatever is found is looked at again after a while; what is then well, or gone,
was no finding.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime

import attrs
from attrs import field, frozen, mutable

from txregistry import errors, manifest
from txregistry.content import layout
from txregistry.content.leftovers import Leftovers
from txregistry.content.links import Links, concurrently
from txregistry.content.tree import Folder, Pause, Tree
from txregistry.digest import ALGORITHMS, Digest
from txregistry.reference import RepositoryName
from txregistry.validation import Rules
from txregistry.waiting import InThread, by_workers

_LINK_LIMIT = 1024
#: Blobs that are read at once.
_READERS = 4
_BATCH = 1000


@frozen
class Finding:
    """Something that is not as it should be.

    :param kind: which sort of fault.
    :param repository: where; empty for what belongs to no repository.
    :param what: a digest or a tag.
    :param path: the storage path.
    :param problem: what is wrong.
    :param mended: whether it was put right.
    :param is_fault: False for what is only worth knowing.
    """

    kind: str
    repository: str = field(converter=str)
    what: str = field(converter=str)
    path: str
    problem: str
    mended: bool = False
    is_fault: bool = True


Check = Callable[[], Awaitable[Finding | None]]


@mutable(eq=False)
class Inspection:
    """Looks through everything once.

    :param tree: what is looked through.
    :param links: what follows links in it.
    :param rules: which blobs and manifests others need.
    :param in_thread: where bytes are hashed.
    :param report: is told of each finding.
    :param settle: awaited before what was found is looked at again.
    :param left_before: uploads that nothing was written to since then are left over; in seconds since the epoch.
    :param quick: whether blobs are not read, but for empty ones and those of another size than a manifest says.
    :param mend: puts right what was found, and says whether it did; None to change nothing.
    :ivar counts: how many repositories, manifests, tags, blobs and bytes were looked at.
    """

    tree: Tree
    links: Links
    rules: Rules
    in_thread: InThread
    report: Callable[[Finding], None]
    settle: Pause
    left_before: float
    quick: bool = False
    mend: Callable[[Finding], Awaitable[bool]] | None = None
    counts: dict[str, int] = field(
        factory=lambda: dict.fromkeys(("repositories", "manifests", "tags", "blobs", "bytes"), 0)
    )
    _suspects: list[Check] = field(factory=list, init=False)
    _damaged: set[Digest] = field(factory=set, init=False)
    _doubted: set[Digest] = field(factory=set, init=False)
    _sound: set[Digest] = field(factory=set, init=False)

    async def run(self) -> None:
        """Look through everything.

        :raises txregistry.errors.StorageError: the storage cannot be looked through.
        """
        # What needs a URL that is not allowed any more is there all the same.
        self.rules = attrs.evolve(self.rules, allow=None, deny=())
        async with aclosing(self.tree.blobs()) as blobs:
            async for digests in blobs:
                await by_workers(lambda digest: self._check(lambda: self._blob(digest)), digests, _READERS)
        await self._look_again()
        async with aclosing(self.tree.folders()) as folders:
            async for folder in folders:
                await self._repository(folder.name)
                await self._leftovers(folder)
        await self._look_again()

    async def _repository(self, name: RepositoryName) -> None:
        is_repository = False
        for algorithm in ALGORITHMS:
            for digest in await self.tree.digests(layout.layers(name, algorithm), algorithm):
                await self._check(lambda digest=digest: self._layer(name, digest))  # type: ignore[misc]
            for digest in await self.tree.digests(layout.revisions(name, algorithm), algorithm):
                is_repository = True
                await self._check(lambda digest=digest: self._revision(name, digest))  # type: ignore[misc]
            for subject in await self.tree.digests(layout.subjects(name, algorithm), algorithm):
                for entry in await self.tree.names(layout.referrers(name, subject)):
                    await self._check(
                        lambda subject=subject, entry=entry: self._entry(name, subject, entry)  # type: ignore[misc]
                    )
        for tag in await self.tree.names(layout.tags(name)):
            is_repository = True
            await self._check(lambda tag=tag: self._tag(name, tag))  # type: ignore[misc]
            self.counts["tags"] += 1
        self.counts["repositories"] += is_repository

    async def _leftovers(self, folder: Folder) -> None:
        for one in await Leftovers(self.tree).of(folder, self.left_before):
            since = datetime.fromtimestamp(one.modified, UTC).isoformat(timespec="seconds")
            problem = f"{one.size} bytes, written to last at {since}"
            path = layout.upload(one.repository, one.id)
            self.report(Finding("upload-left", one.repository, one.id, path, problem, is_fault=False))

    async def _check(self, check: Check) -> None:
        if await check() is not None:
            self._suspects.append(check)
            if len(self._suspects) >= _BATCH:
                await self._look_again()

    async def _look_again(self) -> None:
        suspects, self._suspects = self._suspects, []
        if suspects:
            await self.settle()
        counts = dict(self.counts)
        for finding in await concurrently(lambda check: check(), suspects):
            if finding is not None:
                if self.mend is not None:
                    finding = attrs.evolve(finding, mended=await self.mend(finding))
                if finding.kind == "blob-damaged" and not finding.mended:
                    self._damaged.add(Digest.parse(finding.what))
                self.report(finding)
        self.counts.update(counts)

    async def _blob(self, digest: Digest) -> Finding | None:
        info = await self.links.bytes_of(digest)
        if info is None or info.is_directory:
            return None
        self.counts["blobs"] += 1
        self.counts["bytes"] += info.size
        return None if self.quick and info.size else await self._bytes(digest, info.size)

    async def _bytes(self, digest: Digest, size: int) -> Finding | None:
        path = layout.blob_data(digest)
        try:
            found = await self.links.hashed(path, digest.algorithm, self.in_thread)
        except errors.PathUnknown:
            return None
        except errors.StorageFault as error:
            return Finding("unreadable", "", str(digest), path, str(error))
        if found == digest:
            return None
        return Finding("blob-damaged", "", str(digest), path, f"{size} bytes, whose digest is {found}")

    async def _has_bytes(self, digest: Digest, size: int | None = None) -> bool:
        info = None if digest in self._damaged else await self.links.bytes_of(digest)
        if info is None or not self.quick or size is None or info.size in (0, size) or digest in self._sound:
            return info is not None
        # It is damaged, or else the manifest was pushed with a size that is wrong.
        if await self._bytes(digest, info.size) is None:
            self._sound.add(digest)
            return True
        if digest not in self._doubted:
            self._doubted.add(digest)
            self._suspects.append(lambda: self._bytes(digest, info.size))
        return False

    async def _link(self, name: str, what: str, path: str, digest: Digest | None) -> Digest | Finding | None:
        """Return what a link leads to, or what is wrong with it; None where there is none.

        :param digest: what the names of its directories say; a link of another algorithm may lead elsewhere.
        """
        try:
            content = await self.links.driver.read(path, _LINK_LIMIT)
            target = Digest.parse(content.decode("ascii").rstrip("\n"))
        except errors.PathUnknown:
            return None
        except errors.StorageFault as error:
            return Finding("unreadable", name, what, path, str(error))
        except (UnicodeDecodeError, errors.DigestInvalid):
            problem = "is empty" if not content else "holds something else than a digest"
            return Finding("link-broken", name, what, path, f"the link {problem}")
        if digest is not None and target != digest and target.algorithm == digest.algorithm:
            return Finding("link-broken", name, what, path, f"the link leads to {target}")
        return target

    async def _layer(self, name: RepositoryName, digest: Digest) -> Finding | None:
        # One that leads to nothing is no fault: so Distribution's garbage collection leaves them.
        found = await self._link(name, str(digest), layout.layer_link(name, digest), digest)
        return found if isinstance(found, Finding) else None

    async def _revision(self, name: RepositoryName, digest: Digest) -> Finding | None:
        path = layout.revision_link(name, digest)
        target = await self._link(name, str(digest), path, digest)
        if target is None or isinstance(target, Finding):
            return target
        self.counts["manifests"] += 1
        try:
            content = await self.links.driver.read(layout.blob_data(target), manifest.SIZE_LIMIT)
        except errors.PathUnknown:
            return Finding("manifest-missing", name, str(digest), path, "the link leads to nothing")
        except errors.StorageFault as error:
            return Finding("unreadable", name, str(digest), layout.blob_data(target), str(error))
        if Digest.of(content, digest.algorithm) != digest:
            return Finding("manifest-damaged", name, str(digest), path, "its bytes have another digest")
        try:
            manifest.media_type_of(content)
        except errors.ManifestInvalid:
            return Finding("manifest-unreadable", name, str(digest), path, "what is linked as one is none")
        missing = await self._missing(name, content)
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return Finding("manifest-incomplete", name, str(digest), path, f"lacks {missing[0]}{more}")
        referred = manifest.referrer_of(content, digest)
        if referred is None:
            return None
        entry = layout.referrer(name, referred[0], digest)
        try:
            await self.links.driver.stat(entry)
        except errors.PathUnknown:
            return Finding(
                "referrer-missing", name, str(digest), entry, f"not listed as one of {referred[0]}"
            )
        return None

    async def _missing(self, name: RepositoryName, content: bytes) -> list[Digest]:
        parsed = manifest.stored(content)
        if parsed is None:
            return []
        try:
            blobs, children = [*self.rules.required_blobs(parsed)], [*self.rules.required_children(parsed)]
        except errors.DigestInvalid:
            return []
        blobs += manifest.fs_layers(content)
        descriptors = [one for one in (parsed.config, *parsed.layers, *parsed.children) if one is not None]
        sizes = {one.digest: one.size for one in descriptors}

        async def has(path: str, digest: Digest) -> bool:
            target = await self._link(name, "", path, digest)
            return isinstance(target, Digest) and await self._has_bytes(target, sizes.get(str(digest)))

        missing = [digest for digest in blobs if not await has(layout.layer_link(name, digest), digest)]
        return missing + [
            digest for digest in children if not await has(layout.revision_link(name, digest), digest)
        ]

    async def _tag(self, name: RepositoryName, tag: str) -> Finding | None:
        path = layout.tag_link(name, tag)
        target = await self._link(name, tag, path, None)
        if target is None:
            try:
                if not (await self.links.driver.stat(layout.tag(name, tag))).is_directory:
                    return None
            except (errors.PathUnknown, errors.PathInvalid):
                return None
            return Finding("tag-broken", name, tag, path, "the tag has no link")
        if isinstance(target, Finding):
            return attrs.evolve(target, kind="tag-broken") if target.kind == "link-broken" else target
        revision = await self._link(name, tag, layout.revision_link(name, target), target)
        if not isinstance(revision, Digest) or not await self._has_bytes(revision):
            return Finding("tag-dangling", name, tag, path, f"the repository has no manifest {target}")
        for algorithm in ALGORITHMS:
            for digest in await self.tree.digests(layout.tag_history(name, tag, algorithm), algorithm):
                link = layout.tag_history_link(name, tag, digest)
                found = await self._link(name, f"{tag}@{digest}", link, digest)
                if isinstance(found, Finding):
                    return found
        return None

    async def _entry(self, name: RepositoryName, subject: Digest, entry: str) -> Finding | None:
        try:
            digest = Digest.parse(entry.replace("-", ":", 1))
        except errors.DigestInvalid:
            return None
        path = layout.referrer(name, subject, digest)
        if await self._link(name, entry, layout.revision_link(name, digest), digest) is None:
            return Finding("referrer-stale", name, str(digest), path, "the repository has no such manifest")
        return None
