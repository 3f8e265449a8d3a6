"""Bearer tokens: which are believed, and what they give."""

from __future__ import annotations

import base64
import io
import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.auth.forging import (
    EC,
    NOW,
    OTHER,
    RSA,
    SECRET,
    certificate,
    encoded,
    jwk,
    jwks,
    pem,
    public_pem,
    token,
    unsigned,
    x5c,
)
from txregistry.access import ANONYMOUS, CATALOG, Access, Attempt, Identity
from txregistry.auth.keys import TrustedKeys, fingerprint, thumbprint
from txregistry.auth.token import TokenBackend, make
from txregistry.errors import ConfigError, Unauthorized
from txregistry.interfaces import IAuthBackend

PULL = {"type": "repository", "name": "team/app", "actions": ["pull"]}


class CountingKeys:
    """Trusted keys that count how often they are asked for one."""

    def __init__(self, keys: TrustedKeys) -> None:
        self.keys = keys
        self.asked = 0

    def find(self, kid: str, algorithm: str) -> Any:
        self.asked += 1
        return self.keys.find(kid, algorithm)

    def certified(self, chain: Any, algorithm: str, now: float) -> Any:
        self.asked += 1
        return self.keys.certified(chain, algorithm, now)


class TokenCase(SynchronousTestCase):
    """A backend with a bundle of two roots and a JWK set."""

    algorithms: list[str] | None = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.root = certificate("root", RSA, authority=True)
        self.bundle = self.file(pem(self.root, certificate("leaf", EC)))
        self.jwks = self.file(jwks(jwk(EC, kid="ec"), jwk(RSA, kid="rsa"), jwk(SECRET, kid="secret")))
        self.backend = self.made()

    def file(self, content: bytes) -> str:
        path: str = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(content)
        return path

    def options(self, **changes: Any) -> dict[str, Any]:
        options = {
            "realm": "https://auth.example/token",
            "service": "hub.example",
            "issuer": "auth.example",
            "rootcertbundle": self.bundle,
            "jwks": self.jwks,
            "signingalgorithms": self.algorithms,
            **changes,
        }
        return {name: value for name, value in options.items() if value is not None}

    def made(self, **changes: Any) -> TokenBackend:
        backend = make(self.options(**changes), None, self.clock.seconds)
        backend.prepare()
        return backend

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return claims that will do, but for *changes*; None takes one away."""
        claims = {
            "iss": "auth.example",
            "aud": "hub.example",
            "sub": "alice",
            "exp": NOW + 300,
            "nbf": NOW,
            "iat": NOW,
            "jti": "1",
            "access": [PULL],
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def signed(self, **changes: Any) -> str:
        """Return a token with a good signature."""
        return token(EC, {"typ": "JWT", "alg": "ES256", "kid": "ec"}, self.claims(**changes))

    def authenticated(self, authorization: str | None, backend: TokenBackend | None = None) -> Identity:
        attempt = Attempt(authorization=authorization, address="192.0.2.1")
        coroutine = (backend or self.backend).authenticate(attempt)
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def believed(self, text: str, backend: TokenBackend | None = None) -> Identity:
        return self.authenticated(f"Bearer {text}", backend)

    def refused(
        self, text: str, backend: TokenBackend | None = None, scheme: str = "Bearer "
    ) -> Unauthorized:
        attempt = Attempt(authorization=scheme + text, address="192.0.2.1")
        coroutine = (backend or self.backend).authenticate(attempt)
        error = self.failureResultOf(Deferred.fromCoroutine(coroutine), Unauthorized).value
        assert isinstance(error, Unauthorized)
        self.assertIsNone(error.detail)
        return error

    def assertInvalid(self, text: str, backend: TokenBackend | None = None) -> None:
        self.assertEqual(self.refused(text, backend).error, "invalid_token")


class BelievedTests(TokenCase):
    """Tokens that are as they should be."""

    def test_interface(self) -> None:
        """The backend is what the guard expects."""
        verifyObject(IAuthBackend, self.backend)

    def test_identity(self) -> None:
        """A token says who the user is, what it may reach, and what else is known of it."""
        text = self.signed(
            access=[
                PULL,
                {"type": "repository", "name": "team/app", "actions": ["push", "delete"], "class": ""},
                {"type": "registry", "name": "catalog", "actions": ["*"]},
            ],
            groups=["dev", 5, "ops"],
            plan="gold",
        )
        identity = self.believed(text)
        self.assertEqual(identity.name, "alice")
        self.assertEqual(identity.groups, {"dev", "ops"})
        self.assertEqual(identity.claims, {"groups": ["dev", 5, "ops"], "plan": "gold"})
        wanted = [*Access.repository("team/app", "pull", "push", "delete"), CATALOG]
        self.assertEqual(identity.grants, set(wanted))

    def test_kids(self) -> None:
        """A key is known by its thumbprint, by its libtrust fingerprint, and by its name in the JWK set."""
        for kid in ("ec", thumbprint(EC.public_key()), fingerprint(EC.public_key())):
            self.believed(token(EC, {"alg": "ES256", "kid": kid}, self.claims()))

    def test_algorithms(self) -> None:
        """Every algorithm whose keys are public is taken, unless the operator says otherwise."""
        for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
            self.believed(token(RSA, {"alg": algorithm, "kid": "rsa"}, self.claims()))
        key = ed25519.Ed25519PrivateKey.generate()
        backend = self.made(jwks=self.file(jwks(jwk(key, kid="ed"))))
        self.believed(token(key, {"alg": "EdDSA", "kid": "ed"}, self.claims()), backend)

    def test_secret(self) -> None:
        """A secret that is shared with the issuer counts only where the operator lists its algorithm."""
        text = token(SECRET, {"alg": "HS256", "kid": "secret"}, self.claims())
        self.assertInvalid(text)
        self.believed(text, self.made(signingalgorithms=["HS256"]))

    def test_chain(self) -> None:
        """A token may bring the certificate of its key, in the header or in a jwk there, if a root signed it."""
        chain = x5c(certificate("leaf", OTHER, (self.root, RSA)))
        for extra in ({"x5c": chain}, {"jwk": {**jwk(OTHER), "x5c": chain}}):
            self.believed(token(OTHER, {"alg": "ES256", **extra}, self.claims()))

    def test_embedded_key(self) -> None:
        """A jwk without a chain is looked up among the trusted keys by its kid."""
        self.believed(token(EC, {"alg": "ES256", "jwk": jwk(EC, kid="ec")}, self.claims()))

    def test_audience_list(self) -> None:
        """A token may be for several services."""
        self.believed(self.signed(aud=["other.example", "hub.example"]))

    def test_types(self) -> None:
        """A token need not say that it is one, and may in either spelling (RFC 9068)."""
        for typ in ({}, {"typ": None}, {"typ": "jwt"}, {"typ": "JWT"}, {"typ": "at+jwt"}):
            self.believed(token(EC, {"alg": "ES256", "kid": "ec", **typ}, self.claims()))
        self.believed(token(EC, {"alg": "ES256", "kid": "ec", "typ": "application/at+jwt"}, self.claims()))

    def test_scheme(self) -> None:
        """The scheme is the same in any case (RFC 9110, 11.1)."""
        for scheme in ("bearer", "BEARER"):
            self.assertEqual(self.authenticated(f"{scheme} {self.signed()}").name, "alice")

    def test_nothing_granted(self) -> None:
        """A token that grants nothing, in any spelling of Go's, says who it is and gives nothing."""
        entry = {"type": "repository", "name": "a", "actions": None}
        for text in (
            self.signed(access=None),
            self.signed(access=[]),
            self.signed(access=[entry]),
            token(EC, {"alg": "ES256", "kid": "ec"}, {**self.claims(), "access": None}),
        ):
            identity = self.believed(text)
            self.assertEqual(identity.grants, frozenset())
            self.assertFalse(identity.holds(Access("repository", "a", "pull")))

    def test_nobody(self) -> None:
        """A token for nobody in particular is a user without a name, who holds what it grants."""
        for text in (self.signed(sub=""), self.signed(sub=None)):
            identity = self.believed(text)
            self.assertEqual(identity.name, "")
            self.assertFalse(identity.is_anonymous)
            self.assertTrue(identity.holds(Access("repository", "team/app", "pull")))

    def test_anonymous(self) -> None:
        """A request that says nothing is nobody's."""
        self.assertIs(self.authenticated(None), ANONYMOUS)

    def test_remembered(self) -> None:
        """A pull of many layers has its token's signature checked once."""
        keys = CountingKeys(TrustedKeys.from_jwks(jwks(jwk(EC, kid="ec"))))
        self.backend._keys = keys  # type: ignore[assignment]
        text = self.signed()
        for _ in range(50):
            self.believed(text)
        self.assertEqual(keys.asked, 1)

    def test_remembered_not_past_the_end(self) -> None:
        """That a token was checked lately does not make it last longer, nor does a clock that is set back."""
        text = self.signed(exp=NOW)
        self.believed(text)
        self.clock.rightNow = NOW + 60
        self.believed(text)
        self.clock.rightNow = NOW + 61
        self.assertInvalid(text)
        self.clock.rightNow = NOW - 61
        self.assertInvalid(text)

    def test_remembered_not_all(self) -> None:
        """However many tokens come, a bounded number is remembered."""
        for number in range(600):
            self.believed(self.signed(jti=str(number)))
        self.assertEqual(len(self.backend._remembered), 512)


