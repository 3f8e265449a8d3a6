"""Tokens of the registry's own: what they say, and what they are not taken for."""

from __future__ import annotations

import json
import os
import stat
import threading

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from jwt import PyJWS
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.forging import EC, NOW, OTHER, RSA, jwk, token
from txregistry.access import CATALOG, Access, Attempt, Identity
from txregistry.auth.issuing import Answer, Signer
from txregistry.auth.keys import ASYMMETRIC, thumbprint
from txregistry.auth.token import TokenBackend
from txregistry.errors import ConfigError, Unauthorized

SERVICE = "hub.example"
ISSUER = "https://hub.example/auth/token"
WANTED = [*Access.repository("team/app", "pull", "push"), CATALOG]


def private_pem(key: object, password: bytes | None = None) -> bytes:
    """Return a private key in PEM."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    content: bytes = key.private_bytes(  # type: ignore[attr-defined]
        Encoding.PEM, PrivateFormat.PKCS8, encryption
    )
    return content


class SignerCase(SynchronousTestCase):
    """A signer, and a backend that believes it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.signer = Signer.of(EC)
        self.backend = self.backend_of(self.signer)

    def backend_of(self, signer: Signer) -> TokenBackend:
        backend = TokenBackend(
            realm="",
            redirect="/auth/token",
            service=SERVICE,
            issuer=ISSUER,
            algorithms=ASYMMETRIC,
            load=signer.keys,
            now=self.clock.seconds,
        )
        backend.prepare()
        return backend

    def authenticate(self, text: str, backend: TokenBackend | None = None) -> Deferred[Identity]:
        attempt = Attempt(authorization=f"Bearer {text}")
        return Deferred.fromCoroutine((backend or self.backend).authenticate(attempt))

    def access_token(self, signer: Signer | None = None) -> str:
        return (signer or self.signer).issue("alice", SERVICE, ISSUER, WANTED, 300, NOW)

    def refresh_token(self, signer: Signer | None = None) -> str:
        return (signer or self.signer).refresh("alice", SERVICE, ISSUER, 86400, NOW)

    def assertNoRefresh(
        self, text: str, service: str = SERVICE, issuer: str = ISSUER, now: float = NOW
    ) -> None:
        error = self.assertRaises(Unauthorized, self.signer.verify_refresh, text, service, issuer, now)
        assert isinstance(error, Unauthorized)
        self.assertEqual((error.error, error.detail), ("invalid_token", None))


