"""Repository names, tags, and what a manifest is asked for by."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry import errors, paths
from txregistry.digest import Digest
from txregistry.reference import NAME_LIMIT, RepositoryName, Tag, parse_reference

#: distribution-spec, "Pulling manifests", as written there.
NAME = re.compile(r"\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\Z")
TAG = re.compile(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")

near_names = st.text(alphabet="ab09._-/A\n\u0661", max_size=300)
near_tags = st.text(alphabet="aZ0._-/:\n\u0661", max_size=140)


class TestRepositoryName(SynchronousTestCase):
    """What a repository may be called."""

    def test_accepted(self) -> None:
        """Names that clients use are names."""
        for text in (
            "a",
            "0",
            "library/debian",
            "a.b/c_d/e__f/g-h/i---j",
            "a/b/c/d/e/f/g/h",
            "x" * NAME_LIMIT,
        ):
            self.assertEqual(RepositoryName.parse(text), text)

    def test_traps(self) -> None:
        """What is nearly a name is refused."""
        for text in (
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "a\n",
            "a/b\n",
            "\na",
            "a b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            ".a",
            "a.",
            "a..b",
            "a._b",
            "a___b",
            "_a",
            "-a",
            "a-",
            "a/_uploads",
            "a%2fb",
            "a\x00b",
            "a:b",
            "caf\xe9",
            "\u0661",
            "\uff41",
            "\ud800",
            "a\\b",
            "x" * (NAME_LIMIT + 1),
        ):
            self.assertRaises(errors.NameInvalid, RepositoryName.parse, text)

    def test_refusal_is_short(self) -> None:
        """A refusal does not echo a name of any length back."""
        error = self.assertRaises(errors.NameInvalid, RepositoryName.parse, "x" * 100_000)
        self.assertLess(len(str(error.detail)), NAME_LIMIT + 50)

    @given(st.one_of(st.text(), near_names, st.from_regex(NAME)))
    def test_grammar(self, text: str) -> None:
        """A name is accepted if and only if it is of the spec's grammar and no longer than the limit.

        Every part of it can then be a part of a storage path.
        """
        allowed = NAME.search(text) is not None and len(text) <= NAME_LIMIT
        try:
            name = RepositoryName.parse(text)
        except errors.NameInvalid:
            self.assertFalse(allowed)
        else:
            self.assertTrue(allowed)
            self.assertEqual(name, text)
            self.assertIsInstance(name, RepositoryName)
            self.assertEqual(paths.check(f"/{name}"), f"/{name}")
            self.assertFalse(any(part.startswith("_") for part in name.split("/")))


class TestTag(SynchronousTestCase):
    """What a tag may be."""

    def test_accepted(self) -> None:
        """Tags that clients use are tags."""
        for text in ("latest", "1.0-alpine", "_", "A", "a..b", "a--", "x" * 128):
            self.assertEqual(Tag.parse(text), text)

    def test_traps(self) -> None:
        """What is nearly a tag is refused."""
        for text in (
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a\n",
            "\na",
            "a b",
            "a/b",
            "a:b",
            "a+b",
            "a%0a",
            "a\x00",
            "caf\xe9",
            "\u0661",
            "\ud800",
            "x" * 129,
        ):
            self.assertRaises(errors.TagInvalid, Tag.parse, text)

    def test_refusal_is_short(self) -> None:
        """A refusal does not echo a tag of any length back."""
        error = self.assertRaises(errors.TagInvalid, Tag.parse, "x" * 100_000)
        self.assertLess(len(str(error.detail)), 200)

    @given(st.one_of(st.text(), near_tags, st.from_regex(TAG)))
    def test_grammar(self, text: str) -> None:
        """A tag is accepted if and only if it is of the spec's grammar, and is then a part of a path."""
        try:
            tag = Tag.parse(text)
        except errors.TagInvalid:
            self.assertIsNone(TAG.search(text))
        else:
            self.assertIsNotNone(TAG.search(text))
            self.assertEqual(tag, text)
            self.assertIsInstance(tag, Tag)
            self.assertEqual(paths.check(f"/{tag}"), f"/{tag}")


class TestReference(SynchronousTestCase):
    """Tag or digest."""

    def test_colon_makes_a_digest(self) -> None:
        """What holds a colon is a digest, well-formed or refused as one; no tag can be taken for it."""
        text = "sha256:" + "0" * 64
        self.assertEqual(parse_reference(text), Digest.parse(text))
        for bad in ("sha256:0", ":", "latest:", text + "\n"):
            self.assertRaises(errors.DigestInvalid, parse_reference, bad)

    def test_else_a_tag(self) -> None:
        """What holds no colon is a tag, or refused as one."""
        self.assertEqual(parse_reference("0" * 64), Tag("0" * 64))
        self.assertIsInstance(parse_reference("latest"), Tag)
        self.assertRaises(errors.TagInvalid, parse_reference, "..")

    @given(st.one_of(st.text(), near_tags))
    def test_H11_any_text(self, text: str) -> None:
        """Any text is a tag, a digest, or one of our own errors."""
        try:
            reference = parse_reference(text)
        except (errors.TagInvalid, errors.DigestInvalid):
            return
        self.assertEqual(str(reference), text)
        self.assertEqual(isinstance(reference, Digest), ":" in text)
