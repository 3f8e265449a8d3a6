"""Referrers: which manifests have another one as their subject."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.content.case import NAME, OTHER, ContentCase, SlowDriver, descriptor, in_thread
from txregistry import errors, media
from txregistry.content import layout
from txregistry.content.manifests import Pushed
from txregistry.content.referrers import Page, fallback_tag, listing
from txregistry.content.registry import Registry
from txregistry.digest import Digest
from txregistry.manifest import SIZE_LIMIT, Referrer
from txregistry.reference import RepositoryName, Tag

CONFIG = "application/vnd.oci.image.config.v1+json"
SUBJECT, OTHER_SUBJECT = Digest.of(b"a subject"), Digest.of(b"another")


class ReferrersCase(ContentCase):
    """A repository with a config for images that refer to others."""

    def setUp(self) -> None:
        """Push the config."""
        super().setUp()
        self.config = self.push(b"{}")
        self.push(b"{}", OTHER)

    def image(self, subject: Digest | None = SUBJECT, **more: Any) -> bytes:
        """Return an image that refers to *subject*."""
        document = {"schemaVersion": 2, "config": descriptor(self.config, CONFIG), "layers": [], **more}
        if subject is not None:
            document["subject"] = descriptor(subject, media.OCI_MANIFEST)
        return json.dumps(document).encode()

    def index(self, *children: Digest, subject: Digest | None = SUBJECT, **more: Any) -> bytes:
        """Return an index that refers to *subject*."""
        manifests = [descriptor(child, media.OCI_MANIFEST) for child in children]
        document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests, **more}
        if subject is not None:
            document["subject"] = descriptor(subject, media.OCI_MANIFEST)
        return json.dumps(document).encode()

    def pushed(
        self, content: bytes, reference: Tag | Digest | None = None, name: RepositoryName = NAME
    ) -> Pushed:
        """Push a manifest, by its digest if nothing else is said."""
        kind = media.OCI_INDEX if "manifests" in json.loads(content) else media.OCI_MANIFEST
        putting = self.registry.manifests.put(name, reference or Digest.of(content), content, kind)
        return self.run_now(putting)

    def put(
        self, content: bytes, reference: Tag | Digest | None = None, name: RepositoryName = NAME
    ) -> Digest:
        """Push a manifest; return its digest."""
        return self.pushed(content, reference, name).digest

    def leave(self, content: bytes, tag: str | None = None, name: RepositoryName = NAME) -> Digest:
        """Store a manifest as a registry without this API does; return its digest."""
        digest = Digest.of(content)
        self.store(layout.blob_data(digest), content)
        self.store(layout.revision_link(name, digest), str(digest).encode())
        if tag is not None:
            self.store(layout.tag_history_link(name, tag, digest), str(digest).encode())
            self.store(layout.tag_link(name, tag), str(digest).encode())
        return digest

    def page(
        self, subject: Digest = SUBJECT, n: int = 1000, name: RepositoryName = NAME, **more: Any
    ) -> Page:
        """Return a page of referrers as another process would answer it."""
        return self.run_now(self.another().referrers.page(name, subject, n, **more))

    def listed(self, subject: Digest = SUBJECT, **more: Any) -> list[str]:
        """Return the digests of all referrers."""
        page = self.page(subject, **more)
        self.assertIsNone(page.last)
        return [referrer.digest for referrer in page.referrers]

    def assert_listed(self, *digests: Digest, subject: Digest = SUBJECT, **more: Any) -> None:
        """Fail unless these are the referrers, each once."""
        self.assertEqual(sorted(self.listed(subject, **more)), sorted(str(digest) for digest in digests))


class TestPush(ReferrersCase):
    """Manifests that refer to others, pushed and deleted."""

    def test_none(self) -> None:
        """Nothing refers to what no one mentioned, in a repository or where there is none."""
        self.put(self.image(None), Tag("a"))
        before = self.tree()
        for name in (NAME, OTHER, RepositoryName("no/such")):
            for subject in (SUBJECT, Digest.of(b"", "sha512")):
                self.assertEqual(self.page(subject, name=name), Page([], None))
        self.assertEqual(self.tree(), before)

    def test_image(self) -> None:
        """An image that was pushed with a subject is listed with its type, size and annotations."""
        content = self.image(artifactType="a/b", annotations={"note": "caf\xe9"})
        pushed = self.pushed(content)
        self.assertEqual(pushed, Pushed(Digest.of(content), SUBJECT))
        expected = Referrer(
            media_type=media.OCI_MANIFEST,
            digest=str(pushed.digest),
            size=len(content),
            artifact_type="a/b",
            annotations={"note": "caf\xe9"},
        )
        self.assertEqual(self.page(), Page([expected], None))
        self.assertEqual(
            json.loads(listing(self.page().referrers)),
            {
                "schemaVersion": 2,
                "mediaType": media.OCI_INDEX,
                "manifests": [
                    {
                        "mediaType": media.OCI_MANIFEST,
                        "digest": str(pushed.digest),
                        "size": len(content),
                        "artifactType": "a/b",
                        "annotations": {"note": "caf\xe9"},
                    }
                ],
            },
        )

    def test_nothing_listed(self) -> None:
        """The list of no referrers is an index of no manifests."""
        empty = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
        self.assertEqual(json.loads(listing([])), empty)

    def test_index(self) -> None:
        """An index is a referrer too, and has no artifact type but its own."""
        child = self.put(self.image(None))
        plain, typed = self.index(child), self.index(child, artifactType="a/b")
        for content in (plain, typed):
            self.assertEqual(self.pushed(content).subject, SUBJECT)
        self.assert_listed(Digest.of(plain), Digest.of(typed))
        types = {referrer.digest: referrer.artifact_type for referrer in self.page().referrers}
        self.assertEqual(types, {str(Digest.of(plain)): None, str(Digest.of(typed)): "a/b"})
        untyped = [each for each in json.loads(listing(self.page().referrers))["manifests"] if len(each) == 3]
        self.assertEqual([each["digest"] for each in untyped], [str(Digest.of(plain))])

    def test_no_subject(self) -> None:
        """A manifest without a subject refers to nothing, and what it holds is not its subject."""
        child = self.put(self.image(None), Tag("a"))
        self.assertIsNone(self.pushed(self.index(child, subject=None)).subject)
        self.assertEqual([path for path in self.tree() if "_referrers" in path], [])

    def test_subject_of_any_kind(self) -> None:
        """What is referred to may be a manifest, an index, a blob, the referrer's own child, or nothing."""
        image = self.put(self.image(None))
        index = self.put(self.index(image, subject=None))
        for subject in (image, index, self.config, Digest.of(b"nothing")):
            referrers = [self.put(self.image(subject)), self.put(self.index(image, subject=subject))]
            self.assert_listed(*referrers, subject=subject)

    def test_chain(self) -> None:
        """A referrer can be referred to."""
        first = self.put(self.image())
        second = self.put(self.image(first))
        self.assert_listed(first)
        self.assert_listed(second, subject=first)
        self.assert_listed(subject=second)

    def test_subject_comes_later(self) -> None:
        """The subject may be pushed after its referrer, and is listed with it all the same."""
        image = self.image(None)
        referrer = self.put(self.image(Digest.of(image)))
        self.assert_listed(referrer, subject=Digest.of(image))
        self.put(image)
        self.assert_listed(referrer, subject=Digest.of(image))

    def test_algorithms(self) -> None:
        """Subjects and referrers may be sha512; a subject has the referrers that name it by that digest."""
        content = self.image(None)
        narrow, wide = Digest.of(content), Digest.of(content, "sha512")
        self.put(content)
        self.put(content, wide)
        to_narrow, to_wide = self.image(narrow), self.image(wide)
        for subject, referrer in ((narrow, to_narrow), (wide, to_wide)):
            digests = [Digest.of(referrer), Digest.of(referrer, "sha512")]
            for digest in digests:
                self.assertEqual(self.pushed(referrer, digest), Pushed(digest, subject))
            self.assert_listed(*digests, subject=subject)

    def test_repositories(self) -> None:
        """A repository lists its own referrers alone."""
        here, there = self.put(self.image()), self.put(self.index(), name=OTHER)
        self.assert_listed(here)
        self.assert_listed(there, name=OTHER)

    def test_again(self) -> None:
        """A referrer that is pushed again, by tag or digest, is listed once."""
        content = self.image()
        for reference in (None, Tag("a"), Tag("b"), None):
            self.put(content, reference)
        self.assert_listed(Digest.of(content))

    def test_moved_tag(self) -> None:
        """A referrer stays one when its tag moves on, or is deleted."""
        first, second = self.put(self.image(), Tag("a")), self.put(self.image(note=1), Tag("a"))
        self.assert_listed(first, second)
        self.run_now(self.registry.manifests.delete(NAME, Tag("a")))
        self.assert_listed(first, second)

    def test_deleted(self) -> None:
        """A referrer that is deleted is listed no more; its subject is as it was, and so are the others."""
        subject = self.put(self.image(None), Tag("subject"))
        first, second = self.put(self.image(subject), Tag("a")), self.put(self.index(subject=subject))
        self.run_now(self.registry.manifests.delete(NAME, first))
        self.assert_listed(second, subject=subject)
        self.run_now(self.registry.manifests.find(NAME, Tag("subject")))
        self.put(self.image(subject))
        self.assert_listed(first, second, subject=subject)
        for referrer in (first, second):
            self.run_now(self.registry.manifests.delete(NAME, referrer))
        self.assert_listed(subject=subject)
        self.assertEqual([path for path in self.files() if "_referrers" in path], [])

    def test_deleted_subject(self) -> None:
        """When a subject is deleted its referrers stay, and are listed still."""
        subject = self.put(self.image(None))
        referrer = self.put(self.image(subject))
        self.run_now(self.registry.manifests.delete(NAME, subject))
        self.assert_listed(referrer, subject=subject)
        self.run_now(self.registry.manifests.find(NAME, referrer))

    def test_refused(self) -> None:
        """A manifest that is refused is no referrer."""
        before = self.tree()
        content = self.index(Digest.of(b"absent"))
        putting = self.registry.manifests.put(NAME, Digest.of(content), content, media.OCI_INDEX)
        self.raises(errors.ManifestBlobUnknown, putting)
        self.assertEqual(self.tree(), before)

    def test_order(self) -> None:
        """The entry is there before the manifest is, and is removed after it."""
        digest = Digest.of(self.image())
        self.driver.calls.clear()
        self.put(self.image(), Tag("a"))
        self.assertEqual(
            self.driver.calls,
            [
                ("write", layout.blob_data(digest)),
                ("write", layout.referrer(NAME, SUBJECT, digest)),
                ("write", layout.revision_link(NAME, digest)),
                ("write", layout.tag_link(NAME, "a")),
                ("write", layout.tag_history_link(NAME, "a", digest)),
            ],
        )
        self.driver.calls.clear()
        self.run_now(self.registry.manifests.delete(NAME, digest))
        self.assertEqual(
            self.driver.calls,
            [
                ("delete", layout.tag(NAME, "a")),
                ("delete", layout.revision_link(NAME, digest)),
                ("delete", layout.referrer(NAME, SUBJECT, digest)),
            ],
        )

    def test_trouble_while_deleting(self) -> None:
        """Wherever a deletion fails, a referrer that is still there is still listed, and no other."""
        for step in ("tags", "revisions", "_referrers"):
            digest = self.put(self.image(), Tag("a"))
            self.driver.failing["delete", step] = errors.StorageUnavailable("/x")
            self.raises(errors.StorageUnavailable, self.registry.manifests.delete(NAME, digest))
            self.driver.failing.clear()
            there = f"{layout.revision_link(NAME, digest)}" in self.files()
            self.assertEqual(there, step != "_referrers")
            self.assert_listed(*[digest][: int(there)])

    def test_cheap(self) -> None:
        """A list is answered from the entries: no manifest is opened, however large they are."""
        for number in range(3):
            self.put(self.image(note=number))
        for digest in self.listed():
            self.store(layout.blob_data(Digest.parse(digest)), b"not looked at")
        self.assertEqual(len(self.listed()), 3)


