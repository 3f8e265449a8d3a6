"""Tags of repositories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.content.case import NAME, OTHER, ContentCase
from txregistry import errors
from txregistry.content import layout
from txregistry.digest import Digest
from txregistry.reference import RepositoryName, Tag

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,5}", fullmatch=True)


class TestTags(ContentCase):
    """What tags point to."""

    def point(self, tag: str, digest: Digest) -> None:
        """Make a tag point to a manifest."""
        self.run_now(self.registry.tags.point(NAME, Tag(tag), digest))

    def test_resolved(self) -> None:
        """A tag leads to what it points to now, in its repository alone."""
        self.point("a", ONE)
        self.assertEqual(self.run_now(self.registry.tags.resolve(NAME, Tag("a"))), ONE)
        self.point("a", TWO)
        self.assertEqual(self.run_now(self.another().tags.resolve(NAME, Tag("a"))), TWO)
        self.assertIsNone(self.run_now(self.registry.tags.resolve(OTHER, Tag("a"))))
        self.assertIsNone(self.run_now(self.registry.tags.resolve(NAME, Tag("A"))))

    def test_history(self) -> None:
        """A tag that moves remembers where it was, as Distribution's does."""
        self.point("a", ONE)
        self.point("a", TWO)
        for digest in (ONE, TWO):
            history = layout.tag_history_link(NAME, "a", digest)
            self.assertEqual(self.stored(history), str(digest).encode())
        self.assertEqual(self.stored(layout.tag_link(NAME, "a")), str(TWO).encode())

    def test_order(self) -> None:
        """History is written before a tag moves; a new tag comes first, so that none is listed before it is one."""
        for digest, links in (
            (ONE, [layout.tag_link(NAME, "a"), layout.tag_history_link(NAME, "a", ONE)]),
            (TWO, [layout.tag_history_link(NAME, "a", TWO), layout.tag_link(NAME, "a")]),
        ):
            self.driver.calls.clear()
            self.point("a", digest)
            self.assertEqual(self.driver.calls, [("write", link) for link in links])

    def test_trouble(self) -> None:
        """Wherever making a tag fails, it is either not listed, or leads to its manifest."""
        for tag, step in (("a", "/index/"), ("b", "/current/")):
            self.driver.failing["write", step] = errors.StorageUnavailable("/x")
            self.raises(errors.StorageUnavailable, self.registry.tags.point(NAME, Tag(tag), ONE))
            self.driver.failing.clear()
            self.point("other", ONE)
            for listed in self.run_now(self.registry.tags.names(NAME)):
                self.assertEqual(self.run_now(self.registry.tags.resolve(NAME, Tag(listed))), ONE)

    def test_deleted(self) -> None:
        """A deleted tag is gone with its history, and no other is."""
        for tag in ("a", "ab", "b"):
            self.point(tag, ONE)
        self.assertTrue(self.run_now(self.registry.tags.delete(NAME, Tag("a"))))
        self.assertFalse(self.run_now(self.registry.tags.delete(NAME, Tag("a"))))
        self.assertEqual(self.run_now(self.registry.tags.names(NAME)), ["ab", "b"])
        self.assertEqual([path for path in self.tree() if "/tags/a/" in path], [])

    def test_pointing_to(self) -> None:
        """The tags that point to a manifest are those that do so now."""
        for tag, digest in (("a", ONE), ("b", TWO), ("c", ONE), ("d", ONE), ("d", TWO)):
            self.point(tag, digest)
        self.assertEqual(self.run_now(self.registry.tags.pointing_to(NAME, ONE)), ["a", "c"])
        self.assertEqual(self.run_now(self.registry.tags.pointing_to(OTHER, ONE)), [])

    def test_damaged(self) -> None:
        """A tag whose link is damaged points to nothing, and the log says so; pointing it anew mends it."""
        self.point("a", ONE)
        self.point("b", ONE)
        link = layout.tag_link(NAME, "a")
        for content in (b"", b"sha256:", str(ONE).encode()[:-1], b"\xff"):
            self.store(link, content)
            self.assertIsNone(self.complains(link, self.registry.tags.resolve(NAME, Tag("a"))))
            self.assertEqual(self.complains(link, self.registry.tags.pointing_to(NAME, ONE)), ["b"])
            self.point("a", TWO)
            self.assertEqual(self.run_now(self.registry.tags.resolve(NAME, Tag("a"))), TWO)


class TestNames(ContentCase):
    """The list of tags."""

    def test_no_repository(self) -> None:
        """A repository that is not there has no list, even if blobs were pushed to it."""
        self.push(b"x")
        for name in (NAME, OTHER):
            self.raises(errors.NameUnknown, self.registry.tags.names(name))

    def test_no_tags(self) -> None:
        """A repository without tags has an empty list, and so has one whose last tag was deleted."""
        self.store(layout.revision_link(NAME, ONE), str(ONE).encode())
        self.assertEqual(self.run_now(self.registry.tags.names(NAME)), [])
        self.run_now(self.registry.tags.point(NAME, Tag("a"), ONE))
        self.run_now(self.registry.tags.delete(NAME, Tag("a")))
        self.assertEqual(self.run_now(self.registry.tags.names(NAME)), [])

    @given(st.lists(tags, max_size=12), st.text(max_size=5) | tags, st.integers(1, 5))
    def test_listed(self, names: list[str], last: str, n: int) -> None:
        """Tags are listed in byte order after any text, and pages neither lose nor repeat one."""
        name = RepositoryName("listed")
        self.store(layout.revision_link(name, ONE), str(ONE).encode())
        for tag in names:
            self.run_now(self.registry.tags.point(name, Tag(tag), ONE))
        everything = sorted(set(names), key=str.encode)
        self.assertEqual(self.run_now(self.registry.tags.names(name)), everything)
        after = [tag for tag in everything if tag > last]
        self.assertEqual(self.run_now(self.registry.tags.names(name, last)), after)
        paged: list[str] = []
        while page := self.run_now(self.registry.tags.names(name, paged[-1] if paged else ""))[:n]:
            paged += page
        self.assertEqual(paged, everything)
        self.run_now(self.driver.delete(layout.manifests(name)))
