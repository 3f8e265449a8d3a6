"""Collections of garbage, and pushes that race with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from tests.content.case import CONTENT, NAME, OTHER, ContentCase, ToldDriver, image, in_thread, index
from txregistry import errors, media
from txregistry.content import layout
from txregistry.content.garbage import ClockSet, Collection, Eligible, Rules, Tally, Time
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.interfaces import FileInfo
from txregistry.reference import RepositoryName, Tag

T = TypeVar("T")

DAY = 24 * 3600.0
ONE, TWO = Tag("one"), Tag("two")


class InterruptedDriver(ToldDriver):
    """A driver in memory before one of whose steps something else is done.

    :ivar left: steps until then; less than nothing afterwards.
    """

    left = 2**30
    _work: Callable[[], object]

    def interrupt(self, steps: int, work: Callable[[], object]) -> None:
        """Do *work* after so many steps."""
        self.left, self._work = steps, work

    def _step(self) -> None:
        self.left -= 1
        if self.left == -1:
            self._work()

    async def read(self, path: str, limit: int) -> bytes:
        self._step()
        return await super().read(path, limit)

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        self._step()
        await super().write(path, content, durable)

    async def stat(self, path: str) -> FileInfo:
        self._step()
        return await super().stat(path)

    async def touch(self, paths: Sequence[str], age: float = 0) -> list[FileInfo | None]:
        self._step()
        return await super().touch(paths, age)

    async def discard(self, path: str, before: float) -> FileInfo | None:
        self._step()
        return await super().discard(path, before)

    async def delete(self, path: str, durable: bool = True) -> None:
        self._step()
        await super().delete(path, durable)


class GarbageCase(ContentCase):
    """A registry in memory whose files have the times of a clock of the test's."""

    def setUp(self) -> None:
        """Make the registry."""
        self.seconds = 1_000_000.0
        self.passed = 0.0
        self.driver: InterruptedDriver = InterruptedDriver(lambda: self.seconds)
        self.registry = Registry.on(self.driver, in_thread)
        self.eligible: list[Eligible] = []

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
        self.passed += seconds

    def collection(self, age: float = DAY, untagged: bool = False, dry_run: bool = False) -> Collection:
        """Begin a collection; no step of it is done."""
        clocks = Time(lambda: self.seconds, lambda: self.passed)
        rules = Rules(age, untagged, dry_run)
        return Collection(self.driver, rules, clocks, lambda: succeed(None), self.eligible.append)

    def collect(self, **more: Any) -> Tally:
        """Collect from beginning to end."""
        return self.run_now(self.collection(**more).run())

    def put(
        self,
        content: bytes,
        reference: Tag | Digest | None = ONE,
        name: RepositoryName = NAME,
        media_type: str = media.OCI_MANIFEST,
    ) -> Digest:
        """Push a manifest, by its digest if no tag is given."""
        wanted = reference or Digest.of(content)
        return self.run_now(self.registry.manifests.put(name, wanted, content, media_type)).digest

    def push_image(
        self, note: str = "", reference: Tag | Digest | None = ONE, name: RepositoryName = NAME
    ) -> tuple[Digest, Digest, Digest]:
        """Push an image of its own; return its manifest's, config's and layer's digests."""
        config, layer = self.push(f"config {note}".encode(), name), self.push(f"layer {note}".encode(), name)
        return self.put(image(config, layer, note=note), reference, name), config, layer

    def assert_there(self, *digests: Digest) -> None:
        """Fail unless the bytes are stored."""
        for digest in digests:
            self.run_now(self.driver.stat(layout.blob_data(digest)))

    def assert_gone(self, *digests: Digest) -> None:
        """Fail unless the bytes are not stored."""
        for digest in digests:
            self.raises(errors.PathUnknown, self.driver.stat(layout.blob_data(digest)))


def referrer(config: Digest, subject: Digest) -> bytes:
    """Return a manifest that refers to another."""
    document = json.loads(image(config))
    document["subject"] = {"mediaType": media.OCI_MANIFEST, "digest": str(subject), "size": 1}
    return json.dumps(document).encode()


