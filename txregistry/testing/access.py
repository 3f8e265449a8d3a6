"""What every access policy promises, each promise a test.

A policy's own tests mix it in, before :class:`twisted.trial.unittest.SynchronousTestCase`, and say how to make it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txregistry.access import ACTIONS, ANONYMOUS, CATALOG, PULL, Access, Decision, Identity
from txregistry.interfaces import IAccessPolicy

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object


class AccessPolicyContract(_Base):
    """The contract of :class:`txregistry.interfaces.IAccessPolicy`."""

    def make_policy(self) -> IAccessPolicy:
        """Return a policy."""
        raise NotImplementedError(f"{type(self).__name__}.make_policy")

    def make_identity(self) -> Identity:
        """Return someone whom the policy lets pull from the repository ``team/app``, without a token."""
        raise NotImplementedError(f"{type(self).__name__}.make_identity")

    def test_interface(self) -> None:
        """The policy provides the interface."""
        self.assertTrue(verifyObject(IAccessPolicy, self.make_policy()))

    def test_decisions(self) -> None:
        """For everyone and everything there is a decision, with a reason in one line that can be printed."""
        policy = self.make_policy()
        people = (ANONYMOUS, Identity(""), Identity("a"), Identity("../x/**"), self.make_identity())
        accesses = [CATALOG, Access("unheard of", "a", PULL), Access("repository", "a", "unheard of")]
        for name in ("team/app", "a", "*", "**", "$username", ""):
            accesses += Access.repository(name, *ACTIONS)
        for identity in people:
            for access in accesses:
                decision = policy.decide(identity, access)
                self.assertIsInstance(decision, Decision)
                self.assertIs(type(decision.allowed), bool)
                self.assertTrue(decision.reason.isprintable() and decision.reason, decision)

    def test_allowed(self) -> None:
        """Someone who may pull may pull, and asking again changes nothing."""
        policy, pull = self.make_policy(), Access("repository", "team/app", PULL)
        for _ in range(3):
            self.assertTrue(policy.decide(self.make_identity(), pull).allowed)

    def test_limited(self) -> None:
        """No one may do what their credentials do not reach, whoever they are."""
        policy, someone = self.make_policy(), self.make_identity()
        pull = Access("repository", "team/app", PULL)
        for grants in (frozenset(), frozenset({Access("repository", "team/other", PULL)})):
            limited = Identity(someone.name, someone.groups, someone.claims, grants)
            self.assertFalse(policy.decide(limited, pull).allowed)
        exact = Identity(someone.name, someone.groups, someone.claims, frozenset({pull}))
        self.assertTrue(policy.decide(exact, pull).allowed)
