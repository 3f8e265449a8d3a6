"""Manifests of repositories."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred

from tests.content.case import NAME, OTHER, ContentCase, SlowDriver, descriptor, in_thread, index
from tests.content.case import image as image_of
from txregistry import errors, media
from txregistry.content import layout
from txregistry.content.manifests import StoredManifest
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.manifest import SIZE_LIMIT
from txregistry.reference import RepositoryName, Tag

LATEST = Tag("latest")
ABSENT = Digest.of(b"nothing")


class ManifestCase(ContentCase):
    """A repository with the blobs of an image."""

    def setUp(self) -> None:
        """Push the blobs."""
        super().setUp()
        self.config, self.layer = self.push(b"{}"), self.push(b"layer")
        self.image = image_of(self.config, self.layer)
        self.driver.calls.clear()

    def put(
        self,
        content: bytes,
        reference: Tag | Digest = LATEST,
        name: RepositoryName = NAME,
        content_type: str = media.OCI_MANIFEST,
    ) -> Digest:
        """Push a manifest, which refers to no other."""
        pushed = self.run_now(self.registry.manifests.put(name, reference, content, content_type))
        self.assertIsNone(pushed.subject)
        return pushed.digest

    def refused(self, kind: type[errors.RegistryError], content: bytes, **more: Any) -> errors.RegistryError:
        """Fail unless a manifest is refused, and nothing is stored of it."""
        before = self.tree()
        arguments = {"reference": LATEST, "content_type": media.OCI_MANIFEST, **more}
        putting = self.registry.manifests.put(
            NAME, arguments["reference"], content, arguments["content_type"]
        )
        error = self.raises(kind, putting)
        self.assertEqual(self.tree(), before)
        return error

    def found(self, reference: Tag | Digest, name: RepositoryName = NAME) -> StoredManifest:
        """Return a manifest as a client would get it."""
        return self.run_now(self.another().manifests.find(name, reference))

    def assert_unknown(self, reference: Tag | Digest, name: RepositoryName = NAME) -> None:
        """Fail unless there is no such manifest."""
        error = self.raises(errors.ManifestUnknown, self.registry.manifests.find(name, reference))
        self.assertEqual(error.detail, {"name": name, "reference": str(reference)})

    async def unknown(self, reference: Tag | Digest) -> bool:
        """Say whether there is no such manifest."""
        try:
            await self.registry.manifests.find(NAME, reference)
        except errors.ManifestUnknown:
            return True
        return False

    def delete(self, reference: Tag | Digest) -> None:
        """Delete a manifest or tag."""
        self.run_now(self.registry.manifests.delete(NAME, reference))


class TestPut(ManifestCase):
    """Manifests that are pushed."""

    def test_by_tag(self) -> None:
        """A manifest pushed by tag is found by tag and by digest, byte for byte and of its type."""
        digest = self.put(self.image)
        self.assertEqual(digest, Digest.of(self.image))
        for reference in (LATEST, digest):
            self.assertEqual(self.found(reference), StoredManifest(digest, media.OCI_MANIFEST, self.image))
        self.assert_unknown(LATEST, OTHER)
        self.assert_unknown(digest, OTHER)

    def test_odd_bytes(self) -> None:
        """Spacing, the order of keys and a newline at the end come back as they went."""
        content = b"\n " + json.dumps(json.loads(self.image), indent=7, sort_keys=True).encode() + b" \n"
        self.assertEqual(self.found(self.put(content)).content, content)

    def test_by_digest(self) -> None:
        """A manifest pushed by digest makes no tag."""
        digest = self.put(self.image, Digest.of(self.image))
        self.assertEqual(self.found(digest).content, self.image)
        self.assertEqual(self.run_now(self.registry.tags.names(NAME)), [])

    def test_sha512(self) -> None:
        """A manifest pushed by its sha512 is found by that; it is not the sha256 of the same bytes."""
        digest = Digest.of(self.image, "sha512")
        self.assertEqual(self.put(self.image, digest), digest)
        self.assertEqual(self.found(digest), StoredManifest(digest, media.OCI_MANIFEST, self.image))
        self.assert_unknown(Digest.of(self.image))

    def test_wrong_digest(self) -> None:
        """Content of another digest than the one it is pushed by is refused."""
        for algorithm in ("sha256", "sha512"):
            wrong = Digest.of(b"other", algorithm)
            error = self.refused(errors.DigestInvalid, self.image, reference=wrong)
            self.assertEqual(error.detail, {"digest": str(wrong)})

    def test_invalid(self) -> None:
        """What is not a manifest is refused."""
        self.refused(errors.ManifestInvalid, b"{}")
        self.refused(errors.ManifestInvalid, self.image, content_type=media.OCI_INDEX)
        self.refused(errors.ManifestInvalid, self.image + b" " * 100_000 + b"x")

    def test_order(self) -> None:
        """First the bytes, then the repository's link, then the tag, then its history."""
        digest = self.put(self.image)
        self.assertEqual(
            self.driver.calls,
            [
                ("write", layout.blob_data(digest)),
                ("write", layout.revision_link(NAME, digest)),
                ("write", layout.tag_link(NAME, LATEST)),
                ("write", layout.tag_history_link(NAME, LATEST, digest)),
            ],
        )

    def test_trouble(self) -> None:
        """Where a step fails, the tag stays where it was and the next push goes through."""
        first = self.put(self.image)
        second = image_of(self.config, self.layer, note="second")
        for step in ("blobs", "revisions", "index", "current"):
            self.driver.failing["write", step] = errors.StorageUnavailable("/x")
            putting = self.registry.manifests.put(NAME, LATEST, second, media.OCI_MANIFEST)
            self.raises(errors.StorageUnavailable, putting)
            self.assertEqual(self.found(LATEST).digest, first)
            self.driver.failing.clear()
        self.assertEqual(self.found(self.put(second) and LATEST).content, second)

    def test_again(self) -> None:
        """Pushing the same again changes nothing."""
        self.put(self.image)
        before = self.tree()
        self.put(self.image)
        self.assertEqual(self.tree(), before)

    def test_tag_moves(self) -> None:
        """A tag that is pushed to again points to the new manifest; the old one is there by digest."""
        old = self.put(self.image)
        new = self.put(image_of(self.config))
        self.assertEqual(self.found(LATEST).digest, new)
        self.assertEqual(self.found(old).content, self.image)

    def test_large(self) -> None:
        """A large manifest is parsed in a thread, and is the same."""
        hops = []

        def counting(work: Any, /) -> Any:
            hops.append(work)
            return in_thread(work)

        registry = Registry.on(self.driver, counting)
        large = image_of(self.config, note="x" * (SIZE_LIMIT - 1000))
        for content, expected in ((self.image, 0), (large, 1)):
            pushed = self.run_now(registry.manifests.put(NAME, LATEST, content, media.OCI_MANIFEST))
            digest = pushed.digest
            self.assertEqual(len(hops), expected)
            self.assertEqual(self.found(digest).content, content)


