"""Traces of requests and of what they do in the storage, by OpenTelemetry.

Importing this takes the extra ``txregistry[tracing]``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import field, frozen, mutable
from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv.attributes import (
    client_attributes,
    error_attributes,
    http_attributes,
    network_attributes,
    service_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txregistry import __version__
from txregistry.errors import ConfigError, PathUnknown
from txregistry.telemetry.storage import Ended

_log = Logger()

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_OTHER = "_OTHER"
#: Spans of these would be thousands for one blob.
_PIECES = frozenset({"Read", "Write", "Close"})
#: Seconds that the last spans may take to go out when the registry stops.
_FAREWELL = 5
#: Seconds between two words on the same trouble with the collector.
_SILENCE = 60


def provider() -> TracerProvider:
    """Return what makes spans, as the ``OTEL_*`` variables say."""
    # The SDK takes what is given here for stronger than the variables.
    named = service_attributes.SERVICE_NAME in OTELResourceDetector().detect().attributes
    own: dict[str, str] = {} if named else {service_attributes.SERVICE_NAME: "txregistry"}
    own[service_attributes.SERVICE_VERSION] = __version__
    return TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)


class _Headers(Getter[Any]):
    """Reads a request's headers."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        values = carrier.requestHeaders.getRawHeaders(key.encode("ascii"))
        return [str(value, "latin-1") for value in values] if values else None

    def keys(self, carrier: Any) -> list[str]:
        return [str(name, "latin-1").lower() for name, _ in carrier.requestHeaders.getAllRawHeaders()]


_HEADERS = _Headers()


@frozen
class RequestTraces:
    """Makes a span of each request.

    :param tracer: makes spans.
    :param prefix: ``http.prefix``.
    """

    _tracer: Tracer
    _prefix: str = "/"
    _spans: dict[Any, Span] = field(factory=dict, init=False)

    def began(self, request: Any) -> None:
        """See :class:`~txregistry.web.observers.RequestObserver`."""
        method = str(request.method, "latin-1")
        known = method if request.method in _METHODS else _OTHER
        client = getattr(request.getClientAddress(), "host", None)
        attributes = {
            http_attributes.HTTP_REQUEST_METHOD: known,
            # The query is left out: it may hold an upload's state.
            url_attributes.URL_PATH: str(request.path, "latin-1"),
            url_attributes.URL_SCHEME: "https" if request.isSecure() else "http",
            network_attributes.NETWORK_PROTOCOL_VERSION: str(request.clientproto, "latin-1").removeprefix(
                "HTTP/"
            ),
            client_attributes.CLIENT_ADDRESS: client,
            user_agent_attributes.USER_AGENT_ORIGINAL: request.text_header("User-Agent"),
            "txregistry.request.id": request.id,
        }
        if known == _OTHER:
            attributes[http_attributes.HTTP_REQUEST_METHOD_ORIGINAL] = method
        self._spans[request] = self._tracer.start_span(
            "HTTP" if known == _OTHER else known,
            propagate.extract(request, context.Context(), _HEADERS),
            SpanKind.SERVER,
            {name: value for name, value in attributes.items() if value is not None},
        )

    def routed(self, request: Any, route: str) -> None:
        """See :class:`~txregistry.web.observers.RequestObserver`."""
        span = self._spans[request]
        pattern = self._prefix + route[1:].replace("<path:", "{").replace("<", "{").replace(">", "}")
        span.set_attribute(http_attributes.HTTP_ROUTE, pattern)
        method = str(request.method, "latin-1") if request.method in _METHODS else "HTTP"
        span.update_name(f"{method} {pattern}")
        # Never detached: the context is that of this request's coroutine, and ends with it.
        context.attach(trace.set_span_in_context(span))

    def ended(self, request: Any, status: int, seconds: float) -> None:
        """See :class:`~txregistry.web.observers.RequestObserver`."""
        span = self._spans.pop(request)
        if request.startedWriting:
            span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, request.code)
        if request.aborted or status >= 500:
            kind = "aborted" if request.aborted else str(status)
            span.set_attribute(error_attributes.ERROR_TYPE, kind)
            span.set_status(Status(StatusCode.ERROR))
        elif status == 499:
            span.set_attribute(error_attributes.ERROR_TYPE, "client_gone")
        span.end()


def _ignore(error: BaseException | None, size: int) -> None:
    pass


@frozen
class StorageTraces:
    """Makes a span of each operation of the storage that belongs to a request.

    :param tracer: makes spans.
    :param driver: what the configuration calls the driver.
    """

    _tracer: Tracer
    _driver: str

    def began(self, action: str, path: str) -> Ended:
        """See :class:`~txregistry.telemetry.storage.StorageObserver`."""
        if action in _PIECES or not trace.get_current_span().is_recording():
            return _ignore
        attributes = {"txregistry.storage.driver": self._driver, "txregistry.storage.path": path}
        span = self._tracer.start_span(f"{self._driver}.{action}", attributes=attributes)

        def ended(error: BaseException | None, size: int) -> None:
            if size:
                span.set_attribute("txregistry.storage.bytes", size)
            if error is not None:
                span.set_attribute(error_attributes.ERROR_TYPE, type(error).__name__)
                if not isinstance(error, PathUnknown):
                    # That there is nothing at a path is an answer.
                    span.set_status(Status(StatusCode.ERROR))
            span.end()

        return ended


class _SdkLog(logging.Handler):
    """Writes what the SDK says of itself into the registry's log, each thing once in a while."""

    def __init__(self, reactor: Any, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._reactor = reactor
        self._now = now
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now, message = self._now(), str(record.msg)
        if now - self._said.get(message, -_SILENCE) < _SILENCE:
            return
        self._said[message] = now
        self._reactor.callFromThread(_log.warn, "tracing: {text}", text=record.getMessage())


@mutable(eq=False, slots=False)
class TracingService(Service):
    """Sends spans, from a thread of its own; when the registry stops, what is left for as long as it may take.

    :param reactor: what it runs on.
    :param provider: makes spans.
    """

    _reactor: Any
    _provider: TracerProvider
    _words: _SdkLog = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._words = _SdkLog(self._reactor)

    def startService(self) -> None:
        """Begin to send.

        :raises txregistry.errors.ConfigError: the variables do not say where to.
        """
        try:
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except ValueError as error:
            raise ConfigError("OTEL_*", str(error)) from error
        super().startService()
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(self._words)
        logger.propagate = False

    def stopService(self) -> Deferred[None]:
        """Send what is left; return when it is sent, or when that takes too long."""
        super().stopService()
        gone: Deferred[None] = Deferred()

        def end() -> None:
            logging.getLogger("opentelemetry").removeHandler(self._words)
            gone.callback(None)

        def late() -> None:
            _log.warn("tracing: the last spans were not taken within {seconds} s", seconds=_FAREWELL)
            end()

        def sent() -> None:
            if deadline.active():
                deadline.cancel()
                end()

        def shut_down() -> None:
            self._provider.shutdown()
            self._reactor.callFromThread(sent)

        deadline = self._reactor.callLater(_FAREWELL, late)
        # Not a thread of the reactor's, which would wait for it after all.
        threading.Thread(target=shut_down, daemon=True, name="tracing").start()
        return gone
