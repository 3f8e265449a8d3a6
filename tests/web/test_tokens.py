"""``/auth/token`` at its edges: odd requests, what docker sends beside what counts, and who is told what."""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.auth.basic import BasicBackend, authorization, password_of
from tests.web.client import Answer, Server
from tests.web.test_token_service import TokenCase
from txregistry.access import Identity
from txregistry.auth.rules import Authenticated
from txregistry.web.app import Permissions
from txregistry.web.locations import Locations

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MEMBERS = {"token", "access_token", "expires_in", "issued_at", "scope"}


class EdgeCase(TokenCase):
    """Asks a token service in unusual ways."""

    def form(self, *fields: tuple[str, str], headers: Mapping[str, str] = FORM) -> Answer:
        """Send a form whose fields may be there several times."""
        return self.server.request("POST", "/auth/token", urlencode(fields).encode(), headers)

    def log_in(self, *more: tuple[str, str], user: str = "alice", password: str | None = None) -> Answer:
        """Log in by OAuth2's form."""
        given = password_of(user) if password is None else password
        return self.form(("grant_type", "password"), ("username", user), ("password", given), *more)

    def raw(self, content: bytes) -> bytes:
        """Return all that comes back for what is sent on one connection."""
        channel, transport = self.server.connect()
        assert isinstance(transport, StringTransportWithDisconnection)
        channel.dataReceived(content)
        return bytes(transport.value())

    def events(self) -> list[LogEvent]:
        """Return a list that what is logged from now on is put into."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        return events


class GetTests(EdgeCase):
    """Docker's protocol."""

    def test_what_docker_sends(self) -> None:
        """All that docker's engine sends at a login and at a push is taken, and gives what it looks for."""
        answer = self.get("account=alice&client_id=docker&offline_token=true&service=hub", "alice")
        self.assertEqual(set(answer.json()), MEMBERS | {"refresh_token"})
        self.assertEqual(answer.json()["scope"], "")
        answer = self.get(
            "account=alice&scope=repository%3Ateam%2Fapp%3Apush%2Cpull&scope=repository%3Apublic%2Fbase%3Apull&service=hub",
            "alice",
        )
        self.assertEqual(set(answer.json()), MEMBERS)
        self.assertEqual(answer.json()["scope"], "repository:team/app:push,pull repository:public/base:pull")
        self.assertEqual(answer.headers["Content-Type"], "application/json")

    def test_account_is_only_said(self) -> None:
        """Who a client says it is counts for nothing; its credentials do."""
        query = "account=alice&username=alice&service=hub&scope=repository:team/app:pull"
        self.assertEqual(self.get(query).json()["scope"], "")
        self.assertEqual(self.get(query, "bob").json()["scope"], "")

    def test_issued_at(self) -> None:
        """An answer says since when its token is good, in UTC, by the registry's clock."""
        self.clock.advance(0.75)
        self.assertEqual(self.get("service=hub").json()["issued_at"], "1970-01-12T13:46:40Z")

    def test_body(self) -> None:
        """A body that comes with a GET is neither a form nor another request."""
        inner = b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        form = urlencode({"grant_type": "password", "username": "alice", "password": password_of("alice")})
        for body in (inner, form.encode(), b"x" * 60_000):
            head = (
                b"GET /auth/token?service=hub&scope=repository:team/app:pull HTTP/1.1\r\nHost: a\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)
            )
            told = self.raw(head + body)
            self.assertEqual(told.count(b"HTTP/1.1 "), 1)
            self.assertIn(b'"scope":""', told)

    def test_head(self) -> None:
        """HEAD gives the headers that GET gives, and no token; refusals are alike."""
        query = "/auth/token?service=hub&scope=repository:team/app:pull"
        for headers in ({}, {"Authorization": authorization("alice")}):
            answers = [self.server.request(method, query, headers=headers) for method in ("GET", "HEAD")]
            self.assertEqual([answer.status for answer in answers], [200, 200])
            self.assertEqual(answers[1].body, b"")
            fields = [
                {name: value for name, value in answer.headers.items() if name != "X-Request-Id"}
                for answer in answers
            ]
            self.assertEqual(fields[0], fields[1])
        wrong = {"Authorization": authorization("alice", "wrong")}
        answer = self.server.request("HEAD", query, headers=wrong)
        self.assertEqual((answer.status, answer.headers["WWW-Authenticate"]), (401, 'Basic realm="tests"'))

    def test_credentials(self) -> None:
        """Credentials that are not a user's password are 401 and a question for one; two at once are 400."""
        token = self.token("repository:team/app:pull", "alice")
        refresh = self.get("offline_token=true", "alice").json()["refresh_token"]
        for value in (
            f"Bearer {token}",
            f"Bearer {refresh}",
            authorization("alice", token),
            authorization("alice", refresh),
            authorization("alice", ""),
            authorization("", ""),
            authorization("nobody"),
            authorization("oidc", "another token"),
            "Basic",
            "Basic !",
            "Basic YWxpY2U=",
            "Digest username=alice",
            "",
        ):
            answer = self.server.request("GET", "/auth/token", headers={"Authorization": value})
            self.assertEqual(answer.status, 401, value)
            self.assertEqual(answer.headers["WWW-Authenticate"], 'Basic realm="tests"', value)
            self.assertNotIn(b"token", answer.body)
        twice = f"Authorization: {authorization('bob')}\r\nAuthorization: {authorization('alice')}\r\n"
        told = self.raw(b"GET /auth/token HTTP/1.1\r\nHost: a\r\n" + twice.encode() + b"\r\n")
        self.assertTrue(told.startswith(b"HTTP/1.1 400 "), told)

    def test_A10_odd_queries(self) -> None:
        """Whatever a query says, it is a token for nothing or 400, and never a failure of ours."""
        for query, status in (
            ("", 200),
            ("&&&=&==", 200),
            ("scope", 200),
            ("scope=%ff%00%0d%0a", 200),
            ("scope=repository:%c3%a9:pull", 200),
            ("scope=repository:team/app:pull%00", 200),
            ("scope=repository:team%2f..%2fapp:pull", 200),
            ("service=hub&service=other", 400),
            ("service=", 400),
            ("service=hub%00", 400),
            ("scope=" + "%20" * 200, 400),
            ("offline_token=true&offline_token=%ff", 200),
        ):
            answer = self.get(query, "alice")
            self.assertEqual(answer.status, status, query)
            if status == 200:
                self.assertEqual(answer.json()["scope"], "", query)
                self.assertNotIn("refresh_token", answer.json())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_many_actions(self) -> None:
        """One scope of thousands of actions costs no line of the log for each, and its token is of use."""
        letters = itertools.product(string.ascii_lowercase, repeat=3)
        names = ",".join("".join(triple) for triple in itertools.islice(letters, 3900))
        events = self.events()
        answer = self.get(f"scope=repository:public/app:{names},pull,push")
        self.assertEqual(answer.json()["scope"], "repository:public/app:pull")
        self.assertLess(len(events), 10)
        token = str(answer.json()["token"])
        self.assertEqual(self.with_token(token, path="/v2/public/app/manifests/1").status, 200)

    def test_log(self) -> None:
        """A refused scope is one line of the log that says why, and no line is of a client's making."""
        events = self.events()
        self.get(
            "scope=repository:team/app:push&scope=repository:a%0aforged:pull&scope=x%0aforged:a:pull", "bob"
        )
        texts = [formatEvent(event) for event in events]
        self.assertEqual(sum("repository:team/app:push" in text for text in texts), 1, texts)
        self.assertFalse([text for text in texts if "forged" in text])

    def test_without_rules(self) -> None:
        """Where there are no rules whoever logs in gets what is asked, and nobody gets anything."""
        self.rules = Authenticated()  # type: ignore[assignment]
        self.service = self.make_service(self.users)
        self.server = self.make_server(self.service)
        asked = "scope=repository:a/b:pull,push&scope=registry:catalog:*"
        self.assertEqual(
            self.get(asked, "bob").json()["scope"], "repository:a/b:pull,push registry:catalog:*"
        )
        self.assertEqual(self.get(asked).json()["scope"], "")