class TestPages(ReferrersCase):
    """Lists that are longer than one answer."""

    def pages(self, n: int, **more: Any) -> list[list[str]]:
        """Return the digests of each page, followed from the first to the last."""
        pages, last = [], ""
        while True:
            page = self.page(n=n, last=last, **more)
            pages.append([referrer.digest for referrer in page.referrers])
            self.assertLess(len(listing(page.referrers)), SIZE_LIMIT)
            if page.last is None:
                return pages
            self.assertGreater(page.last, last)
            last = page.last

    def test_each_once(self) -> None:
        """Pages of any length hold every referrer exactly once, and none is empty."""
        digests = [self.put(self.image(note=number)) for number in range(40)]
        digests += [self.put(self.image(note=0), Digest.of(self.image(note=0), "sha512"))]
        for n in (1, 7, 16, 17, 40, 41, 42, 1000):
            pages = self.pages(n)
            self.assertEqual([len(page) for page in pages[:-1]], [n] * (len(pages) - 1))
            self.assertTrue(0 < len(pages[-1]) <= n)
            self.assertEqual(sorted(sum(pages, [])), sorted(str(digest) for digest in digests))

    def test_filtered(self) -> None:
        """A filter counts what it lets through: pages are full, and there is no empty one at the end."""
        for number in range(50):
            self.put(self.image(note=number, artifactType="a/b" if number % 5 == 0 else "a/c"))
        for n in (1, 3, 5, 10, 11):
            pages = self.pages(n, artifact_type="a/b")
            self.assertEqual([len(page) for page in pages[:-1]], [n] * (len(pages) - 1))
            self.assertTrue(pages[-1])
            self.assertEqual(len(set(sum(pages, []))), 10)
        self.assertEqual(self.pages(5, artifact_type="a/d"), [[]])

    def test_filter_is_exact(self) -> None:
        """A filter lets through what is of that type, by its own word or by its config's."""
        own = self.put(self.image(artifactType="a/b"))
        config = self.put(self.image())
        index = self.put(self.index())
        self.assert_listed(own, artifact_type="a/b")
        self.assert_listed(config, artifact_type=CONFIG)
        self.assert_listed(own, config, index)
        for other in ("a/B", "a", "a/b/c", media.OCI_MANIFEST):
            self.assert_listed(artifact_type=other)

    def test_nothing_wanted(self) -> None:
        """A page of no referrers holds none, and has none after it."""
        self.put(self.image())
        self.assertEqual(self.page(n=0), Page([], None))

    def test_deleted_between(self) -> None:
        """What is deleted while a client turns the pages changes nothing for the others."""
        for number in range(12):
            self.put(self.image(note=number))
        everything = self.listed()
        first = self.page(n=5)
        for index in (0, 4, 5, 8):
            self.run_now(self.registry.manifests.delete(NAME, Digest.parse(everything[index])))
        assert first.last is not None
        rest = [referrer.digest for referrer in self.page(last=first.last).referrers]
        self.assertEqual(rest, [everything[index] for index in (6, 7, 9, 10, 11)])

    def test_any_last(self) -> None:
        """A page begins after any text whatever."""
        self.put(self.image())
        for last, expected in (("\x00", 1), ("../..", 1), ("sha256", 1), ("sha257", 0), ("\xff" * 300, 0)):
            self.assertEqual(len(self.page(last=last).referrers), expected, last)

    def test_huge_annotations(self) -> None:
        """A page stays under a manifest's size limit; each referrer is on one, whatever its annotations."""
        sizes = [1_000_000] * 6 + [3_900_000, 10, 2_000_000, 2_200_000, 4_000_000]
        for number, size in enumerate(sizes):
            self.put(self.image(annotations={"a": "x" * size}, note=number))
        pages = self.pages(1000)
        self.assertEqual(len(set(sum(pages, []))), len(sizes))
        self.assertEqual(sum(len(page) for page in pages), len(sizes))

    def test_too_large_to_list(self) -> None:
        """A manifest of four million bytes can be a referrer; one that no page could list is refused whole."""
        before = self.tree()
        for fill in (SIZE_LIMIT - len(self.image(annotations={"a": ""})), SIZE_LIMIT - 40_000):
            content = self.image(annotations={"a": "x" * fill})
            self.assertLessEqual(len(content), SIZE_LIMIT)
            putting = self.registry.manifests.put(NAME, Tag("a"), content, media.OCI_MANIFEST)
            self.raises(errors.ManifestTooLarge, putting)
            self.assertEqual(self.tree(), before)
        # The layers of an image are not listed: so this may be as large as any.
        self.put(self.image(note="x" * (SIZE_LIMIT - len(self.image(note="")))))
        self.put(self.image(annotations={"a": "x" * (4_000_000 - len(self.image(annotations={"a": ""})))}))
        self.assertEqual(len(self.listed()), 2)

    @settings(max_examples=30)
    @given(
        st.lists(st.sampled_from(["a/b", "a/c", None]), max_size=20),
        st.integers(1, 6),
        st.none() | st.just("a/b"),
    )
    def test_any(self, types: list[str | None], n: int, wanted: str | None) -> None:
        """However many referrers there are, of whatever types, pages hold what matches once, in one order."""
        self.setUp()
        expected = []
        for number, kind in enumerate(types):
            content = self.index(note=number, **({} if kind is None else {"artifactType": kind}))
            digest = self.put(content)
            if wanted in (None, kind):
                expected.append(str(digest))
        self.assertEqual(sum(self.pages(n, artifact_type=wanted), []), sorted(expected))