class TestReferences(ManifestCase):
    """A manifest is stored only after all that it names."""

    def test_missing_blobs(self) -> None:
        """Every blob that is missing is listed once, in the manifest's order."""
        gone = [Digest.of(b"%d" % number) for number in range(40)]
        content = image_of(gone[0], self.layer, *gone[1:], gone[3], self.config)
        error = self.refused(errors.ManifestBlobUnknown, content)
        self.assertEqual(error.detail, [str(digest) for digest in gone])

    def test_of_another_repository(self) -> None:
        """A blob that only another repository has is missing, until it is mounted."""
        elsewhere = self.push(b"elsewhere", OTHER)
        content = image_of(self.config, elsewhere)
        error = self.refused(errors.ManifestBlobUnknown, content)
        self.assertEqual(error.detail, [str(elsewhere)])
        self.run_now(self.registry.blobs.mount(OTHER, NAME, elsewhere))
        self.put(content)

    def test_deleted_blob(self) -> None:
        """A blob that was deleted a moment ago is missing."""
        self.run_now(self.registry.blobs.delete(NAME, self.layer))
        self.refused(errors.ManifestBlobUnknown, self.image)

    def test_swept_blob(self) -> None:
        """A blob whose bytes are gone is missing, though its link is there."""
        self.run_now(self.driver.delete(layout.blob_data(self.layer)))
        self.refused(errors.ManifestBlobUnknown, self.image)

    def test_manifest_is_no_layer(self) -> None:
        """A manifest is not a blob of the repository, nor a blob a manifest."""
        child = self.put(self.image)
        self.refused(errors.ManifestBlobUnknown, image_of(self.config, child))
        self.refused(errors.ManifestBlobUnknown, index(self.layer), content_type=media.OCI_INDEX)
        self.assert_unknown(self.layer)
        self.raises(errors.BlobUnknown, self.registry.blobs.find(NAME, child))

    def test_cache(self) -> None:
        """An index of layers, as BuildKit pushes a cache, is stored when the layers are there."""
        for layers in ([self.layer, ABSENT], [self.layer, self.config]):
            listed = [descriptor(layer) for layer in layers]
            content = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
            if ABSENT in layers:
                error = self.refused(errors.ManifestBlobUnknown, content, content_type=media.OCI_INDEX)
                self.assertEqual(error.detail, [str(ABSENT)])
            else:
                self.put(content, content_type=media.OCI_INDEX)
        self.assertEqual(self.found(LATEST).content, content)

    def test_index(self) -> None:
        """An index is stored when all its manifests are; it is found as an index."""
        child = self.put(self.image, Digest.of(self.image))
        content = index(child, ABSENT)
        error = self.refused(errors.ManifestBlobUnknown, content, content_type=media.OCI_INDEX)
        self.assertEqual(error.detail, [str(ABSENT)])
        digest = self.put(index(child), content_type=media.OCI_INDEX)
        self.assertEqual(self.found(LATEST), StoredManifest(digest, media.OCI_INDEX, index(child)))

    def test_index_without_a_type(self) -> None:
        """An index that does not say its type is found as an index all the same."""
        content = b'{"schemaVersion": 2, "manifests": []}'
        self.put(content, content_type=media.OCI_INDEX)
        self.assertEqual(self.found(LATEST).media_type, media.OCI_INDEX)

    def test_swept_child(self) -> None:
        """A manifest whose bytes are gone is missing from an index, though its link is there."""
        child = self.put(self.image)
        self.run_now(self.driver.delete(layout.blob_data(child)))
        self.refused(errors.ManifestBlobUnknown, index(child), content_type=media.OCI_INDEX)


