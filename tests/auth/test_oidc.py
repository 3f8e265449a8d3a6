"""Identity tokens of other issuers, and the fetching of their keys."""

from __future__ import annotations

import gzip
import io
import json
import os
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from twisted.internet import reactor as running
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.auth.forging import EC, NOW, OTHER, RSA, certificate, jwk, jwks, public_pem, token, x5c
from txregistry.access import Identity
from txregistry.auth import documents
from txregistry.auth.documents import Documents, Unavailable
from txregistry.auth.issuing import Signer
from txregistry.auth.oidc import IdentityTokens, Issuer, issuers
from txregistry.errors import ConfigError, Unauthorized

reactor: Any = running

URL = "https://token.actions.example"
DISCOVERY = f"{URL}/.well-known/openid-configuration"
KEYS = f"{URL}/keys"


class Web:
    """Documents by URL, as :class:`~txregistry.auth.documents.Documents` would fetch them.

    One that is an exception cannot be had; one that is a Deferred takes its time.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {
            DISCOVERY: json.dumps({"issuer": URL, "jwks_uri": KEYS, "other": [1]}).encode(),
            KEYS: jwks(jwk(EC, kid="ec")),
        }
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        document = self.documents.get(url, Unavailable("the answer was 404"))
        if isinstance(document, Exception):
            raise document
        if isinstance(document, Deferred):
            document = await document
        content: bytes = document
        return content


class TokensCase(SynchronousTestCase):
    """One issuer, as an operator would trust it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.web = Web()
        self.tokens = self.made()

    def made(self, *options: dict[str, Any], **changes: Any) -> IdentityTokens:
        usual = {"issuer": URL, "audience": "hub.example", "claims": {"repository": "org/*"}, **changes}
        found = issuers(list(options) or [usual])
        tokens = IdentityTokens(found, self.clock, self.web.fetch, self.clock.seconds)
        tokens.prepare()
        return tokens

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": URL,
            "aud": "hub.example",
            "sub": "repo:org/app:ref:refs/heads/main",
            "repository": "org/app",
            "exp": NOW + 300,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def signed(self, kid: str = "ec", key: Any = EC, **changes: Any) -> str:
        return token(key, {"alg": "ES256", "kid": kid}, self.claims(**changes))

    def authenticate(self, text: str, tokens: IdentityTokens | None = None) -> Deferred[Identity]:
        return Deferred.fromCoroutine((tokens or self.tokens).authenticate(text))

    def believed(self, text: str, tokens: IdentityTokens | None = None) -> Identity:
        return self.successResultOf(self.authenticate(text, tokens))

    def assertRefused(self, text: str, tokens: IdentityTokens | None = None) -> None:
        error = self.failureResultOf(self.authenticate(text, tokens), Unauthorized).value
        assert isinstance(error, Unauthorized)
        self.assertEqual((error.error, error.detail), ("invalid_token", None))


