"""What a registry counts."""

from __future__ import annotations

from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.basic import BasicBackend, authorization
from tests.web.client import Server
from tests.web.edge import HeldDriver
from tests.web.guarded import GROUPS, RULES, USERS
from txregistry import errors
from txregistry.auth import rules
from txregistry.digest import Digest
from txregistry.interfaces import IStorageDriver
from txregistry.storage.memory import MemoryDriver
from txregistry.telemetry.metrics import Metrics
from txregistry.telemetry.storage import observed

BLOB = Digest.of(b"layer")


class MetricsCase(SynchronousTestCase):
    """A registry in memory whose figures are kept."""

    def setUp(self) -> None:
        self.serve(HeldDriver())

    def serve(self, driver: IStorageDriver, **options: Any) -> None:
        """Begin anew over a driver."""
        self.metrics = Metrics.make()
        self.driver = driver
        self.server = Server(observed(driver, [self.metrics.storage("held")]), **options)
        self.server.site.observers = [self.metrics.http]

    def value(self, name: str, **labels: str) -> float | None:
        """Return one figure; None if there is none."""
        return self.metrics.registry.get_sample_value(name, labels)

    def page(self, accept: str = "") -> str:
        """Return all figures as text."""
        return self.metrics.exposition(accept)[0].decode()


class RequestMetricsTests(MetricsCase):
    """Requests."""

    def test_handlers(self) -> None:
        """Each route is counted by the name that Distribution gives it, or by one of its own."""
        self.server.push_image("team/app", "v1")
        for handler, method, code, path in (
            ("base", "GET", 200, "/v2/"),
            ("catalog", "GET", 200, "/v2/_catalog"),
            ("tags", "GET", 200, "/v2/team/app/tags/list"),
            ("manifest", "GET", 200, "/v2/team/app/manifests/v1"),
            ("manifest", "HEAD", 404, "/v2/team/app/manifests/v2"),
            ("blob", "GET", 200, f"/v2/team/app/blobs/{BLOB}"),
            ("referrers", "GET", 200, f"/v2/team/app/referrers/{BLOB}"),
            ("discover", "GET", 200, "/v2/_oci/ext/discover"),
            ("root", "GET", 200, "/"),
            ("other", "GET", 404, "/v3/"),
        ):
            self.assertEqual(self.server.request(method, path).status, code, path)
            labels = {"handler": handler, "method": method.lower()}
            self.assertEqual(self.value("registry_http_requests_total", code=str(code), **labels), 1, path)
            self.assertEqual(self.value("registry_http_request_duration_seconds_count", **labels), 1, path)
        pushed = {"code": "202", "method": "post", "handler": "blob_upload"}
        self.assertEqual(self.value("registry_http_requests_total", **pushed), 2)
        stored = {"code": "201", "method": "put", "handler": "blob_upload_chunk"}
        self.assertEqual(self.value("registry_http_requests_total", **stored), 2)

    def test_sizes(self) -> None:
        """The bytes of bodies are counted, both ways."""
        self.server.push_blob("team/app", b"layer")
        self.server.request("GET", f"/v2/team/app/blobs/{BLOB}")
        self.assertEqual(self.value("registry_http_request_size_bytes_sum", handler="blob_upload_chunk"), 5)
        self.assertEqual(self.value("registry_http_response_size_bytes_sum", handler="blob"), 5)

    def test_time(self) -> None:
        """A request's time is from its first line to the end of its answer."""
        channel, _ = self.server.connect()
        upload = self.server.begin("team/app")
        channel.dataReceived(f"PATCH {upload} HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\n\r\nab".encode())
        self.server.clock.advance(7)
        channel.dataReceived(b"cd")
        labels = {"handler": "blob_upload_chunk", "method": "patch"}
        self.assertEqual(self.value("registry_http_request_duration_seconds_sum", **labels), 7)

    def test_in_flight(self) -> None:
        """A request is in flight until it is answered or its client leaves, which counts as 499."""
        upload = self.server.begin("team/app")
        channel, transport = self.server.connect()
        running = {"handler": "blob_upload_chunk"}
        channel.dataReceived(f"PATCH {upload} HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\n\r\nab".encode())
        self.assertEqual(self.value("registry_http_in_flight_requests", **running), 1)
        transport.loseConnection()
        self.assertEqual(self.value("registry_http_in_flight_requests", **running), 0)
        cut = {"code": "499", "method": "patch", **running}
        self.assertEqual(self.value("registry_http_requests_total", **cut), 1)

    def test_nothing_invented(self) -> None:
        """Whatever clients make up, there are no more series for it."""
        self.server.request("BREW", "/v2/")
        self.server.request("GET", "/v2/a/tags/list")
        self.server.request("GET", "/nowhere/0")
        before = self.page().count("\n")
        for number in range(20):
            self.server.request(f"BREW{number}", "/v2/", headers={"User-Agent": f"agent{number}"})
            self.server.request("GET", f"/v2/a{number}/tags/list")
            self.server.request("GET", f"/nowhere/{number}")
        self.assertEqual(self.page().count("\n"), before)
        unknown = {"code": "405", "handler": "base", "method": "unknown"}
        self.assertEqual(self.value("registry_http_requests_total", **unknown), 21)


