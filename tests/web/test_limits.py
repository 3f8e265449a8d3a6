"""How much clients may have at once, and who counts as one."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.basic import BasicBackend, authorization
from tests.web.client import Server
from tests.web.sockets import PING, Transport, Wire, all_answers, at_once, make_site, request
from txregistry.access import Identity
from txregistry.auth.rules import make
from txregistry.content.registry import Registry
from txregistry.reference import RepositoryName
from txregistry.storage.memory import MemoryDriver
from txregistry.web.channel import HEADER_DEADLINE
from txregistry.web.crowd import RETRY_SECONDS, TOLD, Limits
from txregistry.web.locations import Locations
from txregistry.web.proxies import Proxies
from txregistry.web.tally import LIFETIME, UploadTally


class Visitor(Wire):
    """A connection from some address."""

    def __init__(self, site: Any, address: Any) -> None:
        self.site = site
        self.clock = site.reactor
        self.transport = Transport()
        self.transport.peerAddr = address
        self.channel = site.buildProtocol(address)
        self._taken = 0
        self.channel.makeConnection(self.transport)

    @property
    def cut(self) -> bool:
        """Whether it was ended without a word."""
        return bool(self.transport.disconnected)


def of(host: str) -> Any:
    """Return an address of TCP."""
    return IPv6Address("TCP", host, 1) if ":" in host else IPv4Address("TCP", host, 1)


class ConnectionLimitTests(SynchronousTestCase):
    """``http.limits.connections`` and ``connectionsperclient``."""

    def serve(self, proxies: Proxies | None = None, **limits: int) -> Any:
        return make_site(MemoryDriver(), Clock(), at_once, limits=Limits(**limits), proxies=proxies)

    def assert_turned_away(self, visitor: Visitor, status: int) -> None:
        answer = visitor.ask(PING)
        self.assertEqual((answer.status, answer.closes), (status, True))
        self.assertEqual(answer.header("Retry-After"), str(RETRY_SECONDS))
        self.assertIn(b'"code"', answer.body)
        self.assertEqual(visitor.site.seen, [])

    def test_L02_per_client(self) -> None:
        """A client has so many connections; one more is told 429 when it asks, and others are served."""
        site = self.serve(connections_per_client=3)
        mine = [Visitor(site, of("192.0.2.1")) for _ in range(3)]
        self.assert_turned_away(Visitor(site, of("192.0.2.1")), 429)
        self.assertEqual(Visitor(site, of("192.0.2.2")).ask(PING).status, 200)
        self.assertEqual(mine[0].ask(PING).status, 200)
        mine[0].hang_up()
        self.assertEqual(Visitor(site, of("192.0.2.1")).ask(PING).status, 200)

    def test_L02_networks(self) -> None:
        """The addresses of one IPv6 network are one client, and whoever uses a Unix socket is not told apart."""
        site = self.serve(connections_per_client=2)
        _open = [Visitor(site, of(f"2001:db8::{number}")) for number in range(1, 3)]
        self.assert_turned_away(Visitor(site, of("2001:db8::3")), 429)
        self.assertEqual(Visitor(site, of("2001:db8:0:1::1")).ask(PING).status, 200)
        for _ in range(3):
            self.assertEqual(Visitor(site, UNIXAddress(None)).ask(PING).status, 200)

    def test_L02_in_all(self) -> None:
        """When there are as many connections as may be, another is told 503, and those that are open go on."""
        site = self.serve(connections=2)
        first, _second = Visitor(site, of("192.0.2.1")), Visitor(site, of("192.0.2.2"))
        self.assert_turned_away(Visitor(site, of("192.0.2.3")), 503)
        self.assertEqual(first.ask(PING).status, 200)

    def test_L02_flood(self) -> None:
        """Those who are told are few, and not for long; beyond them connections are cut at once."""
        site = self.serve(connections_per_client=1)
        held = Visitor(site, of("192.0.2.1"))
        held.ask(PING)
        told = [Visitor(site, of("192.0.2.1")) for _ in range(TOLD)]
        self.assertFalse(any(visitor.cut for visitor in told))
        self.assertTrue(all(Visitor(site, of("192.0.2.1")).cut for _ in range(100)))
        self.assertEqual(site.crowd.refused, TOLD + 100)
        site.reactor.advance(HEADER_DEADLINE)
        self.assertFalse(any(visitor.open for visitor in told))
        for visitor in told:
            visitor.hang_up()
        self.assertFalse(Visitor(site, of("192.0.2.1")).cut)
        self.assertEqual(held.ask(PING).status, 200)

    def test_L02_nothing_is_left(self) -> None:
        """When all have gone there is as much room as before."""
        site = self.serve(connections=4, connections_per_client=2)
        for _ in range(3):
            visitors = [Visitor(site, of("192.0.2.1")) for _ in range(3 + TOLD)]
            for visitor in visitors:
                visitor.hang_up()
        self.assertEqual((site.crowd.inside, site.crowd._told, dict(site.crowd._clients)), (0, 0, {}))
        self.assertEqual(site.channels, set())

    def test_L02_log(self) -> None:
        """That connections are turned away is logged, however many they are, once a minute."""
        lines: list[str] = []

        def observe(event: Any) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        site = self.serve(connections_per_client=1)
        Visitor(site, of("192.0.2.1"))
        for _ in range(500):
            Visitor(site, of("192.0.2.1"))
        site.reactor.advance(60)
        Visitor(site, of("192.0.2.1"))
        told = [line for line in lines if "turned away" in line]
        self.assertEqual([line.partition(": ")[2].split()[0] for line in told], ["1", "500"])

    def test_L02_proxies(self) -> None:
        """The connections of a proxy are not one client's."""
        site = self.serve(Proxies.named(["10.0.0.0/8"]), connections_per_client=1)
        for _ in range(3):
            self.assertEqual(Visitor(site, of("10.1.2.3")).ask(PING).status, 200)
            self.assertEqual(Visitor(site, of("::ffff:10.1.2.3")).ask(PING).status, 200)