class IdentitiesTests(TokensCase):
    """Who comes with a token."""

    def test_identity(self) -> None:
        """A token's user has a name that no htpasswd file can hold, and all the token's claims."""
        identity = self.believed(self.signed())
        self.assertEqual(identity.name, "oidc:repo:org/app:ref:refs/heads/main")
        self.assertEqual(identity.claims, self.claims())
        self.assertEqual(identity.groups, frozenset())
        self.assertIsNone(identity.grants)

    def test_username(self) -> None:
        """An operator says what users are called, by their claims."""
        tokens = self.made(username="ci-{repository}-{run}")
        self.assertEqual(self.believed(self.signed(run=7), tokens).name, "ci-org/app-7")
        self.assertEqual(self.believed(self.signed(), self.made(username="ci")).name, "ci")

    def test_username_of_no_text(self) -> None:
        """A token without a claim that the user's name needs, or with a strange one, is refused."""
        tokens = self.made(username="{user}")
        for user in (None, "", [], ["a"], {"a": 1}, 1.5, "a\nb", "a\0", "\u202ea"):
            self.assertRefused(self.signed(user=user), tokens)

    def test_username_is_no_program(self) -> None:
        """A name's braces hold the name of a claim and nothing else, and a claim's braces are left alone."""
        self.assertRefused(self.signed(), self.made(username="{sub.__class__}"))
        self.assertEqual(self.believed(self.signed(sub="{exp}"), self.made(username="{sub}")).name, "{exp}")

    def test_groups(self) -> None:
        """A user's groups are those of the claim that the operator names, and none otherwise."""
        text = self.signed(groups=["dev", 5, "ops"], team="one")
        self.assertEqual(self.believed(text, self.made(groups="groups")).groups, {"dev", "ops"})
        self.assertEqual(self.believed(text, self.made(groups="team")).groups, {"one"})
        self.assertEqual(self.believed(text, self.made(groups="nothing")).groups, frozenset())
        self.assertEqual(self.believed(text).groups, frozenset())

    def test_audiences(self) -> None:
        """A token must be meant for one of the audiences that the operator names."""
        tokens = self.made(audience=["hub.example", "registry"])
        for audience in ("registry", ["x", "hub.example"]):
            self.believed(self.signed(aud=audience), tokens)
        other: Any
        for other in ("other", [], "", None, 5, "https://github.com/org"):
            self.assertRefused(self.signed(aud=other), tokens)

    def test_conditions(self) -> None:
        """All conditions must fit; a star in one stands for no slash."""
        tokens = self.made(claims={"repository": ["org/*", "friend/app"], "protected": True, "run": "1*"})
        self.believed(self.signed(protected=True, run=12), tokens)
        self.believed(self.signed(protected="true", run="1", repository="friend/app"), tokens)
        self.believed(self.signed(protected=True, run=[2, "12"]), tokens)
        wrong: tuple[dict[str, Any], ...] = (
            {"repository": "evil/app"},
            {"repository": "org/app/x"},
            {"repository": "xorg/app"},
            {"repository": None},
            {"repository": {"org/app": 1}},
            {"repository": [["org/app"]]},
            {"protected": False},
            {"protected": 1},
            {"protected": None},
            {"run": 21},
            {"run": []},
        )
        for changes in wrong:
            self.assertRefused(self.signed(**{"protected": True, "run": 12, **changes}), tokens)

    def test_several_rules(self) -> None:
        """Of several entries for one issuer, the first that a token fits says who the user is."""
        one = {"issuer": URL, "audience": "hub.example"}
        tokens = self.made(
            {**one, "claims": {"repository": "org/app"}, "username": "app"},
            {**one, "claims": {"repository": "org/*"}, "username": "org"},
        )
        self.assertEqual(self.believed(self.signed(), tokens).name, "app")
        self.assertEqual(self.believed(self.signed(repository="org/b"), tokens).name, "org")
        self.assertRefused(self.signed(repository="x/b"), tokens)
        self.assertEqual(self.web.fetched, [DISCOVERY, KEYS])

    def test_times(self) -> None:
        """A token is good for its time and a minute more; one without an end is refused."""
        self.believed(self.signed(exp=NOW - 60, nbf=NOW + 60))
        self.assertRefused(self.signed(exp=NOW - 61))
        self.assertRefused(self.signed(nbf=NOW + 61))
        self.assertRefused(self.signed(exp=None))
        self.assertRefused(self.signed(exp=str(NOW + 300)))


