"""The access policies that come with txregistry keep the contract."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txregistry.access import Identity
from txregistry.auth.rules import Authenticated, Everything, make
from txregistry.interfaces import IAccessPolicy
from txregistry.testing.access import AccessPolicyContract


class EverythingTests(AccessPolicyContract, SynchronousTestCase):
    """A registry without ``auth``."""

    def make_policy(self) -> IAccessPolicy:
        return Everything()

    def make_identity(self) -> Identity:
        return Identity()


class AuthenticatedTests(AccessPolicyContract, SynchronousTestCase):
    """``auth`` without ``access``."""

    def make_policy(self) -> IAccessPolicy:
        return Authenticated()

    def make_identity(self) -> Identity:
        return Identity("alice")


class RulesTests(AccessPolicyContract, SynchronousTestCase):
    """``access``."""

    def make_policy(self) -> IAccessPolicy:
        return make([{"who": "group:dev", "repositories": "team/*", "actions": ["pull", "push"]}], {})

    def make_identity(self) -> Identity:
        return Identity("alice", frozenset({"dev"}))
