"""``/auth/token``: docker's token protocol and OAuth2's, over the registry's own token service."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.auth.basic import BasicBackend, authorization, password_of
from tests.web.client import Answer, Server
from txregistry import errors
from txregistry.access import Attempt, Identity
from txregistry.auth.issuing import Signer
from txregistry.auth.rules import make
from txregistry.auth.tokens import Terms, TokenService
from txregistry.interfaces import IAuthBackend, IUserMarks
from txregistry.web.app import Permissions
from txregistry.web.locations import Locations

RULES: list[dict[str, Any]] = [
    {"who": "anonymous", "repositories": "public/**", "actions": "pull"},
    {"who": "user:alice", "repositories": "team/**", "actions": ["pull", "push"]},
    {"who": "claim:ref=main", "repositories": "ci/**", "actions": ["pull", "push"]},
]


@implementer(IAuthBackend, IUserMarks)
class MarkedBackend(BasicBackend):
    """Knows a few users, and whether they still have the password that they had."""

    marks: dict[str, str]

    async def mark(self, user: str) -> str | None:
        """See :class:`txregistry.interfaces.IUserMarks`."""
        return self.marks.get(user)


class ThrottledBackend(BasicBackend):
    """Lets no one guess."""

    async def authenticate(self, attempt: Attempt) -> Identity:
        """See :class:`txregistry.interfaces.IAuthBackend`."""
        raise errors.TooManyRequests(7)


class JobTokens:
    """Takes one identity token, of a job on the main branch."""

    async def authenticate(self, token: str) -> Identity:
        """Return the job; no other token is good."""
        if token != "the job's token":
            raise errors.Unauthorized(error="invalid_token")
        return Identity("oidc:job", claims={"ref": "main"})

    async def close(self) -> None:
        """Do nothing."""


class TokenCase(SynchronousTestCase):
    """A registry with a token service."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.users = MarkedBackend.of(Identity("alice"), Identity("bob"))
        object.__setattr__(self.users, "marks", {"alice": "first", "bob": "first"})
        self.rules = make(RULES, {})
        self.service = self.make_service(self.users)
        self.server = self.make_server(self.service)
        self.server.driver = self.filled()

    def filled(self) -> Any:
        """Return storage with an image in each of three repositories."""
        open_server = Server(driver=self.server.driver)
        for name in ("public/app", "team/app", "ci/app"):
            open_server.push_image(name, "1")
        return open_server.driver

    def make_service(self, backend: IAuthBackend, signer: Signer | None = None, **terms: Any) -> TokenService:
        wanted = {"service": "hub", "issuer": "hub", "lifetime": 300, "refresh_lifetime": 86400, **terms}
        service = TokenService(backend, self.rules, Terms(**wanted), self.clock.seconds, JobTokens())  # type: ignore[arg-type]
        service.use(signer or Signer.of(ec.generate_private_key(ec.SECP256R1())))
        return service

    def make_server(self, service: TokenService, **more: Any) -> Server:
        return Server(backend=service, policy=self.rules, clock=self.clock, **more)

    def get(self, query: str, user: str | None = None, password: str | None = None) -> Answer:
        """Ask for a token as docker does."""
        headers = {} if user is None else {"Authorization": authorization(user, password)}
        return self.server.request("GET", f"/auth/token?{query}", headers=headers)

    def post(self, **form: str) -> Answer:
        """Ask for a token as OAuth2 has it."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.server.request("POST", "/auth/token", urlencode(form).encode(), headers)

    def token(self, scope: str, user: str | None = None) -> str:
        answer = self.get(f"service=hub&scope={quote(scope)}", user)
        self.assertEqual(answer.status, 200)
        return str(answer.json()["token"])

    def with_token(self, token: str, method: str = "GET", path: str = "/v2/team/app/manifests/1") -> Answer:
        return self.server.request(method, path, headers={"Authorization": f"Bearer {token}"})


class ProtocolTests(TokenCase):
    """What is asked and what is answered."""

    def test_challenge(self) -> None:
        """A client without a token is told where to get one, and what it needs."""
        answer = self.server.request("GET", "/v2/team/app/manifests/1")
        self.assertEqual((answer.status, answer.codes), (401, ["UNAUTHORIZED"]))
        self.assertEqual(
            answer.headers["WWW-Authenticate"],
            'Bearer realm="http://registry.example/auth/token",service="hub",scope="repository:team/app:pull"',
        )
        answer = self.server.request("PUT", "/v2/team/app/manifests/1", b"{}")
        self.assertIn('scope="repository:team/app:pull,push"', answer.headers["WWW-Authenticate"])
        self.assertNotIn("scope=", self.server.request("GET", "/v2/").headers["WWW-Authenticate"])

    def test_realm(self) -> None:
        """The address of the service is the one by which the registry is reached."""
        for locations, headers, realm in (
            (Locations(host="https://hub.example/"), {}, "https://hub.example/auth/token"),
            (Locations(prefix="/r/"), {}, "http://registry.example/r/auth/token"),
            (Locations(relative=True), {"X-Forwarded-Proto": "https"}, "https://registry.example/auth/token"),
        ):
            server = self.make_server(self.service, locations=locations)
            answer = server.request("GET", f"{locations.prefix}v2/", headers=headers)
            self.assertIn(f'realm="{realm}"', answer.headers["WWW-Authenticate"])
            token = server.request("GET", f"{locations.prefix}auth/token?service=hub")
            self.assertEqual(token.status, 200)

    def test_members(self) -> None:
        """An answer has what clients of both protocols look for, and may not be kept by caches."""
        answer = self.get("service=hub&scope=repository:team/app:pull&offline_token=true", "alice")
        found = answer.json()
        self.assertEqual(
            set(found), {"token", "access_token", "expires_in", "issued_at", "refresh_token", "scope"}
        )
        self.assertEqual(found["token"], found["access_token"])
        self.assertEqual(found["expires_in"], 300)
        self.assertRegex(found["issued_at"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
        self.assertEqual(answer.headers["Cache-Control"], "no-store")

    def test_intersection(self) -> None:
        """What is granted is what was asked and is allowed, and no more."""
        for user, asked, granted in (
            ("alice", "scope=repository:team/app:pull,push,delete", "repository:team/app:pull,push"),
            ("alice", "scope=repository:team/app:*", "repository:team/app:pull,push"),
            ("alice", "scope=repository:ci/app:pull", ""),
            ("bob", "scope=repository:team/app:pull,push", ""),
            (None, "scope=repository:public/app:pull,push", "repository:public/app:pull"),
            (None, "", ""),
            (
                "alice",
                "scope=repository:team/app:pull&scope=repository:public/app:pull%20repository:team/b:push",
                "repository:team/app:pull repository:public/app:pull repository:team/b:push",
            ),
            ("alice", "scope=registry:catalog:*", "registry:catalog:*"),
            (None, "scope=registry:catalog:*", ""),
            ("alice", "scope=nonsense&scope=a:b&scope=:::&scope=", ""),
        ):
            self.assertEqual(self.get(asked, user).json()["scope"], granted, (user, asked))

    def test_password(self) -> None:
        """A wrong password is refused, and the client is asked for another by Basic."""
        answer = self.get("service=hub", "alice", "wrong")
        self.assertEqual((answer.status, answer.codes), (401, ["UNAUTHORIZED"]))
        self.assertEqual(answer.headers["WWW-Authenticate"], 'Basic realm="tests"')
        self.assertEqual(self.post(grant_type="password", username="alice", password="wrong").status, 401)

    def test_other_service(self) -> None:
        """A token for another registry is not given."""
        self.assertEqual(self.get("service=other", "alice").status, 400)
        self.assertEqual(self.post(grant_type="password", service="other").status, 400)

    def test_oauth(self) -> None:
        """OAuth2's form gives the same for a password, and with offline access a refresh token that goes on."""
        form = {"grant_type": "password", "username": "alice", "password": password_of("alice")}
        scope = {"service": "hub", "scope": "repository:team/app:pull"}
        found = self.post(**form, **scope).json()
        self.assertEqual(self.with_token(found["access_token"]).status, 200)
        self.assertNotIn("refresh_token", found)
        found = self.post(**form, **scope, access_type="offline").json()
        again = self.post(grant_type="refresh_token", refresh_token=found["refresh_token"], **scope).json()
        self.assertEqual(self.with_token(again["access_token"]).status, 200)

    def test_malformed(self) -> None:
        """Forms that are not of the protocol are 400, and none of them a 500."""
        for form in (
            {},
            {"grant_type": "magic"},
            {"grant_type": "password"},
            {"grant_type": "password", "username": "alice"},
            {"grant_type": "refresh_token"},
        ):
            self.assertEqual(self.post(**form).status, 400, form)
        for body in (b"\xff\xfe", b"a=b&" * 500, b"x" * 100_000):
            answer = self.server.request("POST", "/auth/token", body)
            self.assertEqual(answer.status, 400, body[:10])
        many = "&".join(["scope=repository:a:pull"] * 200)
        self.assertEqual(self.get(many).status, 400)
        self.assertEqual(self.post(grant_type="refresh_token", refresh_token="x").status, 401)

    def test_methods(self) -> None:
        """HEAD answers as GET, and other methods are 405."""
        self.assertEqual(self.server.request("HEAD", "/auth/token?service=hub").status, 200)
        self.assertEqual(self.server.request("PUT", "/auth/token").status, 405)

    def test_read_only(self) -> None:
        """A registry that cannot be written to gives tokens all the same."""
        self.server = self.make_server(self.service, permissions=Permissions(write=False))
        self.assertEqual(self.get("service=hub", "alice").status, 200)
        self.assertEqual(self.post(grant_type="password").status, 400)


