"""A registry beside a small model of it: any mix of pushes and deletions of anything that refers to anything."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.content.case import NAME, OTHER, ContentCase, descriptor
from txregistry import errors, media
from txregistry.content import layout
from txregistry.digest import Digest
from txregistry.reference import RepositoryName, Tag

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
CONFIG = Digest.of(b"{}")
TAGS = ("a", "b.c", "latest")


@frozen
class Variety:
    """One of the manifests that the machine pushes.

    :param content: its bytes.
    :param media_type: its type.
    :param children: what must be there before it.
    :param subject: what it refers to.
    :param artifact_type: what a list of referrers says of it.
    """

    content: bytes
    media_type: str
    children: tuple[Digest, ...] = ()
    subject: Digest | None = None
    artifact_type: str | None = None

    @property
    def digests(self) -> list[Digest]:
        """Return what it can be pushed by."""
        return [Digest.of(self.content), Digest.of(self.content, "sha512")]


def variety(
    number: int,
    children: tuple[Digest, ...] | None = None,
    subject: Digest | None = None,
    artifact_type: str | None = None,
) -> Variety:
    """Return an image, or an index if *children* are given."""
    kind = media.OCI_MANIFEST if children is None else media.OCI_INDEX
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": kind, "annotations": {"number": str(number)}}
    if children is None:
        document.update(config=descriptor(CONFIG, CONFIG_TYPE), layers=[])
    else:
        document["manifests"] = [descriptor(child, media.OCI_MANIFEST) for child in children]
    if subject is not None:
        document["subject"] = descriptor(subject, media.OCI_MANIFEST)
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    known = artifact_type or (CONFIG_TYPE if children is None else None)
    return Variety(json.dumps(document).encode(), kind, children or (), subject, known)


def varieties() -> list[Variety]:
    """Return images, indexes of them, and what refers to each: also to itself's part, and to what never is."""
    images = [variety(number) for number in range(2)]
    narrow, wide = images[0].digests
    indexes = [variety(2, (narrow,)), variety(3, (wide, images[1].digests[0]))]
    absent = [Digest.of(b"never pushed"), Digest.of(b"never pushed", "sha512")]
    referrers = [
        variety(4, subject=narrow, artifact_type="a/b"),
        variety(5, subject=narrow),
        variety(6, subject=wide, artifact_type="a/b"),
        variety(7, (), subject=narrow),
        variety(8, (narrow,), subject=narrow, artifact_type="a/b"),
        variety(9, (), subject=indexes[0].digests[0]),
        variety(10, subject=absent[0]),
        variety(11, (), subject=absent[1]),
        variety(12, subject=CONFIG),
    ]
    chained = variety(13, subject=referrers[0].digests[0])
    return [*images, *indexes, *referrers, chained]


VARIETIES = varieties()
SUBJECTS = sorted({each.subject for each in VARIETIES if each.subject is not None}, key=str)
BY_DIGEST = {digest: each for each in VARIETIES for digest in each.digests}


