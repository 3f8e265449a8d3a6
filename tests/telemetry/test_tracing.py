"""Traces, as a collector receives them."""

from __future__ import annotations

import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.processes import TXREGISTRY, RegistryServer
from tests.web.client import Server
from tests.web.edge import HeldDriver
from txregistry.config.telemetry import traced
from txregistry.errors import ConfigError
from txregistry.telemetry import tracing
from txregistry.telemetry.storage import observed

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector:
    """Receives traces by OTLP over HTTP on a loopback port.

    :ivar spans: all that came.
    :ivar resources: the attributes of what sent them.
    """

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces", self.path
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def take(self, message: Any) -> None:
        """Keep what a message holds."""
        for sender in message.resource_spans:
            pairs = sender.resource.attributes
            self.resources.append({pair.key: pair.value.string_value for pair in pairs})
            for scope in sender.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> list[Any]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    """Return a span's attributes."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


class TracingCase(TestCase):
    """A registry in memory whose traces go to a collector."""

    def setUp(self) -> None:
        self.collector = Collector()
        self.addCleanup(self.collector.close)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self.patch(os, "environ", {**environ, ENDPOINT: self.collector.url})
        self.driver = HeldDriver()
        provider = tracing.provider()
        self.service = tracing.TracingService(reactor, provider)
        self.service.startService()
        tracer = provider.get_tracer("tests")
        self.server = Server(observed(self.driver, [tracing.StorageTraces(tracer, "held")]))
        self.server.site.observers = [tracing.RequestTraces(tracer)]

    def request_span(self) -> Any:
        """Return the one span of a request."""
        (span,) = [span for span in self.collector.spans if span.kind == span.SPAN_KIND_SERVER]
        return span


class RequestTracesTests(TracingCase):
    """What is told of a request."""

    async def test_request(self) -> None:
        """A request is a span by the semantic conventions, and its storage operations are spans below it."""
        self.server.request("GET", "/v2/team/app/tags/list", headers={"User-Agent": "tests/1"})
        await self.service.stopService()
        span = self.request_span()
        self.assertEqual(span.name, "GET /v2/{name}/tags/list")
        found = attributes(span)
        self.assertEqual(len(found.pop("txregistry.request.id")), 16)
        found.pop("client.address", None)
        self.assertEqual(
            found,
            {
                "http.request.method": "GET",
                "http.route": "/v2/{name}/tags/list",
                "http.response.status_code": 404,
                "url.path": "/v2/team/app/tags/list",
                "url.scheme": "http",
                "network.protocol.version": "1.1",
                "user_agent.original": "tests/1",
            },
        )
        self.assertEqual(span.status.code, span.status.STATUS_CODE_UNSET)
        below = [other for other in self.collector.spans if other is not span]
        self.assertNotEqual(below, [])
        for other in below:
            self.assertEqual((other.trace_id, other.parent_span_id), (span.trace_id, span.span_id))
        self.assertEqual(self.collector.resources[0]["service.name"], "txregistry")

    async def test_parent(self) -> None:
        """A request that says which trace it belongs to goes on with it."""
        self.server.request("GET", "/v2/", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        await self.service.stopService()
        span = self.request_span()
        self.assertEqual((span.trace_id.hex(), span.parent_span_id.hex()), (TRACE, PARENT))

    async def test_not_sampled(self) -> None:
        """A request whose trace is not kept by whoever began it leaves no span here either."""
        self.server.request("GET", "/v2/a/tags/list", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        await self.service.stopService()
        self.assertEqual(self.collector.spans, [])

    async def test_wrong_parent(self) -> None:
        """What is no trace context is ignored."""
        self.server.request("GET", "/v2/", headers={"traceparent": "00-zz-yy-01"})
        await self.service.stopService()
        self.assertEqual(self.request_span().parent_span_id, b"")

    async def test_no_secrets(self) -> None:
        """Neither an upload's state nor credentials are in any span."""
        self.server.push_blob("team/app", b"layer")
        self.server.request("GET", "/v2/", headers={"Authorization": "Basic aHVzaDpodXNo"})
        await self.service.stopService()
        told = "".join(str(span) for span in self.collector.spans)
        self.assertIn("/blobs/uploads/", told)
        self.assertNotIn("_state", told)
        self.assertNotIn("aHVzaDpodXNo", told)

    async def test_error(self) -> None:
        """A request that the registry fails at is an error, and so is what the storage failed at."""
        self.driver.stat = self.driver.read = self.fail_at_it  # type: ignore[assignment, method-assign]
        self.server.request("GET", "/v2/team/app/manifests/v1")
        await self.service.stopService()
        self.flushLoggedErrors(RuntimeError)
        span = self.request_span()
        self.assertEqual(span.status.code, span.status.STATUS_CODE_ERROR)
        self.assertEqual(attributes(span)["error.type"], "500")
        (inner,) = [other for other in self.collector.spans if other is not span]
        self.assertEqual(inner.status.code, inner.status.STATUS_CODE_ERROR)
        self.assertEqual(attributes(inner)["error.type"], "RuntimeError")

    async def fail_at_it(self, path: str, *arguments: Any) -> Any:
        """Fail."""
        raise RuntimeError("it is broken")

    async def test_unknown_method(self) -> None:
        """A method that HTTP does not know names no span."""
        self.server.request("BREW", "/nowhere")
        await self.service.stopService()
        span = self.request_span()
        self.assertEqual(span.name, "HTTP")
        self.assertEqual(attributes(span)["http.request.method"], "_OTHER")
        self.assertEqual(attributes(span)["http.request.method_original"], "BREW")

    async def test_concurrent(self) -> None:
        """However requests overlap, each has its own operations below it."""
        uploads = [self.server.begin(f"team/app{number}") for number in range(5)]
        self.driver.hold_opening()
        channels = [self.server.connect()[0] for _ in uploads]
        for channel, upload in zip(channels, uploads, strict=True):
            channel.dataReceived(
                f"PATCH {upload} HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\n\r\nab".encode()
            )
        self.driver.let_go()
        for channel in reversed(channels):
            channel.dataReceived(b"cd")
        await self.service.stopService()
        patches = [span for span in self.collector.spans if span.name.startswith("PATCH ")]
        self.assertEqual(len(patches), 5)
        for span in patches:
            name = attributes(span)["url.path"].split("/")[3]
            below = [other for other in self.collector.spans if other.parent_span_id == span.span_id]
            self.assertGreaterEqual(len(below), 2)
            for other in below:
                self.assertIn(f"/{name}/", attributes(other)["txregistry.storage.path"])

    async def test_nothing_is_left(self) -> None:
        """When a request is over nothing of its trace is current any more."""
        self.server.request("GET", "/v2/")
        self.assertFalse(tracing.trace.get_current_span().get_span_context().is_valid)
        await self.service.stopService()


