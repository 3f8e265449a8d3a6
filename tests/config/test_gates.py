"""Who is let in, by the sections ``auth``, ``access`` and ``groups``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

import twisted.plugins
from tests.config.loading import SMALLEST, LoadingCase
from txregistry.access import ANONYMOUS, CATALOG, DELETE, PULL, PUSH, Access, Decision, Identity
from txregistry.auth.anonymous import Anonymous
from txregistry.auth.htpasswd import Htpasswd
from txregistry.auth.passwords import hash_line
from txregistry.auth.rules import Authenticated, Everything, Rules
from txregistry.auth.tokens import TokenService
from txregistry.config import gates
from txregistry.errors import ConfigError
from txregistry.interfaces import IAccessPolicy, IAuthBackend, IAuthBackendMaker
from txregistry.plugins import installed

HTPASSWD = "auth: {htpasswd: {realm: registry, path: /etc/htpasswd}}\n"
RULE = "{who: anonymous, repositories: '**', actions: pull}"
EVERY = [CATALOG, *Access.repository("a", PULL, PUSH, DELETE)]


@implementer(IAccessPolicy)
@frozen
class Office:
    """A policy of another distribution: lets everyone in during office hours."""

    options: Mapping[str, Any]

    def decide(self, identity: Identity, access: Access) -> Decision:
        """See :class:`~txregistry.interfaces.IAccessPolicy`."""
        return Decision(True, "the office is open")


def make_office(options: Mapping[str, Any], reactor: object) -> Office:
    """Make the policy."""
    for option in options:
        if option != "hours":
            raise ConfigError(option, "unknown key; expected hours")
    return Office(options)


class GatesCase(LoadingCase):
    """Makes what a configuration describes."""

    def gates(self, text: str, environ: dict[str, str] | None = None) -> tuple[IAuthBackend, IAccessPolicy]:
        """Return the backend and the policy, as the server makes them."""
        config = self.config(SMALLEST + text, environ)
        policy = gates.policy(config, Clock())
        return gates.backend(config, Clock(), policy), policy

    def refused(self, text: str, environ: dict[str, str] | None = None) -> str:
        """Return the one line that refuses a configuration."""
        line = str(self.assertRaises(ConfigError, self.gates, text, environ))
        self.assertTrue(line.isprintable(), line)
        return line

    def decisions(self, policy: IAccessPolicy, identity: Identity) -> list[bool]:
        """Return what someone may do: the catalog, pull, push, delete."""
        return [policy.decide(identity, access).allowed for access in EVERY]


class AuthTests(GatesCase):
    """``auth``."""

    def test_none(self) -> None:
        """Without a backend nobody is known, and without rules either everyone may do everything."""
        for text in ("", "auth:\n", "auth: none\n", "auth: {none: }\n", "auth: {none: {}}\n", "auth: {}\n"):
            backend, policy = self.gates(text)
            self.assertIsInstance(backend, Anonymous)
            self.assertIsInstance(policy, Everything)

    def test_backend(self) -> None:
        """The backend that is named is made, and nobody may do anything without it."""
        backend, policy = self.gates(HTPASSWD)
        self.assertIsInstance(backend, Htpasswd)
        self.assertIsInstance(policy, Authenticated)
        self.assertEqual(self.decisions(policy, ANONYMOUS), [False] * 4)
        self.assertEqual(self.decisions(policy, Identity("alice")), [True] * 4)

    def test_wrong_kinds(self) -> None:
        """What is neither a name nor a mapping is refused, lest it let everyone in for looking like nothing."""
        expected = "expected an auth backend's name and below it its keys"
        for text, found in (
            *(("0", "0"), ("1", "1"), ("false", "False"), ("true", "True"), ("''", "''"), ("0.0", "0.0")),
            *(("[]", "a list"), ("[htpasswd]", "a list"), ("{'': {}}", "a mapping")),
        ):
            self.assertEqual(self.refused(f"auth: {text}\n"), f"auth: found {found}, {expected}")

    def test_several(self) -> None:
        """Two backends are refused by their names, ``none`` being one of them."""
        self.assertEqual(
            self.refused("auth: {htpasswd: {}, token: {}}\n"), "auth: found htpasswd, token; expected one"
        )
        self.assertEqual(
            self.refused("auth: {none: , htpasswd: {}}\n"), "auth: found none, htpasswd; expected one"
        )

    def test_not_installed(self) -> None:
        """A backend that is not installed is refused with those that are."""
        names = ", ".join(sorted(installed(IAuthBackendMaker)))
        self.assertIn("htpasswd", names)
        for text, name in (
            *(("htpaswd", "htpaswd"), ("{htpaswd: {realm: x}}", "htpaswd"), ("{silly: }", "silly")),
            *(("NONE", "NONE"), ("{1: {}}", "1"), ("Htpasswd", "Htpasswd")),
        ):
            line = self.refused(f"auth: {text}\n")
            self.assertEqual(line, f"auth.{name}: no auth backend named {name!r}; installed: {names}")

    def test_wrong_keys(self) -> None:
        """What a backend says of its own keys names their whole paths."""
        for text, path in (
            ("auth: htpasswd\n", "auth.htpasswd.path"),
            ("auth: {htpasswd: {realm: x}}\n", "auth.htpasswd.path"),
            ("auth: {htpasswd: {realm: x, path: y, file: z}}\n", "auth.htpasswd.file"),
        ):
            self.assertTrue(self.refused(text).startswith(f"{path}: "), text)
        for text, found in (("1", "1"), ("false", "False"), ("[x]", "a list")):
            line = self.refused(f"auth: {{htpasswd: {text}}}\n")
            self.assertEqual(line, f"auth.htpasswd: found {found}, expected its keys")

    def test_secrets(self) -> None:
        """No complaint about the shape of the section shows what is further in."""
        for text in ("[{token: {secret: planted}}]", "{htpasswd: [planted]}", "{'': {password: planted}}"):
            self.assertNotIn("planted", self.refused(f"auth: {text}\n"))

    def test_environment(self) -> None:
        """The environment names a backend and its keys, takes one away, and cannot leave half of one."""
        environ = {"REGISTRY_AUTH_HTPASSWD_REALM": "x", "REGISTRY_AUTH_HTPASSWD_PATH": "/y"}
        self.assertIsInstance(self.gates("", environ)[0], Htpasswd)
        self.assertRaises(ConfigError, self.gates, "", {"REGISTRY_AUTH": "htpasswd"})
        self.assertIsInstance(self.gates(HTPASSWD, {"REGISTRY_AUTH": "none"})[0], Anonymous)
        line = self.refused("", {"REGISTRY_AUTH_HTPASSWD_REALM": "x"})
        self.assertTrue(line.startswith("auth.htpasswd.path: "), line)

    def test_prepare(self) -> None:
        """What stands in the way at the start names the section it is about."""
        path = os.path.abspath(self.file("alice:plain\n"))
        config = self.config(f"{SMALLEST}auth: {{htpasswd: {{realm: x, path: {path}}}}}\n")
        backend = gates.backend(config, Clock(), Everything())
        error = self.assertRaises(ConfigError, gates.prepare, config, backend)
        self.assertTrue(str(error).startswith("auth.htpasswd.path: "), str(error))
        none = self.config()
        gates.prepare(none, gates.backend(none, Clock(), Everything()))


class TokenServiceTests(GatesCase):
    """``tokenservice``."""

    KEYS = "tokenservice: {key: /etc/key.pem}\n"

    def test_behind(self) -> None:
        """It stands before a backend that knows passwords."""
        self.assertIsInstance(self.gates(HTPASSWD + self.KEYS)[0], TokenService)

    def test_nobody_known(self) -> None:
        """Where there are no passwords to log in with, it is refused."""
        for text in ("", "auth: none\n"):
            self.assertTrue(self.refused(text + self.KEYS).startswith("tokenservice: needs an auth backend"))

    def test_no_key(self) -> None:
        """Without the name of a key's file it is refused."""
        line = self.complaint(f"{SMALLEST}{HTPASSWD}tokenservice: {{service: x}}\n")
        self.assertTrue(line.startswith("tokenservice.key: missing"), line)

    def test_prepare(self) -> None:
        """The key is made ready with the backend."""
        htpasswd = os.path.abspath(self.file(hash_line("alice", "secret", 4) + "\n"))
        key = os.path.abspath(self.mktemp())
        config = self.config(
            f"{SMALLEST}auth: {{htpasswd: {{realm: x, path: {htpasswd}}}}}\ntokenservice: {{key: {key}}}\n"
        )
        backend = gates.backend(config, Clock(), Everything())
        gates.prepare(config, backend)
        self.addCleanup(lambda: self.successResultOf(_closed(backend)))
        self.assertTrue(os.path.exists(key))


