"""What holds for every address: methods, names, headers, failures, and the locations in answers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.web.client import Server
from txregistry import errors
from txregistry.digest import Digest
from txregistry.storage.memory import MemoryDriver
from txregistry.web.locations import Locations


class BaseTests(SynchronousTestCase):
    """Addresses and methods."""

    def setUp(self) -> None:
        self.server = Server()

    def test_version_check(self) -> None:
        """``/v2/`` says that this is a registry, with or without its last slash."""
        for path in ("/v2/", "/v2"):
            answer = self.server.request("GET", path)
            self.assertEqual((answer.status, answer.json()), (200, {}))
            self.assertEqual(answer.headers["Docker-Distribution-Api-Version"], "registry/2.0")

    def test_root(self) -> None:
        """``/`` answers a load balancer's probe."""
        self.assertEqual(self.server.request("GET", "/").status, 200)

    def test_unknown_addresses(self) -> None:
        """What is not of the API is 404, in the spec's error format."""
        for path in ("/x", "/v1/", "/v2/a", "/v2/a/tags", "/v2/a/blobs", "/v2//tags/list/x"):
            answer = self.server.request("GET", path)
            self.assertEqual((answer.status, answer.codes), (404, ["NAME_UNKNOWN"]), path)

    def test_methods(self) -> None:
        """Every route answers a method that it does not know with 405 and those that it does."""
        cases = 0
        for route in self.server.routes:
            path = route.path.replace("<path:name>", "a/b").replace("<digest>", str(Digest.of(b"")))
            path = path.replace("<reference>", "1").replace(
                "<upload_id>", "0" * 8 + "-0000" * 3 + "-" + "0" * 12
            )
            known = set(route.methods) | ({"HEAD"} if "GET" in route.methods else set())
            for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - known:
                answer = self.server.request(method, path)
                self.assertEqual(answer.status, 405, (method, path))
                self.assertEqual(set(answer.headers["Allow"].split(", ")), known)
                cases += 1
        self.assertGreater(cases, 30)

    def test_H10_bad_names(self) -> None:
        """A name that is not of the grammar is 400 NAME_INVALID, or no address at all."""
        for name in ("A", "a..b", "a-", "-a", "a//b", "a/", "a b", "a" * 256, "a/../b", "é"):
            path = "/v2/" + name.replace(" ", "%20").replace("é", "%C3%A9")
            for method, rest in (("GET", "/tags/list"), ("POST", "/blobs/uploads/"), ("PUT", "/manifests/1")):
                answer = self.server.request(method, path + rest)
                self.assertIn(
                    (answer.status, *answer.codes), [(400, "NAME_INVALID"), (404, "NAME_UNKNOWN")], name
                )

    def test_names_like_routes(self) -> None:
        """A repository may be called by the words that addresses are made of."""
        for name in ("manifests", "a/blobs/uploads", "tags/list", "a/manifests/b", "blobs", "v2/v2"):
            content = self.server.push_image(name, "1")
            self.assertEqual(self.server.request("GET", f"/v2/{name}/manifests/1").body, content, name)
            self.assertEqual(self.server.request("GET", f"/v2/{name}/tags/list").json()["name"], name)

    def test_headers_of_the_operator(self) -> None:
        """What the operator wants in every answer is in every answer, an error's included."""
        server = Server(headers={"X-Served-By": ["one", "two"]})
        for path in ("/v2/", "/nowhere"):
            self.assertEqual(server.request("GET", path).headers.get_all("X-Served-By"), ["one", "two"])

    def test_request_ids(self) -> None:
        """Each answer carries an id of its own."""
        ids = {self.server.request("GET", "/v2/").headers["X-Request-Id"] for _ in range(20)}
        self.assertEqual(len(ids), 20)

    def test_keep_alive(self) -> None:
        """Requests that follow one another on a connection are answered in order."""
        content = self.server.push_image("a", "1")
        channel, transport = self.server.connect()
        request = b"GET /v2/a/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n"
        channel.dataReceived(request * 3 + b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertEqual(transport.value().count(content), 3)
        self.assertTrue(transport.value().endswith(b"{}\n"))
        self.assertFalse(transport.connected)


class _BrokenDriver(MemoryDriver):
    """Storage that fails in a way of the test's choice."""

    failure: Exception | None = None

    async def read(self, path: str, limit: int) -> bytes:
        if self.failure is not None:
            raise self.failure
        return await super().read(path, limit)


class FailureTests(SynchronousTestCase):
    """When it is not the client's fault."""

    def setUp(self) -> None:
        self.driver = _BrokenDriver()
        self.server = Server(driver=self.driver)
        self.server.push_image("a", "1")

    def fail_with(self, failure: Exception, status: int, code: str) -> bytes:
        self.driver.failure = failure
        answer = self.server.request("GET", "/v2/a/manifests/1")
        self.assertEqual((answer.status, answer.codes), (status, [code]))
        self.assertNotIn(b"/docker/registry", answer.body)
        self.assertNotIn(b"secret", answer.body)
        self.driver.failure = None
        self.assertEqual(self.server.request("GET", "/v2/a/manifests/1").status, 200)
        return answer.body

    def test_full(self) -> None:
        """Storage that is full or read-only is 507."""
        self.fail_with(errors.StorageFull("/docker/registry/x", "secret"), 507, "UNKNOWN")

    def test_passing(self) -> None:
        """Storage in passing trouble is 503, with a time after which to try again."""
        self.driver.failure = errors.StorageUnavailable("/docker/registry/x", "secret")
        answer = self.server.request("GET", "/v2/a/manifests/1")
        self.assertEqual(answer.headers["Retry-After"], "5")
        self.fail_with(errors.StorageUnavailable("/docker/registry/x", "secret"), 503, "UNAVAILABLE")

    def test_fault(self) -> None:
        """Any other failure is 500, its traceback in the log once, with the request's id, and not in the answer."""
        for failure in (errors.StorageFault("/docker/registry/x", "secret"), ZeroDivisionError("secret")):
            self.fail_with(failure, 500, "UNKNOWN")
            self.assertEqual(len(self.flushLoggedErrors(type(failure))), 1)


class LocationTests(SynchronousTestCase):
    """Addresses in answers, behind proxies and without."""

    def location(self, locations: Locations, **headers: str) -> str:
        server = Server(locations=locations)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        path = f"{locations.prefix}v2/a/blobs/uploads/"
        answer = server.request("POST", path, headers=fields)
        self.assertEqual(answer.status, 202)
        return str(answer.headers["Location"]).partition("/v2/")[0]

    def test_of_the_request(self) -> None:
        """Without any setting, addresses are those that the client used."""
        self.assertEqual(self.location(Locations()), "http://registry.example")
        self.assertEqual(self.location(Locations(), Host="[::1]:5000"), "http://[::1]:5000")

    def test_H13_forwarded(self) -> None:
        """Behind a proxy, addresses are those that the proxy was asked for."""
        for headers in (
            {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "hub.example:8443"},
            {"X_Forwarded_Proto": "https, http", "X_Forwarded_Host": "hub.example:8443, inner"},
            {"Forwarded": 'for=1.2.3.4; proto=https; host="hub.example:8443", for=5.6.7.8;host=x'},
        ):
            self.assertEqual(self.location(Locations(), **headers), "https://hub.example:8443")
        self.assertEqual(self.location(Locations(), X_Forwarded_Proto="https"), "https://registry.example")

    def test_H13_nonsense_forwarded(self) -> None:
        """What is not a scheme or a host is passed over."""
        for headers in (
            {"X_Forwarded_Proto": "javascript", "X_Forwarded_Host": "a b"},
            {"X_Forwarded_Host": "evil.example/path"},
            {"Forwarded": "proto=ftp;host=@"},
        ):
            self.assertEqual(self.location(Locations(), **headers), "http://registry.example")

    def test_host(self) -> None:
        """A host that the operator sets wins over all."""
        locations = Locations(host="https://hub.example", prefix="/r/", relative=True)
        self.assertEqual(self.location(locations, X_Forwarded_Host="other"), "https://hub.example/r")

    def test_relative(self) -> None:
        """Relative addresses have neither scheme nor host, but the prefix."""
        self.assertEqual(self.location(Locations(relative=True)), "")
        self.assertEqual(self.location(Locations(relative=True, prefix="/r/")), "/r")