class TestAdoption(ReferrersCase):
    """Referrers that were there before this registry kept them."""

    def fallback(self, *listed: Digest, subject: Digest = SUBJECT) -> Digest:
        """Leave a list of referrers under the tag that clients keep it at."""
        content = self.index(*listed, subject=None)
        return self.leave(content, f"{subject.algorithm}-{subject.hex[:64]}")

    def test_tag(self) -> None:
        """The tag is of the spec's schema: the digest with a hyphen, no longer than 64 digits."""
        self.assertEqual(fallback_tag(SUBJECT), f"sha256-{SUBJECT.hex}")
        wide = Digest.of(b"", "sha512")
        self.assertEqual(fallback_tag(wide), f"sha512-{wide.hex[:64]}")

    def test_merged(self) -> None:
        """What a client listed is merged with what was pushed since; nothing is listed twice."""
        old, older = self.leave(self.image(artifactType="a/b")), self.leave(self.index())
        self.fallback(old, older, old)
        new = self.put(self.image(artifactType="a/c"))
        for _ in range(2):
            self.assert_listed(old, older, new)
        self.assert_listed(old, artifact_type="a/b")

    def test_on_any_page(self) -> None:
        """They are on their page, whichever is asked for first."""
        digests = sorted(str(self.leave(self.image(note=number))) for number in range(9))
        self.fallback(*map(Digest.parse, digests))
        page = self.page(n=4, last=digests[3].replace(":", "-"))
        self.assertEqual([referrer.digest for referrer in page.referrers], digests[4:8])
        self.assertEqual(self.listed(), digests)

    def test_then_pushed(self) -> None:
        """What is listed and then pushed again is listed once, and can be deleted."""
        digest = self.leave(self.image())
        self.fallback(digest)
        self.assert_listed(digest)
        self.put(self.image(), Tag("a"))
        self.assert_listed(digest)
        self.run_now(self.registry.manifests.delete(NAME, digest))
        self.assert_listed()

    def test_list_goes(self) -> None:
        """What was merged stays when the clients' list is deleted."""
        digest = self.leave(self.image())
        self.fallback(digest)
        self.assert_listed(digest)
        self.run_now(self.registry.manifests.delete(NAME, fallback_tag(SUBJECT)))
        self.assert_listed(digest)

    def test_only_true_ones(self) -> None:
        """What is not a manifest of the repository, or does not name the subject itself, is not listed."""
        digest = self.leave(self.image())
        other = self.leave(self.image(OTHER_SUBJECT))
        plain = self.leave(self.image(None))
        elsewhere = self.leave(self.image(note="elsewhere"), name=OTHER)
        swept = self.leave(self.image(note="swept"))
        self.run_now(self.driver.delete(layout.blob_data(swept)))
        self.fallback(digest, other, plain, elsewhere, swept, self.config, SUBJECT, Digest.of(b"absent"))
        self.assert_listed(digest)
        self.assert_listed(subject=OTHER_SUBJECT)

    def test_damaged(self) -> None:
        """A listed manifest whose bytes are damaged is passed over, until it is pushed again."""
        digest, whole = self.leave(self.image(annotations={"a": "1"})), self.leave(self.image())
        for damaged in (b"", self.image(annotations={"a": "2"}), b"x" * (SIZE_LIMIT + 1)):
            self.store(layout.blob_data(digest), damaged)
            self.fallback(digest, whole)
            self.assert_listed(whole)
        self.put(self.image(annotations={"a": "1"}))
        self.assert_listed(digest, whole)

    def test_their_word_counts(self) -> None:
        """What a manifest says of itself counts, not what the list says of it."""
        content = self.image(artifactType="a/b", annotations={"a": "1"})
        digest = self.leave(content)
        said = {**descriptor(digest, media.OCI_INDEX), "artifactType": "a/c", "annotations": {"b": "2"}}
        self.leave(json.dumps({"schemaVersion": 2, "manifests": [said]}).encode(), fallback_tag(SUBJECT))
        (found,) = self.page().referrers
        self.assertEqual((found.media_type, found.artifact_type), (media.OCI_MANIFEST, "a/b"))
        self.assertEqual((found.size, found.annotations), (len(content), {"a": "1"}))

    def test_garbage(self) -> None:
        """A list that is no index, or none that can be read, is passed over."""
        new = self.put(self.image())
        old = self.leave(self.image(note="old"))
        tag = fallback_tag(SUBJECT)
        for garbage in (
            b"",
            b"{",
            b"[]",
            b"\xff",
            b"[" * 100_000,
            b'{"manifests": 1}',
            b'{"manifests": [1]}',
            b'{"manifests": null}',
            self.image(None),
            self.index(old, subject=None, schemaVersion="two"),
        ):
            self.leave(garbage, tag)
            self.assert_listed(new)
        digest = self.leave(self.index(old, subject=None), tag)
        self.store(layout.blob_data(digest), b"x" * (SIZE_LIMIT + 1))
        self.assert_listed(new)
        self.run_now(self.driver.delete(layout.blob_data(digest)))
        self.assert_listed(new)
        for link in (layout.revision_link(NAME, digest), layout.tag_link(NAME, tag)):
            self.store(link, b"")
            self.assert_listed(new)

    def test_partly_garbage(self) -> None:
        """Of a list with a digest that is none, the rest counts."""
        old = self.leave(self.image())
        broken = {**descriptor(old), "digest": "sha256:x"}
        document = {"schemaVersion": 2, "manifests": [broken, descriptor(old)]}
        self.leave(json.dumps(document).encode(), fallback_tag(SUBJECT))
        self.assert_listed(old)

    def test_truncated(self) -> None:
        """A sha512 subject's list is found by the first half of its digits, and the other half counts too."""
        subject = Digest.of(b"a subject", "sha512")
        twin = Digest("sha512", subject.hex[:64] + "0" * 64)
        digest, other = self.leave(self.image(subject)), self.leave(self.image(twin))
        self.fallback(digest, other, subject=subject)
        self.assert_listed(digest, subject=subject)
        self.assert_listed(other, subject=twin)

    def test_read_only(self) -> None:
        """Where nothing can be written they are listed all the same, each time."""
        digest = self.leave(self.image())
        self.fallback(digest)
        before = self.tree()
        self.driver.failing["write", "_referrers"] = errors.StorageFull("/x", "read-only")
        for _ in range(2):
            self.assert_listed(digest)
        self.assertEqual(self.tree(), before)

    def test_too_large_to_list(self) -> None:
        """One that no page could list is passed over."""
        small = self.leave(self.image())
        fill = SIZE_LIMIT - len(self.image(annotations={"a": ""}))
        self.fallback(self.leave(self.image(annotations={"a": "x" * fill})), small)
        self.assert_listed(small)