class SignatureTests(TokenCase):
    """Tokens that no trusted key has signed (A-02, A-03)."""

    def test_tampered(self) -> None:
        """A token of which any part was changed is refused."""
        header, claims, signature = self.signed().split(".")
        other = self.signed(sub="mallory").split(".")
        blank = encoded(b'{"alg": "ES256", "kid": "ec" }')
        for text in (
            f"{header}.{other[1]}.{signature}",
            f"{other[0]}.{claims}.{other[2]}",
            f"{blank}.{claims}.{signature}",
            f"{header}.{claims}.{signature[:-4]}AAAA",
            f"{header}.{claims}.{signature[:-2]}",
            f"{header}.{claims}.",
            f"{header}.{claims}.{encoded(bytes(64))}",
        ):
            self.assertInvalid(text)

    def test_A02_none(self) -> None:
        """A token without a signature is refused, however it spells that."""
        for algorithm in ("none", "None", "NONE", "nOnE"):
            content = unsigned({"alg": algorithm, "kid": "ec"}, self.claims())
            for signature in ("", "AAAA", self.signed().split(".")[2]):
                self.assertInvalid(f"{content}.{signature}")

    def test_A02_no_algorithm(self) -> None:
        """A token that does not name its algorithm, or names no text, is refused."""
        for header in ({}, {"alg": None}, {"alg": ["ES256"]}, {"alg": ""}, {"alg": {"ES256": 1}}):
            self.assertInvalid(token(EC, {"kid": "ec", **header}, self.claims(), "ES256"))

    def test_A02_public_key_as_secret(self) -> None:
        """A public key is never taken for a shared secret, even where shared secrets are allowed."""
        backend = self.made(signingalgorithms=["HS256", "HS512", "RS256", "ES256"])
        for key, kid in ((RSA, "rsa"), (EC, "ec"), (RSA, thumbprint(RSA.public_key()))):
            for secret in (public_pem(key), public_pem(key).strip()):
                for algorithm in ("HS256", "HS512"):
                    text = token(secret, {"alg": algorithm, "kid": kid}, self.claims())
                    self.assertInvalid(text)
                    self.assertInvalid(text, backend)

    def test_A02_certificate_as_secret(self) -> None:
        """A root certificate is never taken for a shared secret."""
        backend = self.made(signingalgorithms=["HS256", "RS256"])
        header = {"alg": "HS256", "x5c": x5c(self.root)}
        for secret in (pem(self.root), base64.b64decode(x5c(self.root)[0])):
            self.assertInvalid(token(secret, header, self.claims()), backend)

    def test_A02_algorithm_not_listed(self) -> None:
        """An algorithm that the operator did not list is refused."""
        text = token(RSA, {"alg": "RS512", "kid": "rsa"}, self.claims())
        self.believed(text)
        self.assertInvalid(text, self.made(signingalgorithms=["RS256", "ES256"]))

    def test_A02_algorithm_of_another_key(self) -> None:
        """A header that names another algorithm than the key's is refused."""
        for algorithm in ("RS256", "PS256", "ES384", "ES512", "EdDSA", "ES256K", "HS256"):
            self.assertInvalid(token(EC, {"alg": algorithm, "kid": "ec"}, self.claims(), "ES256"))

    def test_A02_extensions(self) -> None:
        """A header that asks for extensions, known to no one or to others, is refused (RFC 7515, 4.1.11)."""
        extra: dict[str, Any]
        for extra in (
            {"crit": ["exp"]},
            {"crit": ["b64"], "b64": True},
            {"crit": []},
            {"crit": None},
            {"crit": "exp", "exp": 1},
            {"crit": ["b64"], "b64": False},
            {"b64": False},
            {"b64": None},
            {"b64": 0},
        ):
            text = token(EC, {"alg": "ES256", "kid": "ec", **extra}, self.claims())
            self.assertInvalid(text)

    def test_A02_detached(self) -> None:
        """A token whose claims were signed as they are, or are elsewhere, is refused (RFC 7797)."""
        header = {"alg": "ES256", "kid": "ec", "b64": False, "crit": ["b64"]}
        first, _, last = token(EC, header, self.claims()).split(".")
        self.assertInvalid(f"{first}..{last}")

    def test_A03_own_key(self) -> None:
        """A key that a token brings along is not used, whatever trusted name it gives it (CVE-2025-24976)."""
        kids = ("ec", thumbprint(EC.public_key()), fingerprint(EC.public_key()))
        for kid in kids:
            for header in (
                {"jwk": jwk(OTHER, kid=kid)},
                {"jwk": jwk(OTHER, kid=kid), "kid": kid},
                {"jwk": jwk(OTHER), "kid": kid},
                {"jwk": jwk(OTHER, kid=kid, x5c=[]), "kid": kid},
                {"jwk": jwk(OTHER, kid=kid, x5c=None)},
                {"jwk": {}, "kid": kid},
                {"x5c": x5c(certificate("root", OTHER)), "kid": kid},
                {"x5c": x5c(certificate("root", OTHER, authority=True)), "jwk": jwk(EC, kid=kid), "kid": kid},
                {"jwk": jwk(EC, kid=kid, x5c=x5c(certificate("root", OTHER))), "kid": kid},
            ):
                self.assertInvalid(token(OTHER, {"alg": "ES256", **header}, self.claims()))

    def test_A03_own_chain(self) -> None:
        """A chain that is not trusted spoils a token that would be good by its kid: the first way counts."""
        stranger = x5c(certificate("stranger", EC))
        for extra in ({"x5c": stranger}, {"jwk": {"kid": "ec", "x5c": stranger}}):
            self.assertInvalid(token(EC, {"alg": "ES256", "kid": "ec", **extra}, self.claims()))

    def test_chain_of_another(self) -> None:
        """A good chain does not vouch for a signature of another key."""
        chain = x5c(certificate("leaf", EC, (self.root, RSA)))
        for extra in ({"x5c": chain}, {"jwk": jwk(OTHER, x5c=chain)}):
            self.assertInvalid(token(OTHER, {"alg": "ES256", "kid": "ec", **extra}, self.claims()))

    def test_A03_elsewhere(self) -> None:
        """A URL in a header is not looked at: the token stands or falls without it."""
        places = {"jku": "http://127.0.0.1:1/keys", "x5u": "file:///dev/null"}
        self.assertInvalid(token(OTHER, {"alg": "ES256", **places}, self.claims()))
        self.assertInvalid(token(OTHER, {"alg": "ES256", "kid": "ec", **places}, self.claims()))
        self.believed(token(EC, {"alg": "ES256", "kid": "ec", **places}, self.claims()))

    def test_A03_kid_tricks(self) -> None:
        """A kid is a name to be looked up and nothing else: paths, queries, long ones and lists find nothing."""
        for kid in (
            "../../dev/null",
            "/dev/null",
            "' OR 1=1 --",
            "ec\0",
            "EC",
            "k" * 10_000,
            "",
            None,
            ["ec"],
            {"ec": "ec"},
            5,
            True,
            "\ud800",
        ):
            self.assertInvalid(token(EC, {"alg": "ES256", "kid": kid}, self.claims()))
            self.assertInvalid(token(b"", {"alg": "HS256", "kid": kid}, self.claims()))

    def test_A03_header_kinds(self) -> None:
        """Header members of other kinds than they should have are refused."""
        extra: dict[str, Any]
        for extra in (
            {"x5c": "AAAA"},
            {"x5c": {}},
            {"x5c": [5]},
            {"x5c": [None]},
            {"jwk": "ec"},
            {"jwk": ["ec"]},
            {"jwk": {"kid": ["ec"]}},
            {"jwk": {"x5c": 5}},
            {"typ": 5},
            {"typ": ["JWT"]},
        ):
            self.assertInvalid(token(EC, {"alg": "ES256", "kid": "ec", **extra}, self.claims()))

    def test_names_twice(self) -> None:
        """A header that says two things is taken at its last word, by all who read it."""
        twice = b'{"alg": "none", "kid": "no", "alg": "ES256", "kid": "ec"}'
        self.believed(token(EC, twice, self.claims(), "ES256"))
        twice = b'{"alg": "ES256", "kid": "ec", "alg": "none"}'
        self.assertInvalid(token(EC, twice, self.claims(), "ES256"))
        twice = b'{"alg": "ES256", "kid": "ec", "alg": "HS256"}'
        self.assertInvalid(token(public_pem(EC), twice, self.claims(), "HS256"))