class ProxyTests(SynchronousTestCase):
    """``http.trustedproxies``."""

    def client(self, peer: Any, *told: str, trusted: tuple[str, ...] = ("10.0.0.0/8", "::1")) -> str:
        """Return whom a request is from."""
        site = make_site(MemoryDriver(), Clock(), at_once, proxies=Proxies.named(trusted))
        seen: list[str] = []
        self.patch(site, "log", lambda request: seen.append(site.proxies.client(request)))
        headers = [b"X-Forwarded-For: " + text.encode() for text in told]
        Visitor(site, peer).send(request(b"GET /v2/", *headers))
        (address,) = seen
        return address

    def test_H13_client(self) -> None:
        """A client is whom the nearest proxies name, and what stands before that is anyone's word."""
        self.assertEqual(self.client(of("192.0.2.1"), "198.51.100.1"), "192.0.2.1")
        self.assertEqual(self.client(of("10.0.0.1")), "10.0.0.1")
        self.assertEqual(self.client(of("10.0.0.1"), "198.51.100.1"), "198.51.100.1")
        self.assertEqual(self.client(of("10.0.0.1"), "203.0.113.9, 198.51.100.1"), "198.51.100.1")
        self.assertEqual(self.client(of("10.0.0.1"), "203.0.113.9", "198.51.100.1"), "198.51.100.1")
        self.assertEqual(self.client(of("10.0.0.1"), "198.51.100.1, 10.0.0.2"), "198.51.100.1")
        self.assertEqual(self.client(of("10.0.0.1"), "10.0.0.3, 10.0.0.2"), "10.0.0.3")
        self.assertEqual(self.client(of("::1"), "2001:DB8:0::1"), "2001:db8::1")

    def test_H13_nonsense(self) -> None:
        """What is no address ends the list, and nothing of it is taken for one."""
        for text in (
            "unknown",
            "",
            "198.51.100.1:80",
            "_hidden",
            "1.2.3",
            "a" * 5000,
            "198.51.100.1,",
            "::%9]",
        ):
            self.assertEqual(self.client(of("10.0.0.1"), text), "10.0.0.1")
        self.assertEqual(self.client(of("10.0.0.1"), "198.51.100.1, nonsense, 10.0.0.2"), "10.0.0.2")

    def test_H13_unix(self) -> None:
        """Whoever connects to the Unix socket is a proxy where the operator says so."""
        unix = UNIXAddress(None)
        self.assertEqual(self.client(unix, "198.51.100.1"), "unix")
        self.assertEqual(self.client(unix, "198.51.100.1", trusted=("unix",)), "198.51.100.1")
        self.assertEqual(self.client(of("192.0.2.1"), "198.51.100.1", trusted=("unix",)), "192.0.2.1")
        self.assertEqual(self.client(of("192.0.2.1"), "198.51.100.1", trusted=()), "192.0.2.1")

    def test_H13_addresses(self) -> None:
        """Where proxies are named, only they say by what address the registry is reached."""
        for trusted, host in ((("192.0.2.0/24",), "other.example"), (("10.0.0.0/8",), "r")):
            locations = Locations(proxies=Proxies.named(trusted))
            server = Server(locations=locations)
            for header in ("X-Forwarded-Host: other.example", "Forwarded: host=other.example"):
                visitor = Visitor(server.site, of("192.0.2.1"))
                visitor.send(request(b"POST /v2/a/blobs/uploads/", header.encode(), body=b""))
                (answer,) = all_answers(visitor.transport.value())
                self.assertTrue((answer.header("Location") or "").startswith(f"http://{host}/v2/a/"), answer)