class PostTests(EdgeCase):
    """OAuth2's form."""

    def test_members(self) -> None:
        """A form's answer has exactly what a query's has, and a refresh token only where it was asked for."""
        scope = ("scope", "repository:team/app:pull,push repository:public/app:pull")
        answer = self.log_in(("service", "hub"), ("client_id", "docker"), scope)
        self.assertEqual(set(answer.json()), MEMBERS)
        self.assertEqual(answer.json()["scope"], scope[1])
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        answer = self.log_in(("access_type", "online"), scope)
        self.assertEqual(set(answer.json()), MEMBERS)
        answer = self.log_in(("access_type", "offline"), scope)
        self.assertEqual(set(answer.json()), MEMBERS | {"refresh_token"})

    def test_refusals_ask(self) -> None:
        """A form's password or refresh token that is not good is 401, and says how to log in, as HTTP wants it."""
        for answer in (
            self.log_in(password="wrong"),
            self.log_in(user="nobody"),
            self.form(("grant_type", "refresh_token"), ("refresh_token", "x")),
        ):
            self.assertEqual((answer.status, answer.codes), (401, ["UNAUTHORIZED"]))
            self.assertEqual(answer.headers["WWW-Authenticate"], 'Basic realm="tests"')

    def test_header_does_not_count(self) -> None:
        """Whom a header names has nothing to do with whom the form does."""
        headers = {**FORM, "Authorization": authorization("alice")}
        fields = (("grant_type", "password"), ("username", "bob"), ("password", password_of("bob")))
        asked = ("scope", "repository:team/app:pull")
        self.assertEqual(self.form(*fields, asked, headers=headers).json()["scope"], "")
        wrong = (("grant_type", "password"), ("username", "alice"), ("password", "wrong"))
        self.assertEqual(self.form(*wrong, asked, headers=headers).status, 401)

    def test_query_does_not_count(self) -> None:
        """Passwords in an address, which proxies write down, are not looked at."""
        query = urlencode({"grant_type": "password", "username": "alice", "password": password_of("alice")})
        self.assertEqual(self.server.request("POST", f"/auth/token?{query}", b"", FORM).status, 400)

    def test_A10_malformed(self) -> None:
        """Forms that say a thing twice or not at all, that are no forms, or too large, are 4xx."""
        password = ("password", password_of("alice"))
        for fields in (
            [("grant_type", "password")] * 2 + [("username", "alice"), password],
            [("grant_type", "password"), ("username", "alice"), ("username", "bob"), password],
            [("grant_type", "password"), ("username", "alice"), password, password],
            [("grant_type", "password"), ("username", ""), password],
            [("grant_type", "refresh_token"), ("refresh_token", "")],
            [("grant_type", "authorization_code"), ("code", "x")],
            [("grant_type", "client_credentials")],
            [("service", "other"), ("grant_type", "password"), ("username", "alice"), password],
        ):
            self.assertEqual(self.form(*fields).status, 400, fields)
        for body in (
            b"",
            b"\0",
            b"%",
            b"%zz=%",
            b'{"grant_type":"password"}',
            b"grant_type=%ff%fe&username=%ff&password=%ff",
            b"grant_type=password;username=alice",
            b"a=" + b"b" * 65_534,
            b"a=" + b"b" * 65_535,
            b"a=" + b"b" * 1_000_000,
        ):
            answer = self.server.request("POST", "/auth/token", body, FORM)
            self.assertIn(answer.status, (400, 413), body[:40])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_A10_names_that_are_no_text(self) -> None:
        """Users and passwords of any bytes are refused as wrong ones are."""
        for user, password in (
            ("%ff", "%ff"),
            ("%00", "%00"),
            ("a%0d%0ab", "x"),
            ("alice:x", "y"),
            ("%ed%a0%80", "x"),
        ):
            body = f"grant_type=password&username={user}&password={password}".encode()
            self.assertEqual(self.server.request("POST", "/auth/token", body, FORM).status, 401, user)
        for token in ("%ff", "%00", "a.b.c", "." * 60_000, "%ed%a0%80.a.b"):
            body = f"grant_type=refresh_token&refresh_token={token}".encode()
            self.assertEqual(self.server.request("POST", "/auth/token", body, FORM).status, 401, token[:9])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_large_unknown_length(self) -> None:
        """A form that does not say how long it is is cut off where one that does would be."""
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        head = b"POST /auth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        told = self.raw(head + chunk * 40 + b"0\r\n\r\n")
        self.assertTrue(told.startswith(b"HTTP/1.1 400 "), told[:100])
        self.assertEqual(told.count(b"HTTP/1.1 "), 1)

    def test_refresh(self) -> None:
        """A refresh token gets what its user may have when it is used, and another one where that is asked for."""
        first = self.log_in(("access_type", "offline")).json()["refresh_token"]
        asked = ("scope", "repository:team/app:* repository:ci/app:pull")
        form = ("grant_type", "refresh_token")
        found = self.form(form, ("refresh_token", first), asked).json()
        self.assertEqual(set(found), MEMBERS)
        self.assertEqual(found["scope"], "repository:team/app:pull,push")
        found = self.form(form, ("refresh_token", first), ("access_type", "offline")).json()
        self.assertEqual(self.form(form, ("refresh_token", found["refresh_token"]), asked).status, 200)

    def test_job(self) -> None:
        """A job may send its identity token by the form too."""
        scope = ("scope", "repository:ci/app:pull")
        found = self.log_in(scope, ("access_type", "offline"), user="oidc", password="the job's token").json()
        self.assertEqual((found["scope"], set(found)), ("repository:ci/app:pull", MEMBERS))


