"""The registry's own token service: who gets tokens, for what, and what they are good for."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Awaitable
from typing import Any, TypeVar

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.auth.basic import BasicBackend, authorization, password_of
from tests.auth.htpasswd_case import ALICE, BOB, Reactor, Threads, write
from txregistry import errors
from txregistry.access import ANONYMOUS, CATALOG, Access, Attempt, Decision, Identity, parse_scope, scopes
from txregistry.auth.htpasswd import Htpasswd
from txregistry.auth.issuing import Answer, Signer
from txregistry.auth.password_file import PasswordFile
from txregistry.auth.rules import Authenticated, Everything, make
from txregistry.auth.tokens import Terms, TokenService
from txregistry.interfaces import IAccessPolicy, IAuthBackend
from txregistry.testing.auth import AuthBackendContract

T = TypeVar("T")

NOW = 1_750_000_000
SIGNER = Signer.of(ec.generate_private_key(ec.SECP256R1()))
TERMS = Terms(service="hub", issuer="hub's tokens", lifetime=300, refresh_lifetime=86400)
USERS = (
    Identity("alice"),
    Identity("carol", groups=frozenset({"ops", "dev"})),
    Identity("job", claims={"ref": "refs/heads/main", "sub": "forged", "access": "forged"}),
)
RULES: list[dict[str, Any]] = [
    {"who": "anonymous", "repositories": "public/**", "actions": "pull"},
    {"who": "user:alice", "repositories": "team/**", "actions": ["pull", "push"]},
    {"who": "group:ops", "repositories": "team/**", "actions": ["pull", "delete"]},
    {"who": "claim:ref=refs/heads/*", "repositories": "ci/*", "actions": ["pull", "push"]},
]


@implementer(IAccessPolicy)
@define
class CountingPolicy:
    """Lets everyone do everything, and notes what it is asked."""

    asked: list[Access] = field(factory=list)

    def decide(self, identity: Identity, access: Access) -> Decision:
        """See :class:`~txregistry.interfaces.IAccessPolicy`."""
        self.asked.append(access)
        return Decision(True, "")


@implementer(IAuthBackend)
@frozen
class ClosingBackend(BasicBackend):
    """Notes what happens to it."""

    happened: list[str] = field(factory=list)

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        self.happened.append("prepared")

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IAuthBackend`."""
        self.happened.append("closed")


def make_service(
    backend: IAuthBackend | None = None,
    policy: IAccessPolicy | None = None,
    terms: Terms = TERMS,
    signer: Signer = SIGNER,
    now: Any = lambda: NOW,
) -> TokenService:
    """Return a token service that is ready."""
    service = TokenService(backend or BasicBackend.of(*USERS), policy or make(RULES, {}), terms, now)
    service.prepare()
    service.use(signer)
    return service


def bearer(token: str) -> Attempt:
    """Return an attempt with a token."""
    return Attempt(authorization=f"Bearer {token}", origin="https://hub.example")


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def asked(*texts: str) -> list[Access]:
    """Return what scopes spell."""
    return [access for text in texts for access in parse_scope(text)]


class ContractTests(AuthBackendContract, TestCase):
    """The contract of auth backends, with tokens."""

    def make_backend(self) -> IAuthBackend:
        """See :class:`~txregistry.testing.auth.AuthBackendContract`."""
        return make_service()

    def good(self) -> Attempt:
        """See :class:`~txregistry.testing.auth.AuthBackendContract`."""
        return bearer(SIGNER.issue("alice", TERMS.service, TERMS.issuer, [], 300, NOW))

    def bad(self) -> Attempt:
        """See :class:`~txregistry.testing.auth.AuthBackendContract`."""
        return bearer(SIGNER.issue("alice", "another", TERMS.issuer, [], 300, NOW))


class PasswordContractTests(ContractTests):
    """The contract of auth backends, with passwords."""

    def good(self) -> Attempt:
        """See :class:`~txregistry.testing.auth.AuthBackendContract`."""
        return Attempt(authorization=authorization("alice"))

    def bad(self) -> Attempt:
        """See :class:`~txregistry.testing.auth.AuthBackendContract`."""
        return Attempt(authorization=authorization("alice", "a wrong password"))