class TestFind(ManifestCase):
    """Manifests that are asked for."""

    def test_unknown(self) -> None:
        """What is not there is unknown, and asking leaves no trace."""
        before = self.tree()
        for reference in (LATEST, ABSENT, Digest.of(b"", "sha512")):
            self.assert_unknown(reference)
            self.assert_unknown(reference, OTHER)
        self.assertEqual(self.tree(), before)

    def test_damaged(self) -> None:
        """A manifest whose bytes changed is a fault and never served; pushing it again mends it."""
        digest = self.put(self.image)
        path = layout.blob_data(digest)
        for damaged in (b"", self.image[:-1], self.image + b" ", self.image.replace(b"2", b"3", 1)):
            self.store(path, damaged)
            for reference in (LATEST, digest):
                self.raises(errors.StorageFault, self.registry.manifests.find(NAME, reference))
        self.store(path, b"x" * (SIZE_LIMIT + 1))
        self.raises(errors.StorageFault, self.registry.manifests.find(NAME, LATEST))
        self.put(self.image)
        self.assertEqual(self.found(LATEST).content, self.image)

    def test_damaged_link(self) -> None:
        """Behind a link that holds no digest there is nothing; pushing the manifest again mends it."""
        digest = self.put(self.image)
        for link in (layout.revision_link(NAME, digest), layout.tag_link(NAME, LATEST)):
            for content in (b"", b"sha256:", str(digest).encode()[:-1], b"\xff"):
                self.store(link, content)
                self.assertTrue(self.complains(link, self.unknown(LATEST)))
                self.put(self.image)
                for reference in (LATEST, digest):
                    self.assertEqual(self.found(reference).content, self.image)

    def test_damaged_link_of_a_child(self) -> None:
        """A manifest whose link is damaged is missing from an index, until it is pushed again."""
        child = self.put(self.image)
        self.store(layout.revision_link(NAME, child), b"")
        error = self.refused(errors.ManifestBlobUnknown, index(child), content_type=media.OCI_INDEX)
        self.assertEqual(error.detail, [str(child)])
        self.put(self.image, child)
        self.put(index(child), content_type=media.OCI_INDEX)

    def test_damaged_link_of_a_blob(self) -> None:
        """A blob whose link is damaged is missing from an image, until it is pushed again."""
        self.store(layout.layer_link(NAME, self.layer), str(self.config).encode())
        error = self.refused(errors.ManifestBlobUnknown, self.image)
        self.assertEqual(error.detail, [str(self.layer)])
        self.push(b"layer")
        self.put(self.image)

    def test_link_elsewhere(self) -> None:
        """A link to another manifest than its name says is a fault, and the other is not served."""
        digest, other = self.put(self.image), self.put(image_of(self.config))
        self.store(layout.revision_link(NAME, digest), str(other).encode())
        self.raises(errors.StorageFault, self.registry.manifests.find(NAME, digest))
        self.put(self.image)
        self.assertEqual(self.found(digest).content, self.image)

    def test_other_algorithm(self) -> None:
        """A sha512 link to the sha256 of the same bytes serves them under the digest asked for."""
        digest, wanted = self.put(self.image), Digest.of(self.image, "sha512")
        self.store(layout.revision_link(NAME, wanted), str(digest).encode())
        self.assertEqual(self.found(wanted), StoredManifest(wanted, media.OCI_MANIFEST, self.image))

    def test_bytes_are_gone(self) -> None:
        """A link whose bytes were swept away is no manifest."""
        digest = self.put(self.image)
        self.run_now(self.driver.delete(layout.blob_data(digest)))
        for reference in (LATEST, digest):
            self.assert_unknown(reference)

    def test_no_manifest(self) -> None:
        """Bytes that are no manifest, but were linked as one, are a fault of the storage's."""
        digest = self.push(b"no JSON")
        self.store(layout.revision_link(NAME, digest), str(digest).encode())
        self.raises(errors.StorageFault, self.registry.manifests.find(NAME, digest))

    def test_left_by_distribution(self) -> None:
        """What Distribution stored of each type is found as that type."""
        for document, media_type in (
            ({"schemaVersion": 2, "mediaType": media.DOCKER_MANIFEST}, media.DOCKER_MANIFEST),
            ({"schemaVersion": 2, "mediaType": media.DOCKER_LIST, "manifests": [1]}, media.DOCKER_LIST),
            ({"schemaVersion": 2, "config": {}, "layers": []}, media.OCI_MANIFEST),
            ({"schemaVersion": 2, "manifests": [{"digest": "x"}]}, media.OCI_INDEX),
        ):
            content = json.dumps(document, indent=3).encode()
            digest = Digest.of(content)
            self.store(layout.blob_data(digest), content)
            self.store(layout.revision_link(NAME, digest), str(digest).encode())
            self.assertEqual(self.found(digest), StoredManifest(digest, media_type, content))


