"""Checkers of Twisted's as an auth backend."""

from __future__ import annotations

import base64
import os

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txregistry.access import ANONYMOUS, Attempt
from txregistry.auth.cred import make
from txregistry.errors import ConfigError, Unauthorized


class CredTests(SynchronousTestCase):
    """``auth.cred``."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        with open(self.path, "w") as file:
            file.write("alice:wonder\nb\u00f6b:builder\n")
        self.backend = make({"cred": f"file:{self.path}"}, None)

    def attempt(self, pair: str) -> Attempt:
        return Attempt(authorization="Basic " + base64.b64encode(pair.encode()).decode())

    def test_known(self) -> None:
        """Whoever the checker knows is known by that name."""
        for pair, name in (("alice:wonder", "alice"), ("b\u00f6b:builder", "b\u00f6b")):
            found = self.successResultOf(
                Deferred.fromCoroutine(self.backend.authenticate(self.attempt(pair)))
            )
            self.assertEqual(found.name, name)

    def test_unknown(self) -> None:
        """A wrong password, an unknown user, nobody and nonsense are refused."""
        for pair in ("alice:wrong", "eve:wonder", ":", "alice", "alice:"):
            attempt = self.attempt(pair)
            self.failureResultOf(Deferred.fromCoroutine(self.backend.authenticate(attempt)), Unauthorized)
        attempt = Attempt(authorization="Bearer x")
        self.failureResultOf(Deferred.fromCoroutine(self.backend.authenticate(attempt)), Unauthorized)

    def test_anonymous(self) -> None:
        """Who says nothing is nobody in particular, and is asked for a password."""
        found = self.successResultOf(Deferred.fromCoroutine(self.backend.authenticate(Attempt())))
        self.assertEqual(found, ANONYMOUS)
        self.assertEqual(self.backend.challenges(Attempt(), (), None), ['Basic realm="registry"'])

    def test_options(self) -> None:
        """A checker that is not there, or takes no passwords, and an unknown key are refused."""
        for options in (
            {},
            {"cred": 7},
            {"cred": "nonsense:x"},
            {"cred": "anonymous"},
            {"cred": f"file:{self.path}", "realm": "a\nb"},
            {"cred": f"file:{self.path}", "path": "x"},
        ):
            self.assertRaises(ConfigError, make, options, None)
