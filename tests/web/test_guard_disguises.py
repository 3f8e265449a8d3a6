"""No disguise of an address or of who asks gets past the guard."""

from __future__ import annotations

import re

from tests.auth.basic import ScopedBackend, authorization
from tests.web.guarded import USERS, GuardedCase, Nothing
from txregistry.digest import Digest
from txregistry.web.locations import Locations

DIGEST = str(Digest.of(b"layer"))


class PathTests(GuardedCase):
    """Addresses that could be read in two ways."""

    def setUp(self) -> None:
        super().setUp()
        self.fill("team/app", "public/app")
        self.driver.calls.clear()

    TRICKS = (
        *("//v2/team/app/tags/list", "/v2//team/app/tags/list", "/v2/team//app/tags/list", "///v2/_catalog"),
        *(
            "/v2/./team/app/tags/list",
            "/v2/team/./app/tags/list",
            "/v2/../v2/team/app/tags/list",
            "/./v2/_catalog",
        ),
        *("/v2/public/../team/app/tags/list", "/v2/public/app/../../team/app/manifests/latest"),
        *(
            "/v2/public/%2e%2e/team/app/tags/list",
            "/v2/public/%2E%2E/team/app/tags/list",
            "/v2/public/..%2fteam/app/tags/list",
        ),
        *(
            "/v2/public%2f..%2fteam%2fapp/tags/list",
            "/v2/public%5c..%5cteam/app/tags/list",
            "/v2/team%2fapp/tags/list",
        ),
        *(
            "/v2/public/%252e%252e/team/app/tags/list",
            "/v2/public\\..\\team/app/tags/list",
            "/v2/public/..;/team/app/tags/list",
        ),
        *(
            "/v2/public/app%00/../../team/app/tags/list",
            "/v2/team/app%00/tags/list",
            "/v2/team/app/tags/list%00",
        ),
        *(
            "/v2/TEAM/app/tags/list",
            "/V2/team/app/tags/list",
            "/v2/team/app/Tags/list",
            "/v2/team/app;x/tags/list",
        ),
        *("/v2/team/app/tags/list/", "/v2/team/app/tags/list//", "/v2/team/app/manifests/latest/"),
        *(
            "/v2/team/app/manifests//latest",
            "/v2/team/app/manifests/latest/.",
            "/v2/team/app/manifests/latest/..",
        ),
        *(
            "/v2/team/app/tags/list?/v2/public/app/tags/list",
            "/v2/public/app/tags/list/../../../team/app/tags/list",
        ),
        *(
            "/v2/public/manifests/x/../../team/app/tags/list",
            "/v2/_catalog/../public/app/tags/list",
            "/v2/_catalog;x",
        ),
        *(
            "/v2/public/app/manifests/../../../team/app/tags/list",
            "/v2/%74eam/app/tags/list",
            "/v2/team/app%20/tags/list",
        ),
        *(
            "/v2/public/app%0a/tags/list",
            "/v2/team/app%0d%0aX-Evil:%20y/tags/list",
            "/v2/te%C3%A4m/app/tags/list",
        ),
        *(
            "/v2/team%3fapp/tags/list",
            "/v2/team/app%23/tags/list",
            "http://registry.example/v2/team/app/tags/list",
        ),
        *(
            "http://registry.example//v2/team/app/tags/list",
            "/v2/" + "a/" * 4000 + "tags/list",
            "/v2/" + "a" * 9000,
        ),
    )

    def test_H10_tricks(self) -> None:
        """Whatever an address looks like, it leads to no more than its plain form does."""
        for path in self.TRICKS:
            for method in ("GET", "HEAD", "PUT", "DELETE"):
                for user in (None, "alice"):
                    answer = self.ask(user, method, path)
                    self.assertIn(answer.status, (400, 401, 403, 404), (method, path))
                    self.assertNotIn("X-Evil", answer.headers)
                    self.assertFalse(self.driver.calls, (method, path))

    def test_H10_plain_form(self) -> None:
        """An address with letters that need no escaping is its plain form: the same rules hold."""
        self.assertEqual(self.ask(None, "GET", "/v2/%70ublic/app/tags/list").status, 200)
        self.assert_refused(self.ask(None, "GET", "/v2/%74eam/app/tags/list"), None)

    def test_A01_route_names_within_names(self) -> None:
        """Where parts of a name look like a route, the guard is asked for the name that is answered for."""
        for name in ("public/tags/list", "public/manifests/x", "public/blobs/uploads", "public/referrers"):
            self.fill(name)
            self.assertEqual(self.ask(None, "GET", f"/v2/{name}/tags/list").json()["name"], name)
        for name in ("team/public/app", "team/manifests/public", "team/tags/list/public"):
            self.fill(name)
            for path in ("tags/list", "manifests/latest", f"blobs/{DIGEST}", f"referrers/{DIGEST}"):
                self.assert_refused(self.ask(None, "GET", f"/v2/{name}/{path}"), None)

    def test_H10_prefix(self) -> None:
        """Below a prefix the same is refused, and beside it there is nothing."""
        server = self.make_server(Nothing(), locations=Locations(prefix="/registry/"))
        self.driver.calls.clear()
        self.assert_refused(self.ask(None, "GET", "/registry/v2/team/app/tags/list", server=server), None)
        self.assert_refused(
            self.ask("alice", "GET", "/registry/v2/team/app/tags/list", server=server), "alice"
        )
        for path in (
            *(
                "/v2/team/app/tags/list",
                "/v2/",
                "//registry/v2/_catalog",
                "/registry//v2/_catalog",
                "/registryv2/_catalog",
            ),
            *(
                "/registry/../v2/_catalog",
                "/registry/%2e%2e/v2/_catalog",
                "/registry/registry/v2/_catalog",
                "/registry",
            ),
        ):
            self.assertEqual(self.ask("admin", "GET", path, server=server).status, 404, path)
        self.assertEqual(self.driver.calls, [])

    def test_H10_names_that_are_none(self) -> None:
        """What cannot be a repository's name is refused to everyone alike, and is not put into a challenge."""
        server = self.make_server(Nothing(), backend=ScopedBackend(USERS))
        self.driver.calls.clear()
        for name in (
            "Team",
            "team/..",
            'team"',
            "team%0d%0aX-Evil:%20y",
            "team%22,error=%22x",
            "a" * 256,
            "team%7f",
        ):
            for user in (None, "alice"):
                answer = self.ask(user, "GET", f"/v2/{name}/tags/list", server=server)
                known = [(400, ["NAME_INVALID"]), (404, ["NAME_UNKNOWN"])]
                self.assertIn((answer.status, answer.codes), known, name)
                self.assertNotIn("WWW-Authenticate", answer.headers)
        self.assertEqual(self.driver.calls, [])


