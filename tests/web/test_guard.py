"""Nothing is answered that the guard did not let in, and what is refused tells nothing."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from klein import Klein
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.basic import BasicBackend, ScopedBackend, authorization
from tests.web.client import Answer, Server, image, with_digest
from tests.web.guarded import USERS, GuardedCase, Nothing, lines
from txregistry.auth.tokens import PATH, Terms, TokenService
from txregistry.digest import Digest
from txregistry.web.app import Permissions, Route, Scope

DIGEST = str(Digest.of(b"layer"))
ABSENT = str(Digest.of(b"absent"))
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "BREW",
    "get",
)
#: What everyone may ask for.
PUBLIC = {"/", "/livez", "/readyz"}
PLACES = {
    "<path:name>": "team/app",
    "<reference>": "latest",
    "<digest>": DIGEST,
    "<upload_id>": str(uuid.uuid4()),
}


def address(route: Route, **places: str) -> str:
    """Return an address of a route."""
    filled = {**PLACES, **{f"<{place}>": text for place, text in places.items()}}
    return re.sub(r"<[^>]*>", lambda found: filled[found[0]], route.path)


class RouteTests(GuardedCase):
    """Every route, one by one."""

    def setUp(self) -> None:
        super().setUp()
        self.fill("team/app")
        self.driver.calls.clear()
        self.server = self.make_server(Nothing())

    def guarded(self) -> Iterator[Route]:
        """Yield the routes that are not for everyone."""
        for route in self.server.routes:
            if route.scope is not Scope.PUBLIC:
                yield route

    def test_A01_all_are_here(self) -> None:
        """What is served is what ``routes`` lists, so that no route is missed below."""
        resource: Any = self.server.site.resource
        app: Klein = resource.app
        served = sorted(rule.rule for rule in app.url_map.iter_rules())
        self.assertEqual(served, sorted(route.path for route in self.server.routes))

    def test_A01_public(self) -> None:
        """Only what tells nothing of what is stored is for everyone."""
        self.assertEqual({r.path for r in self.server.routes if r.scope is Scope.PUBLIC}, PUBLIC)
        terms = Terms("registry", "registry", 300, 3600)
        service = TokenService(BasicBackend(USERS), Nothing(), terms, time.time)
        issuing = Server(backend=service, policy=Nothing())
        self.assertEqual({r.path for r in issuing.routes if r.scope is Scope.PUBLIC}, {*PUBLIC, PATH})
        for method in METHODS:
            for path in PUBLIC:
                self.assertIn(self.ask(None, method, path).status, (200, 405))
        self.assertEqual(self.driver.calls, [])

    def test_A01_refused(self) -> None:
        """By any method, a route without leave is 401 for nobody and 403 for a user, and nothing is looked up."""
        count = 0
        for route in self.guarded():
            for method in METHODS:
                for user in (None, "alice"):
                    answer = self.ask(user, method, address(route), headers={"Content-Type": "text/plain"})
                    if user and route.scope is Scope.LOGIN:
                        self.assertIn(answer.status, (200, 405), answer)
                    else:
                        self.assert_refused(answer, user, head=method == "HEAD")
                    self.assertEqual(self.driver.calls, [], (method, route.path))
                    count += 1
        self.assertGreater(count, 200)

    def test_A01_wrong_credentials(self) -> None:
        """Credentials that do not hold are 401 on every route, also those that nobody would need any for."""
        self.server = self.make_server(Nothing())
        for route in self.guarded():
            for wrong in (
                authorization("alice", "wrong"),
                authorization("mallory"),
                "Bearer x.y.z",
                "nonsense",
                "",
            ):
                for method in METHODS:
                    answer = self.server.request(method, address(route), headers={"Authorization": wrong})
                    self.assert_refused(answer, None, head=method == "HEAD")
        self.assertEqual(self.driver.calls, [])

    def test_A01_bodies_are_not_read(self) -> None:
        """A refused push is refused before a byte of it is taken."""
        for method, path in (
            ("PUT", "/v2/team/app/manifests/latest"),
            ("POST", f"/v2/team/app/blobs/uploads/?digest={DIGEST}"),
        ):
            channel, transport = self.server.connect()
            channel.dataReceived(
                f"{method} {path} HTTP/1.1\r\nHost: r\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".encode()
            )
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 401 "), transport.value())
        self.assertEqual(self.driver.calls, [])

    def test_A01_switched_off(self) -> None:
        """What the operator switched off is not told to those who could not do it anyway."""
        self.server = self.make_server(Nothing(), permissions=Permissions(write=False, delete=False))
        for route in self.guarded():
            for method in ("DELETE", "PUT", "POST", "PATCH"):
                answer = self.ask(None, method, address(route))
                self.assert_refused(answer, None)
                self.assertNotIn("Allow", answer.headers)

    def test_preflight(self) -> None:
        """A browser's question before a request needs no leave, looks up nothing, and is the same for every name."""
        self.server = self.make_server(
            Nothing(), headers={"Access-Control-Allow-Origin": ["https://ui.example"]}
        )
        asks = {"Origin": "https://ui.example", "Access-Control-Request-Method": "GET"}
        for route in self.guarded():
            answers = [
                self.ask(None, "OPTIONS", address(route, **{"path:name": name}), headers=asks)
                for name in ("team/app", "team/xyz")
            ]
            self.assertEqual([answer.status for answer in answers], [204, 204])
            self.assertEqual(comparable(answers[0]), comparable(answers[1]))
            self.assert_refused(self.ask(None, "OPTIONS", address(route)), None)
        self.assertEqual(self.driver.calls, [])


