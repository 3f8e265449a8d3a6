"""Who may do what, over TLS: a foreign token server; each identity, action and repository; what passwords cost."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import itertools
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from tests.peers import test_login
from tests.peers.case import run_program
from tests.peers.engines import engine
from tests.peers.images import small_image
from tests.processes import CHECKOUT, DISTRIBUTION, TXREGISTRY, end_process
from tests.registry_client import Answer, RegistryClient
from tests.test_service import image, make_certificate
from txregistry.auth.passwords import hash_line

EVERY = ("pull", "push", "delete")
#: By who, where, what: the nobody of everyone's rights has no name.
ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    "": {"public/app": ("pull",)},
    "alice": {"public/app": ("pull", "push"), "team/app": EVERY, "home/alice/x": EVERY},
    "bob": {"public/app": ("pull",), "team/app": ("pull",)},
    "carol": {"public/app": ("pull",), "team/app": ("pull", "delete")},
    "admin": dict.fromkeys(("public/app", "team/app", "home/alice/x", "secret/app"), EVERY),
}
REPOSITORIES = tuple(ALLOWED["admin"])
PASSWORDS = {name: f"the password of {name}" for name in ALLOWED if name}
#: The same as rules.
RULES = [
    {"who": "anonymous", "repositories": "public/**", "actions": "pull"},
    {"who": "user:alice", "repositories": "public/**", "actions": ["pull", "push"]},
    {"who": ["user:alice"], "repositories": ["team/*"], "actions": list(EVERY)},
    {"who": "authenticated", "repositories": "home/$username/**", "actions": list(EVERY)},
    {"who": "group:readers", "repositories": "team/**", "actions": "pull"},
    {"who": "user:carol", "repositories": "team/**", "actions": "delete"},
    {"who": "user:admin", "repositories": "**", "actions": list(EVERY)},
]
GROUPS = {"readers": ["bob", "carol"]}
#: Bytes of a layer that is not there, and the digest of the config that every image here has.
NOT_THERE = "sha256:" + "0" * 64
#: A bcrypt cost by which one check stands out: about half a second.
COSTLY = 13


def authority(path: str) -> ssl.SSLContext:
    """Return what believes one certificate and no other."""
    return ssl.create_default_context(cafile=path)


@attrs.frozen
class TlsClient(RegistryClient):
    """A client that logs in as docker does: it asks, and does what the challenge says.

    :param context: whom to believe.
    :param user: who it is; empty for nobody.
    """

    context: ssl.SSLContext = attrs.field(kw_only=True)
    user: str = attrs.field(default="", kw_only=True)
    password: str | None = attrs.field(default=None, kw_only=True)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(self.host, timeout=self.timeout, context=self.context)

    @property
    def basic(self) -> dict[str, str]:
        """The header by which it logs in."""
        if not self.user:
            return {}
        password = PASSWORDS.get(self.user, "") if self.password is None else self.password
        pair = base64.b64encode(f"{self.user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, and again with what was asked for; the second answer counts."""
        fields = dict(headers or {})
        first = super().request(method, path, body, fields)
        challenge = first.headers.get("WWW-Authenticate", "")
        if first.status != 401:
            return first
        if challenge.startswith("Basic "):
            return super().request(method, path, body, fields | self.basic) if self.user else first
        parts = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        token = self.token(parts["realm"], parts["service"], parts.get("scope", ""))
        if token is None:
            return first
        return super().request(method, path, body, fields | {"Authorization": f"Bearer {token}"})

    def token(self, realm: str, service: str, scope: str) -> str | None:
        """Fetch a token; None if there is none for these credentials."""
        where = urlsplit(realm)
        with contextlib.closing(
            http.client.HTTPSConnection(where.netloc, timeout=self.timeout, context=self.context)
        ) as connection:
            query = urlencode({"service": service, "scope": scope})
            connection.request("GET", f"{where.path}?{query}", headers=self.basic)
            response = connection.getresponse()
            content = response.read()
        return str(json.loads(content)["token"]) if response.status == 200 else None