class TestForeignHands(ReferrersCase):
    """Entries beside which something changed."""

    def test_manifest_is_gone(self) -> None:
        """A referrer that another program deleted is not listed; if it comes back it is."""
        digest, kept = self.put(self.image()), self.put(self.index())
        link = layout.revision_link(NAME, digest)
        self.run_now(self.driver.delete(link))
        self.assert_listed(kept)
        self.store(link, str(digest).encode())
        self.assert_listed(digest, kept)

    def test_damaged_entry(self) -> None:
        """An entry that cannot be read is made up for by its manifest, and the log tells of it."""
        content = self.image(artifactType="a/b", annotations={"a": "1"})
        digest, kept = self.put(content), self.put(self.index())
        whole = self.page()
        path = layout.referrer(NAME, SUBJECT, digest)
        for damaged in (b"", b"{", b"{}", b"\xff", b"[]", self.stored(path)[:-1]):
            self.store(path, damaged)
            with capturedLogs() as told:
                self.assertEqual(self.page(), whole)
            self.assertEqual([event["path"] for event in told], [path])
        self.run_now(self.driver.delete(layout.blob_data(digest)))
        self.assert_listed(kept)
        self.put(content)
        self.assertEqual(self.page(), whole)

    def test_other_files(self) -> None:
        """A file that is no entry is passed over."""
        digest = self.put(self.image())
        for name in ("x", "sha256-x", "md5-0", "-"):
            self.store(f"{layout.referrers(NAME, SUBJECT)}/{name}", b"{}")
        self.assert_listed(digest)