class ForgeriesTests(TokensCase):
    """Tokens that no trusted issuer has signed."""

    def test_unknown_issuer(self) -> None:
        """An issuer that is not configured is not asked for anything."""
        for issuer in ("https://evil.example", URL + "/", URL.upper(), "", None, 5, [URL]):
            self.assertRefused(self.signed(iss=issuer))
        self.assertEqual(self.web.fetched, [])

    def test_A03_other_key(self) -> None:
        """A signature of another key is refused, whatever the token brings along."""
        for extra in (
            {},
            {"jwk": jwk(OTHER, kid="ec")},
            {"x5c": x5c(certificate("x", OTHER))},
            {"jku": "https://evil.example/keys"},
        ):
            self.assertRefused(token(OTHER, {"alg": "ES256", "kid": "ec", **extra}, self.claims()))
        self.assertEqual(set(self.web.fetched), {DISCOVERY, KEYS})

    def test_A02_algorithms(self) -> None:
        """Neither no signature nor one by the public key as a secret is believed."""
        for algorithm in ("none", "None", "NONE", "nOnE"):
            header = {"alg": algorithm, "kid": "ec"}
            self.assertRefused(token(EC, header, self.claims(), "ES256"))
        self.web.documents[KEYS] = jwks(jwk(EC, kid="ec"), jwk(b"s" * 64, kid="secret"))
        self.assertRefused(token(public_pem(EC), {"alg": "HS256", "kid": "ec"}, self.claims()))
        self.assertRefused(token(b"s" * 64, {"alg": "HS256", "kid": "secret"}, self.claims()))

    def test_not_tokens(self) -> None:
        """What is no token is refused without anything being fetched."""
        good = self.signed()
        for text in ("", "x", "..", "é.é.é", "." * 10_000, "a" * 100_000, good + ".", "e30.e30.e30", "[.].x"):
            self.assertRefused(text)
        self.assertRefused(self.signed(padding="a" * 12_288))
        for kid in (None, "", ["ec"], 5):
            self.assertRefused(token(EC, {"alg": "ES256", "kid": kid}, self.claims()))
        self.assertEqual(self.web.fetched, [])

    def test_own_tokens(self) -> None:
        """A refresh token of the registry's is no identity token, even if its key were an issuer's."""
        signer = Signer.of(EC)
        self.web.documents[KEYS] = json.dumps(signer.jwks()).encode()
        text = signer.refresh("alice", "hub.example", URL, 300, NOW, claims={"repository": "org/app"})
        self.assertRefused(text)

    def test_A17_log(self) -> None:
        """The log says why a token was refused, and holds nothing of the token."""
        output = io.StringIO()
        observer = textFileLogObserver(output)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        text = self.signed(repository="planted")
        self.assertRefused(text)
        self.assertIn("its claim repository does not fit", output.getvalue())
        for part in ("planted", *text.split(".")):
            self.assertNotIn(part, output.getvalue())