class TestDelete(ManifestCase):
    """Manifests that are deleted."""

    def test_tag(self) -> None:
        """Deleting a tag deletes the tag alone."""
        digest = self.put(self.image)
        self.put(self.image, Tag("other"))
        self.delete(LATEST)
        self.assert_unknown(LATEST)
        self.assertEqual(self.found(Tag("other")).digest, digest)
        self.assertEqual(self.found(digest).content, self.image)

    def test_digest(self) -> None:
        """Deleting a manifest takes exactly the tags that point to it."""
        kept = self.put(image_of(self.config))
        digest = self.put(self.image)
        for tag in ("a", "b", "moved"):
            self.put(self.image, Tag(tag))
        for tag in ("c", "moved"):
            self.put(image_of(self.config), Tag(tag))
        self.delete(digest)
        self.assert_unknown(digest)
        self.assertEqual(self.run_now(self.registry.tags.names(NAME)), ["c", "moved"])
        for reference in (Tag("c"), Tag("moved"), kept):
            self.assertEqual(self.found(reference).digest, kept)

    def test_unknown(self) -> None:
        """Deleting what is not there is refused and changes nothing."""
        self.put(self.image)
        before = self.tree()
        for reference in (Tag("none"), ABSENT, Digest.of(self.image, "sha512")):
            self.raises(errors.ManifestUnknown, self.registry.manifests.delete(NAME, reference))
            self.raises(errors.ManifestUnknown, self.registry.manifests.delete(OTHER, reference))
        self.assertEqual(self.tree(), before)

    def test_twice(self) -> None:
        """What was deleted cannot be deleted again, and can be pushed again."""
        digest = self.put(self.image)
        self.delete(digest)
        for reference in (digest, LATEST):
            self.raises(errors.ManifestUnknown, self.registry.manifests.delete(NAME, reference))
        self.put(self.image)
        self.assertEqual(self.found(LATEST).content, self.image)

    def test_tags_first(self) -> None:
        """The tags are deleted before the manifest: no tag is ever left without one."""
        digest = self.put(self.image)
        self.put(self.image, Tag("b"))
        self.driver.calls.clear()
        self.delete(digest)
        self.assertEqual(
            self.driver.calls,
            [
                ("delete", layout.tag(NAME, "b")),
                ("delete", layout.tag(NAME, "latest")),
                ("delete", layout.revision_link(NAME, digest)),
            ],
        )

    def test_of_another_repository(self) -> None:
        """A manifest that two repositories have is deleted from one."""
        digest = self.put(index(), content_type=media.OCI_INDEX)
        self.put(index(), name=OTHER, content_type=media.OCI_INDEX)
        self.delete(digest)
        self.assertEqual(self.found(LATEST, OTHER).content, index())

    def test_damaged_tag_can_be_deleted(self) -> None:
        """A tag whose link is damaged can be deleted by its name."""
        self.put(self.image)
        self.store(layout.tag_link(NAME, LATEST), b"")
        self.delete(LATEST)
        self.assert_unknown(LATEST)

    def test_beside_a_damaged_tag(self) -> None:
        """A damaged tag does not keep a manifest from being deleted, nor the tags that point to it."""
        digest = self.put(self.image)
        for tag in ("a", "b", "c"):
            self.put(self.image, Tag(tag))
        link = layout.tag_link(NAME, "b")
        for content in (b"", str(digest).encode()[:-1], b"\xff"):
            self.put(self.image)
            self.store(link, content)
            self.complains(link, self.registry.manifests.delete(NAME, digest))
            self.assert_unknown(digest)
            self.assertEqual(self.run_now(self.registry.tags.names(NAME)), ["b"])
            self.assert_unknown(Tag("b"))
        self.put(self.image, Tag("b"))
        self.assertEqual(self.found(Tag("b")).content, self.image)

    def test_damaged(self) -> None:
        """A manifest whose bytes are damaged, or gone, can be deleted."""
        digest = self.put(self.image)
        for damaged in (b"", b"{", b"\xff" * 100, b"x" * (SIZE_LIMIT + 1)):
            self.store(layout.blob_data(digest), damaged)
            self.delete(digest)
            self.assert_unknown(digest)
            self.put(self.image)
        self.run_now(self.driver.delete(layout.blob_data(digest)))
        self.delete(digest)
        self.raises(errors.ManifestUnknown, self.registry.manifests.delete(NAME, digest))


