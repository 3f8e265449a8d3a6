"""Logging in with real clients, over TLS with an authority of one's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from typing import Any

import attrs

from tests.peers.case import PeerCase, run_program
from tests.peers.engines import engine
from tests.peers.images import small_image
from tests.processes import TXREGISTRY
from tests.test_service import TlsServer, make_certificate
from txregistry.auth.issuing import Signer
from txregistry.auth.passwords import hash_line

PASSWORDS = {"alice": "wonder", "bob": "builder"}
#: What clients say when they are refused; docker's engine does not ask without credentials.
REFUSALS = (
    "denied",
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "invalid username/password",
)
RULES = [
    {"who": "anonymous", "repositories": "public/**", "actions": "pull"},
    {"who": "user:alice", "repositories": ["public/**", "team/**"], "actions": ["pull", "push", "delete"]},
    {"who": "user:bob", "repositories": "team/**", "actions": "pull"},
]


@attrs.define
class GuardedServer(TlsServer):
    """A registry over TLS, with users and rules."""

    sections: dict[str, Any] = attrs.field(factory=dict)

    def config(self) -> dict[str, Any]:
        """Return the configuration with who may do what."""
        return {**super().config(), "access": RULES, **self.sections}

    def _answers(self) -> bool:
        connection = self.connection(5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/")
                return connection.getresponse().status == 200
            except OSError:
                return False


class LoginCase(PeerCase):
    """What holds however users are known."""

    def setUp(self) -> None:
        self.folder = self.directory()
        self.certificate, self.key = make_certificate(self.folder, "authority")
        self.trusted = os.path.join(self.folder, "trusted")
        os.makedirs(self.trusted)
        shutil.copy(self.certificate, os.path.join(self.trusted, "ca.crt"))
        self.htpasswd = os.path.join(self.folder, "htpasswd")
        with open(self.htpasswd, "w") as file:
            for user, password in PASSWORDS.items():
                file.write(hash_line(user, password, 5) + "\n")
        self.server = self.start(self.sections())

    def sections(self) -> dict[str, Any]:
        """Return the sections of the configuration that say who users are: passwords."""
        return {"auth": {"htpasswd": {"realm": "tests", "path": self.htpasswd}}}

    def start(self, sections: dict[str, Any]) -> GuardedServer:
        """Start a registry; docker's engine learns whose certificates to believe."""
        server = GuardedServer(
            TXREGISTRY,
            self.folder,
            os.path.join(self.folder, "data"),
            authority=self.certificate,
            sections=sections,
        )
        server.more = {"http": {"tls": {"certificate": self.certificate, "key": self.key}}}
        trusted = f"/etc/docker/certs.d/{server.host}"
        os.makedirs(trusted)
        self.addCleanup(shutil.rmtree, trusted)
        shutil.copy(self.certificate, os.path.join(trusted, "ca.crt"))
        self.addCleanup(self._stop, server)
        server.start()
        return server

    def refused(self, *command: str) -> str:
        """Run a program that is to fail because it may not do what it wants; return what it says."""
        with self.assertRaises(AssertionError) as caught:
            run_program(*command, timeout=60)
        said = str(caught.exception).lower()
        self.assertTrue(any(words in said for words in REFUSALS), said)
        return said

    def skopeo(self, verb: str, *arguments: str, user: str | None = None) -> list[str]:
        """Return a command line of skopeo's that believes the authority, as a user or as nobody."""
        side = {"copy": "dest-"}.get(verb, "")
        who = [] if user is None else [f"--{side}creds", f"{user}:{PASSWORDS[user]}"]
        return ["skopeo", verb, f"--{side}cert-dir", self.trusted, *who, *arguments]