class ClaimsTests(TokenCase):
    """Tokens of a trusted key that are not good here and now (A-06, A-07)."""

    def test_A06_issuer(self) -> None:
        """A token of another issuer is refused."""
        for issuer in ("other.example", "AUTH.example", "auth.example ", "", None, 5, ["auth.example"]):
            self.assertInvalid(self.signed(iss=issuer))

    def test_A06_audience(self) -> None:
        """A token for another service is refused."""
        for audience in (
            "other",
            "hub.example.evil",
            "hub",
            "",
            None,
            [],
            ["other"],
            5,
            [5],
            {"hub.example": 1},
        ):
            self.assertInvalid(self.signed(aud=audience))
        self.assertInvalid(self.signed(aud=["hub.example", 5]))

    def test_A06_expiry(self) -> None:
        """A token is good until a minute after its end, as in Distribution, and no longer."""
        self.believed(self.signed(exp=NOW - 60))
        self.assertInvalid(self.signed(exp=NOW - 61))
        self.clock.advance(0.5)
        self.assertInvalid(self.signed(exp=NOW - 60, jti="2"))

    def test_A06_not_before(self) -> None:
        """A token is good from a minute before its beginning, as in Distribution, and no sooner."""
        self.believed(self.signed(nbf=NOW + 60))
        self.assertInvalid(self.signed(nbf=NOW + 61))
        self.believed(self.signed(nbf=None))

    def test_A06_no_expiry(self) -> None:
        """A token that never ends is refused."""
        self.assertInvalid(self.signed(exp=None))

    def test_A06_kinds(self) -> None:
        """Claims of other kinds than they should have are refused: no text is a number, no number a text."""
        for changes in (
            {"exp": str(NOW + 300)},
            {"exp": True},
            {"exp": [NOW + 300]},
            {"exp": -1},
            {"nbf": str(NOW)},
            {"nbf": False},
            {"sub": 5},
            {"sub": ["alice"]},
            {"access": "repository:team/app:pull"},
            {"access": {"type": "repository"}},
            {"access": [None]},
            {"access": ["pull"]},
            {"access": [{**PULL, "actions": "pull"}]},
            {"access": [{**PULL, "actions": [5]}]},
            {"access": [{**PULL, "name": None}]},
            {"access": [{"name": "team/app", "actions": ["pull"]}]},
        ):
            self.assertInvalid(self.signed(**changes))

    def test_A06_numbers(self) -> None:
        """Numbers that no clock reaches do not end a token's check in any other way than they should."""
        header = {"alg": "ES256", "kid": "ec"}
        claims = b'{"iss": "auth.example", "aud": "hub.example", "sub": "alice", "exp": %s}'
        for number in (b"1e400", b"-1e400", b"NaN", b"Infinity", b"9" * 5000, b"-9e300"):
            self.assertInvalid(token(EC, header, claims % number))
        for number in (b"1e300", b"9" * 300, b"%d.75" % NOW):
            self.believed(token(EC, header, claims % number))

    def test_A07_other_grants(self) -> None:
        """A token reaches what it names and nothing else, however alike the name, the type or the action."""
        pull = Access("repository", "a", "pull")
        for entry in (
            {"type": "repository", "name": "b", "actions": ["pull", "*"]},
            {"type": "repository", "name": "ab", "actions": ["*"]},
            {"type": "repository", "name": "a/b", "actions": ["*"]},
            {"type": "repository", "name": "*", "actions": ["*"]},
            {"type": "repository", "name": "x/../a", "actions": ["*"]},
            {"type": "repository", "name": "A", "actions": ["*"]},
            {"type": "repository", "name": "a ", "actions": ["*"]},
            {"type": "repository", "name": "", "actions": ["*"]},
            {"type": "repository", "name": "a", "actions": ["push", "delete", "PULL", "pull,push", ""]},
            {"type": "repository(plugin)", "name": "a", "actions": ["*"]},
            {"type": "registry", "name": "a", "actions": ["*"]},
            {"type": "", "name": "a", "actions": ["*"]},
            {"type": "*", "name": "*", "actions": ["*"]},
        ):
            identity = self.believed(self.signed(access=[entry]))
            self.assertFalse(identity.holds(pull), entry)
        self.assertTrue(
            self.believed(self.signed(access=[{"type": "repository", "name": "a", "actions": ["*"]}])).holds(
                pull
            )
        )

    def test_A07_pull_is_no_push(self) -> None:
        """A token for pulling reaches neither pushing, nor deleting, nor the catalog."""
        identity = self.believed(self.signed())
        self.assertTrue(identity.holds(Access("repository", "team/app", "pull")))
        for access in (*Access.repository("team/app", "push", "delete", "*"), CATALOG):
            self.assertFalse(identity.holds(access))

    def test_type(self) -> None:
        """A token that says it is something else than an access token is refused."""
        for typ in ("refresh+jwt", "application/refresh+jwt", "dpop+jwt", "logout+jwt", "JOSE", "jwt2"):
            self.assertInvalid(token(EC, {"alg": "ES256", "kid": "ec", "typ": typ}, self.claims()))


