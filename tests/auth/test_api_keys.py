"""The example of the documentation keeps the contract, and is found as any plugin is."""

from __future__ import annotations

import hashlib
import os

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.auth.api_keys import ApiKeys, make
from txregistry.access import Attempt
from txregistry.interfaces import IAuthBackend
from txregistry.plugins import AuthBackendMaker
from txregistry.testing.auth import AuthBackendContract


class ApiKeysContractTests(AuthBackendContract, TestCase):
    """What every backend promises."""

    def make_backend(self) -> IAuthBackend:
        path = os.path.abspath(self.mktemp())
        with open(path, "w") as file:
            file.write(f"ci {hashlib.sha256(b'open-sesame').hexdigest()}\n")
        backend = make({"path": path}, reactor)
        backend.prepare()
        return backend

    def good(self) -> Attempt:
        return Attempt(authorization="Bearer open-sesame")

    def bad(self) -> Attempt:
        return Attempt(authorization="Bearer open-barley")


class AnnouncedTests(SynchronousTestCase):
    """Announced as the documentation says."""

    def test_maker(self) -> None:
        """A maker finds ``make`` by the dotted name that it was given."""
        maker = AuthBackendMaker("apikeys", "tests.auth.api_keys.make")
        self.assertIsInstance(maker.make({"path": "/x"}, reactor), ApiKeys)