def comparable(answer: Answer, *names: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return an answer as whoever asked could compare it with another: less its date and id, and less its names."""
    own = ("Date", "X-Request-Id", "Content-Length")
    headers = [(name, value) for name, value in answer.headers.items() if name not in own]
    text = json.dumps(headers)
    body = answer.body
    for name in sorted(names, key=len, reverse=True):
        text, body = text.replace(name, "NAME"), body.replace(name.encode(), b"NAME")
    return answer.status, json.loads(text), body


class SecrecyTests(GuardedCase):
    """Who may not see a repository does not learn whether there is one."""

    def setUp(self) -> None:
        super().setUp()
        self.fill("team/app", "team/app/deeper")
        self.upload = Server(driver=self.driver).begin("team/app")

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield addresses of what is there, each with one of what is not."""
        state = self.upload.partition("?")[2]
        there = {
            "reference": "latest",
            "digest": DIGEST,
            "upload_id": self.upload.partition("?")[0].rpartition("/")[2],
        }
        absent = {"reference": "absent", "digest": ABSENT, "upload_id": str(uuid.uuid4())}
        for route in self.server.routes:
            if "<path:name>" in route.path:
                for name in ("team/xyz", "team/app/deep", "other"):
                    yield address(route, **there), address(route, **{"path:name": name}, **there)
                yield address(route, **there), address(route, **absent)
                yield address(route, **there) + "?" + state, address(route, **absent) + "?" + state

    def assert_same(self, user: str | None) -> None:
        """Check that no pair of addresses has two answers."""
        calls = len(self.driver.calls)
        names = ("team/app/deeper", "team/app/deep", "team/app", "team/xyz", "other")
        for there, absent in self.pairs():
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "BREW"):
                found = [comparable(self.ask(user, method, path), *names) for path in (there, absent)]
                self.assertEqual(*found)
                self.assertIn(found[0][0], (401, 403))
        self.assertEqual(len(self.driver.calls), calls)

    def test_A01_nobody(self) -> None:
        """For nobody in particular, all answers are alike whether there is anything or not."""
        self.assert_same(None)

    def test_A01_user(self) -> None:
        """For a user without rights, all answers are alike too."""
        for user in ("alice", "../x"):
            self.assert_same(user)

    def test_A01_token_for_another_repository(self) -> None:
        """So they are for a token that grants another repository."""
        self.assert_same("nobody-reads-public")

    def test_A01_pull_only(self) -> None:
        """Whoever may pull and not push learns nothing of uploads and cannot tell tags by trying to push."""
        self.fill("public/app")
        for method, path in (
            *(("PUT", f"/v2/public/app/manifests/{tag}") for tag in ("latest", "absent")),
            *(("DELETE", f"/v2/public/app/manifests/{tag}") for tag in ("latest", "absent")),
            *(("DELETE", f"/v2/public/app/blobs/{digest}") for digest in (DIGEST, ABSENT)),
            *(
                ("POST", f"/v2/public/app/blobs/uploads/?mount={digest}&from=public/app")
                for digest in (DIGEST, ABSENT)
            ),
            *(
                (method, f"/v2/public/app/blobs/uploads/{uuid.uuid4()}")
                for method in ("GET", "PATCH", "PUT", "DELETE")
            ),
        ):
            self.assert_refused(self.ask(None, method, path), None)
            self.assert_refused(self.ask("alice", method, path), "alice")


