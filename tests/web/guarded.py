"""A registry in memory with users and rules, as an operator could have it, which counts what its storage is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.auth.basic import BasicBackend, authorization
from tests.web.client import Answer, Server
from txregistry.access import Access, Decision, Identity, parse_scope
from txregistry.auth.rules import make
from txregistry.interfaces import IAccessPolicy, IStorageDriver
from txregistry.storage.memory import MemoryDriver

EVERY = ["pull", "push", "delete"]

RULES: list[Mapping[str, Any]] = [
    {"who": "anonymous", "repositories": "public/**", "actions": "pull"},
    {"who": "authenticated", "repositories": "home/$username/**", "actions": EVERY},
    {"who": "group:dev", "repositories": ["team/**", "public/**"], "actions": ["pull", "push"]},
    {"who": "group:ops", "repositories": "team/**", "actions": ["pull", "delete"]},
    {"who": "claim:ref=refs/heads/*", "repositories": "ci/*", "actions": ["pull", "push"]},
    {"who": ["user:admin"], "repositories": "**", "actions": EVERY},
]
GROUPS = {"dev": ["bob"]}


def limited(name: str, *granted: str) -> Identity:
    """Return someone whose credentials are a token of those scopes."""
    return Identity(name, grants=frozenset(access for text in granted for access in parse_scope(text)))


USERS: dict[str, Identity] = {
    **{name: Identity(name) for name in ("alice", "bob", "admin", "../x", "public/x", "**")},
    "carol": Identity("carol", groups=frozenset({"ops"})),
    "main": Identity("main", claims={"ref": "refs/heads/main"}),
    "tag": Identity("tag", claims={"ref": "refs/tags/v1"}),
    # By what logs them in; behind it is whoever the token is of.
    "admin-reads-team": limited("admin", "repository:team/app:pull"),
    "admin-lists": limited("admin", "registry:catalog:*"),
    "alice-wants-team": limited("alice", "repository:team/app:*"),
    "nobody-reads-public": limited("", "repository:public/app:pull"),
}


def _watched(name: str) -> Any:
    async def call(self: WatchedDriver, *arguments: Any, **options: Any) -> Any:
        self.calls.append(name)
        return await getattr(MemoryDriver, name)(self, *arguments, **options)

    return call


class WatchedDriver(MemoryDriver):
    """A driver that notes what it is asked.

    :ivar calls: the methods that were called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    for _name in set(IStorageDriver.names()) - {"prepare", "close"}:
        locals()[_name] = _watched(_name)


@implementer(IAccessPolicy)
@frozen
class Nothing:
    """Lets nobody do anything."""

    def decide(self, identity: Identity, access: Access) -> Decision:
        """See :class:`~txregistry.interfaces.IAccessPolicy`."""
        return Decision(False, "the reason that clients must not see")


class GuardedCase(SynchronousTestCase):
    """Asks a registry with users and rules."""

    def setUp(self) -> None:
        self.driver = WatchedDriver()
        self.server = self.make_server(make(RULES, GROUPS))

    def make_server(self, policy: IAccessPolicy, **options: Any) -> Server:
        """Return a server of those users and another policy."""
        options = {"backend": BasicBackend(USERS), **options}
        return Server(driver=self.driver, policy=policy, **options)

    def fill(self, *names: str) -> bytes:
        """Push an image of the tag ``latest`` to some repositories; return its manifest."""
        server = Server(driver=self.driver)
        for name in names:
            content = server.push_image(name, "latest")
        return content

    def ask(
        self,
        user: str | None,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        server: Server | None = None,
    ) -> Answer:
        """Send a request as a user; None for nobody."""
        fields = {} if user is None else {"Authorization": authorization(user)}
        return (server or self.server).request(method, path, body, {**fields, **(headers or {})})

    def assert_refused(self, answer: Answer, user: str | None, head: bool = False) -> None:
        """Check that an answer asks nobody to log in, and tells a user that it may not."""
        expected = (401, "UNAUTHORIZED") if user is None else (403, "DENIED")
        self.assertEqual(answer.status, expected[0], answer)
        self.assertEqual("WWW-Authenticate" in answer.headers, user is None, answer)
        if not head:
            self.assertEqual(answer.codes, [expected[1]])

    def events(self) -> list[LogEvent]:
        """Return a list that what is logged from now on is put into."""
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return events


def lines(events: list[LogEvent]) -> list[str]:
    """Return what the guard logged, as text."""
    return [formatEvent(event) for event in events if event["log_namespace"] == "txregistry.web.guard"]