class ServiceCase(SynchronousTestCase):
    """Asks services."""

    def result(self, awaitable: Awaitable[T]) -> T:
        """Return what came of something that is done at once."""

        async def wait() -> T:
            return await awaitable

        return self.successResultOf(Deferred.fromCoroutine(wait()))

    def refused(self, awaitable: Awaitable[Any]) -> errors.Unauthorized:
        """Return how something was refused."""

        async def wait() -> Any:
            return await awaitable

        failure = self.failureResultOf(Deferred.fromCoroutine(wait()), errors.Unauthorized)
        assert isinstance(failure.value, errors.Unauthorized)
        return failure.value

    def issue(self, service: TokenService, identity: Identity, *texts: str, refresh: bool = False) -> Answer:
        """Return the answer to whoever asks for scopes."""
        return self.result(service.issue(identity, asked(*texts), refresh))

    def granted(self, service: TokenService, identity: Identity, *texts: str) -> list[str]:
        """Return the scopes that are granted, which must be those that the token is taken for."""
        answer = self.issue(service, identity, *texts)
        known = self.result(service.authenticate(bearer(answer.token)))
        found = (answer.scope or "").split()
        self.assertEqual(known.grants, frozenset(asked(*found)))
        return found


class GrantTests(ServiceCase):
    """What is granted."""

    def test_intersection(self) -> None:
        """What is granted is what was asked and is allowed, in the order in which it was asked."""
        alice, carol, job = USERS
        service = make_service()
        for identity, wanted, found in (
            (alice, ["repository:team/a:push,pull,delete"], ["repository:team/a:push,pull"]),
            (carol, ["repository:team/a:push,pull,delete"], ["repository:team/a:pull,delete"]),
            (job, ["repository:ci/a:pull,push", "repository:team/a:pull"], ["repository:ci/a:pull,push"]),
            (ANONYMOUS, ["repository:public/a:pull,push"], ["repository:public/a:pull"]),
            (ANONYMOUS, ["repository:team/a:pull", "registry:catalog:*"], []),
            (
                alice,
                ["repository:team/b:pull", "registry:catalog:*", "repository:public/a:pull"],
                ["repository:team/b:pull", "registry:catalog:*", "repository:public/a:pull"],
            ),
            (alice, [], []),
        ):
            self.assertEqual(self.granted(service, identity, *wanted), found, (identity.name, wanted))

    def test_every_action(self) -> None:
        """The action that stands for all is granted as the actions that are allowed, and never as itself."""
        alice, carol, _ = USERS
        service = make_service()
        self.assertEqual(self.granted(service, alice, "repository:team/a:*"), ["repository:team/a:pull,push"])
        self.assertEqual(
            self.granted(service, carol, "repository:team/a:*"), ["repository:team/a:pull,delete"]
        )
        for policy in (Everything(), Authenticated()):
            self.assertEqual(
                self.granted(make_service(policy=policy), alice, "repository:team/a:*"),
                ["repository:team/a:pull,push,delete"],
            )

    def test_once(self) -> None:
        """What is asked several times is decided, granted and written down once."""
        policy = CountingPolicy()
        texts = ["repository:a:pull,pull,push", "repository:a:*", "repository:b:pull", "repository:a:push"]
        found = self.granted(make_service(policy=policy), USERS[0], *texts)
        self.assertEqual(found, ["repository:a:pull,push,delete", "repository:b:pull"])
        self.assertEqual(len(policy.asked), 4)

    def test_what_there_is(self) -> None:
        """Where everything is allowed, tokens are still only for actions, names and kinds that there are."""
        policy = CountingPolicy()
        texts = [
            "repository:a:read,admin,PULL,**",
            "repository:UPPER:pull",
            "repository:a/../b:pull",
            "repository:a\nb:pull",
            f"repository:{'a' * 300}:pull",
            "registry:catalog:pull",
            "registry:other:*",
            "database:a:pull",
            "repository():a:pull",
            "repository(plugin)x:a:pull",
        ]
        self.assertEqual(self.granted(make_service(policy=policy), USERS[0], *texts), [])
        self.assertEqual(policy.asked, [])
        self.assertEqual(
            self.granted(make_service(policy=policy), USERS[0], "registry:catalog:*"), ["registry:catalog:*"]
        )
        self.assertEqual(policy.asked, [CATALOG])

    def test_many_actions(self) -> None:
        """However many actions one scope names, the policy is asked about those that there are."""
        policy = CountingPolicy()
        names = ",".join(f"x{number}" for number in range(5000))
        self.granted(make_service(policy=policy), ANONYMOUS, f"repository:a:{names},pull")
        self.assertEqual(scopes(policy.asked), ["repository:a:pull"])

    def test_class(self) -> None:
        """A repository that the engine calls one of plugins is the repository, for that is what it asks of us."""
        alice = USERS[0]
        self.assertEqual(
            self.granted(make_service(), alice, "repository(plugin):team/a:pull,push"),
            ["repository:team/a:pull,push"],
        )
        self.assertEqual(self.granted(make_service(), alice, "repository(plugin):secret/a:pull,push"), [])

    def test_port_in_name(self) -> None:
        """A scope whose name holds a colon is refused whole, not cut to a name that is allowed."""
        self.assertEqual(self.granted(make_service(), USERS[0], "repository:team/a:80:pull"), [])