class CollectTests(GarbageCase):
    """What is collected, and what is not."""

    def test_image(self) -> None:
        """What a manifest names stays, tagged or not; blobs that none names go, their links with them."""
        kept = [*self.push_image("tagged"), *self.push_image("untagged", None)]
        lost = self.push(b"of no manifest")
        self.wait(DAY + 10)
        tally = self.collect()
        self.assert_there(*kept)
        self.assert_gone(lost)
        self.assertNotIn(layout.layer_link(NAME, lost), self.files())
        self.assertEqual(tally.removed, {"manifest": 0, "link": 1, "blob": 1})
        self.assertEqual(tally.bytes, len(b"of no manifest"))
        self.assertEqual(
            [(one.kind, one.digest, one.repository) for one in self.eligible],
            [("link", lost, NAME), ("blob", lost, None)],
        )

    def test_young(self) -> None:
        """A blob that was just pushed is left, until it is as old as the rules say."""
        lost = self.push(b"its manifest comes later")
        self.wait(DAY - 10)
        self.assertEqual(self.collect().kept, {"manifest": 0, "link": 1, "blob": 1})
        self.assert_there(lost)
        self.wait(20)
        self.collect()
        self.assert_gone(lost)

    def test_slow_upload(self) -> None:
        """A blob is as young as its upload's end, however long its bytes took to come."""
        content = b"slow"
        upload = self.upload(content)
        self.wait(2 * DAY)
        digest = Digest.of(content)

        async def finish() -> None:
            session = await self.registry.uploads.open(NAME, upload.id)
            try:
                await session.commit(digest)
            finally:
                await session.close()

        self.run_now(finish())
        self.collect()
        self.assert_there(digest)

    def test_asked_for(self) -> None:
        """A client that was told that a blob is there can rely on it: it is as young as when it was pushed."""
        digest = self.push(CONTENT)
        self.wait(DAY + 10)
        self.run_now(self.registry.blobs.keep(NAME, digest))
        self.collect()
        self.assertEqual(self.bytes_of(digest), CONTENT)
        self.wait(DAY + 10)
        self.collect()
        self.raises(errors.BlobUnknown, self.registry.blobs.keep(NAME, digest))

    def test_mounted(self) -> None:
        """A blob that was mounted is as young as that; the link that it was mounted from may go."""
        digest = self.push(CONTENT)
        self.wait(DAY + 10)
        self.assertTrue(self.run_now(self.registry.blobs.mount(NAME, OTHER, digest)))
        self.collect()
        self.assertEqual(self.bytes_of(digest, OTHER), CONTENT)
        self.raises(errors.BlobUnknown, self.registry.blobs.find(NAME, digest))

    def test_link_of_one_repository(self) -> None:
        """A repository's link goes if none of its manifests names the blob; the bytes stay for another's."""
        _, _, layer = self.push_image("shared")
        self.push(b"layer shared", OTHER)
        self.wait(DAY + 10)
        self.collect()
        self.assert_there(layer)
        self.raises(errors.BlobUnknown, self.registry.blobs.find(OTHER, layer))

    def test_only_layers(self) -> None:
        """A repository to which only blobs were pushed is collected too, and ends nothing."""
        lost, (kept, *_) = self.push(b"alone", OTHER), self.push_image()
        self.wait(DAY + 10)
        self.collect()
        self.assert_gone(lost)
        self.assert_there(kept)

    def test_only_manifests(self) -> None:
        """A repository without blobs of its own ends nothing."""
        config = Digest.of(b"elsewhere")
        content = image(config)
        digest = Digest.of(content)
        self.store(layout.blob_data(digest), content)
        self.store(layout.revision_link(NAME, digest), str(digest).encode())
        self.wait(DAY + 10)
        self.collect()
        self.assert_there(digest)

    def test_sha512(self) -> None:
        """What is named by its sha512 digest stays, kept under that or, as Distribution does, under sha256."""
        config = self.push(b"{}", algorithm="sha512")
        canonical = self.push(CONTENT)
        wanted = Digest.of(CONTENT, "sha512")
        self.store(layout.layer_link(NAME, wanted), str(canonical).encode())
        self.put(image(config, wanted))
        self.wait(DAY + 10)
        self.collect()
        self.assertEqual(self.bytes_of(config), b"{}")
        self.assertEqual(self.bytes_of(wanted), CONTENT)

    def test_schema_1(self) -> None:
        """The layers of a manifest of Docker's first schema, which Distribution 2 stored, stay."""
        layer = self.push(CONTENT)
        content = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": str(layer)}]}).encode()
        digest = Digest.of(content)
        self.store(layout.blob_data(digest), content)
        self.store(layout.revision_link(NAME, digest), str(digest).encode())
        self.wait(DAY + 10)
        self.collect()
        self.assert_there(layer, digest)

    def test_empty_link(self) -> None:
        """An empty link, as a crash of Distribution 2 left, ends nothing and loses nothing."""
        digest, config, layer = self.push_image()
        self.store(layout.revision_link(NAME, digest), b"")
        lost = self.push(b"lost")
        self.wait(DAY + 10)
        self.collect()
        self.assert_there(digest, config, layer)
        self.assert_gone(lost)

    def test_damaged_manifest(self) -> None:
        """A manifest that cannot be read ends the collection before anything is removed."""
        digest, _, _ = self.push_image()
        lost = self.push(b"lost")
        self.damage_blob(digest)
        self.wait(DAY + 10)
        before = self.tree()
        error = self.raises(errors.StorageFault, self.collection().run())
        self.assertIn(str(digest), str(error))
        self.assertEqual({**before, layout.COLLECTING: b""}, {**self.tree(), layout.COLLECTING: b""})
        self.assert_there(lost)

    def test_dry_run(self) -> None:
        """A dry run tells just what a real one removes, and removes nothing."""
        self.push_image("one")
        self.push_image("two", None)
        self.push(b"lost")
        self.wait(DAY + 10)
        before = self.tree()
        dry = self.collect(untagged=True, dry_run=True)
        told, self.eligible = self.eligible, []
        self.assertEqual(self.tree(), before)
        real = self.collect(untagged=True)
        self.assertEqual(dry.removed, real.removed)
        self.assertEqual(dry.bytes, real.bytes)
        self.assertEqual(sorted(told, key=str), sorted(self.eligible, key=str))
        self.assertEqual(real.removed, {"manifest": 1, "link": 3, "blob": 4})

    def test_one_at_a_time(self) -> None:
        """A second collection on the same storage is refused while one runs."""
        held = self.run_now(self.driver.open_writer(layout.COLLECTING))
        self.raises(errors.FileBusy, self.collection().run())
        self.run_now(held.close())
        self.collect()

    def test_clock_set_back(self) -> None:
        """When the clock is set back in the middle nothing more is removed: what is young could not be told."""
        lost = self.push(b"lost")
        self.wait(DAY + 10)
        collection = self.collection()
        self.run_now(collection.mark())
        self.seconds -= 3600
        self.raises(ClockSet, collection.sweep())
        self.assert_there(lost)

    def test_future(self) -> None:
        """What seems to be from the future, because the clock was set back before, is young."""
        digest = self.push(CONTENT)
        self.seconds -= 10 * DAY
        self.collect()
        self.assert_there(digest)