class StorageMetricsTests(MetricsCase):
    """The storage."""

    def test_actions(self) -> None:
        """Operations are counted by driver and action, syncs and pieces too."""
        self.server.push_blob("team/app", b"layer")
        for action in ("PutContent", "Writer", "Write", "Sync", "Move", "Close"):
            count = self.value("registry_storage_action_seconds_count", driver="held", action=action)
            self.assertGreater(count or 0, 0, action)

    def test_bytes(self) -> None:
        """The bytes that are read and written are counted."""
        self.server.push_blob("team/app", b"x" * 100_000)
        written = self.value("txregistry_storage_bytes_total", driver="held", direction="written") or 0
        self.assertGreaterEqual(written, 100_000)
        self.server.request("GET", f"/v2/team/app/blobs/{Digest.of(b'x' * 100_000)}")
        read = self.value("txregistry_storage_bytes_total", driver="held", direction="read") or 0
        self.assertGreaterEqual(read, 100_000)
        self.assertLess(read, 101_000)

    def test_open_uploads(self) -> None:
        """An upload session is open while a request writes to it."""
        upload = self.server.begin("team/app")
        channel, _ = self.server.connect()
        channel.dataReceived(f"PATCH {upload} HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\n\r\nab".encode())
        self.assertEqual(self.value("txregistry_upload_sessions_open"), 1)
        channel.dataReceived(b"cd")
        self.assertEqual(self.value("txregistry_upload_sessions_open"), 0)

    def test_errors(self) -> None:
        """What is wrong with the storage is counted by what it is; a path that is unknown is nothing wrong."""

        class Broken(MemoryDriver):
            async def stat(self, path: str) -> Any:
                raise errors.StorageUnavailable(path, "it is away")

        self.serve(Broken())
        self.assertEqual(self.server.request("GET", f"/v2/a/blobs/{BLOB}").status, 404)
        before = self.value("txregistry_storage_errors_total", driver="held", error="unavailable")
        self.assertEqual(before, 0)
        stat = self.server.driver.stat("/a")
        self.failureResultOf(Deferred.fromCoroutine(stat))  # type: ignore[arg-type]
        after = self.value("txregistry_storage_errors_total", driver="held", error="unavailable")
        self.assertEqual(after, 1)


class AdmissionTests(MetricsCase):
    """The gate."""

    def test_outcomes(self) -> None:
        """Each request at the gate is counted once, by what became of it."""
        metrics = Metrics.make()
        self.serve(
            MemoryDriver(), backend=BasicBackend(USERS), policy=rules.make(RULES, GROUPS), note=metrics.admit
        )
        self.metrics = metrics
        for outcome, user, path in (
            ("anonymous", None, "/v2/public/app/tags/list"),
            ("challenged", None, "/v2/team/app/tags/list"),
            ("authenticated", "bob", "/v2/team/app/tags/list"),
            ("denied", "alice", "/v2/team/app/tags/list"),
            ("insufficient", "alice-wants-team", "/v2/home/alice/app/tags/list"),
            ("invalid", "nobody-at-all", "/v2/team/app/tags/list"),
        ):
            before = self.value("txregistry_auth_admissions_total", outcome=outcome) or 0
            headers = {} if user is None else {"Authorization": authorization(user)}
            self.server.request("GET", path, headers=headers)
            after = self.value("txregistry_auth_admissions_total", outcome=outcome)
            self.assertEqual(after, before + 1, outcome)


class ExpositionTests(MetricsCase):
    """The page."""

    def test_strictly_parsed(self) -> None:
        """The figures are what the strict parsers of both formats take, and say the same."""
        self.server.push_image("team/app", "v1")
        openmetrics, media_type = self.metrics.exposition("application/openmetrics-text;version=1.0.0")
        self.assertTrue(media_type.startswith("application/openmetrics-text; version=1.0.0"))
        strict = {family.name for family in parse_openmetrics(openmetrics.decode())}
        plain, media_type = self.metrics.exposition("")
        self.assertTrue(media_type.startswith("text/plain; version=0.0.4"))
        self.assertEqual({family.name for family in text_string_to_metric_families(plain.decode())}, strict)
        self.assertIn("registry_http_requests", strict)

    def test_process(self) -> None:
        """The process, Python's garbage collector and what is running are told of too."""
        page = self.page()
        for name in (
            "process_resident_memory_bytes ",
            "python_gc_collections_total{",
            "txregistry_build_info{",
        ):
            self.assertIn(f"\n{name}", page)

    def test_registries_of_their_own(self) -> None:
        """Two registries in one process count apart."""
        other = Metrics.make()
        self.server.request("GET", "/v2/")
        labels = {"code": "200", "handler": "base", "method": "get"}
        self.assertIsNone(other.registry.get_sample_value("registry_http_requests_total", labels))

    def test_read_when_shown(self) -> None:
        """What a part of the registry counts is shown as it is at that moment."""
        counted = [1, 2]
        self.metrics.read("txregistry_things", "Things.", lambda: len(counted), total=True)
        self.assertEqual(self.value("txregistry_things_total"), 2)
        counted.append(3)
        self.assertIn("# TYPE txregistry_things_total counter\ntxregistry_things_total 3.0\n", self.page())

    def test_no_creation_times(self) -> None:
        """The page is not doubled by the times at which its series were made."""
        self.server.request("GET", "/v2/")
        self.assertNotIn("_created", self.page())
