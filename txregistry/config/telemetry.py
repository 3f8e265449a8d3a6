"""From ``http.debug.prometheus`` and the ``OTEL_*`` variables to who sees what the registry does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen
from twisted.application.service import IService

from txregistry.config.schema import Config
from txregistry.errors import ConfigError
from txregistry.telemetry.storage import StorageObserver
from txregistry.web.observers import RequestObserver

if TYPE_CHECKING:
    from txregistry.telemetry.metrics import Metrics

_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


@frozen
class Telemetry:
    """Who sees what the registry does: no one, unless the configuration or the environment says so.

    :param metrics: counts; None where nothing is counted.
    :param requests: who sees requests.
    :param storage: who sees the storage's operations.
    :param parts: what runs beside the registry for them.
    """

    metrics: Metrics | None
    requests: Sequence[RequestObserver]
    storage: Sequence[StorageObserver]
    parts: Sequence[IService]

    @classmethod
    def of(
        cls,
        config: Config,
        environ: Mapping[str, str],
        reactor: Any,
        make_metrics: Callable[[], Metrics] | None = None,
    ) -> Self:
        """Return what a configuration and the environment ask for.

        :param make_metrics: makes what counts, where there is to be something; that of one process if not given.
        :raises txregistry.errors.ConfigError: that cannot be had; its ``where`` may be a variable's name.
        """
        requests: list[RequestObserver] = []
        storage: list[StorageObserver] = []
        parts: list[IService] = []
        metrics, driver = None, config.storage.driver
        debug = config.http.debug
        if debug.addr and debug.prometheus.enabled:
            # Imported where it is used: with it comes prometheus_client.
            from txregistry.telemetry.metrics import Metrics

            metrics = Metrics.make() if make_metrics is None else make_metrics()
            requests.append(metrics.http)
            storage.append(metrics.storage(driver))
        if traced(environ):
            tracing = _tracing()
            provider = tracing.provider()
            tracer = provider.get_tracer("txregistry")
            requests.append(tracing.RequestTraces(tracer, config.http.prefix))
            storage.append(tracing.StorageTraces(tracer, driver))
            parts.append(tracing.TracingService(reactor, provider))
        return cls(metrics, requests, storage, parts)


def traced(environ: Mapping[str, str]) -> bool:
    """Say whether the environment names a place for traces.

    The specification's default is a collector on this machine; a registry that no one traces must not try to
    reach one.

    :raises txregistry.errors.ConfigError: it names one that cannot be reached from here.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get(_EXPORTER, "").strip()
    if exporter not in ("", "otlp", "none"):
        raise ConfigError(_EXPORTER, f"found {exporter!r}, expected otlp or none")
    if exporter == "none" or not (exporter or any(environ.get(name) for name in _ENDPOINTS)):
        return False
    for name in _PROTOCOLS:
        protocol = environ.get(name, "").strip()
        if protocol:
            if protocol != _PROTOCOL:
                raise ConfigError(name, f"found {protocol!r}, expected {_PROTOCOL}")
            # The one for traces counts.
            break
    return True


def _tracing() -> Any:
    try:
        # Imported where it is used: it is an extra, and takes longer than everything else at start-up.
        from txregistry.telemetry import tracing
    except ImportError as error:
        raise ConfigError(
            _EXPORTER, f"traces need more to be installed, pip install 'txregistry[tracing]': {error}"
        ) from error
    return tracing