class UntaggedTests(GarbageCase):
    """Collections that take manifests that no tag leads to."""

    def test_untagged(self) -> None:
        """A manifest that no tag leads to goes, with what it names and what its tags once were."""
        old = self.push_image("old")
        kept = self.push_image("new")
        self.wait(DAY + 10)
        self.collect(untagged=True)
        self.assert_gone(*old)
        self.assert_there(*kept)
        self.raises(errors.ManifestUnknown, self.registry.manifests.find(NAME, old[0]))
        self.assertNotIn(layout.tag_history_link(NAME, ONE, old[0]), self.files())
        self.assertIn(layout.tag_history_link(NAME, ONE, kept[0]), self.files())

    def test_young(self) -> None:
        """One that was just pushed by its digest is left, with all that it names."""
        digests = self.push_image(reference=None)
        self.collect(untagged=True)
        self.assert_there(*digests)

    def test_index(self) -> None:
        """What a tagged index lists stays, through any number of indexes; what an untagged one lists goes."""
        kept, lost = self.push_image("kept", None), self.push_image("lost", None)
        inner = self.put(index(kept[0]), None, media_type=media.OCI_INDEX)
        outer = self.put(index(inner), media_type=media.OCI_INDEX)
        untagged = self.put(index(lost[0]), None, media_type=media.OCI_INDEX)
        self.wait(DAY + 10)
        self.collect(untagged=True)
        self.assert_there(*kept, inner, outer)
        self.assert_gone(*lost, untagged)

    def test_referrer(self) -> None:
        """A referrer stays while its subject does, over any number of steps, and goes with it."""
        subject, config, _ = self.push_image("subject")
        self.push(b"{}")
        signature = self.put(referrer(Digest.of(b"{}"), subject), None)
        of_signature = self.put(referrer(config, signature), None)
        self.wait(DAY + 10)
        self.collect(untagged=True)
        self.assert_there(signature, of_signature)
        self.assertEqual(len(self.run_now(self.registry.referrers.page(NAME, subject, 10)).referrers), 1)
        self.run_now(self.registry.manifests.delete(NAME, ONE))
        self.collect(untagged=True)
        self.assert_gone(subject, signature, of_signature)
        self.assertEqual([path for path in self.files() if "_referrers" in path], [])

    def test_subject_of_a_tagged_referrer(self) -> None:
        """What a tagged referrer refers to stays."""
        subject, config, _ = self.push_image("subject", None)
        self.put(referrer(config, subject))
        self.wait(DAY + 10)
        self.collect(untagged=True)
        self.assert_there(subject)

    def test_damaged_tag(self) -> None:
        """What a tag whose link is damaged has ever pointed to stays: it may be any of these."""
        digests = self.push_image()
        self.store(layout.tag_link(NAME, ONE), b"")
        self.wait(DAY + 10)
        self.collect(untagged=True)
        self.assert_there(*digests)

    def test_deep(self) -> None:
        """Indexes in indexes, however deep, and subjects in a circle cost no recursion."""
        digest, config, _ = self.push_image(reference=None)
        for _ in range(3000):
            digest = self.put(index(digest), None, media_type=media.OCI_INDEX)
        self.put(index(digest), media_type=media.OCI_INDEX)
        self.wait(DAY + 10)
        self.assertEqual(self.collect(untagged=True).removed["manifest"], 0)
        self.assert_there(digest, config)


