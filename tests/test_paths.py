"""Storage paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry import errors, paths
from txregistry.content import layout
from txregistry.digest import Digest
from txregistry.testing.storage.case import INVALID_PATHS

LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
near_paths = st.text(alphabet="/.a_-\n \x00%\\\u0661", max_size=20).map("/".__add__)
parts = st.text(alphabet=sorted(LETTERS), min_size=1, max_size=20)


def is_path(text: str) -> bool:
    """Say whether *text* is a storage path, part by part."""
    first, *names = text.split("/")
    return (
        first == ""
        and bool(names)
        and all(
            name not in ("", ".", "..") and len(name) <= 255 and LETTERS.issuperset(name) for name in names
        )
    )


class TestPaths(SynchronousTestCase):
    """What a driver may be asked for."""

    def test_accepted(self) -> None:
        """A path is returned as it was; dots are letters, if not alone."""
        for path in ("/a", "/...", "/.a", "/a.", "/..a/b..", "/a/b/c", "/_x/-y/Z.0", "/" + "a" * 255):
            self.assertEqual(paths.check(path), path)

    def test_refused(self) -> None:
        """What could leave the root, or be read in two ways, is no path; the error names it."""
        for path in (*INVALID_PATHS, "/a/..\n", "/..\n", "/a/../", "/a\r", "/a\x85", "/a\u2028"):
            error = self.assertRaises(errors.PathInvalid, paths.check, path)
            self.assertEqual(error.path, path)
            self.assertIsInstance(error, errors.StorageError)

    @given(st.one_of(st.text(), near_paths, st.lists(parts, max_size=4).map("/".join)))
    def test_grammar(self, text: str) -> None:
        """A text is a path if and only if each of its parts may be one."""
        try:
            self.assertEqual(paths.check(text), text)
        except errors.PathInvalid:
            self.assertFalse(is_path(text))
        else:
            self.assertTrue(is_path(text))

    @given(st.binary(), st.sampled_from(["sha256", "sha512"]))
    def test_layout(self, content: bytes, algorithm: str) -> None:
        """Every path that the registry makes of a digest is a storage path."""
        digest = Digest.of(content, algorithm)
        for path in (
            layout.blob_data(digest),
            layout.layer_link("a/b-c", digest),
            layout.revision_link("a", digest),
            layout.tag_history_link("a", "_1.0", digest),
            layout.upload_hash_states("a", "0-1", algorithm),
        ):
            self.assertEqual(paths.check(path), path)