class LoginTests(GuardedCase):
    """``/v2/``, where clients find out that they must log in."""

    def test_nobody(self) -> None:
        """Nobody is asked to log in, even where anyone may pull something."""
        for path in ("/v2/", "/v2", "/v2/_oci/ext/discover"):
            for method in ("GET", "HEAD"):
                answer = self.ask(None, method, path)
                self.assertEqual(
                    (answer.status, answer.headers["WWW-Authenticate"]), (401, 'Basic realm="tests"')
                )
                self.assertEqual(answer.headers["Docker-Distribution-Api-Version"], "registry/2.0")

    def test_user(self) -> None:
        """Whoever is logged in is let in, whatever it may do, and so is the bearer of a token without a name."""
        for user in USERS:
            self.assertEqual(self.ask(user, "GET", "/v2/").status, 200, user)

    def test_wrong(self) -> None:
        """A wrong password is 401, where ``docker login`` finds out."""
        answer = self.server.request("GET", "/v2/", headers={"Authorization": authorization("alice", "x")})
        self.assert_refused(answer, None)

    def test_no_backend(self) -> None:
        """Where there is no way to log in, no one is asked to: ``/v2/`` is 200 and what is not allowed 403."""
        server = Server(driver=self.driver, policy=self.server.policy)
        self.assertEqual(server.request("GET", "/v2/").status, 200)
        answer = server.request("GET", "/v2/team/app/tags/list")
        self.assertEqual((answer.status, answer.codes), (403, ["DENIED"]))
        self.assertNotIn("WWW-Authenticate", answer.headers)

    def test_challenge(self) -> None:
        """A challenge names just what the request needs, and where the client reached the registry."""
        server = self.make_server(Nothing(), backend=ScopedBackend(USERS))
        for method, path, scope in (
            ("GET", "/v2/", ""),
            ("GET", "/v2/_catalog", "registry:catalog:*"),
            ("GET", "/v2/a/tags/list", "repository:a:pull"),
            ("HEAD", "/v2/a/manifests/1", "repository:a:pull"),
            ("PUT", "/v2/a/manifests/1", "repository:a:pull,push"),
            ("DELETE", "/v2/a/manifests/1", "repository:a:delete"),
            ("DELETE", f"/v2/a/blobs/{DIGEST}", "repository:a:delete"),
            ("POST", "/v2/a/b/blobs/uploads/?mount=x&from=c", "repository:a/b:pull,push"),
            ("DELETE", f"/v2/a/blobs/uploads/{uuid.uuid4()}", "repository:a:pull,push"),
            ("BREW", "/v2/a/manifests/1", "repository:a:pull,push"),
        ):
            answer = self.ask(None, method, path, server=server)
            bearer = f'Bearer realm="http://registry.example/token",scope="{scope}"'
            self.assertEqual(answer.headers.get_all("WWW-Authenticate"), [bearer, 'Basic realm="tests"'])


class LogTests(GuardedCase):
    """What the operator can find out, and the client cannot."""

    def test_refused(self) -> None:
        """A refusal is logged once, with the id that the client was given, who, what and why."""
        for user, status in ((None, 401), ("alice", 403)):
            events = self.events()
            answer = self.ask(user, "PUT", "/v2/team/app/manifests/1", image(Digest.of(b"{}")))
            self.assertEqual(answer.status, status)
            (line,) = lines(events)
            self.assertTrue(
                line.startswith(
                    f"request {answer.headers['X-Request-Id']}: {user or 'anonymous'} may not have "
                    "repository:team/app:pull: no rule allows it: access.0: it is about public/**; "
                ),
                line,
            )

    def test_clients_see_no_reason(self) -> None:
        """The client is told what it asked for, and nothing of rules, groups or who else may."""
        answer = self.ask("alice", "DELETE", "/v2/team/app/manifests/1")
        self.assertEqual(
            answer.json(),
            {
                "errors": [
                    {
                        "code": "DENIED",
                        "message": "requested access to the resource is denied",
                        "detail": [{"Type": "repository", "Name": "team/app", "Action": "delete"}],
                    }
                ]
            },
        )
        for user in (None, "alice"):
            answer = self.ask(user, "GET", "/v2/a/tags/list", server=self.make_server(Nothing()))
            self.assertNotIn("reason", f"{answer.headers.items()} {answer.body!r}")

    def test_allowed(self) -> None:
        """What is let in is not logged by the guard, nor is a client that has not been asked yet."""
        events = self.events()
        self.ask("admin", "GET", "/v2/team/app/tags/list")
        self.ask(None, "GET", "/v2/")
        self.assertEqual(lines(events), [])

    def test_A17_no_credentials(self) -> None:
        """Nothing that is logged about a refusal holds the credentials."""
        events = self.events()
        for password in (None, "planted-secret"):
            header = authorization("alice", password)
            self.server.request("GET", "/v2/team/app/tags/list", headers={"Authorization": header})
            for secret in (header.partition(" ")[2], "planted-secret", "the password of"):
                self.assertNotIn(secret, repr(events))

    def test_H12_one_line(self) -> None:
        """No name in an address breaks a line of the log."""
        events = self.events()
        for name in ("team%0aforged:%20line", "team%0d%0a", "team%1b[2J"):
            self.ask(None, "GET", f"/v2/{name}/tags/list")
        self.assertTrue(all(line.isprintable() for line in lines(events)), lines(events))


class ClientTests(SynchronousTestCase):
    """The tests' own server."""

    def test_open(self) -> None:
        """Without a backend and a policy, everyone may do everything."""
        server = Server()
        self.assertTrue(server.guard.is_open)
        server.push_image("a", "1")
        self.assertEqual(server.request("GET", with_digest("/v2/a/tags/list", "x")).status, 200)