class RegistryMachine(RuleBasedStateMachine):
    """Two repositories beside a model: which manifests each has, and what each of its tags points to."""

    repositories = st.sampled_from([NAME, OTHER])
    pushed = st.sampled_from(VARIETIES)
    algorithms = st.sampled_from([0, 0, 1])
    some_tags = st.sampled_from(TAGS)

    def __init__(self) -> None:
        super().__init__()
        self.case = ContentCase()
        self.case.setUp()
        self.manifests: dict[RepositoryName, set[Digest]] = {NAME: set(), OTHER: set()}
        self.tags: dict[RepositoryName, dict[str, Digest]] = {NAME: {}, OTHER: {}}
        self.begun: set[RepositoryName] = set()
        for name in self.manifests:
            self.case.push(b"{}", name)

    def put(
        self, name: RepositoryName, reference: Tag | Digest, one: Variety, tags: tuple[str, ...] = ()
    ) -> None:
        """Push; it is stored if what it holds is there."""
        manifests = self.case.another().manifests
        wanted = [Tag(tag) for tag in tags]
        putting = manifests.put(name, reference, one.content, one.media_type, wanted)
        missing = [child for child in one.children if child not in self.manifests[name]]
        if missing:
            error = self.case.raises(errors.ManifestBlobUnknown, putting)
            assert error.detail == [str(child) for child in missing]
            return
        digest = one.digests[0] if isinstance(reference, Tag) else reference
        pushed = self.case.run_now(putting)
        assert (pushed.digest, pushed.subject) == (digest, one.subject)
        self.begun.add(name)
        self.manifests[name].add(digest)
        for tag in (*([reference] if isinstance(reference, Tag) else []), *tags):
            self.tags[name][tag] = digest

    @rule(name=repositories, one=pushed, tag=some_tags)
    def put_by_tag(self, name: RepositoryName, one: Variety, tag: str) -> None:
        self.put(name, Tag(tag), one)

    @rule(
        name=repositories, one=pushed, algorithm=algorithms, tags=st.lists(some_tags, max_size=3).map(tuple)
    )
    def put_by_digest(
        self, name: RepositoryName, one: Variety, algorithm: int, tags: tuple[str, ...]
    ) -> None:
        self.put(name, one.digests[algorithm], one, tags)

    @rule(name=repositories, tag=some_tags, other=some_tags)
    def move_tag(self, name: RepositoryName, tag: str, other: str) -> None:
        digest = self.tags[name].get(other)
        if digest is not None:
            self.put(name, digest, BY_DIGEST[digest], (tag,))

    @rule(name=repositories, tag=some_tags)
    def delete_tag(self, name: RepositoryName, tag: str) -> None:
        self.delete(name, Tag(tag), tag in self.tags[name])
        self.tags[name].pop(tag, None)

    @rule(name=repositories, one=pushed, algorithm=algorithms)
    def delete_manifest(self, name: RepositoryName, one: Variety, algorithm: int) -> None:
        digest = one.digests[algorithm]
        self.delete(name, digest, digest in self.manifests[name])
        self.manifests[name].discard(digest)
        self.tags[name] = {tag: found for tag, found in self.tags[name].items() if found != digest}

    def delete(self, name: RepositoryName, reference: Tag | Digest, there: bool) -> None:
        """Delete, and see whether it was there."""
        deleting = self.case.another().manifests.delete(name, reference)
        if there:
            self.case.run_now(deleting)
        else:
            self.case.raises(errors.ManifestUnknown, deleting)

    @invariant()
    def manifests_agree(self) -> None:
        stored = {path for path in self.case.files() if "/revisions/" in path}
        expected = {(name, digest) for name, digests in self.manifests.items() for digest in digests}
        assert stored == {layout.revision_link(*each) for each in expected}
        for name, digest in expected:
            found = self.case.run_now(self.case.registry.manifests.find(name, digest))
            assert (found.digest, found.content) == (digest, BY_DIGEST[digest].content)

    @invariant()
    def tags_agree(self) -> None:
        registry = self.case.another()
        for name in self.begun:
            assert self.case.run_now(registry.tags.names(name)) == sorted(self.tags[name])
            for tag, digest in self.tags[name].items():
                assert self.case.run_now(registry.manifests.find(name, Tag(tag))).digest == digest
        assert self.case.run_now(registry.catalog.names(9)) == sorted(self.begun)

    @invariant()
    def referrers_agree(self) -> None:
        registry = self.case.another()
        for name in (NAME, OTHER):
            for subject in SUBJECTS:
                expected = {
                    str(digest): BY_DIGEST[digest].artifact_type
                    for digest in self.manifests[name]
                    if BY_DIGEST[digest].subject == subject
                }
                page = self.case.run_now(registry.referrers.page(name, subject, 100))
                found = [(each.digest, each.artifact_type) for each in page.referrers]
                assert (sorted(found), page.last) == (sorted(expected.items()), None)
                page = self.case.run_now(registry.referrers.page(name, subject, 100, "", "a/b"))
                filtered = [digest for digest, kind in expected.items() if kind == "a/b"]
                assert sorted(each.digest for each in page.referrers) == sorted(filtered)


class TestModel(ContentCase):
    """Any order of requests."""

    def test_any_order(self) -> None:
        """After any pushes and deletions tags, referrers and catalog are what the manifests make them."""
        run_state_machine_as_test(
            RegistryMachine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
        )