class PlaceTests(EdgeCase):
    """Where the service is, and where it is not."""

    def test_methods(self) -> None:
        """Other methods are 405 and told which there are, whether the registry may be written to or not."""
        for write in (True, False):
            self.server = self.make_server(self.service, permissions=Permissions(write=write))
            for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
                answer = self.server.request(method, "/auth/token?service=hub")
                self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, HEAD, POST"))

    def test_elsewhere(self) -> None:
        """There is one address of the service, below the prefix, and none without a service."""
        self.server = self.make_server(self.service, locations=Locations(prefix="/r/"))
        for path, status in (("/r/auth/token", 200), ("/auth/token", 404), ("/r/v2/auth/token", 404)):
            self.assertEqual(self.server.request("GET", path).status, status, path)
        plain = Server(backend=BasicBackend.of(Identity("alice")), policy=self.rules)
        self.assertEqual(plain.request("GET", "/auth/token").status, 404)

    def test_realm(self) -> None:
        """The challenge's address is the operator's, or that by which the client came, as proxies tell of it."""
        for locations, headers, realm in (
            (Locations(), {"X-Forwarded-Proto": "https"}, "https://registry.example/auth/token"),
            (Locations(), {"X-Forwarded-Host": "a.example"}, "http://a.example/auth/token"),
            (Locations(), {"Forwarded": "proto=https;host=a.example"}, "https://a.example/auth/token"),
            (
                Locations(prefix="/r/"),
                {"X-Forwarded-Proto": "https"},
                "https://registry.example/r/auth/token",
            ),
            (
                Locations(host="https://hub.example:8443", prefix="/r/"),
                {},
                "https://hub.example:8443/r/auth/token",
            ),
            (
                Locations(host="https://hub.example"),
                {"X-Forwarded-Host": "evil.example"},
                "https://hub.example/auth/token",
            ),
            (Locations(), {"X-Forwarded-Host": 'a",service="x'}, "http://registry.example/auth/token"),
            (Locations(), {"X-Forwarded-Proto": "gopher"}, "http://registry.example/auth/token"),
        ):
            self.server = self.make_server(self.service, locations=locations)
            for path in ("v2/", "v2/team/app/tags/list", "v2/_catalog"):
                answer = self.server.request("GET", locations.prefix + path, headers=headers)
                (challenge,) = answer.headers.get_all("WWW-Authenticate", [])
                self.assertTrue(challenge.startswith(f'Bearer realm="{realm}",service="hub"'), challenge)


