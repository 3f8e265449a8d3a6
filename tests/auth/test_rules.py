"""Access policies, and rules as operators write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.auth.basic import BasicBackend, ScopedBackend, authorization
from txregistry.access import ALL, ANONYMOUS, CATALOG, DELETE, PULL, PUSH, Access, Attempt, Decision, Identity
from txregistry.auth.anonymous import Anonymous
from txregistry.auth.rules import Authenticated, Everything, Rules, explain, make
from txregistry.errors import ConfigError, NameInvalid
from txregistry.interfaces import IAccessPolicy, IAuthBackend
from txregistry.testing.auth import AuthBackendContract

EVERY = (PULL, PUSH, DELETE)
ALICE = Identity("alice")


def rules(
    *options: tuple[object, object, object], groups: Mapping[str, Sequence[str]] | None = None
) -> Rules:
    """Return rules of who, where and what."""
    listed = [
        {"who": who, "repositories": repositories, "actions": actions}
        for who, repositories, actions in options
    ]
    return make(listed, groups or {})


class RulesCase(SynchronousTestCase):
    """Asks policies."""

    def allowed(self, policy: IAccessPolicy, identity: Identity, *wholes: str) -> list[str]:
        """Return which of some ``repository:action`` someone may do."""
        accesses = [Access("repository", *whole.rsplit(":", 1)) for whole in wholes]
        return [
            f"{access.name}:{access.action}" for access in accesses if policy.decide(identity, access).allowed
        ]

    def may(self, policy: IAccessPolicy, identity: Identity, name: str, action: str = PULL) -> bool:
        """Say whether someone may do something."""
        return bool(self.allowed(policy, identity, f"{name}:{action}"))


class SimplePolicyTests(RulesCase):
    """Policies that have no rules."""

    def test_interface(self) -> None:
        """Every policy provides what the interface declares."""
        for policy in (Everything(), Authenticated(), rules()):
            verifyObject(IAccessPolicy, policy)

    def test_everything(self) -> None:
        """A registry without auth and access lets everyone do everything."""
        for access in (CATALOG, *Access.repository("a", *EVERY)):
            self.assertTrue(Everything().decide(ANONYMOUS, access).allowed)

    def test_authenticated(self) -> None:
        """With auth alone, whoever is logged in may do everything, and nobody else anything."""
        for access in (CATALOG, *Access.repository("a", *EVERY)):
            self.assertTrue(Authenticated().decide(ALICE, access).allowed)
            self.assertFalse(Authenticated().decide(ANONYMOUS, access).allowed)

    def test_authenticated_by_token(self) -> None:
        """With auth alone, a token's bearer may do what the token grants, even one without a name."""
        for name in ("alice", ""):
            identity = Identity(name, grants=frozenset(Access.repository("a", PULL)))
            found = self.allowed(Authenticated(), identity, "a:pull", "a:push", "b:pull", "a:delete")
            self.assertEqual(found, ["a:pull"])
            self.assertFalse(Authenticated().decide(identity, CATALOG).allowed)