class UseTests(TokenCase):
    """What a token is good for."""

    def test_granted(self) -> None:
        """A token opens what it grants, and nothing else."""
        token = self.token("repository:team/app:pull", "alice")
        self.assertEqual(self.with_token(token).status, 200)
        for method, path in (
            ("PUT", "/v2/team/app/manifests/1"),
            ("DELETE", "/v2/team/app/manifests/1"),
            ("GET", "/v2/ci/app/manifests/1"),
            ("GET", "/v2/_catalog"),
        ):
            answer = self.with_token(token, method, path)
            self.assertEqual(answer.status, 401, path)
            self.assertIn('error="insufficient_scope"', answer.headers["WWW-Authenticate"])

    def test_expiry(self) -> None:
        """A token ends when it was said to, but for the leeway that clocks need."""
        token = self.token("repository:team/app:pull", "alice")
        self.clock.advance(300)
        self.assertEqual(self.with_token(token).status, 200)
        self.clock.advance(70)
        answer = self.with_token(token)
        self.assertEqual(answer.status, 401)
        self.assertIn('error="invalid_token"', answer.headers["WWW-Authenticate"])

    def test_A16_rules_are_asked_again(self) -> None:
        """A right that was taken away is gone, whatever the token grants."""
        token = self.token("repository:team/app:pull", "alice")
        self.server = Server(
            driver=self.server.driver, backend=self.service, policy=make(RULES[:1], {}), clock=self.clock
        )
        self.assertEqual(self.with_token(token).status, 403)

    def test_A03_of_another_key(self) -> None:
        """Tokens of another key, service or issuer, tampered ones and nonsense are refused."""
        mine = self.service._signer
        for other in (
            self.make_service(self.users),
            self.make_service(self.users, mine, service="other"),
            self.make_service(self.users, mine, issuer="other"),
        ):
            server, self.server = self.server, self.make_server(other)
            named = other.terms.service
            token = str(self.get(f"service={named}&scope=repository:team/app:pull", "alice").json()["token"])
            self.server = server
            self.assertEqual(self.with_token(token).status, 401)
        token = self.token("repository:team/app:pull", "alice")
        for forged in (token[:-4] + "AAAA", "x", "a.b.c", token + ".", "." * 10000):
            self.assertEqual(self.with_token(forged).status, 401, forged[:20])

    def test_refresh_is_no_access(self) -> None:
        """A refresh token opens nothing itself, and an access token gets no other."""
        found = self.get("scope=repository:team/app:pull&offline_token=true", "alice").json()
        self.assertEqual(self.with_token(found["refresh_token"]).status, 401)
        self.assertEqual(self.post(grant_type="refresh_token", refresh_token=found["token"]).status, 401)

    def test_A16_refresh_ends_with_the_password(self) -> None:
        """A refresh token ends when its user has another password, or is gone, and after its time."""
        found = self.get("offline_token=true", "alice").json()["refresh_token"]

        def status() -> int:
            return self.post(grant_type="refresh_token", refresh_token=found).status

        self.assertEqual(status(), 200)
        self.users.marks["alice"] = "second"
        self.assertEqual(status(), 401)
        del self.users.marks["alice"]
        self.assertEqual(status(), 401)
        self.users.marks["alice"] = "first"
        self.assertEqual(status(), 200)
        self.clock.advance(86400 + 61)
        self.assertEqual(status(), 401)

    def test_no_refresh(self) -> None:
        """Who did not log in, or logged in with an identity token, gets no refresh token."""
        self.assertNotIn("refresh_token", self.get("offline_token=true").json())
        self.assertNotIn("refresh_token", self.get("offline_token=true", "oidc", "the job's token").json())

    def test_password_as_well(self) -> None:
        """Who sends a password with each request is let in too."""
        headers = {"Authorization": authorization("alice")}
        answer = self.server.request("GET", "/v2/team/app/manifests/1", headers=headers)
        self.assertEqual(answer.status, 200)

    def test_identity_token(self) -> None:
        """A job's identity token is the password of the user oidc, and its claims count in rules, later too."""
        query = "scope=repository:ci/app:pull,push repository:team/app:pull".replace(" ", "%20")
        found = self.get(query, "oidc", "the job's token").json()
        self.assertEqual(found["scope"], "repository:ci/app:pull,push")
        self.assertEqual(self.with_token(found["token"], path="/v2/ci/app/manifests/1").status, 200)
        self.assertEqual(self.get(query, "oidc", "another token").status, 401)

    def test_nobody(self) -> None:
        """A token of one who did not log in pulls what everyone may pull, and is no login."""
        token = self.token("repository:public/app:pull")
        self.assertEqual(self.with_token(token, path="/v2/public/app/manifests/1").status, 200)
        self.assertEqual(self.with_token(token).status, 401)

    def test_nothing_secret_is_told(self) -> None:
        """What a token holds is no secret of anyone's."""
        token = self.token("repository:team/app:pull", "alice")
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        self.assertEqual(set(claims), {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"})
        self.assertIsNone(re.search(password_of("alice"), json.dumps(claims)))


class GuessingTests(TokenCase):
    """Clients that try too much."""

    def test_too_many(self) -> None:
        """A client that is to wait is told so, and for how long, at the service and at the registry."""
        self.service = self.make_service(ThrottledBackend.of(Identity("alice")))
        self.server = self.make_server(self.service)
        for path in ("/auth/token?service=hub", "/v2/"):
            answer = self.server.request("GET", path, headers={"Authorization": authorization("alice")})
            self.assertEqual((answer.status, answer.codes), (429, ["TOOMANYREQUESTS"]))
            self.assertEqual(answer.headers["Retry-After"], "7")
