"""Patterns of names, as operators write them."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry.globs import compiled, matches
from txregistry.reference import NAME_LIMIT


def plainly(pattern: str, name: str) -> bool:
    """Say whether a name is of a pattern, by nothing but what the two wildcards mean."""

    @cache
    def rest(at: int, begin: int) -> bool:
        if at == len(pattern):
            return begin == len(name)
        if pattern.startswith("**", at):
            return any(rest(at + 2, end) for end in range(begin, len(name) + 1))
        if pattern[at] == "*":
            found = name.find("/", begin)
            stop = len(name) if found < 0 else found
            return any(rest(at + 1, end) for end in range(begin, stop + 1))
        return name[begin : begin + 1] == pattern[at] and rest(at + 1, begin + 1)

    return rest(0, 0)


class MatchTests(SynchronousTestCase):
    """``matches``."""

    def test_wildcards(self) -> None:
        """One star stays within a part of a name, two go on over slashes, and all else stands for itself."""
        for pattern, yes, no in (
            ("team/app", ["team/app"], ["team/apps", "xteam/app", "team/app/x", "team", ""]),
            ("team/*", ["team/app", "team/"], ["team", "team/a/b", "teams/app"]),
            ("team/**", ["team/app", "team/a/b"], ["team", "teams/app"]),
            ("*", ["app", ""], ["team/app"]),
            ("**", ["app", "team/app", ""], []),
            ("**/app", ["team/app", "a/b/app"], ["app", "team/apps", "team/xapp"]),
            ("*/app-*", ["team/app-1"], ["team/app", "a/b/app-1"]),
            ("a**b*c", ["abc", "a/x/bc", "ab/bc"], ["ab/c", "a/b/c"]),
            ("**/v*-rc*", ["x:/v1-rc", "x/v1-v2-rc3"], ["x/v1/-rc"]),
            ("", [""], ["a"]),
        ):
            for name in yes:
                self.assertTrue(matches(pattern, name), (pattern, name))
            for name in no:
                self.assertFalse(matches(pattern, name), (pattern, name))

    def test_only_stars_are_special(self) -> None:
        """Characters that mean something to regular expressions or to a shell stand for themselves."""
        for pattern, name in (
            ("a.b", "axb"),
            ("a+", "aa"),
            ("[ab]", "a"),
            ("a?", "a"),
            ("(a)", "a"),
            ("a|b", "a"),
        ):
            self.assertFalse(matches(pattern, name), pattern)
            self.assertTrue(matches(pattern, pattern), pattern)
        self.assertFalse(matches("a", "a\n"))
        self.assertTrue(matches("a**", "a\nb/c"))

    @given(st.text("ab/*", max_size=9), st.text("ab/", max_size=12))
    def test_agrees_with_the_meaning(self, pattern: str, name: str) -> None:
        """What is found quickly is what trying every possibility finds."""
        self.assertEqual(matches(pattern, name), plainly(pattern, name), (pattern, name))

    def test_hostile_names(self) -> None:
        """No name takes a pattern of many wildcards more than an instant, for anyone may send names."""
        for pattern, unit in (
            ("*-*-*-*-*-*-x", "-"),
            ("**-**-**-**-**-**-x", "-"),
            ("**/a*b*c**/a*b*c*d", "/abc"),
        ):
            name = (unit * NAME_LIMIT)[:NAME_LIMIT]
            self.assertFalse(matches(pattern, name), pattern)

    def test_bounded_memory(self) -> None:
        """Patterns that users' names were put into do not pile up."""
        for number in range(5000):
            compiled(f"home/user{number}/**")
        info = compiled.cache_info()
        self.assertLess(info.currsize, 5000)