class WhoTests(RulesCase):
    """Whom a rule is for."""

    def fitting(
        self, who: object, *identities: Identity, groups: Mapping[str, Sequence[str]] | None = None
    ) -> list[str]:
        """Return the names of those whom a rule lets pull."""
        policy = rules((who, "**", PULL), groups=groups)
        return [identity.name or "nobody" for identity in identities if self.may(policy, identity, "a")]

    def test_anonymous(self) -> None:
        """A rule for ``anonymous`` is for everyone, logged in or not."""
        self.assertEqual(self.fitting("anonymous", ANONYMOUS, ALICE), ["nobody", "alice"])

    def test_authenticated(self) -> None:
        """A rule for ``authenticated`` is for everyone who is logged in; a token without a name is no login."""
        nameless = Identity("", grants=frozenset(Access.repository("a", PULL)))
        self.assertEqual(self.fitting("authenticated", ANONYMOUS, nameless, ALICE), ["alice"])

    def test_user(self) -> None:
        """A rule for a user is for that user, letter by letter."""
        others = [Identity(name) for name in ("Alice", "alice2", "lice", "alice ", "user:alice", "*", "")]
        self.assertEqual(self.fitting("user:alice", ALICE, ANONYMOUS, *others), ["alice"])
        self.assertEqual(self.fitting("user:*", ALICE, Identity("*")), ["*"])

    def test_group(self) -> None:
        """A rule for a group is for those whom the configuration or the backend puts in it."""
        carol = Identity("carol", groups=frozenset({"dev"}))
        other = Identity("dave", groups=frozenset({"ops"}))
        groups = {"dev": ["bob"], "ops": ["alice"]}
        found = self.fitting("group:dev", ALICE, Identity("bob"), carol, other, ANONYMOUS, groups=groups)
        self.assertEqual(found, ["bob", "carol"])

    def test_group_of_nobody(self) -> None:
        """Nobody in particular is in no group, whatever a backend says."""
        nobody = Identity(None, groups=frozenset({"dev"}))
        self.assertEqual(self.fitting("group:dev", nobody, Identity("", groups=frozenset({"dev"}))), [])

    def test_groups_are_not_users(self) -> None:
        """A user who is called like a group is not in it, and a group is not a user."""
        groups = {"dev": ["bob"]}
        self.assertEqual(self.fitting("group:dev", Identity("dev"), Identity("group:dev"), groups=groups), [])
        self.assertEqual(self.fitting("user:dev", Identity("bob"), groups=groups), [])

    def test_claim(self) -> None:
        """A rule for a claim is for those whose claim is of the pattern, one of its values if it is a list."""
        fitting = [
            Identity("branch", claims={"ref": "refs/heads/main"}),
            Identity("several", claims={"ref": ["refs/tags/1", "refs/heads/x"]}),
        ]
        others = [
            Identity("tag", claims={"ref": "refs/tags/v1"}),
            Identity("deeper", claims={"ref": "refs/heads/a/b"}),
            Identity("number", claims={"ref": 7}),
            Identity("null", claims={"ref": None}),
            Identity("mapping", claims={"ref": {"refs/heads/main": True}}),
            Identity("other", claims={"reference": "refs/heads/main"}),
            Identity(None, claims={"ref": "refs/heads/main"}),
            ALICE,
        ]
        self.assertEqual(self.fitting("claim:ref=refs/heads/*", *fitting, *others), ["branch", "several"])

    def test_claim_of_several(self) -> None:
        """The first equals sign ends a claim's name, so that its pattern may hold one."""
        self.assertEqual(self.fitting("claim:sub=a=b", Identity("x", claims={"sub": "a=b"})), ["x"])

    def test_several(self) -> None:
        """Of several whom a rule names, one has to fit."""
        found = self.fitting(
            ["user:alice", "group:dev"], ALICE, Identity("bob"), Identity("x"), groups={"dev": ["bob"]}
        )
        self.assertEqual(found, ["alice", "bob"])


