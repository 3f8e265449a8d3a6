"""Warnings, preflight requests and the list of extensions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import Server, at_once
from txregistry.content.registry import Registry
from txregistry.web.app import make_resource
from txregistry.web.manners import RepositoryWarning
from txregistry.web.states import UploadStates


class WarningTests(SynchronousTestCase):
    """``Warning`` headers."""

    def warnings(self, path: str, *warnings: RepositoryWarning) -> list[str]:
        server = Server()
        registry = Registry.on(server.driver, at_once)
        server.site.resource = make_resource(registry, UploadStates(b"s"), at_once, warnings=warnings)
        return server.request("GET", path).headers.get_all("Warning") or []

    def test_concerned(self) -> None:
        """An answer about a repository carries the warnings for it, a failure too, and no other answer does."""
        old = RepositoryWarning("old/**", 'Use "new" instead.')
        every = RepositoryWarning("**", "Closed on Monday.")
        exact = RepositoryWarning("a.b", "Exactly.")
        self.assertEqual(
            self.warnings("/v2/old/x/y/tags/list", old, every, exact),
            ['299 - "Use \\"new\\" instead."', '299 - "Closed on Monday."'],
        )
        self.assertEqual(self.warnings("/v2/a.b/tags/list", exact), ['299 - "Exactly."'])
        self.assertEqual(self.warnings("/v2/axb/tags/list", exact), [])
        self.assertEqual(self.warnings("/v2/older/tags/list", old), [])
        self.assertEqual(self.warnings("/v2/", every), [])

    def test_limit(self) -> None:
        """All warnings of an answer together stay within 4096 bytes."""
        many = [RepositoryWarning("**", letter * 1900) for letter in "abc"]
        found = self.warnings("/v2/a/tags/list", *many)
        self.assertEqual([value[7] for value in found], ["a", "b"])

    def test_limit_of_others(self) -> None:
        """Warnings for other repositories take no room."""
        others = [RepositoryWarning(f"other/{letter}", letter * 1900) for letter in "abc"]
        found = self.warnings("/v2/a/tags/list", *others, RepositoryWarning("a", "Mind this."))
        self.assertEqual(found, ['299 - "Mind this."'])


class PreflightTests(SynchronousTestCase):
    """Cross-origin requests of browsers."""

    ASKS = {"Origin": "https://ui.example", "Access-Control-Request-Method": "GET"}

    def test_wanted(self) -> None:
        """Where the operator lets other sites in, a preflight request is answered for every address."""
        headers = {
            "Access-Control-Allow-Origin": ["https://ui.example"],
            "Access-Control-Allow-Headers": ["Authorization"],
        }
        server = Server(headers=headers)
        for path, methods in (("/v2/", "GET, HEAD"), ("/v2/a/manifests/1", "GET, PUT, DELETE, HEAD")):
            answer = server.request("OPTIONS", path, headers=self.ASKS)
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertEqual(answer.headers["Access-Control-Allow-Origin"], "https://ui.example")
            self.assertEqual(answer.headers["Access-Control-Allow-Headers"], "Authorization")
            self.assertEqual(answer.headers["Access-Control-Allow-Methods"], methods)
        headers["Access-Control-Allow-Methods"] = ["GET"]
        answer = Server(headers=headers).request("OPTIONS", "/v2/", headers=self.ASKS)
        self.assertEqual(answer.headers.get_all("Access-Control-Allow-Methods"), ["GET"])

    def test_not_wanted(self) -> None:
        """Elsewhere, and for what is no preflight request, OPTIONS is 405."""
        self.assertEqual(Server().request("OPTIONS", "/v2/", headers=self.ASKS).status, 405)
        server = Server(headers={"Access-Control-Allow-Origin": ["*"]})
        self.assertEqual(server.request("OPTIONS", "/v2/").status, 405)


class ExtensionTests(SynchronousTestCase):
    """``/v2/_oci/ext/discover``."""

    def test_discover(self) -> None:
        """The list has every property that the spec requires."""
        (extension,) = Server().request("GET", "/v2/_oci/ext/discover").json()["extensions"]
        self.assertEqual(extension["name"], "_oci")
        self.assertTrue(extension["url"].startswith("https://"))
        self.assertEqual(extension["endpoints"], ["_oci/ext/discover"])