class PasswordTests(LoginCase):
    """Users with passwords, by Basic.

    Where there is nothing but Basic, docker's engine and skopeo give up without credentials, and do not ask whether
    everyone may pull.
    """

    everyone_may_pull = False

    def test_skopeo(self) -> None:
        """skopeo logs in and pushes, is refused what the rules do not allow, and pulls without a login."""
        auth = os.path.join(self.folder, "auth.json")
        image = f"docker-archive:{small_image().path}"
        host = f"docker://{self.server.host}"
        tls = ["--cert-dir", self.trusted, "--authfile", auth]
        run_program("skopeo", "login", *tls, "-u", "alice", "-p", "wonder", self.server.host)
        run_program(
            "skopeo", "copy", "--dest-cert-dir", self.trusted, "--authfile", auth, image, f"{host}/team/app:1"
        )
        run_program("skopeo", "logout", "--authfile", auth, self.server.host)
        run_program(*self.skopeo("copy", image, f"{host}/public/app:1", user="alice"))
        run_program(*self.skopeo("inspect", f"{host}/team/app:1", user="bob"))
        if self.everyone_may_pull:
            run_program(*self.skopeo("inspect", f"{host}/public/app:1"))
        else:
            with contextlib.closing(self.server.connection(60)) as connection:
                connection.request("HEAD", "/v2/public/app/manifests/1")
                self.assertEqual(connection.getresponse().status, 200)
        self.refused(*self.skopeo("inspect", f"{host}/team/app:1"))
        self.refused(*self.skopeo("copy", image, f"{host}/team/app:2", user="bob"))
        self.refused(*self.skopeo("copy", image, f"{host}/public/app:2"))
        self.refused(*self.skopeo("delete", f"{host}/team/app:1", user="bob"))
        run_program(*self.skopeo("delete", f"{host}/team/app:1", user="alice"))
        self.refused("skopeo", "login", *tls, "-u", "alice", "-p", "wrong", self.server.host)

    def test_podman(self) -> None:
        """podman logs in, pushes and pulls, and is refused after it logged out."""
        auth = os.path.join(self.folder, "podman.json")
        roots = [
            "--root",
            f"{self.folder}/root",
            "--runroot",
            f"{self.folder}/run",
            "--storage-driver",
            "vfs",
        ]
        podman = ["podman", *roots]
        tls = ["--cert-dir", self.trusted, "--authfile", auth]
        run_program(*podman, "load", "-q", "-i", small_image().path)
        loaded = run_program(*podman, "images", "-q", "--no-trunc").split()[0]
        target = f"{self.server.host}/team/app:p"
        run_program("podman", *roots, "login", *tls, "-u", "alice", "-p", "wonder", self.server.host)
        run_program(*podman, "push", "-q", *tls, loaded, f"docker://{target}")
        run_program(*podman, "pull", "-q", *tls, f"docker://{target}")
        run_program("podman", *roots, "logout", "--authfile", auth, self.server.host)
        self.refused(*podman, "pull", "-q", *tls, f"docker://{target}")

    def test_docker(self) -> None:
        """docker logs in and pushes, another engine pulls what is public, and without a login no more than that."""
        first, second = engine("first"), engine("second")
        host = self.server.host
        first.docker("load", "-q", "-i", small_image().path)
        loaded = first.docker("images", "-q", "--no-trunc").split()[0]
        for name in ("public/app:d", "team/app:d"):
            first.docker("tag", loaded, f"{host}/{name}")
            self.addCleanup(first.docker, "rmi", "-f", f"{host}/{name}")
        self.fails(first, "push", f"{host}/team/app:d")
        self.fails(first, "login", "-u", "alice", "-p", "wrong", host)
        first.docker("login", "-u", "alice", "-p", "wonder", host)
        for name in ("public/app:d", "team/app:d"):
            first.docker("push", "-q", f"{host}/{name}")
        first.docker("logout", host)
        self.fails(first, "push", f"{host}/team/app:d")
        if self.everyone_may_pull:
            second.docker("pull", "-q", f"{host}/public/app:d")
        self.fails(second, "pull", f"{host}/team/app:d")
        second.docker("login", "-u", "bob", "-p", "builder", host)
        self.addCleanup(second.docker, "logout", host)
        second.docker("pull", "-q", f"{host}/team/app:d")
        self.fails(second, "push", f"{host}/team/app:d")
        self.assertEqual(second.image_id(f"{host}/team/app:d"), first.image_id(f"{host}/team/app:d"))

    def fails(self, docker: Any, *arguments: str) -> None:
        """Run docker's client, which is to be refused."""
        with self.assertRaises(AssertionError) as caught:
            docker.docker(*arguments, timeout=60)
        said = str(caught.exception).lower()
        # An engine that may do without TLS tries that after a refusal, and tells of that failure only.
        self.assertTrue(any(words in said for words in (*REFUSALS, "eof")), said)


class TokenTests(PasswordTests):
    """Users with passwords, by tokens of the registry's own."""

    everyone_may_pull = True

    def sections(self) -> dict[str, Any]:
        """Return passwords and the token service."""
        return {**super().sections(), "tokenservice": {"key": os.path.join(self.folder, "token.pem")}}


class ForeignTokenTests(PasswordTests):
    """Users whom another process knows, which signs tokens for this registry."""

    everyone_may_pull = True

    def sections(self) -> dict[str, Any]:
        """Start the other process, and return where it is and what it signs with."""
        key = os.path.join(self.folder, "foreign.pem")
        issuer = self.start(
            {
                **super().sections(),
                "tokenservice": {"key": key, "service": "hub.example", "issuer": "auth.example"},
            }
        )
        jwks = os.path.join(self.folder, "jwks.json")
        with open(jwks, "w") as file:
            json.dump(Signer.load(key, "key").jwks(), file)
        token = {
            "realm": f"https://{issuer.host}/auth/token",
            "service": "hub.example",
            "issuer": "auth.example",
            "jwks": jwks,
        }
        return {"auth": {"token": token}}


class ExplanationTests(LoginCase):
    """What the operator is told."""

    def test_explained(self) -> None:
        """A refusal's id leads to a line that names the rules, and the command says the same."""
        self.server.sections["log"] = {"level": "info"}
        self.server.stop()
        self.server.start()
        with contextlib.closing(self.server.connection(60)) as connection:
            connection.request("GET", "/v2/team/app/tags/list")
            answer = connection.getresponse()
            answer.read()
        self.assertEqual(answer.status, 401)
        identity = answer.headers["X-Request-Id"]
        line = next(line for line in self.server.log().splitlines() if f"request {identity}:" in line)
        done = subprocess.run(
            ["txregistry", "access", "explain", "--action", "pull", "team/app", self.server.config_path],
            env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 3)
        self.assertIn(done.stdout.strip().removeprefix("denied: "), line)