class HostileTests(TokenCase):
    """What is no token at all (A-04)."""

    def test_schemes(self) -> None:
        """Other schemes are asked for a token, without being told that theirs was wrong."""
        basic = base64.b64encode(b"alice:secret").decode()
        for authorization in (f"Basic {basic}", "Negotiate x", "Bearer", "Bearer ", "", " ", self.signed()):
            self.assertIsNone(self.refused(authorization, scheme="").error)

    def test_not_tokens(self) -> None:
        """What does not have the form of a token is refused."""
        good = self.signed()
        for text in (
            " " + good,
            good + " ",
            good + "\n",
            good + "=",
            good + ".",
            "." + good,
            good.replace(".", "..", 1),
            good.replace("e", "é", 1),
            "\udc80" + good,
            good.replace(".", " ."),
            "..",
            ".",
            "x",
            "null.null.null",
            "e30.e30.",
            '"a"."b"."c"',
            "AAAA.AAAA.AAAA",
            f"{encoded(b'[]')}.{encoded(b'{}')}.AAAA",
            f"{encoded(b'null')}.{encoded(b'{}')}.AAAA",
        ):
            self.assertInvalid(text)

    def test_claims_no_object(self) -> None:
        """A good signature over what is no set of claims is refused."""
        for claims in (b"", b"[]", b"null", b"5", b"{", b"\xff", b'{"iss": "\xff"}', b"{}{}", b"[" * 5000):
            self.assertInvalid(token(EC, {"alg": "ES256", "kid": "ec"}, claims))

    def test_A04_dots(self) -> None:
        """Ten thousand dots are ten thousand reasons not to look for a key (CVE-2025-30204)."""
        self.assertUnread("." * 10_000)
        self.assertUnread(self.signed() + "." * 10_000)

    def test_A04_size(self) -> None:
        """A token longer than 16 KiB is not taken apart; one that just fits is."""
        self.assertUnread("a" * 1_000_000)
        self.assertUnread(self.signed(padding="a" * 12_288))
        self.believed(self.signed(padding="a" * 11_000))

    def test_A04_depth(self) -> None:
        """Deep JSON is refused without a traceback, in the header before any key is looked for."""
        deep = b'{"alg": "ES256", "kid": "ec", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"
        self.assertUnread(token(EC, deep, self.claims(), "ES256")[: 16 * 1024])
        nested = b'{"alg":"ES256","x":' + b"[" * 3000 + b"]" * 3000 + b"}"
        self.assertUnread(f"{encoded(nested)}.e30.AAAA")
        claims = b'{"x": ' + b'{"a":' * 1400 + b"1" + b"}" * 1401
        self.assertInvalid(token(EC, {"alg": "ES256", "kid": "ec"}, claims))

    def test_A04_many_grants(self) -> None:
        """As many grants as fit in a token are read, each for what it is."""
        entries = [{"type": "repository", "name": f"r{number}", "actions": ["pull"]} for number in range(180)]
        identity = self.believed(self.signed(access=entries))
        assert identity.grants is not None
        self.assertEqual(len(identity.grants), 180)

    def test_A04_one_key(self) -> None:
        """However a hostile token is made, one key at most is looked for."""
        keys = CountingKeys(TrustedKeys.from_jwks(jwks(jwk(EC, kid="ec"))))
        self.backend._keys = keys  # type: ignore[assignment]
        chain = x5c(certificate("stranger", OTHER)) * 10
        self.assertInvalid(token(OTHER, {"alg": "ES256", "kid": "ec", "x5c": chain}, self.claims()))
        self.assertEqual(keys.asked, 1)
        self.assertInvalid(token(OTHER, {"alg": "ES256", "kid": "ec", "jwk": {"kid": "ec"}}, self.claims()))
        self.assertEqual(keys.asked, 2)

    def test_not_remembered(self) -> None:
        """Tokens that are refused leave nothing behind."""
        for number in range(10):
            self.assertInvalid(self.signed(aud="other", jti=str(number)))
        self.assertEqual(len(self.backend._remembered), 0)

    def test_A17_log(self) -> None:
        """The log says why a token was refused, and holds nothing of the token."""
        output = io.StringIO()
        observer = textFileLogObserver(output)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        text = self.signed(aud="planted-audience", sub="planted-user")
        self.assertInvalid(text)
        written = output.getvalue()
        self.assertIn("it is for another audience", written)
        self.assertIn("192.0.2.1", written)
        for part in ("planted", *text.split(".")):
            self.assertNotIn(part, written)

    def assertUnread(self, text: str) -> None:
        keys = CountingKeys(TrustedKeys())
        self.backend._keys = keys  # type: ignore[assignment]
        self.assertInvalid(text)
        self.assertEqual(keys.asked, 0)
        self.backend.prepare()