class TokenTests(ServiceCase):
    """What tokens say, and who takes them."""

    def test_claims(self) -> None:
        """An access token says exactly whom it is for, of whom, since when, until when and for what."""
        answer = self.issue(make_service(now=lambda: NOW + 0.9), USERS[0], "repository:team/a:pull,push")
        claims = claims_of(answer.token)
        self.assertEqual(len(claims.pop("jti")), 20)
        self.assertEqual(
            claims,
            {
                "iss": "hub's tokens",
                "sub": "alice",
                "aud": "hub",
                "iat": NOW,
                "nbf": NOW,
                "exp": NOW + 300,
                "access": [{"type": "repository", "name": "team/a", "actions": ["pull", "push"]}],
            },
        )

    def test_members(self) -> None:
        """The members of an answer are docker's and OAuth2's, of one token, and the refresh token if there is one."""
        answer = self.issue(make_service(), USERS[0], "repository:team/a:pull")
        self.assertEqual(
            answer.members(),
            {
                "token": answer.token,
                "access_token": answer.token,
                "expires_in": 300,
                "issued_at": "2025-06-15T15:06:40Z",
                "scope": "repository:team/a:pull",
            },
        )
        self.assertNotIn(answer.token, repr(answer))

    def test_nobody(self) -> None:
        """A token of nobody has no name, and whoever comes with it is not logged in."""
        service = make_service()
        token = self.issue(service, ANONYMOUS, "repository:public/a:pull").token
        self.assertEqual(claims_of(token)["sub"], "")
        identity = self.result(service.authenticate(bearer(token)))
        self.assertEqual(identity.name, "")
        policy = make([{"who": "authenticated", "repositories": "**", "actions": "pull"}], {})
        self.assertFalse(policy.decide(identity, Access("repository", "public/a", "pull")).allowed)

    def test_groups_and_claims(self) -> None:
        """Rules for groups and for claims fit a user with a token as they fit the user with a password."""
        _, carol, job = USERS
        service, policy = make_service(), make(RULES, {})
        for identity, access in (
            (carol, Access("repository", "team/a", "delete")),
            (job, Access("repository", "ci/a", "push")),
        ):
            token = self.issue(service, identity, str(access)).token
            found = self.result(service.authenticate(bearer(token)))
            self.assertEqual((found.name, found.groups), (identity.name, identity.groups))
            self.assertTrue(policy.decide(found, access).allowed)
            other = Access("repository", "team/b", "pull")
            self.assertFalse(policy.decide(found, other).allowed)

    def test_claims_are_not_overwritten(self) -> None:
        """What is known of a user cannot take the place of what the token itself says."""
        claims = claims_of(self.issue(make_service(), USERS[2], "repository:ci/a:pull").token)
        self.assertEqual((claims["sub"], claims["ref"]), ("job", "refs/heads/main"))
        self.assertEqual([entry["name"] for entry in claims["access"]], ["ci/a"])

    def test_no_two_alike(self) -> None:
        """Two tokens for the same are not the same: each has an identity of its own."""
        service = make_service()
        tokens = [self.issue(service, USERS[0], "repository:team/a:pull").token for _ in range(20)]
        self.assertEqual(len({claims_of(token)["jti"] for token in tokens}), 20)

    def test_instances(self) -> None:
        """Instances that share a key take each other's tokens; others do not, nor for another service or issuer."""
        token = self.issue(make_service(), USERS[0], "repository:team/a:pull").token
        self.assertEqual(self.result(make_service().authenticate(bearer(token))).name, "alice")
        for other in (
            make_service(signer=Signer.of(ec.generate_private_key(ec.SECP256R1()))),
            make_service(terms=Terms("other", TERMS.issuer, 300, 300)),
            make_service(terms=Terms(TERMS.service, "other", 300, 300)),
        ):
            self.assertEqual(self.refused(other.authenticate(bearer(token))).error, "invalid_token")

    def test_time(self) -> None:
        """A token is good from when it was given until its lifetime is over, give or take a minute of clocks."""
        moment = [float(NOW)]
        service = make_service(now=lambda: moment[0])
        token = self.issue(service, USERS[0], "repository:team/a:pull").token
        for seconds, good in ((0, True), (300, True), (360, True), (361, False), (-60, True), (-61, False)):
            moment[0] = NOW + seconds
            if good:
                self.result(service.authenticate(bearer(token)))
            else:
                self.refused(service.authenticate(bearer(token)))

    def test_token_is_no_password(self) -> None:
        """An access token logs no one in, so that nobody lives on from one token to the next."""
        service = make_service()
        token = self.issue(service, USERS[0], "repository:team/a:pull").token
        self.refused(service.log_in(bearer(token)))
        self.refused(service.log_in_as(Attempt(), "alice", token))

    def test_password_parts(self) -> None:
        """A password may hold anything, and no part of it is taken for the name."""
        self.assertEqual(
            self.result(make_service().log_in_as(Attempt(), "alice", password_of("alice"))).name, "alice"
        )
        odd = BasicBackend({"zoë": Identity("zoë")})
        service = make_service(odd)
        self.assertEqual(self.result(service.log_in_as(Attempt(), "zoë", password_of("zoë"))).name, "zoë")
        self.refused(service.log_in_as(Attempt(), "", "x"))
        self.refused(service.log_in_as(Attempt(), "zoë", f":{password_of('zoë')}"))


