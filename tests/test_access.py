"""What is asked, and what credentials reach."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from txregistry.access import (
    ALL,
    ANONYMOUS,
    CATALOG,
    DELETE,
    PULL,
    PUSH,
    Access,
    Attempt,
    Identity,
    parse_scope,
    scopes,
)


class ScopeTests(SynchronousTestCase):
    """Accesses as the scopes of tokens."""

    def test_scopes(self) -> None:
        """Accesses to one repository make one scope, in order and each action once."""
        accesses = [
            *Access.repository("team/app", PULL, PUSH),
            CATALOG,
            *Access.repository("team/app", PULL, DELETE),
        ]
        self.assertEqual(scopes(accesses), ["repository:team/app:pull,push,delete", "registry:catalog:*"])
        self.assertEqual(scopes([]), [])

    def test_round_trip(self) -> None:
        """What is written is read as what it was."""
        for accesses in (
            [CATALOG],
            Access.repository("a", PULL),
            Access.repository("a/b-c", PULL, PUSH, DELETE),
        ):
            (text,) = scopes(accesses)
            self.assertEqual(parse_scope(text), accesses)

    def test_colons_in_names(self) -> None:
        """A name may hold colons: the first ends the kind, the last begins the actions."""
        self.assertEqual(
            parse_scope("repository:hub.example:5000/a:pull"),
            [Access("repository", "hub.example:5000/a", PULL)],
        )

    def test_malformed(self) -> None:
        """A scope that is not understood spells nothing."""
        for text in (
            "",
            ":",
            "::",
            "repository",
            "repository:a",
            "repository::pull",
            ":a:pull",
            "repository:a:",
            "a b",
        ):
            self.assertEqual(parse_scope(text), [], text)
        self.assertEqual(parse_scope("repository:a:,pull,"), Access.repository("a", PULL))


class GrantTests(SynchronousTestCase):
    """What an identity's credentials reach."""

    def grants(self, *texts: str) -> Identity:
        """Return someone with a token of those scopes."""
        return Identity("alice", grants=frozenset(access for text in texts for access in parse_scope(text)))

    def test_no_limit(self) -> None:
        """A password reaches everything."""
        for access in (CATALOG, *Access.repository("a", PULL, PUSH, DELETE)):
            self.assertTrue(Identity("alice").holds(access))
            self.assertTrue(ANONYMOUS.holds(access))

    def test_limit(self) -> None:
        """A token reaches the actions on the repositories that it names, and nothing else."""
        identity = self.grants("repository:a:pull,push", "repository:b:pull")
        held = [
            f"{name}:{action}"
            for name in ("a", "b", "ab", "a/b", "c")
            for action in (PULL, PUSH, DELETE)
            if identity.holds(Access("repository", name, action))
        ]
        self.assertEqual(held, ["a:pull", "a:push", "b:pull"])
        self.assertFalse(identity.holds(CATALOG))

    def test_empty(self) -> None:
        """A token that grants nothing reaches nothing."""
        self.assertFalse(self.grants().holds(Access("repository", "a", PULL)))

    def test_every_action(self) -> None:
        """A star for the action is every action on that repository alone."""
        identity = self.grants("repository:a:*")
        self.assertTrue(
            all(identity.holds(access) for access in Access.repository("a", PULL, PUSH, DELETE, ALL))
        )
        self.assertFalse(identity.holds(Access("repository", "b", PULL)))

    def test_no_patterns(self) -> None:
        """A name in a token is a name, whatever it looks like, and so is a kind."""
        for scope in (
            *("repository:*:pull", "repository:**:pull", "repository:a/*:pull", "repository:a/../b:pull"),
            *("repository(plugin):b:pull", "registry:b:pull", "Repository:b:pull", "repository:B:pull"),
            *("repository:b/:pull", "repository: b:pull", "repository:b:PULL", "repository:b:pull "),
        ):
            self.assertFalse(self.grants(scope).holds(Access("repository", "b", PULL)), scope)

    def test_catalog(self) -> None:
        """The catalog is for a token that names it with a star."""
        self.assertTrue(self.grants("registry:catalog:*").holds(CATALOG))
        for scope in ("registry:catalog:pull", "repository:catalog:*", "registry:*:*"):
            self.assertFalse(self.grants(scope).holds(CATALOG), scope)


class ValueTests(SynchronousTestCase):
    """Values that are logged and compared."""

    def test_credentials_are_not_shown(self) -> None:
        """An attempt in a log or a traceback does not show its credentials."""
        attempt = Attempt(authorization="Basic c2VjcmV0", address="192.0.2.1", origin="https://hub.example")
        self.assertNotIn("c2VjcmV0", f"{attempt!r} {attempt}")
        self.assertIn("192.0.2.1", repr(attempt))

    def test_anonymous(self) -> None:
        """Only who did not say who it is is anonymous."""
        self.assertTrue(ANONYMOUS.is_anonymous)
        self.assertFalse(evolve(ANONYMOUS, name="alice").is_anonymous)