class UploadLimitTests(SynchronousTestCase):
    """``http.limits.uploadsperclient``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.driver = MemoryDriver()
        registry = Registry.on(self.driver, at_once)
        self.tally = UploadTally(registry.uploads, 3, self.clock.seconds)
        users = {name: Identity(name) for name in ("alice", "bob")}
        policy = make(
            [{"who": ["anonymous", "authenticated"], "repositories": "**", "actions": ["pull", "push"]}], {}
        )
        self.server = Server(
            driver=self.driver, clock=self.clock, backend=BasicBackend(users), policy=policy, tally=self.tally
        )

    def begin(self, user: str | None = "alice") -> Any:
        headers = {} if user is None else {"Authorization": authorization(user)}
        return self.server.request("POST", "/v2/team/app/blobs/uploads/", headers=headers)

    def test_U11_too_many(self) -> None:
        """A user begins so many uploads; one more is 429 with a time to wait, and others may begin theirs."""
        self.assertEqual([self.begin().status for _ in range(3)], [202] * 3)
        answer = self.begin()
        self.assertEqual((answer.status, answer.codes), (429, ["TOOMANYREQUESTS"]))
        self.assertGreater(int(answer.headers["Retry-After"]), 0)
        self.assertEqual([self.begin(None).status for _ in range(4)], [202, 202, 202, 429])
        self.assertEqual(self.begin("bob").status, 202)

    def test_U11_ended(self) -> None:
        """An upload that ends, in either way, makes room for another at once."""
        for method, query in (
            ("DELETE", ""),
            ("PUT", "&digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ):
            for _ in range(5):
                path = self.server.path(self.begin())
                answer = self.server.request(
                    method, path + query, headers={"Authorization": authorization("alice")}
                )
                self.assertIn(answer.status, (201, 204))
        self.assertEqual(self.tally._clients, {})

    def test_U11_ended_elsewhere(self) -> None:
        """Uploads that another process ended, or a purge, count no more when that matters."""
        for _ in range(3):
            self.begin()
        self.assertEqual(self.begin().status, 429)
        self.driver._root.children.clear()
        self.assertEqual(self.begin().status, 429)
        self.clock.advance(1)
        self.assertEqual([self.begin().status for _ in range(4)], [202, 202, 202, 429])

    def test_U11_old(self) -> None:
        """Uploads that no one goes on with count for an hour."""
        for _ in range(3):
            self.begin()
        self.clock.advance(LIFETIME)
        self.assertEqual(self.begin().status, 202)

    def test_U11_at_once(self) -> None:
        """Uploads that are being begun count as well."""
        held = HeldUploads()
        tally = UploadTally(held, 3, self.clock.seconds)  # type: ignore[arg-type]
        name = RepositoryName.parse("a")
        begun = [Deferred.fromCoroutine(tally.begin("alice", name)) for _ in range(5)]
        self.assertEqual(held.begun, 3)
        for failed in begun[3:]:
            self.failureResultOf(failed)
        for waiting in begun[:3]:
            waiting.cancel()
            self.failureResultOf(waiting)
        self.assertEqual(tally._count("alice"), 0)

    def test_U11_no_limit(self) -> None:
        """Without a limit nothing is counted."""
        self.tally.limit = 0
        self.assertEqual({self.begin().status for _ in range(50)}, {202})
        self.assertEqual(self.tally._clients, {})


class HeldUploads:
    """Begins uploads and never gets done.

    :ivar begun: how many.
    """

    def __init__(self) -> None:
        self.begun = 0

    async def begin(self, name: RepositoryName) -> Any:
        """See :class:`~txregistry.content.uploads.Uploads`."""
        self.begun += 1
        await Deferred()