class WhereTests(RulesCase):
    """Where a rule holds, and for what."""

    def test_denied_by_default(self) -> None:
        """What no rule allows is denied, so without any rule all is."""
        wholes = [f"{name}:{action}" for name in ("a", "public/a") for action in EVERY]
        for identity in (ANONYMOUS, ALICE):
            self.assertEqual(self.allowed(rules(), identity, *wholes), [])
        policy = rules(("anonymous", "public/**", PULL))
        self.assertEqual(self.allowed(policy, ALICE, *wholes), ["public/a:pull"])

    def test_actions(self) -> None:
        """A rule allows the actions that it names, and none that another would imply."""
        for action in EVERY:
            policy = rules(("anonymous", "a", action))
            self.assertEqual(self.allowed(policy, ALICE, *(f"a:{each}" for each in EVERY)), [f"a:{action}"])

    def test_no_other_action(self) -> None:
        """Rules that allow all three actions allow no star and no action of another name."""
        policy = rules(("anonymous", "**", list(EVERY)))
        self.assertEqual(self.allowed(policy, ALICE, "a:*", "a:PULL", "a:", "a:admin"), [])

    def test_repositories_only(self) -> None:
        """Rules are about repositories: what is of another kind is nothing that a pattern covers."""
        policy = rules(("anonymous", "**", list(EVERY)))
        for kind in ("repository(plugin)", "registry", "", "Repository"):
            for name in ("a", "catalog"):
                self.assertFalse(policy.decide(ALICE, Access(kind, name, PULL)).allowed, kind)

    def test_own_repositories(self) -> None:
        """``$username`` stands for the name of whoever asks."""
        policy = rules(("authenticated", ["home/$username/**", "$username-*"], PULL))
        for user in ("alice", "a", "a.b", "a-b", "0", "a__b"):
            self.assertTrue(self.may(policy, Identity(user), f"home/{user}/x/y"), user)
            self.assertTrue(self.may(policy, Identity(user), f"{user}-x"), user)
            self.assertFalse(self.may(policy, Identity(user), f"home/{user}x/y"), user)
            self.assertFalse(self.may(policy, Identity(user), f"home/x{user}/y"), user)
            self.assertFalse(self.may(policy, Identity(user), f"home/{user}"), user)
        self.assertFalse(self.may(policy, Identity("a.b"), "home/axb/y"))
        self.assertFalse(self.may(policy, ANONYMOUS, "home/alice/x"))

    def test_names_that_do_not_expand(self) -> None:
        """A user whose name is not a part of a repository's name has no repositories of its own."""
        policy = rules(
            ("authenticated", ["home/$username/**", "home/$username", "$username/**"], list(EVERY))
        )
        for user in (
            *(
                "../x",
                "..",
                ".",
                "a/b",
                "/",
                "a/",
                "/a",
                "*",
                "**",
                "a*",
                "$username",
                "",
                " ",
                "a b",
                "A",
                "Alice",
            ),
            *("a\n", "a..b", "-a", "a_", "ä", "a:b", "a@b", "a\0", "alice/../bob", "bob/**", "%2e", "a$"),
        ):
            for name in (
                "home/x/y",
                "home/bob/y",
                "home/a/b",
                "home/a/b/c",
                f"home/{user}/x",
                f"home/{user}",
                f"{user}/x",
            ):
                self.assertFalse(self.may(policy, Identity(user), name), (user, name))

    def test_order_does_not_matter(self) -> None:
        """A later rule can allow what an earlier one is not about."""
        options = [("anonymous", "public/**", PULL), ("user:alice", "**", PUSH)]
        for listed in (options, options[::-1]):
            found = self.allowed(rules(*listed), ALICE, "public/a:pull", "public/a:push", "x:pull", "x:push")
            self.assertEqual(found, ["public/a:pull", "public/a:push", "x:push"])

    def test_grants(self) -> None:
        """A token narrows what the rules allow, and never widens it."""
        policy = rules(("user:alice", "a", [PULL, PUSH]))
        narrow = Identity("alice", grants=frozenset(Access.repository("a", PULL)))
        wide = Identity("alice", grants=frozenset(Access.repository("a", ALL) + Access.repository("b", ALL)))
        wholes = ("a:pull", "a:push", "a:delete", "b:pull")
        self.assertEqual(self.allowed(policy, narrow, *wholes), ["a:pull"])
        self.assertEqual(self.allowed(policy, wide, *wholes), ["a:pull", "a:push"])
        self.assertEqual(self.allowed(policy, Identity("alice", grants=frozenset()), *wholes), [])

    def test_catalog(self) -> None:
        """Whoever is logged in may ask for the catalog, if a token does not keep it from that."""
        for policy in (rules(), rules(("anonymous", "**", list(EVERY)))):
            self.assertTrue(policy.decide(ALICE, CATALOG).allowed)
            self.assertTrue(policy.decide(Identity("alice", grants=frozenset({CATALOG})), CATALOG).allowed)
            for identity in (
                ANONYMOUS,
                Identity("", grants=frozenset({CATALOG})),
                Identity("a", grants=frozenset()),
            ):
                self.assertFalse(policy.decide(identity, CATALOG).allowed)


class ReasonTests(RulesCase):
    """What the operator is told."""

    POLICY = rules(("anonymous", "public/**", PULL), ("user:bob", "team/*", [PUSH, PULL]))

    def test_allowed(self) -> None:
        """The reason for leave is the number of the rule that gave it."""
        self.assertEqual(
            explain(self.POLICY, Identity("bob"), PUSH, "team/a"), Decision(True, "access.1 allows it")
        )

    def test_denied(self) -> None:
        """The reason for a refusal says of each rule why it does not fit."""
        decision = explain(self.POLICY, ALICE, PULL, "team/a")
        self.assertEqual(
            decision,
            Decision(
                False, "no rule allows it: access.0: it is about public/**; access.1: it is for user:bob"
            ),
        )
        decision = explain(self.POLICY, ALICE, DELETE, "public/a")
        self.assertIn("access.0: it is about pull;", decision.reason)
        self.assertIn("access.1: it is about pull, push", decision.reason)

    def test_every_reason(self) -> None:
        """No decision is without a reason of one printable line."""
        identities = (ANONYMOUS, ALICE, Identity("x", grants=frozenset()), Identity("bob"))
        for policy in (Everything(), Authenticated(), rules(), self.POLICY):
            for identity in identities:
                for access in (CATALOG, *Access.repository("team/a", *EVERY)):
                    reason = policy.decide(identity, access).reason
                    self.assertTrue(reason and reason.isprintable(), reason)

    def test_explained_names(self) -> None:
        """What is not the name of a repository is not explained but refused."""
        for name in ("Team/a", "a/../b", ""):
            self.assertRaises(NameInvalid, explain, self.POLICY, ALICE, PULL, name)