class ChallengesTests(TokenCase):
    """What is asked of a client."""

    def challenge(self, *accesses: Access, error: str | None = None, **options: Any) -> str:
        backend = self.made(**options)
        attempt = Attempt(origin="https://hub.example:5000/prefix")
        (found,) = backend.challenges(attempt, accesses, error)
        return found

    def test_whole(self) -> None:
        """A challenge is spelled as Distribution spells it."""
        wanted = [*Access.repository("a/b", "pull", "push"), *Access.repository("c", "pull")]
        self.assertEqual(
            self.challenge(*wanted, error="insufficient_scope"),
            'Bearer realm="https://auth.example/token",service="hub.example",'
            'scope="repository:a/b:pull,push repository:c:pull",error="insufficient_scope"',
        )

    def test_base(self) -> None:
        """Nothing is asked for where nothing is needed."""
        self.assertEqual(self.challenge(), 'Bearer realm="https://auth.example/token",service="hub.example"')

    def test_catalog(self) -> None:
        """The catalog is asked for as Distribution asks for it."""
        self.assertIn('scope="registry:catalog:*"', self.challenge(CATALOG))

    def test_redirect(self) -> None:
        """With autoredirect clients are sent to the address that they reached the registry by."""
        for options, path in (({}, "/auth/token"), ({"autoredirectpath": "/v2/token"}, "/v2/token")):
            found = self.challenge(autoredirect=True, **options)
            self.assertIn(f'realm="https://hub.example:5000/prefix{path}"', found)
        found = self.challenge(autoredirect=False, autoredirectpath="/x")
        self.assertIn('realm="https://auth.example/token"', found)

    def test_quoted(self) -> None:
        """Nothing that a client sends or an operator writes can end a quoted string or the header."""
        backend = self.made(service='a"b\\c', autoredirect=True)
        attempt = Attempt(origin='http://x",error="y\r\nSet-Cookie: z=é\0')
        (found,) = backend.challenges(attempt, Access.repository('q"\n', "pull"), None)
        self.assertEqual(
            found,
            'Bearer realm="http://x\\",error=\\"ySet-Cookie: z=/auth/token",service="a\\"b\\\\c",'
            'scope="repository:q\\":pull"',
        )
        found.encode("ascii")