@attrs.define
class PolicedServer(test_login.GuardedServer):
    """A registry over TLS whose sections a test gives whole."""

    def config(self) -> dict[str, Any]:
        """Return the configuration."""
        config = super().config()
        del config["access"]
        return {**config, **self.sections}


class AuthCase(test_login.LoginCase):
    """Starts registries, and another's token server."""

    cost = 4

    def setUp(self) -> None:
        super().setUp()
        self.context = authority(self.certificate)

    def passwords(self) -> dict[str, Any]:
        """Write the users to a file; return the section that names it."""
        with open(self.htpasswd, "w") as file:
            file.writelines(hash_line(user, word, self.cost) + "\n" for user, word in PASSWORDS.items())
        return {"htpasswd": {"realm": "tests", "path": self.htpasswd}}

    def start(self, sections: dict[str, Any], program: str = TXREGISTRY) -> PolicedServer:
        """Start a registry of those sections."""
        server = PolicedServer(
            program,
            self.folder,
            os.path.join(self.folder, f"data-{program}"),
            authority=self.certificate,
            sections=sections,
        )
        server.more = {"http": {"tls": {"certificate": self.certificate, "key": self.key}}}
        self.trust(server.host)
        self.addCleanup(self._stop, server)
        server.start()
        return server

    def trust(self, host: str) -> None:
        """Let docker's engine believe the authority, for one host."""
        trusted = f"/etc/docker/certs.d/{host}"
        os.makedirs(trusted)
        self.addCleanup(shutil.rmtree, trusted)
        shutil.copy(self.certificate, os.path.join(trusted, "ca.crt"))

    def client(self, user: str = "", password: str | None = None) -> TlsClient:
        """Return a client of a user's."""
        return TlsClient(self.server.host, 60, context=self.context, user=user, password=password)