class MakeTests(SynchronousTestCase):
    """Rules from the configuration."""

    RULE: Mapping[str, Any] = {"who": "anonymous", "repositories": "**", "actions": "pull"}

    def complaint(self, **changes: object) -> str:
        """Return the complaint about the second of two rules, of which some keys are others."""
        rule = {key: value for key, value in {**self.RULE, **changes}.items() if value is not Ellipsis}
        error = self.assertRaises(ConfigError, make, [self.RULE, rule], {})
        self.assertTrue(str(error).isprintable())
        return str(error)

    def test_one_or_several(self) -> None:
        """A value stands for a list of one."""
        listed = {key: [value] for key, value in self.RULE.items()}
        self.assertEqual(make([self.RULE], {}), make([listed], {}))

    def test_who(self) -> None:
        """Whoever is named otherwise than rules can name someone is refused with what was expected."""
        for who in (
            *("", "alice", "user:", "group:", "claim:", "claim:a", "claim:=x", "everyone", "Anonymous", "*"),
            *("anonymous ", " user:alice", "users:alice", "user:a\nb"),
        ):
            complaint = self.complaint(who=[who, "anonymous"])
            self.assertTrue(complaint.startswith(f"1.who: found {who!r}, expected anonymous, "), complaint)

    def test_actions(self) -> None:
        """An action that there is not is refused with those that there are."""
        for action in ("", "read", "*", "PULL", "pull,push", "pull "):
            complaint = self.complaint(actions=["pull", action])
            self.assertEqual(complaint, f"1.actions: found {action!r}, expected one of pull, push, delete")

    def test_kinds(self) -> None:
        """A key that is missing, empty, or neither a text nor a list of texts, is refused by its name."""
        for key in self.RULE:
            for value in (..., None, [], 3, True, {"a": "b"}, [3], [None], [["a"]], ["anonymous", 3]):
                found = None if value is ... else value
                self.assertEqual(
                    self.complaint(**{key: value}),
                    f"1.{key}: found {found!r}, expected a text or a list of texts",
                )

    def test_unknown_key(self) -> None:
        """A key that there is not is refused by its name, also where it is another one misspelt."""
        known = "unknown key; known here: who, repositories, actions"
        self.assertEqual(self.complaint(when="today"), f"1.when: {known}")
        for key in self.RULE:
            self.assertEqual(self.complaint(**{key: ..., f"{key}x": self.RULE[key]}), f"1.{key}x: {known}")


class AnonymousTests(SynchronousTestCase):
    """The backend of a registry without ``auth``."""

    def test_knows_no_one(self) -> None:
        """Whatever a client says, it is nobody in particular, and it is asked for nothing."""
        backend = Anonymous()
        verifyObject(IAuthBackend, backend)
        backend.prepare()
        for header in (None, "", authorization("alice"), "Bearer x", "nonsense"):
            attempt = Attempt(authorization=header)
            self.assertEqual(self.successResultOf(_deferred(backend.authenticate(attempt))), ANONYMOUS)
            self.assertEqual(backend.challenges(attempt, [CATALOG], "invalid_token"), [])
        self.successResultOf(_deferred(backend.close()))


def _deferred(awaitable: Any) -> Any:
    return Deferred.fromCoroutine(awaitable)


class BasicBackendTests(AuthBackendContract, TestCase):
    """The backend that tests in memory use is one that could be used."""

    def make_backend(self) -> IAuthBackend:
        return BasicBackend.of(ALICE)

    def good(self) -> Attempt:
        return Attempt(authorization=authorization("alice"))

    def bad(self) -> Attempt:
        return Attempt(authorization=authorization("alice", "wrong"))


class ScopedBackendTests(BasicBackendTests):
    """So is the one whose challenges name what is asked for."""

    def make_backend(self) -> IAuthBackend:
        return ScopedBackend.of(ALICE)