class BehindTests(ServiceCase):
    """The backend behind the service."""

    def test_lifetime(self) -> None:
        """The backend that knows passwords is made ready with the service and closed with it."""
        backend = ClosingBackend()
        service = make_service(backend)
        self.assertEqual(backend.happened, ["prepared"])
        self.result(service.close())
        self.assertEqual(backend.happened, ["prepared", "closed"])

    def test_challenges(self) -> None:
        """The registry asks for a token, of the address by which it is reached; the service asks for a password."""
        service = make_service()
        attempt = Attempt(origin="https://hub.example/prefix")
        accesses = Access.repository("team/a", "pull", "push")
        self.assertEqual(
            service.challenges(attempt, accesses, "insufficient_scope"),
            [
                'Bearer realm="https://hub.example/prefix/auth/token",service="hub",'
                'scope="repository:team/a:pull,push",error="insufficient_scope"'
            ],
        )
        self.assertEqual(service.login_challenges(attempt), ['Basic realm="tests"'])


class RefreshTests(ServiceCase):
    """Refresh tokens of users in an htpasswd file."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        write(self.path, ALICE, BOB)
        self.reactor = Reactor()
        self.reactor.advance(NOW)
        backend = Htpasswd("x", PasswordFile(self.path), Threads(), self.reactor, b"k" * 32)  # type: ignore[arg-type]
        self.service = make_service(backend, now=self.reactor.seconds)
        self.token = self.refresh_token()

    def refresh_token(self, name: str = "alice") -> str:
        """Return a refresh token of a user."""
        token = self.issue(self.service, Identity(name), refresh=True).refresh_token
        assert token is not None
        return token

    def test_goes_on(self) -> None:
        """A refresh token is its user, without limits, and can be used again and again until its time is over."""
        self.assertEqual(self.result(self.service.resume(self.token)), Identity("alice"))
        self.reactor.advance(86400)
        self.assertEqual(self.result(self.service.resume(self.token)).name, "alice")
        self.reactor.advance(61)
        self.assertEqual(self.refused(self.service.resume(self.token)).error, "invalid_token")

    def test_rules_are_asked_again(self) -> None:
        """What a refresh token leads to is decided when it is used, not when it was given."""
        identity = self.result(self.service.resume(self.token))
        self.assertEqual(
            self.granted(self.service, identity, "repository:team/a:push,delete")[0][-4:], "push"
        )
        strict = make_service(self.service._backend, make(RULES[:1], {}), now=self.reactor.seconds)
        identity = self.result(strict.resume(self.token))
        self.assertEqual(self.granted(strict, identity, "repository:team/a:push,delete"), [])

    def test_groups_and_claims(self) -> None:
        """A refresh token keeps the groups and claims of its user, and adds none."""
        carol = Identity("bob", groups=frozenset({"ops"}), claims={"ref": "x"})
        token = self.issue(self.service, carol, refresh=True).refresh_token
        assert token is not None
        self.assertEqual(self.result(self.service.resume(token)), carol)
        again = self.issue(self.service, self.result(self.service.resume(token))).token
        self.assertEqual({"ref"} & set(claims_of(again)), {"ref"})
        self.assertFalse([name for name in claims_of(again) if "mark" in name])

    def test_password_changed(self) -> None:
        """A refresh token ends when the file has another password for its user, and others' go on."""
        bobs = self.refresh_token("bob")
        write(self.path, "alice:" + BOB.partition(":")[2], BOB)
        self.reactor.advance(2)
        self.assertEqual(self.refused(self.service.resume(self.token)).error, "invalid_token")
        self.assertEqual(self.result(self.service.resume(bobs)).name, "bob")
        self.assertEqual(self.result(self.service.resume(self.refresh_token())).name, "alice")

    def test_user_gone(self) -> None:
        """A refresh token ends when its user is no longer in the file, and no other is given."""
        write(self.path, BOB)
        self.reactor.advance(2)
        self.refused(self.service.resume(self.token))
        self.assertIsNone(self.issue(self.service, Identity("alice"), refresh=True).refresh_token)

    def test_hash_stays_secret(self) -> None:
        """Neither token tells anything of the hash in the file."""
        access = self.issue(self.service, Identity("alice")).token
        for token in (self.token, access):
            told = json.dumps(claims_of(token))
            self.assertNotIn(ALICE.partition(":")[2], told)
            self.assertNotIn(ALICE[-31:], told)

    def test_one_for_the_other(self) -> None:
        """A refresh token opens nothing, an access token goes on to nothing, and neither is a password."""
        access = self.issue(self.service, Identity("alice"), "repository:team/a:pull").token
        self.refused(self.service.authenticate(bearer(self.token)))
        self.refused(self.service.resume(access))
        self.refused(self.service.log_in_as(Attempt(), "alice", "x" + self.token[:60]))

    def test_others(self) -> None:
        """A refresh token of another key, service or issuer is refused, and so is what is none."""
        backend = self.service._backend
        for other in (
            make_service(backend, signer=Signer.of(ec.generate_private_key(ec.SECP256R1()))),
            make_service(backend, terms=Terms("other", TERMS.issuer, 300, 300)),
            make_service(backend, terms=Terms(TERMS.service, "other", 300, 300)),
        ):
            self.refused(other.resume(self.token))
        head, body, signature = self.token.split(".")
        unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"refresh+jwt"}').rstrip(b"=").decode()
        for text in (
            "",
            "x",
            "a.b.c",
            "é.é.é",
            "\ud800",
            f"{head}.{body}.",
            f"{unsigned}.{body}.",
            f"{head}.{body}.{signature[:-4]}AAAA",
            "." * 100_000,
        ):
            self.assertEqual(self.refused(self.service.resume(text)).error, "invalid_token", text[:40])

    def test_who_gets_none(self) -> None:
        """None is given to whoever did not ask, did not log in, or cannot be looked up later."""
        self.assertIsNone(self.issue(self.service, Identity("alice")).refresh_token)
        self.assertIsNone(self.issue(self.service, ANONYMOUS, refresh=True).refresh_token)
        self.assertIsNone(self.issue(self.service, Identity(""), refresh=True).refresh_token)
        self.assertIsNone(self.issue(make_service(), USERS[0], refresh=True).refresh_token)