class CredentialTests(GuardedCase):
    """What says who asks."""

    FORWARDED = (
        *(
            "X-Forwarded-User",
            "X-Remote-User",
            "Remote-User",
            "X-User",
            "X-Auth-Request-User",
            "X-WEBAUTH-USER",
        ),
        *(
            "X-Forwarded-Preferred-Username",
            "X-Authenticated-User",
            "Proxy-Authorization",
            "Cookie",
            "X-Authorization",
        ),
        *(
            "X-Registry-Auth",
            "X-Client-Cert",
            "X-SSL-Client-S-DN",
            "X-Forwarded-Groups",
            "From",
            "Authentication",
        ),
    )

    def setUp(self) -> None:
        super().setUp()
        self.fill("team/app")

    def test_A01_headers_of_proxies(self) -> None:
        """No header but ``Authorization`` says who asks, neither for nobody nor for a user."""
        for header in self.FORWARDED:
            for value in ("admin", authorization("admin"), "CN=admin"):
                for user in (None, "alice"):
                    answer = self.ask(user, "GET", "/v2/team/app/tags/list", headers={header: value})
                    self.assert_refused(answer, user)

    def test_A01_query(self) -> None:
        """Nothing in an address says who asks."""
        for query in (
            "user=admin",
            "access_token=admin",
            "account=admin",
            "authorization=x",
            "Authorization=Basic%20x",
        ):
            self.assert_refused(self.ask(None, "GET", f"/v2/team/app/tags/list?{query}"), None)

    def test_A01_method_override(self) -> None:
        """No header makes another method of a request's."""
        for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            self.fill("public/app")
            answer = self.ask("alice", "DELETE", "/v2/public/app/manifests/latest", headers={header: "GET"})
            self.assert_refused(answer, "alice")
            answer = self.ask(None, "GET", "/v2/public/app/manifests/latest", headers={header: "DELETE"})
            self.assertEqual(answer.status, 200)

    def test_H13_host(self) -> None:
        """No host and no address that a proxy tells of opens anything."""
        for header, value in (
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Real-IP", "127.0.0.1"),
            ("X-Forwarded-Host", "localhost"),
            ("X-Original-URL", "/v2/"),
            ("X-Rewrite-URL", "/v2/public/app/tags/list"),
            ("Forwarded", "for=127.0.0.1;host=localhost"),
        ):
            self.assert_refused(
                self.ask(None, "GET", "/v2/team/app/tags/list", headers={header: value}), None
            )

    def test_A10_twice(self) -> None:
        """A request with two ``Authorization`` headers, of which a proxy may have read another, is refused."""
        admin, alice = authorization("admin"), authorization("alice")
        for pair in ((admin, alice), (alice, admin), (admin, admin), ("", admin), (admin, "")):
            channel, transport = self.server.connect()
            head = "".join(f"Authorization: {value}\r\n" for value in pair)
            channel.dataReceived(f"GET /v2/team/app/tags/list HTTP/1.1\r\nHost: r\r\n{head}\r\n".encode())
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 400 "), transport.value())
        self.assertIn(b"UNSUPPORTED", transport.value())

    def test_A10_long(self) -> None:
        """Credentials of any length are a clean refusal."""
        for size, status in ((10 * 1024, 401), (16 * 1024, 431), (60 * 1024, 431), (100 * 1024, 431)):
            for header in ("Basic " + "A" * size, "Bearer " + "." * size, "x" * size):
                answer = self.server.request(
                    "GET", "/v2/team/app/tags/list", headers={"Authorization": header}
                )
                self.assertEqual(answer.status, status, size)
                self.assertEqual(len(answer.codes), 1)
                self.assertLess(len(answer.body), 1024)

    def test_not_kept(self) -> None:
        """Who logged in for one request of a connection did not for the next."""
        channel, transport = self.server.connect()
        request = "GET /v2/team/app/tags/list HTTP/1.1\r\nHost: r\r\n"
        channel.dataReceived(
            f"{request}Authorization: {authorization('admin')}\r\n\r\n{request}\r\n".encode()
        )
        self.assertEqual(re.findall(rb"HTTP/1\.1 ([0-9]{3})", transport.value()), [b"200", b"401"])