class TestTogether(ContentCase):
    """Requests for one repository at once."""

    @settings(max_examples=60)
    @given(st.randoms(use_true_random=False))
    def test_delete_and_put(self, random: Any) -> None:
        """However deletions and pushes of one manifest meet, no tag is left without its manifest."""
        driver = SlowDriver()
        manifests = Registry.on(driver, in_thread).manifests
        content, digest = index(), Digest.of(index())
        self.run_now(manifests.put(NAME, Tag("a"), content, media.OCI_INDEX))
        driver.slow = True
        working = [
            Deferred.fromCoroutine(manifests.delete(NAME, digest)),
            Deferred.fromCoroutine(manifests.put(NAME, Tag("b"), content, media.OCI_INDEX)),
            Deferred.fromCoroutine(manifests.put(NAME, Tag("a"), content, media.OCI_INDEX)),
            Deferred.fromCoroutine(manifests.delete(NAME, Tag("a"))),
        ]
        for each in working:
            each.addErrback(lambda failure: failure.trap(errors.ManifestUnknown))
        driver.finish(random)
        for each in working:
            self.successResultOf(each)
        for tag in self.run_now(manifests.tags.names(NAME)):
            self.assertEqual(self.run_now(manifests.find(NAME, Tag(tag))).content, content)
        self.assertEqual(self.run_now(manifests.find(NAME, Tag("b"))).digest, digest)