class AccessTokensTests(SignerCase):
    """Access tokens."""

    def test_believed(self) -> None:
        """What is issued is what the token backend makes of it."""
        text = self.signer.issue(
            "alice", SERVICE, ISSUER, WANTED, 300, NOW, groups={"dev", "ops"}, claims={"plan": "gold"}
        )
        identity = self.successResultOf(self.authenticate(text))
        self.assertEqual((identity.name, identity.groups), ("alice", {"dev", "ops"}))
        self.assertEqual(identity.grants, set(WANTED))
        self.assertEqual(identity.claims["plan"], "gold")

    def test_format(self) -> None:
        """A token has all that Distribution's specification names, one entry for each repository."""
        content = PyJWS().decode_complete(self.access_token(), EC.public_key(), ["ES256"])
        self.assertEqual(
            content["header"], {"typ": "JWT", "alg": "ES256", "kid": thumbprint(EC.public_key())}
        )
        claims = json.loads(content["payload"])
        self.assertTrue(claims.pop("jti"))
        self.assertEqual(
            claims,
            {
                "iss": ISSUER,
                "sub": "alice",
                "aud": SERVICE,
                "exp": NOW + 300,
                "nbf": NOW,
                "iat": NOW,
                "access": [
                    {"type": "repository", "name": "team/app", "actions": ["pull", "push"]},
                    {"type": "registry", "name": "catalog", "actions": ["*"]},
                ],
            },
        )

    def test_keys(self) -> None:
        """Keys of every type that signs tokens do."""
        for key in (
            RSA,
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP521R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            signer = Signer.of(key)
            self.successResultOf(self.authenticate(self.access_token(signer), self.backend_of(signer)))

    def test_lifetime(self) -> None:
        """A token lasts as long as it was issued for, and a minute for clocks that differ."""
        text = self.access_token()
        self.clock.advance(360)
        self.successResultOf(self.authenticate(text))
        self.clock.advance(1)
        self.failureResultOf(self.authenticate(text), Unauthorized)

    def test_nobody(self) -> None:
        """A token for one who did not log in gives what it grants, to a user without a name."""
        text = self.signer.issue(None, SERVICE, ISSUER, Access.repository("public", "pull"), 60, NOW)
        identity = self.successResultOf(self.authenticate(text))
        self.assertEqual(identity.name, "")
        self.assertEqual(identity.grants, set(Access.repository("public", "pull")))

    def test_nothing_granted(self) -> None:
        """A token for no access at all grants nothing, as after ``docker login``."""
        text = self.signer.issue("alice", SERVICE, ISSUER, [], 60, NOW)
        self.assertEqual(self.successResultOf(self.authenticate(text)).grants, frozenset())

    def test_other_claims(self) -> None:
        """What else is known of a user cannot take the place of what the token itself says."""
        forged = {
            "iss": "x",
            "sub": "root",
            "aud": "x",
            "exp": NOW + 10**9,
            "nbf": 0,
            "iat": 0,
            "jti": "x",
            "access": [{"type": "repository", "name": "secret", "actions": ["*"]}],
            "groups": ["admin"],
            "plan": "gold",
        }
        text = self.signer.issue("alice", SERVICE, ISSUER, [], 60, NOW, claims=forged)
        identity = self.successResultOf(self.authenticate(text))
        self.assertEqual(identity, Identity("alice", frozenset(), {"plan": "gold"}, frozenset()))
        text = self.signer.refresh("alice", SERVICE, ISSUER, 60, NOW, claims=forged)
        self.assertEqual(
            self.signer.verify_refresh(text, SERVICE, ISSUER, NOW),
            Identity("alice", frozenset(), {"plan": "gold"}),
        )

    def test_own_ids(self) -> None:
        """No two tokens are the same, although they say the same."""
        self.assertEqual(len({self.access_token().split(".")[1] for _ in range(10)}), 10)

    def test_other_signer(self) -> None:
        """A token of another signer is not believed."""
        self.failureResultOf(self.authenticate(self.access_token(Signer.of(OTHER))), Unauthorized)


class RefreshTokensTests(SignerCase):
    """Refresh tokens."""

    def test_verified(self) -> None:
        """A refresh token says who may have access tokens, and grants nothing by itself."""
        text = self.signer.refresh("alice", SERVICE, ISSUER, 86400, NOW, ["dev"], {"plan": "gold"})
        found = self.signer.verify_refresh(text, SERVICE, ISSUER, NOW + 86400)
        self.assertEqual(found, Identity("alice", frozenset({"dev"}), {"plan": "gold"}))

    def test_no_access(self) -> None:
        """A refresh token is not taken for an access token."""
        self.failureResultOf(self.authenticate(self.refresh_token()), Unauthorized)

    def test_access_is_no_refresh(self) -> None:
        """An access token is not taken for a refresh token."""
        self.assertNoRefresh(self.access_token())

    def test_both_must_fit(self) -> None:
        """Neither the type alone nor the audience alone makes a token one of the other kind."""
        claims = {"iss": ISSUER, "sub": "alice", "exp": NOW + 60, "access": []}
        header = {"alg": "ES256", "kid": self.signer.kid}
        for typ in (None, "JWT", "at+jwt"):
            self.assertNoRefresh(token(EC, {**header, "typ": typ}, {**claims, "aud": f"refresh:{SERVICE}"}))
        self.assertNoRefresh(token(EC, {**header, "typ": "refresh+jwt"}, {**claims, "aud": SERVICE}))
        for typ, audience in (("refresh+jwt", SERVICE), ("JWT", f"refresh:{SERVICE}")):
            text = token(EC, {**header, "typ": typ}, {**claims, "aud": audience})
            self.failureResultOf(self.authenticate(text), Unauthorized)

    def test_elsewhere(self) -> None:
        """A refresh token of another service, issuer, signer or time is refused."""
        text = self.refresh_token()
        self.assertNoRefresh(text, service="other.example")
        self.assertNoRefresh(text, issuer="other")
        self.assertNoRefresh(text, now=NOW + 86461)
        self.assertNoRefresh(text, now=NOW - 61)
        self.assertNoRefresh(self.refresh_token(Signer.of(OTHER)))

    def test_hostile(self) -> None:
        """What is no refresh token is refused, whatever it is."""
        header, claims, signature = self.refresh_token().split(".")
        other = self.signer.refresh("mallory", SERVICE, ISSUER, 86400, NOW).split(".")[1]
        own = {"alg": "ES256", "typ": "refresh+jwt", "kid": self.signer.kid, "jwk": jwk(OTHER)}
        good = {"iss": ISSUER, "sub": "alice", "exp": NOW + 60, "aud": f"refresh:{SERVICE}"}
        for text in (
            "",
            "x",
            "..",
            "." * 10_000,
            "a" * 100_000,
            "é.é.é",
            f"{header}.{other}.{signature}",
            f"{header}.{claims}.",
            token(OTHER, own, good),
            token(EC, {**own, "kid": "other"}, good),
            token(EC, {**own, "kid": None}, good),
            token(EC, {**own, "crit": ["exp"]}, good),
            token(EC, own, {**good, "sub": None}),
            token(EC, own, {**good, "exp": str(NOW + 60)}),
        ):
            self.assertNoRefresh(text)
        self.signer.verify_refresh(token(EC, own, good), SERVICE, ISSUER, NOW)


class KeyFilesTests(SignerCase):
    """Where the key comes from."""

    def path(self, content: bytes | None = None) -> str:
        path: str = os.path.abspath(self.mktemp())
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        return path

    def test_operators(self) -> None:
        """An operator's own key is used, in the usual PEM formats."""
        traditional = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        for content, algorithm in (
            (private_pem(EC), "ES256"),
            (private_pem(RSA), "RS256"),
            (traditional, "RS256"),
        ):
            self.assertEqual(Signer.load(self.path(content), "x").algorithm, algorithm)

    def test_unusable(self) -> None:
        """A key that cannot be used is one clean complaint that names the option and shows nothing of the key."""
        for content in (
            b"",
            b"\xff",
            b"-----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----\n",
            private_pem(EC, b"planted"),
            private_pem(rsa.generate_private_key(65537, 1024)),
            private_pem(ec.generate_private_key(ec.SECP256K1())),
            private_pem(x25519.X25519PrivateKey.generate()),
            private_pem(dsa.generate_private_key(1024)),
        ):
            error = self.assertRaises(ConfigError, Signer.load, self.path(content), "auth.key")
            self.assertEqual(error.where, "auth.key")
            self.assertNotIn("\n", error.problem)
            self.assertNotIn("planted", error.problem)
        self.assertRaises(ConfigError, Signer.load, self.path(), "auth.key")

    def test_made_once(self) -> None:
        """A key is made where there is none, for the owner's eyes only, and is the same ever after."""
        path = self.path()
        first = Signer.keep(path, "x")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(first.algorithm, "ES256")
        self.assertEqual(Signer.keep(path, "x").kid, first.kid)
        self.assertEqual(os.listdir(os.path.dirname(path)).count(os.path.basename(path)), 1)
        leftovers = [name for name in os.listdir(os.path.dirname(path)) if name.startswith(".txregistry-key")]
        self.assertEqual(leftovers, [])

    def test_made_by_many(self) -> None:
        """Those who make it at the same time end up with the same key."""
        path = self.path()
        barrier = threading.Barrier(8)
        found = []

        def work() -> None:
            barrier.wait()
            found.append(Signer.keep(path, "x").kid)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(found), 8)
        self.assertEqual(len(set(found)), 1)

    def test_not_made(self) -> None:
        """Where a key cannot be made there is one clean complaint, and a broken one is never replaced."""
        error = self.assertRaises(ConfigError, Signer.keep, "/nowhere/key", "auth.key")
        self.assertEqual(error.where, "auth.key")
        path = self.path(b"broken")
        self.assertRaises(ConfigError, Signer.keep, path, "auth.key")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"broken")

    def test_public(self) -> None:
        """What is published of a key is its public part, under the name that tokens call it."""
        for key in (EC, RSA):
            (members,) = Signer.of(key).jwks()["keys"]
            self.assertEqual(members["kid"], thumbprint(key.public_key()))
            self.assertEqual(members["use"], "sig")
            self.assertFalse({"d", "p", "q", "dp", "dq", "qi"} & members.keys())

    def test_repr(self) -> None:
        """Neither keys nor tokens show when they are printed."""
        self.assertNotIn("rivateKey", repr(self.signer))
        self.assertNotIn("planted", repr(Answer("planted", 60, NOW, "planted")))


class AnswerTests(SynchronousTestCase):
    """What a token server answers."""

    def test_members(self) -> None:
        """An answer has both names of the token, since clients know one or the other."""
        self.assertEqual(
            Answer("t", 300, NOW + 0.5).members(),
            {"token": "t", "access_token": "t", "expires_in": 300, "issued_at": "2025-06-15T15:06:40Z"},
        )

    def test_oauth(self) -> None:
        """An answer says what was granted, and has a refresh token, where they were asked for."""
        members = Answer("t", 300, NOW, "r", "repository:a:pull").members()
        self.assertEqual((members["refresh_token"], members["scope"]), ("r", "repository:a:pull"))