class FetchingTests(TokensCase):
    """How keys are come by (A-05)."""

    def test_once(self) -> None:
        """Keys are fetched when they are first needed, and then kept."""
        self.assertEqual(self.web.fetched, [])
        for _ in range(10):
            self.believed(self.signed())
        self.assertEqual(self.web.fetched, [DISCOVERY, KEYS])

    def test_shared(self) -> None:
        """Those who need keys at the same time share one fetch, and one who leaves takes it from no other."""
        slow: Deferred[bytes] = Deferred()
        keys, self.web.documents[KEYS] = self.web.documents[KEYS], slow
        waiting = [self.authenticate(self.signed()) for _ in range(5)]
        waiting[0].cancel()
        self.failureResultOf(waiting[0])
        slow.callback(keys)
        for one in waiting[1:]:
            self.successResultOf(one)
        self.assertEqual(self.web.fetched, [DISCOVERY, KEYS])

    def test_A05_unknown_kid(self) -> None:
        """A thousand tokens of unknown keys cause no more than one fetch a minute, and good ones go on."""
        self.believed(self.signed())
        self.clock.advance(60)
        self.web.fetched.clear()
        self.web.documents[KEYS] = Unavailable("the connection failed")
        for number in range(1000):
            self.assertRefused(self.signed(kid=f"unknown-{number}"))
        self.assertEqual(self.web.fetched, [DISCOVERY, KEYS])
        self.believed(self.signed())
        self.clock.advance(59)
        self.assertRefused(self.signed(kid="unknown"))
        self.assertEqual(len(self.web.fetched), 2)
        self.clock.advance(1)
        self.assertRefused(self.signed(kid="unknown"))
        self.assertEqual(len(self.web.fetched), 4)
        self.believed(self.signed())

    def test_A05_rotation(self) -> None:
        """A key that an issuer begins to use is found, and one that it gave up is let go."""
        self.believed(self.signed())
        self.web.documents[KEYS] = jwks(jwk(OTHER, kid="new"))
        self.assertRefused(self.signed(kid="new", key=OTHER))
        self.clock.advance(60)
        self.believed(self.signed(kid="new", key=OTHER))
        self.assertRefused(self.signed())

    def test_stale(self) -> None:
        """Keys that do are fetched again each hour all the same, and no one waits for that."""
        self.believed(self.signed())
        self.clock.advance(3600)
        slow: Deferred[bytes] = Deferred()
        self.web.documents[KEYS] = slow
        good: dict[str, Any] = {"exp": NOW + 9000}
        self.believed(self.signed(**good))
        self.believed(self.signed(**good))
        self.assertEqual(len(self.web.fetched), 4)
        slow.callback(jwks(jwk(OTHER, kid="new")))
        self.assertRefused(self.signed(**good))

    def test_A05_failures(self) -> None:
        """Whatever an issuer answers, the keys known before stay in force."""
        self.believed(self.signed())
        evil = json.dumps({"issuer": URL, "jwks_uri": "https://evil.example/keys"}).encode()
        other = json.dumps({"issuer": "https://other.example", "jwks_uri": KEYS}).encode()
        discovery = self.web.documents[DISCOVERY]
        for place, document in (
            (DISCOVERY, b""),
            (DISCOVERY, b"[]"),
            (DISCOVERY, b"{}"),
            (DISCOVERY, b"[" * 100_000),
            (DISCOVERY, b'{"issuer": 5, "jwks_uri": 5}'),
            (DISCOVERY, other),
            (DISCOVERY, evil),
            (DISCOVERY, json.dumps({"issuer": URL, "jwks_uri": "file:///etc/passwd"}).encode()),
            (DISCOVERY, json.dumps({"issuer": URL, "jwks_uri": "http://token.actions.example/"}).encode()),
            (DISCOVERY, json.dumps({"issuer": URL, "jwks_uri": "https://token.actions.example:1/"}).encode()),
            (DISCOVERY, json.dumps({"issuer": URL, "jwks_uri": URL + "@evil.example/"}).encode()),
            (KEYS, b"{}"),
            (KEYS, b"\xff"),
            (KEYS, jwks()),
            (KEYS, jwks({"kty": "new"})),
        ):
            self.web.documents[DISCOVERY] = discovery
            self.web.documents[place] = document
            self.clock.advance(60)
            self.web.fetched.clear()
            good: dict[str, Any] = {"exp": self.clock.seconds() + 60}
            self.assertRefused(self.signed(kid="unknown", **good))
            # What is wrong ends the fetch: nothing is asked of where it leads.
            self.assertEqual(self.web.fetched, [DISCOVERY, KEYS][: 1 if place == DISCOVERY else 2], document)
            self.believed(self.signed(**good))

    def test_patience(self) -> None:
        """An issuer that does not answer is given up after ten seconds."""
        gone: list[Deferred[bytes]] = []
        self.web.documents[DISCOVERY] = Deferred(gone.append)
        waiting = self.authenticate(self.signed())
        self.clock.advance(9)
        self.assertNoResult(waiting)
        self.clock.advance(1)
        self.failureResultOf(waiting, Unauthorized)
        self.assertEqual(len(gone), 1)

    def test_close(self) -> None:
        """A fetch under way ends with the registry."""
        gone: list[Deferred[bytes]] = []
        self.web.documents[DISCOVERY] = Deferred(gone.append)
        waiting = self.authenticate(self.signed())
        self.successResultOf(Deferred.fromCoroutine(self.tokens.close()))
        self.failureResultOf(waiting, Unauthorized)
        self.assertEqual(len(gone), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not keep keys from being fetched."""
        self.believed(self.signed())
        self.clock.rightNow = NOW - 1_000_000
        self.web.documents[KEYS] = jwks(jwk(OTHER, kid="new"))
        self.believed(self.signed(kid="new", key=OTHER))

    def test_known_place(self) -> None:
        """Where an operator says where the keys are, nothing is discovered, and they may be anywhere."""
        place = "https://keys.example/all?v=1"
        self.web.documents = {place: jwks(jwk(EC, kid="ec"))}
        self.believed(self.signed(), self.made(jwksuri=place))
        self.assertEqual(self.web.fetched, [place])

    def test_file(self) -> None:
        """Keys in a file are never fetched."""
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(jwks(jwk(EC, kid="ec")))
        tokens = self.made(jwks=path)
        self.believed(self.signed(), tokens)
        self.assertRefused(self.signed(kid="unknown"), tokens)
        self.assertEqual(self.web.fetched, [])

    def test_bad_file(self) -> None:
        """A file of keys that cannot be used is one clean complaint."""
        path = os.path.abspath(self.mktemp())
        self.assertEqual(self.assertRaises(ConfigError, self.made, jwks=path).where, "0.jwks")
        with open(path, "wb") as file:
            file.write(b"{}")
        self.assertEqual(self.assertRaises(ConfigError, self.made, jwks=path).where, "0.jwks")


class OptionsTests(SynchronousTestCase):
    """What an operator may say of issuers."""

    def assertWrong(self, where: str, **changes: Any) -> None:
        option = {"issuer": URL, "audience": "a", "claims": {"sub": "b"}, **changes}
        option = {name: value for name, value in option.items() if value is not None}
        error = self.assertRaises(ConfigError, issuers, [option])
        self.assertEqual(error.where, where)
        self.assertNotIn("\n", error.problem)

    def test_whole(self) -> None:
        """Every option is taken."""
        (found,) = issuers(
            [
                {
                    "issuer": "http://127.0.0.1:8080/x",
                    "audience": ["a", "b"],
                    "claims": {"sub": "c", "n": [1, True, "d*"]},
                    "username": "{sub}",
                    "groups": "g",
                    "jwksuri": "https://keys.example/",
                }
            ]
        )
        wanted = Issuer(
            "http://127.0.0.1:8080/x",
            ("a", "b"),
            {"sub": ("c",), "n": ("1", "true", "d*")},
            "{sub}",
            "g",
            None,
            "https://keys.example/",
        )
        self.assertEqual(found, wanted)

    def test_kinds(self) -> None:
        """What is no list of issuers is refused."""
        for options in (None, {}, "x", {"issuer": URL}):
            self.assertRaises(ConfigError, issuers, options)
        self.assertEqual(self.assertRaises(ConfigError, issuers, ["x"]).where, "0")
        self.assertEqual(issuers([]), ())

    def test_unknown(self) -> None:
        """An unknown option is refused by its name."""
        self.assertWrong("0.audiences", audiences="x")

    def test_urls(self) -> None:
        """Issuers and their keys are reached over TLS, or on this machine."""
        for url in (
            5,
            "",
            "x",
            "http://issuer.example",
            "http://127.0.0.1.evil.example",
            "ftp://issuer.example",
            "file:///keys",
            "https://",
            "https://a b",
            "https://é.example",
            "https://user@issuer.example",
            "https://issuer.example#x",
            "https://issuer.example:port",
            "https://issuer.example\n",
        ):
            self.assertWrong("0.issuer", issuer=url)
            self.assertWrong("0.jwksuri", jwksuri=url)
        self.assertWrong("0.issuer", issuer=None)
        self.assertWrong("0.issuer", issuer=URL + "?x")

    def test_conditions(self) -> None:
        """An audience and a condition are needed, since anyone can have tokens of the large public issuers."""
        value: Any
        for value in (None, {}, "x", []):
            self.assertWrong("0.claims", claims=value)
        for value in (None, "", [], {}, ["a", ""], [["a"]]):
            self.assertWrong("0.claims.sub", claims={"sub": value})
        for value in (None, "", [], {}, ["a", {}]):
            self.assertWrong("0.audience", audience=value)

    def test_texts(self) -> None:
        """Names and files are texts, and keys come from one place."""
        value: Any
        for value in (5, "", "{", "{}", "{a", "a}b", "{{a}}", "a\nb", []):
            self.assertWrong("0.username", username=value)
        for value in (5, "", []):
            self.assertWrong("0.groups", groups=value)
            self.assertWrong("0.jwks", jwks=value)
        self.assertWrong("0.jwksuri", jwks="a", jwksuri=URL)


class Page(Resource):
    """A page of an issuer's, which notes what it was asked for."""

    isLeaf = True

    def __init__(self, content: bytes = b"", code: int = 200, **headers: str) -> None:
        super().__init__()
        self.content = content
        self.code = code
        self.headers = headers
        self.requests: list[Request] = []

    def render_GET(self, request: Request) -> bytes:
        self.requests.append(request)
        request.setResponseCode(self.code)
        for name, value in self.headers.items():
            request.responseHeaders.setRawHeaders(name.replace("_", "-"), [value])
        return self.content


class Slow(Page):
    """A page that does not end, and says when it is asked for and when it is given up.

    :param beginning: what it begins with; without that, not even its headers come.
    """

    def __init__(self, beginning: bytes) -> None:
        super().__init__(beginning)
        self.asked: Deferred[None] = Deferred()
        self.given_up: Deferred[None] = Deferred()

    def render_GET(self, request: Request) -> int:  # type: ignore[override]
        request.notifyFinish().addErrback(lambda _: self.given_up.callback(None))
        if self.content:
            request.write(self.content)
        self.asked.callback(None)
        return NOT_DONE_YET


class DocumentsTests(TestCase):
    """An issuer on this machine, over HTTP."""

    def setUp(self) -> None:
        self.root = Resource()
        self.site = Site(self.root)
        port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        self.documents = Documents(reactor)

    def page(self, name: str, page: Page) -> Page:
        self.root.putChild(name.encode(), page)
        return page

    async def problem(self, url: str) -> str:
        with self.assertRaises(Unavailable) as caught:
            await self.documents.fetch(url)
        return str(caught.exception)

    async def test_whole_way(self) -> None:
        """A job logs in with a token of an issuer whose keys are discovered over HTTP."""
        keys = self.page("keys", Page(jwks(jwk(RSA, kid="r1", alg="RS256", use="sig"))))
        known = Resource()
        self.root.putChild(b".well-known", known)
        found = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        known.putChild(b"openid-configuration", Page(json.dumps(found).encode()))
        option = {"issuer": self.url, "audience": "hub", "claims": {"sub": "**"}, "username": "{sub}"}
        tokens = IdentityTokens(issuers([option]), reactor, self.documents.fetch, lambda: NOW)
        claims = {"iss": self.url, "aud": "hub", "sub": "job", "exp": NOW + 60}
        text = token(RSA, {"alg": "RS256", "kid": "r1"}, claims)
        for _ in range(2):
            identity = await tokens.authenticate(text)
            self.assertEqual(identity.name, "job")
        self.assertEqual(len(keys.requests), 1)
        await tokens.close()

    async def test_P06_plain(self) -> None:
        """A document is asked for without codings, and comes as it is."""
        page = self.page("a", Page(b"content"))
        self.assertEqual(await self.documents.fetch(f"{self.url}/a"), b"content")
        headers = page.requests[0].requestHeaders
        self.assertEqual(headers.getRawHeaders("Accept-Encoding"), ["identity"])
        self.page("empty", Page(b""))
        self.assertEqual(await self.documents.fetch(f"{self.url}/empty"), b"")

    async def test_P06_coding(self) -> None:
        """A document with a coding that was not asked for is not undone, so that no bomb goes off."""
        self.page("bomb", Page(gzip.compress(bytes(1_000_000)), content_encoding="gzip"))
        self.assertIn("coding", await self.problem(f"{self.url}/bomb"))

    async def test_P06_size(self) -> None:
        """A document of more than a megabyte is given up, whether or not it says its size."""
        self.page("most", Page(bytes(1024 * 1024)))
        self.assertEqual(len(await self.documents.fetch(f"{self.url}/most")), 1024 * 1024)
        self.page("more", Page(bytes(1024 * 1024 + 1)))
        self.assertIn("longer", await self.problem(f"{self.url}/more"))

        class Endless(Page):
            def render_GET(self, request: Request) -> int:  # type: ignore[override]
                request.registerProducer(self.producer(request), False)
                return NOT_DONE_YET

            def producer(self, request: Request) -> Any:
                class Producer:
                    def resumeProducing(self) -> None:
                        request.write(bytes(65536))

                    def stopProducing(self) -> None:
                        pass

                return Producer()

        self.page("endless", Endless())
        self.assertIn("longer", await self.problem(f"{self.url}/endless"))

    async def test_codes(self) -> None:
        """Redirects are not followed, and errors are not documents."""
        target = self.page("target", Page(b"content"))
        for code in (301, 302, 303, 307, 308):
            self.page("from", Page(b"", code, location=f"{self.url}/target"))
            self.assertIn(str(code), await self.problem(f"{self.url}/from"))
        self.assertEqual(target.requests, [])
        for code in (204, 206, 404, 500):
            self.page("error", Page(b"" if code == 204 else b"content", code))
            self.assertIn(str(code), await self.problem(f"{self.url}/error"))

    async def test_connection(self) -> None:
        """A connection that is refused or breaks, and a URL that is none, are problems of one line."""
        port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        closed = port.getHost().port
        await port.stopListening()
        for url in (f"http://127.0.0.1:{closed}/", "ftp://127.0.0.1/", "http://é/", "x"):
            problem = await self.problem(url)
            self.assertIn("the connection failed", problem)
            self.assertNotIn("\n", problem)

    async def test_cut_short(self) -> None:
        """A document that ends before it should is not one."""

        class Short(Page):
            def render_GET(self, request: Request) -> int:  # type: ignore[override]
                request.setHeader("Content-Length", "100")
                request.write(b"short")
                reactor.callLater(0.01, request.loseConnection)
                return NOT_DONE_YET

        self.page("short", Short())
        self.assertIn("the connection failed", await self.problem(f"{self.url}/short"))

    async def test_cancel(self) -> None:
        """Giving up on a document closes the connection, before there is an answer as in the middle of one."""
        begun: Deferred[None] = Deferred()

        class Body(documents._Body):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                begun.callback(None)

        self.patch(documents, "_Body", Body)
        silent, slow = Slow(b""), Slow(b"[")
        for name, page, moment in (("silent", silent, silent.asked), ("slow", slow, begun)):
            self.page(name, page)
            fetch = Deferred.fromCoroutine(self.documents.fetch(f"{self.url}/{name}"))
            await moment
            fetch.addErrback(lambda _: None)
            fetch.cancel()
            await page.given_up

    async def test_untrusted_certificate(self) -> None:
        """A server whose TLS certificate no known authority has signed is not believed."""
        page = self.page("a", Page(b"content"))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        own = certificate("localhost", EC)
        builder = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=EC.public_key(),
            serial_number=1,
            not_valid_before=own.not_valid_before_utc,
            not_valid_after=own.not_valid_after_utc.replace(year=2100),
            extensions=[],
        ).add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        options = CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(EC),
            certificate=crypto.X509.from_cryptography(builder.sign(EC, hashes.SHA256())),
        )
        port = reactor.listenSSL(0, self.site, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        problem = await self.problem(f"https://localhost:{port.getHost().port}/a")
        self.assertIn("the connection failed", problem)
        self.assertEqual(page.requests, [])
