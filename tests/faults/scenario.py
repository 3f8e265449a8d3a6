"""A registry's day, step by step: everything that changes what is stored, each with what it promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from tests.content.case import image, pieces
from tests.faults.history import History
from txregistry import errors, media
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.reference import RepositoryName, Tag

NAME, OTHER = RepositoryName("team/app"), RepositoryName("team/other")
CONFIG, LAYER, LARGE, LONELY = b"config", b"layer" * 500, b"large" * 5000, b"lonely"


@frozen
class Day:
    """What clients do to a registry, one thing after the other, whatever becomes of each.

    :param registry: the registry.
    :param history: what is promised.
    :param failed: told what each step raised that was a storage's fault.
    """

    registry: Registry
    history: History
    failed: Callable[[errors.StorageError], None]

    async def run(self) -> None:
        """Do all of it."""
        for content in (CONFIG, LAYER, LARGE, LONELY):
            await self._push(NAME, content)
        await self._push(NAME, LAYER, "sha512")
        first, second = image(_digest(CONFIG), _digest(LAYER)), image(_digest(CONFIG), _digest(LARGE))
        await self._put("v1", first)
        await self._put("v2", first)
        await self._put("v1", second)
        await self._mount(CONFIG)
        await self._put("signature", _referrer(_digest(second)))
        await self._delete(first)
        await self._untag("signature")
        await self._step(
            {("blob", NAME, LONELY): None}, lambda: self.registry.blobs.delete(NAME, _digest(LONELY))
        )
        await self._abandon()

    async def _step(self, values: dict[Any, Any], work: Callable[[], Awaitable[Any]]) -> None:
        operation = self.history.begin(values)
        try:
            await work()
        except errors.StorageError as error:
            self.history.fail(operation)
            self.failed(error)
        except errors.RegistryError:
            # An earlier step has failed.
            self.history.refuse(operation)
        else:
            self.history.acknowledge(operation)

    async def _push(self, name: RepositoryName, content: bytes, algorithm: str = "sha256") -> None:
        digest = Digest.of(content, algorithm)
        half = len(content) // 2

        async def push() -> None:
            uploads = self.registry.uploads
            upload = await uploads.begin(name)
            state = ("upload", name, (upload.id, half))
            for start, end in ((0, half), (half, len(content))):
                if start == half:
                    # From here on the session may end.
                    self.history.begin({state: None})
                session = await uploads.open(name, upload.id, algorithm)
                try:
                    await session.append(pieces(content[start:end]))
                    if end == len(content):
                        await session.commit(digest)
                finally:
                    await session.close()
                if end == half:
                    self.history.acknowledge(self.history.begin({state: "there"}))

        key = content if algorithm == "sha256" else (content, algorithm)
        await self._step({("blob", name, key): "there"}, push)

    async def _put(self, tag: str, content: bytes) -> None:
        values = {("tag", NAME, tag): _digest(content), ("manifest", NAME, content): "there"}
        put = self.registry.manifests.put
        await self._step(values, lambda: put(NAME, Tag(tag), content, media.OCI_MANIFEST))

    async def _mount(self, content: bytes) -> None:
        values = {("blob", OTHER, content): "there"}

        async def mount() -> None:
            if not await self.registry.blobs.mount(NAME, OTHER, _digest(content)):
                raise errors.BlobUnknown

        await self._step(values, mount)

    async def _delete(self, content: bytes) -> None:
        values: dict[Any, Any] = {("manifest", NAME, content): None}
        for key in self.history.names():
            allowed = self.history.allowed(key)
            if allowed == [_digest(content)]:
                values[key] = None
            elif _digest(content) in allowed:
                # It goes if it points there.
                self.history.begin({key: None})
        await self._step(values, lambda: self.registry.manifests.delete(NAME, _digest(content)))

    async def _untag(self, tag: str) -> None:
        await self._step({("tag", NAME, tag): None}, lambda: self.registry.manifests.delete(NAME, Tag(tag)))

    async def _abandon(self) -> None:
        uploads = self.registry.uploads
        try:
            upload = await uploads.begin(NAME)
            await uploads.cancel(NAME, upload.id)
        except errors.StorageError as error:
            self.failed(error)


async def look(registry: Registry, history: History, uploads: bool = True) -> None:
    """Fail unless all that can be found is what the history allows, and whole.

    :param uploads: whether uploads that were not finished have to be there.
    """
    for key in history.names():
        assert isinstance(key, tuple)
        kind, name, what = key
        if kind == "upload" and not uploads:
            continue
        history.check(key, await _FIND[kind](registry, name, what))
    for name in (NAME, OTHER):
        try:
            tags = await registry.tags.names(name)
        except errors.NameUnknown:
            continue
        for tag in tags:
            # Whatever is listed can be pulled.
            await registry.manifests.find(name, Tag(tag))


async def _blob(registry: Registry, name: RepositoryName, what: Any) -> Any:
    content, algorithm = what if isinstance(what, tuple) else (what, "sha256")
    try:
        blob = await registry.blobs.find(name, Digest.of(content, algorithm))
    except errors.BlobUnknown:
        return None
    found = await registry.driver.read(blob.path, 1 << 20)
    assert found == content, f"{what!r:.40} has {len(found)} bytes"
    return "there"


async def _manifest(registry: Registry, name: RepositoryName, content: bytes) -> Any:
    try:
        found = await registry.manifests.find(name, _digest(content))
    except errors.ManifestUnknown:
        return None
    assert found.content == content
    return "there"


async def _tag(registry: Registry, name: RepositoryName, tag: str) -> Any:
    try:
        return (await registry.manifests.find(name, Tag(tag))).digest
    except errors.ManifestUnknown:
        return None


async def _upload(registry: Registry, name: RepositoryName, what: Any) -> Any:
    upload_id, acknowledged = what
    try:
        upload = await registry.uploads.find(name, upload_id)
        return "there" if upload.size >= acknowledged else f"{upload.size} of {acknowledged} bytes"
    except errors.BlobUploadUnknown:
        return None


_FIND: dict[str, Callable[..., Awaitable[Any]]] = {
    "blob": _blob,
    "manifest": _manifest,
    "tag": _tag,
    "upload": _upload,
}


def _digest(content: bytes) -> Digest:
    return Digest.of(content, "sha256")


def _referrer(subject: Digest) -> bytes:
    content = image(_digest(CONFIG), _digest(LAYER), note="signature")
    named = b'"subject": {"mediaType": "%s", "digest": "%s", "size": 1}, ' % (
        media.OCI_MANIFEST.encode(),
        str(subject).encode(),
    )
    return content.replace(b'{"schemaVersion"', b"{" + named + b'"schemaVersion"', 1)