def _closed(backend: IAuthBackend) -> Any:
    async def close() -> None:
        await backend.close()

    return Deferred.fromCoroutine(close())


class AccessTests(GatesCase):
    """``access`` and ``groups``."""

    def policy(self, text: str) -> IAccessPolicy:
        """Return the policy that a configuration describes."""
        return self.gates(text)[1]

    def test_rules(self) -> None:
        """A list of rules allows what it says, with auth and without."""
        for auth in ("", HTPASSWD):
            policy = self.policy(f"{auth}access: [{RULE}]\n")
            self.assertEqual(self.decisions(policy, ANONYMOUS), [False, True, False, False])
            self.assertEqual(self.decisions(policy, Identity("alice")), [True, True, False, False])

    def test_no_rules(self) -> None:
        """Under an empty list nobody may do anything with a repository."""
        for auth in ("", HTPASSWD):
            policy = self.policy(f"{auth}access: []\n")
            self.assertIsInstance(policy, Rules)
            self.assertEqual(self.decisions(policy, ANONYMOUS), [False] * 4)
            self.assertEqual(self.decisions(policy, Identity("alice"))[1:], [False] * 3)

    def test_groups(self) -> None:
        """Groups are those that the rules mean."""
        rule = "{who: 'group:dev', repositories: a, actions: push}"
        policy = self.policy(f"groups: {{dev: [alice, bob], ops: alice}}\naccess: [{rule}]\n")
        found = {name: self.decisions(policy, Identity(name))[2] for name in ("alice", "bob", "carol")}
        self.assertEqual(found, {"alice": True, "bob": True, "carol": False})
        for groups in ("[dev]", "dev", "{dev: {alice: bob}}", "{dev: [[alice]]}"):
            self.assertTrue(self.complaint(f"{SMALLEST}groups: {groups}\n").startswith("groups"), groups)

    def test_wrong_kinds(self) -> None:
        """What is neither a list nor names a policy is refused: it must not let everyone in."""
        expected = "expected a list of rules, or an access policy's name and below it its keys"
        for text, found in (("0", "0"), ("false", "False"), ("true", "True"), ("''", "''")):
            self.assertEqual(self.refused(f"access: {text}\n"), f"access: found {found}, {expected}")
        for text in ("none", "{}", "{none: }"):
            line = self.refused(f"access: {text}\n")
            self.assertEqual(line, "access: found none, expected a list of rules, or an access policy's name")
        line = self.refused(f"access: {RULE}\n")
        self.assertEqual(line, "access: found who, repositories, actions; expected one")

    def test_wrong_rules(self) -> None:
        """Whatever is wrong with a rule is refused by its number and key."""
        texts = "expected a text or a list of texts"
        for rule, line in (
            ("7", "access.1: found 7, expected who, repositories and actions"),
            ("anonymous", "access.1: found 'anonymous', expected who, repositories and actions"),
            ("[]", "access.1: found a list, expected who, repositories and actions"),
            ("", "access.1: found None, expected who, repositories and actions"),
            ("{}", f"access.1.who: found None, {texts}"),
            ("{who: anonymous, repositories: a}", f"access.1.actions: found None, {texts}"),
            ("{who: anonymous, actions: pull}", f"access.1.repositories: found None, {texts}"),
            (
                "{who: anonymous, repositories: [], actions: pull}",
                f"access.1.repositories: found [], {texts}",
            ),
            (
                "{who: anonymous, repositories: a, actions: [pull, read]}",
                "access.1.actions: found 'read', expected one of pull, push, delete",
            ),
            (
                "{who: alice, repositories: a, actions: pull}",
                "access.1.who: found 'alice', expected anonymous, authenticated, user:NAME, group:NAME or "
                "claim:NAME=PATTERN",
            ),
            (
                "{who: anonymous, repository: a, actions: pull}",
                "access.1.repository: unknown key; known here: who, repositories, actions",
            ),
        ):
            self.assertEqual(self.refused(f"access:\n- {RULE}\n- {rule}\n"), line)

    def test_environment(self) -> None:
        """A variable changes one key of one rule."""
        policy = self.gates(f"access: [{RULE}]\n", {"REGISTRY_ACCESS_0_ACTIONS": "[push]"})[1]
        self.assertEqual(self.decisions(policy, ANONYMOUS), [False, False, True, False])

    def announce(self) -> None:
        """Install a policy as another distribution would."""
        directory = os.path.abspath(self.mktemp())
        os.makedirs(directory)
        with open(os.path.join(directory, "txregistry_test_office_plugins.py"), "w") as file:
            file.write(
                "from txregistry.plugins import AccessPolicyMaker\n"
                'office = AccessPolicyMaker("office", "tests.config.test_gates.make_office")\n'
            )
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, directory])
        importlib.invalidate_caches()
        self.addCleanup(sys.modules.pop, "twisted.plugins.txregistry_test_office_plugins", None)

    def test_policy(self) -> None:
        """A policy that is installed is made with its keys, and its complaints name their whole paths."""
        self.announce()
        self.assertEqual(self.policy("access: office\n"), Office({}))
        self.assertEqual(self.policy("access: {office: {hours: 9-17}}\n"), Office({"hours": "9-17"}))
        self.assertEqual(
            self.refused("access: {office: {days: 5}}\n"), "access.office.days: unknown key; expected hours"
        )
        line = self.refused("access: opa\n")
        self.assertEqual(line, "access.opa: no access policy named 'opa'; installed: office")
        self.assertEqual(
            self.refused("access: {office: {}, opa: {}}\n"), "access: found office, opa; expected one"
        )


