"""Access policies: everything, everything for those who are known, and an operator's list of rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from zope.interface import implementer

from txregistry.access import ACTIONS, CATALOG, Access, Decision, Identity
from txregistry.errors import ConfigError
from txregistry.globs import matches
from txregistry.interfaces import IAccessPolicy
from txregistry.reference import COMPONENT, RepositoryName

_WHO = re.compile(r"anonymous|authenticated|(?:user|group):[^:].*|claim:[^=]+=.*")


@implementer(IAccessPolicy)
@frozen
class Everything:
    """Lets everyone do everything: a registry without ``auth``."""

    def decide(self, identity: Identity, access: Access) -> Decision:
        """See :class:`~txregistry.interfaces.IAccessPolicy`."""
        if not identity.holds(access):
            return Decision(False, "the token does not grant it")
        return Decision(True, "there is neither auth nor access in the configuration")


@implementer(IAccessPolicy)
@frozen
class Authenticated:
    """Lets those who said who they are do what their credentials reach: ``auth`` without ``access``."""

    def decide(self, identity: Identity, access: Access) -> Decision:
        """See :class:`~txregistry.interfaces.IAccessPolicy`."""
        if identity.is_anonymous:
            return Decision(False, "nobody is logged in, and there are no rules under access")
        if not identity.holds(access):
            return Decision(False, "the token does not grant it")
        return Decision(True, "logged in, and there are no rules under access")


@frozen
class Rule:
    """One rule: whom it lets do what, where.

    :param who: ``anonymous`` (everyone), ``authenticated`` (everyone who is logged in), ``user:NAME``,
        ``group:NAME`` or ``claim:NAME=PATTERN``; one of them has to fit.
    :param repositories: patterns of names (:mod:`txregistry.globs`), in which ``$username`` stands for the
        user's own name.
    :param actions: ``pull``, ``push``, ``delete``.
    """

    who: tuple[str, ...]
    repositories: tuple[str, ...]
    actions: frozenset[str]

    def miss(self, identity: Identity, access: Access, groups: Mapping[str, frozenset[str]]) -> str | None:
        """Return why the rule does not let *identity* have *access*; None if it does."""
        if access.action not in self.actions:
            return f"it is about {', '.join(sorted(self.actions))}"
        if not any(_covers(pattern, identity, access.name) for pattern in self.repositories):
            return f"it is about {', '.join(self.repositories)}"
        if not any(_fits(who, identity, groups) for who in self.who):
            return f"it is for {', '.join(self.who)}"
        return None


@implementer(IAccessPolicy)
@frozen
class Rules:
    """Lets someone do what the first fitting rule says; nothing where none fits.

    :param rules: in the operator's order.
    :param groups: by user, the groups that the configuration puts it in.
    """

    rules: tuple[Rule, ...]
    groups: Mapping[str, frozenset[str]] = field(factory=dict)

    def decide(self, identity: Identity, access: Access) -> Decision:
        """See :class:`~txregistry.interfaces.IAccessPolicy`.

        Whoever is logged in may ask for the catalog, which shows what it may pull.
        """
        if not identity.holds(access):
            return Decision(False, "the token does not grant it")
        if access == CATALOG:
            known = bool(identity.name)
            return Decision(known, "the catalog is for those who are logged in")
        if access.kind != "repository":
            return Decision(False, "rules are about repositories")
        misses: list[str] = []
        for number, rule in enumerate(self.rules):
            miss = rule.miss(identity, access, self.groups)
            if miss is None:
                return Decision(True, f"access.{number} allows it")
            misses.append(f"access.{number}: {miss}")
        return Decision(False, "no rule allows it: " + "; ".join(misses))


def make(options: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> Rules:
    """Return the policy that a list of rules describes.

    :param options: rules, each with ``who``, ``repositories`` and ``actions``, a value or a list of them.
    :param groups: by group, its users.
    :raises txregistry.errors.ConfigError: a rule is wrong; its ``where`` is its number and key.
    """
    members: dict[str, set[str]] = {}
    for group, users in groups.items():
        for user in users:
            members.setdefault(user, set()).add(group)
    return Rules(
        tuple(_rule(number, option) for number, option in enumerate(options)),
        {user: frozenset(found) for user, found in members.items()},
    )


def _rule(number: int, option: Mapping[str, Any]) -> Rule:
    for key in option:
        if key not in ("who", "repositories", "actions"):
            raise ConfigError(f"{number}.{key}", "unknown key; known here: who, repositories, actions")
    who = _texts(number, option, "who")
    for text in who:
        if _WHO.fullmatch(text) is None:
            expected = "anonymous, authenticated, user:NAME, group:NAME or claim:NAME=PATTERN"
            raise ConfigError(f"{number}.who", f"found {text!r}, expected {expected}")
    actions = _texts(number, option, "actions")
    for action in actions:
        if action not in ACTIONS:
            raise ConfigError(f"{number}.actions", f"found {action!r}, expected one of {', '.join(ACTIONS)}")
    return Rule(tuple(who), tuple(_texts(number, option, "repositories")), frozenset(actions))


def _texts(number: int, option: Mapping[str, Any], key: str) -> list[str]:
    value = option.get(key)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{number}.{key}", f"found {value!r}, expected a text or a list of texts")
    return texts


def _covers(pattern: str, identity: Identity, name: str) -> bool:
    if "$username" in pattern:
        user = identity.name
        # A name that is not itself a part of a repository's name could reach into other repositories.
        if user is None or COMPONENT.fullmatch(user) is None:
            return False
        pattern = pattern.replace("$username", user)
    return matches(pattern, name)


def _fits(who: str, identity: Identity, groups: Mapping[str, frozenset[str]]) -> bool:
    if who == "anonymous":
        return True
    if not identity.name:
        # A token of one who did not log in has an empty name.
        return False
    kind, _, wanted = who.partition(":")
    if kind == "user":
        return identity.name == wanted
    if kind == "group":
        return wanted in identity.groups or wanted in groups.get(identity.name, ())
    if kind == "claim":
        claim, _, pattern = wanted.partition("=")
        found = identity.claims.get(claim)
        values = found if isinstance(found, list) else [found]
        return any(isinstance(value, str) and matches(pattern, value) for value in values)
    return True


def explain(policy: IAccessPolicy, identity: Identity, action: str, name: str) -> Decision:
    """Return what a policy says of one action on one repository."""
    return policy.decide(identity, Access("repository", RepositoryName.parse(name), action))