class DeadCollectorTests(SynchronousTestCase):
    """A collector that takes nothing, at a server of its own."""

    def test_silent_collector(self) -> None:
        """A collector that accepts and never answers stops neither requests nor the end of the server."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(50)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            server = self.serve({ENDPOINT: url, "OTEL_BSP_SCHEDULE_DELAY": "50"})
            # Ends within the patience of end_process(), which is well below the exporter's own of many tries.
            server.stop()
            self.assertIn("the last spans were not taken within 5 s", server.log())

    def test_absent_collector(self) -> None:
        """A collector that is not there is a line or two in the log."""
        with socket.socket() as unheard:
            unheard.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
            server = self.serve({ENDPOINT: url, "OTEL_BSP_SCHEDULE_DELAY": "50"})
            server.stop()
        log = server.log()
        self.assertIn("tracing: ", log)
        self.assertNotIn("Traceback", log)
        self.assertLess(log.count("\n"), 8, log)

    def serve(self, environ: dict[str, str]) -> RegistryServer:
        """Return a server that runs, and has answered many requests."""

        class Talking(RegistryServer):
            def config(self) -> dict[str, Any]:
                return {**super().config(), "log": {"level": "warn", "accesslog": {"disabled": True}}}

        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        server = Talking(TXREGISTRY, directory, os.path.abspath(self.mktemp()), environ=environ)
        server.start()
        self.addCleanup(server.stop)
        for _ in range(100):
            self.assertTrue(server._answers())
        return server


class WantedTests(SynchronousTestCase):
    """When there are traces at all."""

    def test_off(self) -> None:
        """There are none unless a place for them is named, and none where they are turned off."""
        for environ in (
            {},
            {"OTEL_SERVICE_NAME": "registry"},
            {"OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://collector:4318"},
            {"OTEL_SDK_DISABLED": "TRUE", ENDPOINT: "http://collector:4318"},
            {ENDPOINT: ""},
        ):
            self.assertFalse(traced(environ), environ)

    def test_on(self) -> None:
        """There are where an exporter or an endpoint is named."""
        for environ in (
            {"OTEL_TRACES_EXPORTER": "otlp"},
            {ENDPOINT: "http://collector:4318"},
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"},
            {
                ENDPOINT: "http://c",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_SDK_DISABLED": "false",
            },
        ):
            self.assertTrue(traced(environ), environ)

    def test_not_offered(self) -> None:
        """An exporter or a protocol that is not offered is refused by the variable's name."""
        for name, value in (
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ):
            error = self.assertRaises(ConfigError, traced, {ENDPOINT: "http://c", name: value})
            assert isinstance(error, ConfigError)
            self.assertEqual(error.where, name)