def foreign_tokens(
    case: test_login.LoginCase, users: Mapping[str, str], allowed: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Start the foreign token server, until the test ends; return the section ``auth`` that trusts it."""
    signing, signing_key = make_certificate(case.folder, "signing")
    config = os.path.join(case.folder, "tokens.json")
    with open(config, "w") as file:
        json.dump(
            {
                "certificate": case.certificate,
                "key": case.key,
                "signing_key": signing_key,
                "issuer": "auth.example",
                "service": "hub.example",
                "users": users,
                "allowed": allowed,
            },
            file,
        )
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.peers.token_server", config],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    case.addCleanup(end_process, process)
    assert process.stdout is not None
    case.addCleanup(process.stdout.close)
    port = int(process.stdout.readline())
    return {
        "token": {
            "realm": f"https://127.0.0.1:{port}/token",
            "service": "hub.example",
            "issuer": "auth.example",
            "rootcertbundle": signing,
        }
    }


class LibtrustTokenTests(test_login.PasswordTests):
    """docker, skopeo and podman, with tokens that PyJWT signs in another process and whose key libtrust named."""

    everyone_may_pull = True

    def sections(self) -> dict[str, Any]:
        """Start the other process; the registry's own rules let through what its tokens grant."""
        allowed = {
            "": {"public/*": ["pull"]},
            "alice": {"public/*": EVERY, "team/*": EVERY},
            "bob": {"team/*": ["pull"]},
        }
        return {"auth": foreign_tokens(self, test_login.PASSWORDS, allowed)}


class MatrixTests(AuthCase):
    """Each identity, action and repository, by passwords sent with each request."""

    program = TXREGISTRY
    #: What a known user is answered that may not.
    refusal = 403
    #: Whether the registry knows the rules.
    rules = True

    def sections(self) -> dict[str, Any]:
        """Return passwords and rules."""
        return {"auth": self.passwords(), "access": RULES, "groups": GROUPS}

    def setUp(self) -> None:
        super().setUp()
        if self.program != TXREGISTRY:
            self.server.stop()
            self.server = self.start(self.server.sections, self.program)
        self.numbers = itertools.count()
        self.admin = self.client("admin")
        self.config: dict[str, str] = {}
        for name in REPOSITORIES:
            self.config[name] = self.admin.push_bytes(name, b"{}")
            self.push(name, "1")

    def push(self, name: str, tag: str) -> str:
        """Push an image that there is not yet; return its digest."""
        return self.admin.push_manifest(name, tag, self.image(name))

    def image(self, name: str) -> dict[str, Any]:
        """Return a manifest that there is not yet."""
        return image(self.config[name], annotations={"number": str(next(self.numbers))})

    def cells(self, client: TlsClient, name: str) -> list[tuple[str, int, int]]:
        """Do everything to one repository; return what each needed, gives if it is allowed, and gave."""
        manifest = json.dumps(self.image(name)).encode()
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        accept = {"Accept": kind["Content-Type"]}
        gone = self.push(name, "gone")
        return [
            (needed, expected, client.request(method, f"/v2/{name}/{path}", body, headers).status)
            for needed, expected, method, path, body, headers in (
                ("pull", 200, "GET", "manifests/1", None, accept),
                ("pull", 200, "HEAD", "manifests/1", None, accept),
                ("pull", 200, "GET", f"blobs/{self.config[name]}", None, {}),
                ("pull", 404, "HEAD", f"blobs/{NOT_THERE}", None, {}),
                ("pull", 200, "GET", "tags/list", None, {}),
                ("push", 202, "POST", "blobs/uploads/", b"", {}),
                ("push", 201, "PUT", "manifests/new", manifest, kind),
                ("delete", 202, "DELETE", f"manifests/{gone}", None, {}),
            )
        ]

    def test_matrix(self) -> None:
        """Whoever asks, for whatever, wherever: done if the rules allow it, and refused if they do not."""
        count = 0
        for user, name in itertools.product(ALLOWED, REPOSITORIES):
            may = ALLOWED[user].get(name, ())
            for number, (needed, expected, found) in enumerate(self.cells(self.client(user), name)):
                # A push needs pull too.
                done = {needed, "pull"} <= set(may) if needed == "push" else needed in may
                wanted = expected if done else self.refusal if user else 401
                self.assertEqual(found, wanted, (user or "nobody", name, needed, number))
                count += 1
        print(f"\n{type(self).__name__}: {count} cells as expected")

    def test_no_such_repository(self) -> None:
        """A repository that there is and one that there is not are refused with the same words."""
        for user in ("", "bob"):
            told: list[tuple[int, bytes]] = []
            for name in ("secret/app", "secret/xxx"):
                answer = self.client(user).request("GET", f"/v2/{name}/tags/list")
                told.append((answer.status, answer.body.replace(name.encode(), b"")))
            self.assertEqual(told[0], told[1], user)

    def test_wrong_credentials(self) -> None:
        """A wrong password and an unknown user are refused alike, for what needs a login."""
        for user, password in (("alice", "wrong"), ("alice", ""), ("mallory", "x")):
            for path in ("team/app/manifests/1", "secret/app/tags/list"):
                answer = self.client(user, password).request("GET", f"/v2/{path}")
                self.assertEqual(answer.status, 401, (user, path))
                self.assertIn("WWW-Authenticate", answer.headers)

    def test_catalog(self) -> None:
        """The catalog is for those who log in, and shows them what they may pull where there are rules for that."""
        self.assertEqual(self.client().request("GET", "/v2/_catalog").status, 401)
        self.assertEqual(self.client("bob", "wrong").request("GET", "/v2/_catalog").status, 401)
        for user in PASSWORDS:
            found = self.client(user).expect(200, "GET", "/v2/_catalog?n=100").json()["repositories"]
            seen = [name for name in REPOSITORIES if not self.rules or "pull" in ALLOWED[user].get(name, ())]
            self.assertEqual(found, sorted(seen), user)


class TokenMatrixTests(MatrixTests):
    """The same, by tokens of the registry's own."""

    refusal = 401

    def sections(self) -> dict[str, Any]:
        """Return passwords, rules and the token service."""
        return {**super().sections(), "tokenservice": {"key": os.path.join(self.folder, "token.pem")}}


class ForeignTokenMatrixTests(MatrixTests):
    """The same, by tokens that another process signs, and no rules of the registry's own."""

    refusal = 401
    rules = False

    def sections(self) -> dict[str, Any]:
        """Start the other process."""
        return {"auth": foreign_tokens(self, PASSWORDS, ALLOWED)}


class DistributionMatrixTests(ForeignTokenMatrixTests):
    """The same of Distribution, by the same section of its configuration and the same tokens."""

    program = DISTRIBUTION


class CostTests(AuthCase):
    """What a password costs the registry, in seconds of computing."""

    cost = COSTLY

    def sections(self) -> dict[str, Any]:
        """Return costly passwords and rules, and a log of all requests."""
        return {"auth": self.passwords(), "access": RULES, "groups": GROUPS, "log": {"level": "info"}}

    def again(self) -> float:
        """Start the registry again, so that it remembers no password; return what one check costs."""
        self.server.stop()
        self.server.start()
        before = self.server.cpu_seconds()
        self.client("carol").expect(200, "GET", "/v2/")
        return self.server.cpu_seconds() - before

    def spent(self, work: Any) -> float:
        """Return what work costs the registry."""
        before = self.server.cpu_seconds()
        work()
        return self.server.cpu_seconds() - before

    def assert_one(self, what: str, work: Any, prepare: Any = lambda: None) -> None:
        """Check that the first time costs one check of a password more than the second."""
        one = self.again()
        first = self.spent(work)
        prepare()
        second = self.spent(work)
        print(f"\n{what}: {first:.2f} s of CPU, then {second:.2f} s; one check {one:.2f} s")
        self.assertGreater(first - second, 0.5 * one)
        self.assertLess(first - second, 1.6 * one)

    def asked(self) -> int:
        """Return how many requests for blobs were answered."""
        return self.server.log(1 << 20).count(" info GET /v2/team/app/blobs/")

    def fill(self) -> None:
        """Push a small image, as alice."""
        target = f"docker://{self.server.host}/team/app:1"
        creds = f"alice:{PASSWORDS['alice']}"
        run_program(
            *("skopeo", "copy", "--dest-cert-dir", self.trusted, "--dest-creds", creds),
            *(f"docker-archive:{small_image().path}", target),
        )

    def test_docker_pull(self) -> None:
        """All requests of a docker pull, each with a password, cost one bcrypt together."""
        self.fill()
        # An engine that has none of the layers yet.
        docker, reference = engine("cost"), f"{self.server.host}/team/app:1"
        docker.docker("login", "-u", "bob", "-p", PASSWORDS["bob"], self.server.host)
        self.addCleanup(docker.docker, "logout", self.server.host)
        remove = functools.partial(docker.docker, "rmi", "-f", reference)
        self.addCleanup(remove)
        before = self.asked()
        self.assert_one("docker pull", functools.partial(docker.docker, "pull", "-q", reference), remove)
        # Its config and its three layers, each time.
        self.assertEqual(self.asked() - before, 8, self.server.log())

    def test_parallel(self) -> None:
        """Fifty requests at once with a password that was not checked yet cost one bcrypt together."""
        self.fill()
        headers = self.client("bob").basic

        def ask(number: int) -> int:
            client = self.client()
            return client.request("HEAD", "/v2/team/app/manifests/1", headers=headers).status

        def burst() -> None:
            with ThreadPoolExecutor(50) as pool:
                self.assertEqual(set(pool.map(ask, range(50))), {200})

        self.assert_one("50 HEADs at once", burst)