class RepositoryMachine(RuleBasedStateMachine):
    """A repository beside a model of it: which manifests there are, and what each tag points to."""

    def __init__(self) -> None:
        super().__init__()
        self.case = ContentCase()
        self.case.setUp()
        self.config = self.case.push(b"{}")
        self.manifests: dict[Digest, bytes] = {}
        self.tags: dict[str, Digest] = {}
        self.touched = False

    some_tags = st.sampled_from(["a", "b", "b.c", "latest"])
    algorithms = st.sampled_from(["sha256", "sha512"])
    notes = st.integers(0, 3).map(str)

    def delete(self, reference: Tag | Digest, there: bool) -> None:
        """Delete, and see whether it was there."""
        deleting = self.case.another().manifests.delete(NAME, reference)
        if there:
            self.case.run_now(deleting)
        else:
            self.case.raises(errors.ManifestUnknown, deleting)

    @rule(note=notes, tag=some_tags)
    def put_by_tag(self, note: str, tag: str) -> None:
        content = image_of(self.config, note=note)
        putting = self.case.registry.manifests.put(NAME, Tag(tag), content, media.OCI_MANIFEST)
        digest = self.case.run_now(putting).digest
        self.manifests[digest] = content
        self.tags[tag] = digest
        self.touched = True

    @rule(note=notes, algorithm=algorithms)
    def put_by_digest(self, note: str, algorithm: str) -> None:
        content = image_of(self.config, note=note)
        digest = Digest.of(content, algorithm)
        self.case.run_now(self.case.registry.manifests.put(NAME, digest, content, media.OCI_MANIFEST))
        self.manifests[digest] = content
        self.touched = True

    @rule(tag=some_tags)
    def delete_tag(self, tag: str) -> None:
        self.delete(Tag(tag), tag in self.tags)
        self.tags.pop(tag, None)

    @rule(note=notes, algorithm=algorithms)
    def delete_digest(self, note: str, algorithm: str) -> None:
        digest = Digest.of(image_of(self.config, note=note), algorithm)
        self.delete(digest, digest in self.manifests)
        self.manifests.pop(digest, None)
        self.tags = {tag: target for tag, target in self.tags.items() if target != digest}

    @rule(note=notes)
    def refused(self, note: str) -> None:
        content = image_of(ABSENT, note=note)
        putting = self.case.registry.manifests.put(NAME, LATEST, content, media.OCI_MANIFEST)
        self.case.raises(errors.ManifestBlobUnknown, putting)

    @invariant()
    def manifests_agree(self) -> None:
        registry = self.case.another()
        for digest, content in self.manifests.items():
            found = self.case.run_now(registry.manifests.find(NAME, digest))
            assert (found.digest, found.content) == (digest, content)

    @precondition(lambda self: self.touched)
    @invariant()
    def tags_agree(self) -> None:
        registry = self.case.another()
        assert self.case.run_now(registry.tags.names(NAME)) == sorted(self.tags)
        assert self.case.run_now(registry.catalog.names(9)) == [NAME]
        for tag, digest in self.tags.items():
            found = self.case.run_now(registry.manifests.find(NAME, Tag(tag)))
            assert (found.digest, found.content) == (digest, self.manifests[digest])


class TestModel(ContentCase):
    """Any order of requests."""

    def test_any_order(self) -> None:
        """After any pushes and deletions there is just what a model of the repository says."""
        run_state_machine_as_test(
            RepositoryMachine, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
        )