class OptionsTests(TokenCase):
    """What ``auth.token`` may hold."""

    def assertWrong(self, where: str, **changes: Any) -> ConfigError:
        error = self.assertRaises(ConfigError, self.made, **changes)
        assert isinstance(error, ConfigError)
        self.assertEqual(error.where, where)
        self.assertNotIn("\n", error.problem)
        return error

    def test_unknown(self) -> None:
        """An unknown option is refused by its name."""
        self.assertWrong("rootcertbundel", rootcertbundel="x")

    def test_required(self) -> None:
        """What Distribution needs is needed, as one line of text."""
        for option in ("realm", "service", "issuer"):
            for value in (None, "", 5, "a\nb", "é"):
                self.assertWrong(option, **{option: value})

    def test_no_keys(self) -> None:
        """Without any key there is nothing to believe."""
        self.assertWrong("rootcertbundle", rootcertbundle=None, jwks=None)
        self.assertWrong("rootcertbundle", rootcertbundle="", jwks="")
        self.made(rootcertbundle=None)
        self.made(jwks=None)

    def test_files(self) -> None:
        """A file that is not there, or does not hold what it should, is one clean complaint."""
        for option in ("rootcertbundle", "jwks"):
            for value in (5, "a\0b", "/nowhere", self.file(b"x"), self.file(b"")):
                self.assertWrong(option, **{option: value})
        weak = pem(certificate("weak", rsa.generate_private_key(65537, 1024)))
        self.assertIn(
            "certificate 1", self.assertWrong("rootcertbundle", rootcertbundle=self.file(weak)).problem
        )

    def test_not_read_by_make(self) -> None:
        """Files are read when the registry is made ready, not when its configuration is checked."""
        make(self.options(jwks="/nowhere"), None)

    def test_algorithms(self) -> None:
        """Algorithms are a list of known ones; an empty list is as none."""
        for value in ("RS256", ["none"], ["RS257"], ["rs256"], [5], {"RS256": 1}, [["RS256"]]):
            self.assertWrong("signingalgorithms", signingalgorithms=value)
        self.believed(self.signed(), self.made(signingalgorithms=[]))

    def test_useless_algorithms(self) -> None:
        """A configuration in which no key suits an algorithm is refused, since no token could be believed."""
        secrets = self.file(jwks(jwk(SECRET, kid="secret")))
        self.assertWrong("signingalgorithms", rootcertbundle=None, jwks=secrets)
        self.assertWrong("signingalgorithms", signingalgorithms=["EdDSA"])

    def test_redirect(self) -> None:
        """Redirects are switched by true and false, and lead to a path."""
        for value in ("true", 1, "yes"):
            self.assertWrong("autoredirect", autoredirect=value)
        for value in (5, "auth/token", "https://x", "/a\nb"):
            self.assertWrong("autoredirectpath", autoredirect=True, autoredirectpath=value)