class TestTogether(ReferrersCase):
    """Requests for one subject at once."""

    @settings(max_examples=60, deadline=None)
    @given(st.randoms(use_true_random=False))
    def test_any_interleaving(self, random: Any) -> None:
        """However pushes, deletions and lists meet, the referrers are the manifests that are there."""
        driver = SlowDriver()
        one, another = Registry.on(driver, in_thread), Registry.on(driver, in_thread)
        contents = [self.index(note=number) for number in range(4)]
        digests = [Digest.of(content) for content in contents]

        def put(registry: Registry, number: int) -> Coroutine[Any, Any, Any]:
            return registry.manifests.put(NAME, digests[number], contents[number], media.OCI_INDEX)

        for number in (0, 1):
            self.run_now(put(one, number))
        driver.slow = True
        working = [
            Deferred.fromCoroutine(work)
            for work in (
                one.manifests.delete(NAME, digests[0]),
                put(one, 1),
                one.manifests.delete(NAME, digests[1]),
                put(one, 2),
                another.referrers.page(NAME, SUBJECT, 9),
                put(another, 2),
                put(another, 3),
                one.referrers.page(NAME, SUBJECT, 9),
            )
        ]
        driver.finish(random)
        results = [self.successResultOf(each) for each in working]
        for page in (results[4], results[7]):
            listed = [referrer.digest for referrer in page.referrers]
            self.assertEqual(len(set(listed)), len(listed))
            self.assertLessEqual(set(listed), {str(digest) for digest in digests})
        page = self.run_now(another.referrers.page(NAME, SUBJECT, 9))
        self.assertEqual(
            [referrer.digest for referrer in page.referrers], sorted(str(digest) for digest in digests[2:])
        )