class ImmutableTests(LoadingCase):
    """``immutable``."""

    def test_patterns(self) -> None:
        """One pattern stands for a list of one; what is no text is refused by its number."""
        self.assertEqual(self.config(f"{SMALLEST}immutable: '**:v*'\n").immutable, ["**:v*"])
        self.assertEqual(
            self.config(f"{SMALLEST}immutable: ['**:v*', '!a:v1']\n").immutable, ["**:v*", "!a:v1"]
        )
        self.assertEqual(self.config(f"{SMALLEST}immutable:\n").immutable, [])
        line = self.complaint(f"{SMALLEST}immutable: ['**:v*', [a]]\n")
        self.assertTrue(line.startswith("immutable.1: found a list, expected a string"), line)


class AdviceTests(LoadingCase):
    """What an operator hears at the start."""

    def test_everyone(self) -> None:
        """Where everyone may pull and there are only passwords, the operator hears what docker makes of that."""
        rules = "access: [{who: [user:a, anonymous], repositories: '**', actions: pull}]\n"
        passwords = "auth: {htpasswd: {realm: a, path: /b}}\n"
        self.assertIn("tokenservice", gates.advice(self.config(SMALLEST + passwords + rules)) or "")
        for text in (
            passwords,
            rules,
            rules + passwords + "tokenservice: {key: /k}\n",
            rules + "auth: {token: {}}\n",
            passwords + rules.replace(", anonymous", ""),
        ):
            self.assertIsNone(gates.advice(self.config(SMALLEST + text)), text)
