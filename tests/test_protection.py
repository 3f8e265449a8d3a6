"""Which tags must stay as they are."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txregistry.protection import TagProtection


class CoverTests(SynchronousTestCase):
    """``TagProtection``."""

    def covered(self, patterns: list[str], *wholes: str) -> list[str]:
        """Return which of some ``repository:tag`` are protected."""
        protection = TagProtection.of(patterns)
        return [whole for whole in wholes if protection.covers(*whole.split(":"))]

    def test_none(self) -> None:
        """Without patterns, and with exceptions alone, no tag is protected."""
        self.assertEqual(self.covered([], "a:v1", "team/app:latest"), [])
        self.assertEqual(self.covered(["!**:latest"], "a:v1", "a:latest"), [])

    def test_patterns(self) -> None:
        """A pattern is for the repository and the tag together, and one that fits is enough."""
        self.assertEqual(
            self.covered(["prod/**:v*", "lib/*:1.0"], "prod/a:v1", "prod/a/b:v", "prod/a:1", "lib/x:1.0"),
            ["prod/a:v1", "prod/a/b:v", "lib/x:1.0"],
        )
        self.assertEqual(
            self.covered(["lib/*:1.0"], "lib/x/y:1.0", "lib/x:1x0", "xlib/x:1.0", "lib/x:1.0.1"), []
        )

    def test_exceptions(self) -> None:
        """An exception counts wherever it stands in the list."""
        for patterns in (["**:*", "!**:latest"], ["!**:latest", "**:*"]):
            self.assertEqual(self.covered(patterns, "a:latest", "a/b:latest", "a:latest2"), ["a:latest2"])

    def test_tags_are_told_apart_by_case(self) -> None:
        """A tag in other letters is another tag."""
        self.assertEqual(self.covered(["a:V*"], "a:V1", "a:v1"), ["a:V1"])