class ReachTests(EdgeCase):
    """How far a token reaches."""

    def challenge(self, token: str, method: str, path: str) -> str:
        """Return what is asked of a client whose token does not reach."""
        answer = self.with_token(token, method, path)
        self.assertEqual((answer.status, answer.codes), (401, ["UNAUTHORIZED"]), (method, path))
        found = answer.headers["WWW-Authenticate"]
        self.assertIn(',error="insufficient_scope"', found)
        return found.partition('scope="')[2].partition('"')[0]

    def test_scope_of_each(self) -> None:
        """Whose token does not reach is told the scope that does, for each kind of request."""
        token = self.token("repository:public/app:pull")
        digest = "sha256:" + "0" * 64
        for method, path, scope in (
            ("GET", "/v2/team/app/manifests/1", "repository:team/app:pull"),
            ("HEAD", "/v2/team/app/blobs/" + digest, "repository:team/app:pull"),
            ("GET", "/v2/team/app/tags/list", "repository:team/app:pull"),
            ("GET", "/v2/team/app/referrers/" + digest, "repository:team/app:pull"),
            ("PUT", "/v2/public/app/manifests/1", "repository:public/app:pull,push"),
            ("POST", "/v2/public/app/blobs/uploads/", "repository:public/app:pull,push"),
            ("DELETE", "/v2/public/app/manifests/1", "repository:public/app:delete"),
            ("GET", "/v2/_catalog", "registry:catalog:*"),
        ):
            if method == "HEAD":
                self.assertEqual(self.with_token(token, method, path).status, 401)
                continue
            self.assertEqual(self.challenge(token, method, path), scope, (method, path))
        self.assertEqual(self.with_token(token, path="/v2/public/app/manifests/1").status, 200)

    def test_challenge_leads_on(self) -> None:
        """The scope of a challenge, asked for by who may have it, is a token with which the request succeeds."""
        token = self.token("repository:team/app:pull", "alice")
        wider = self.token(self.challenge(token, "POST", "/v2/team/app/blobs/uploads/"), "alice")
        self.assertEqual(self.with_token(wider, "POST", "/v2/team/app/blobs/uploads/").status, 202)

    def test_mount(self) -> None:
        """A token for the target alone mounts nothing of a repository that its bearer may pull from otherwise."""
        digest = Server(driver=self.server.driver).push_blob("public/app", b"mounted")
        path = f"/v2/team/app/blobs/uploads/?mount={digest}&from=public/app"
        narrow = self.token("repository:team/app:pull,push", "alice")
        self.assertEqual(self.with_token(narrow, "POST", path).status, 202)
        wide = self.token("repository:team/app:pull,push repository:public/app:pull", "alice")
        self.assertEqual(self.with_token(wide, "POST", path).status, 201)

    def test_nobody(self) -> None:
        """A token of nobody pulls what is public, pushes nothing, lists nothing and is no login that lasts."""
        answer = self.get("service=hub&offline_token=true&scope=" + quote("repository:public/app:pull,push"))
        self.assertEqual(set(answer.json()), MEMBERS)
        token = str(answer.json()["token"])
        self.assertEqual(self.with_token(token, path="/v2/public/app/manifests/1").status, 200)
        for method, path in (
            ("PUT", "/v2/public/app/manifests/2"),
            ("POST", "/v2/public/app/blobs/uploads/"),
            ("DELETE", "/v2/public/app/manifests/1"),
            ("GET", "/v2/_catalog"),
            ("GET", "/v2/team/app/manifests/1"),
        ):
            self.assertEqual(self.with_token(token, method, path).status, 401, path)

    def test_only_in_the_header(self) -> None:
        """A token in an address is not looked at, for addresses are written down."""
        token = self.token("repository:team/app:pull", "alice")
        for name in ("access_token", "token", "Authorization"):
            answer = self.server.request("GET", f"/v2/team/app/manifests/1?{name}={token}")
            self.assertEqual(answer.status, 401, name)

    def test_seconds(self) -> None:
        """A token that was remembered ends when one that was not does."""
        token = self.token("repository:team/app:pull", "alice")
        for seconds, status in ((0, 200), (30, 200), (269, 200), (61, 200), (1, 401)):
            self.clock.advance(seconds)
            self.assertEqual(self.with_token(token).status, status, self.clock.seconds())