class RaceTests(GarbageCase):
    """Pushes between the steps of a collection that spares nothing for its age."""

    def setUp(self) -> None:
        """Push an image that is not needed any more."""
        super().setUp()
        self.manifest, self.config, self.layer = self.push_image("old", None)
        self.run_now(self.registry.manifests.delete(NAME, self.manifest))
        self.content = image(self.config, self.layer, note="old")
        self.wait(10)
        self.running = self.collection(age=0, untagged=True)

    def whole(self, reference: Tag | Digest = TWO, name: RepositoryName = NAME) -> bool:
        """Say whether an image can be pulled whole; fail if its manifest can and the rest not."""
        finding = Deferred.fromCoroutine(self.registry.manifests.find(name, reference))
        if self.accepted(finding) is None:
            return False
        for digest in (self.config, self.layer):
            self.run_now(self.registry.blobs.find(name, digest))
            self.assert_there(digest)
        return True

    def accepted(self, work: Deferred[T]) -> T | None:
        """Return the result of what was done; None if the registry refused."""
        results: list[Any] = []
        work.addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            result.trap(errors.ManifestUnknown, errors.ManifestBlobUnknown)
            return None
        return result  # type: ignore[no-any-return]

    def between(self, *steps: Callable[[], object]) -> None:
        """Mark, do *steps* a moment later, and sweep."""
        self.run_now(self.running.mark())
        self.wait(0.001)
        for step in steps:
            step()
        self.run_now(self.running.sweep())

    def test_nothing_between(self) -> None:
        """Nothing comes between: it is collected, and a push that relies on it is refused."""
        self.between()
        self.assert_gone(self.manifest, self.config, self.layer)
        error = self.raises(
            errors.ManifestBlobUnknown,
            self.registry.manifests.put(NAME, TWO, self.content, media.OCI_MANIFEST),
        )
        self.assertEqual(set(error.digests), {str(self.config), str(self.layer)})
        self.assertFalse(self.whole())

    def test_pushed_again(self) -> None:
        """Its blobs and it are pushed again after marking: it stays whole."""
        self.between(lambda: self.push_image("old", TWO))
        self.assertTrue(self.whole())

    def test_manifest_between(self) -> None:
        """Only its manifest is pushed again after marking, relying on blobs without a mark: it stays whole."""
        self.between(lambda: self.put(self.content, TWO))
        self.assertTrue(self.whole())

    def test_mounted_between(self) -> None:
        """Its blobs are mounted elsewhere after marking, and pushed as an image there: that stays whole."""

        def mount() -> None:
            for digest in (self.config, self.layer):
                self.assertTrue(self.run_now(self.registry.blobs.mount(NAME, OTHER, digest)))
            self.put(self.content, TWO, OTHER)

        self.between(mount)
        self.assertTrue(self.whole(name=OTHER))

    def test_asked_for_between(self) -> None:
        """A client is told that they are there after marking, and relies on it after the sweep."""

        def ask() -> None:
            self.wait(120)
            for digest in (self.config, self.layer):
                self.run_now(self.registry.blobs.keep(NAME, digest))

        self.between(ask)
        self.put(self.content, TWO)
        self.assertTrue(self.whole())

    def test_index_between(self) -> None:
        """An untagged manifest is listed by an index that is pushed after marking: all of it stays."""
        self.push_image("old", None)
        self.wait(10)
        self.running = self.collection(age=0, untagged=True)
        self.between(lambda: self.put(index(self.manifest), ONE, media_type=media.OCI_INDEX))
        self.assertTrue(self.whole(self.manifest))

    def test_tagged_between(self) -> None:
        """An untagged manifest is pushed again by tag after marking: it stays whole."""
        self.push_image("old", None)
        self.wait(10)
        self.running = self.collection(age=0, untagged=True)
        self.between(lambda: self.put(self.content, TWO))
        self.assertTrue(self.whole())

    def test_every_moment(self) -> None:
        """A whole collection comes between any two steps of a push: what is accepted is whole."""
        for untagged in (False, True):
            outcomes = []
            while not outcomes or self.driver.left < 0:
                self.setUp()
                if untagged:
                    self.push_image("old", None)
                    self.wait(10)
                self.driver.interrupt(len(outcomes), self.collect_all)
                putting = self.registry.manifests.put(NAME, TWO, self.content, media.OCI_MANIFEST)
                accepted = self.accepted(Deferred.fromCoroutine(putting)) is not None
                self.assertEqual(self.whole(), accepted)
                outcomes.append(accepted)
            self.assertEqual(set(outcomes), {False, True})
            self.assertTrue(outcomes[-1])

    def test_every_moment_of_an_index(self) -> None:
        """A whole collection comes between any two steps of the push of an index of indexes."""
        outcomes: list[bool] = []
        while not outcomes or self.driver.left < 0:
            self.setUp()
            self.push_image("old", None)
            inner = self.put(index(self.manifest), None, media_type=media.OCI_INDEX)
            self.wait(10)
            self.driver.interrupt(len(outcomes), self.collect_all)
            putting = self.registry.manifests.put(NAME, TWO, index(inner), media.OCI_INDEX)
            accepted = self.accepted(Deferred.fromCoroutine(putting)) is not None
            if accepted:
                self.assertTrue(self.whole(inner))
                self.assertTrue(self.whole(self.manifest))
            outcomes.append(accepted)
        self.assertEqual(set(outcomes), {False, True})

    def test_every_moment_of_a_sweep(self) -> None:
        """The push of an index of indexes comes between any two steps of a sweep."""
        outcomes: list[bool] = []
        while not outcomes or self.driver.left < 0:
            self.setUp()
            self.push_image("old", None)
            inner = self.put(index(self.manifest), None, media_type=media.OCI_INDEX)
            self.wait(10)
            collection = self.collection(age=0, untagged=True)
            self.run_now(collection.mark())
            self.wait(0.001)
            pushed: list[bool] = []

            def push(inner: Digest = inner, pushed: list[bool] = pushed) -> None:
                putting = self.registry.manifests.put(NAME, TWO, index(inner), media.OCI_INDEX)
                pushed.append(self.accepted(Deferred.fromCoroutine(putting)) is not None)

            self.driver.interrupt(len(outcomes), push)
            self.run_now(collection.sweep())
            if pushed == [True]:
                self.assertTrue(self.whole(inner))
                self.assertTrue(self.whole(self.manifest))
            outcomes.append(pushed == [True])
        self.assertIn(True, outcomes)

    def collect_all(self) -> None:
        """Collect from beginning to end, a moment later."""
        self.wait(0.001)
        self.run_now(self.collection(age=0, untagged=True).run())
