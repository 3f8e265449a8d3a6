"""Figures of a running registry, for Prometheus.

Names, labels and their values are Distribution's where it has them; what it has not is called
``txregistry_…``.  No label has a value that a client can invent: no repository, no user, no method or
status that HTTP does not know.
"""

from __future__ import annotations

import itertools
import operator
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeAlias

from attrs import field, frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from twisted import __version__ as twisted_version
from txregistry import __version__, errors
from txregistry.telemetry.storage import ACTIONS, Ended

OTHER = "other"
"""The handler of requests that no route answers."""

_UNKNOWN_METHOD = "unknown"
_METHODS = {
    name: str(name, "ascii").lower()
    for name in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
}

#: Seconds: Distribution's, and two below for what is answered from memory.
_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
_STORAGE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 2.5, 5, 10)
#: Bytes: Distribution's.
_SIZES = tuple(1024 * 2**power for power in range(22))

#: What is wrong with a storage, by what it raises; that a path is unknown is an answer, not an error.
_STORAGE_ERRORS = (
    (errors.StorageFull, "full"),
    (errors.StorageUnavailable, "unavailable"),
    (errors.StorageFault, "fault"),
)


_Answered: TypeAlias = tuple[Counter, Histogram, Histogram, Histogram]


class _Registry(CollectorRegistry):
    """Collects without the times at which each series was made, which would double the page."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


@frozen
class Metrics:
    """All figures of one registry.

    :param registry: where collectors are registered; read only by :meth:`exposition`.
    :param http: sees requests.
    :param admissions: counts who is let in, by outcome.
    :param readings: where what other parts count is registered.
    :param others: see :meth:`make`.
    """

    registry: CollectorRegistry
    http: HttpMetrics
    admissions: Counter
    readings: CollectorRegistry
    others: Callable[[], Iterable[Metric]] | None = None

    @classmethod
    def make(
        cls,
        process: Collector | None = None,
        others: Callable[[], Iterable[Metric]] | None = None,
        shared: bool = False,
    ) -> Self:
        """Return figures that are all zero, with those of the process.

        :param process: tells of the process; of this one if not given.
        :param others: returns what others count, to be shown with what is counted here.
        :param shared: whether others show what is counted here, and all but that is left to them.
        """
        registry = _Registry()
        readings = CollectorRegistry() if shared else registry
        if others is None:
            GCCollector(registry=readings)
        if not shared:
            cls._describe(registry, process or ProcessCollector(registry=None))
        admissions = Counter(
            "txregistry_auth_admissions",
            "Requests at the gate, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        return cls(registry, HttpMetrics.on(registry), admissions, readings, others)

    @staticmethod
    def _describe(registry: CollectorRegistry, process: Collector) -> None:
        registry.register(process)
        build = Gauge(
            "txregistry_build_info",
            "What runs: always 1.",
            ["version", "python", "twisted"],
            registry=registry,
        )
        build.labels(__version__, platform.python_version(), twisted_version).set(1)

    def storage(self, driver: str) -> StorageMetrics:
        """Return what sees the operations of a driver.

        :param driver: its name in the configuration.
        """
        return StorageMetrics.on(self.registry, driver)

    def read(self, name: str, meaning: str, value: Callable[[], float], total: bool = False) -> None:
        """Show a figure that a part of the registry keeps, by reading it whenever all are shown.

        :param name: ``txregistry_…``, without ``_total``.
        :param value: returns it at once; called from any thread.
        :param total: whether it only ever grows.
        """
        self.readings.register(_Reading(name, meaning, value, total))

    def read_each(
        self,
        name: str,
        meaning: str,
        labels: tuple[str, ...],
        values: Callable[[], Mapping[tuple[str, ...], float]],
        total: bool = False,
    ) -> None:
        """Show figures of one name, as :meth:`read` shows one.

        :param labels: their labels' names.
        :param values: returns at once each figure by its labels' values.
        """
        self.readings.register(_Readings(name, meaning, labels, values, total))

    def admit(self, outcome: str) -> None:
        """Count a request at the gate."""
        self.admissions.labels(outcome).inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all figures as text, and its media type.  This takes milliseconds.

        :param accept: the media types that the reader takes: those of Prometheus or of OpenMetrics.
        """
        encode, media_type = choose_encoder(accept)
        return encode(
            self.registry if self.others is None else _Together(self.registry, self.others)
        ), media_type


@frozen
class _Together(Collector):
    """What is counted here and by others, added up; of gauges of one name the greater counts."""

    registry: CollectorRegistry
    others: Callable[[], Iterable[Metric]]

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for metric in itertools.chain(self.registry.collect(), self.others()):
            family = families.get(metric.name)
            families[metric.name] = metric if family is None else _added(family, metric)
        return families.values()


def _added(one: Metric, other: Metric) -> Metric:
    add = max if one.type == "gauge" else operator.add
    samples = {(each.name, *sorted(each.labels.items())): each for each in one.samples}
    for each in other.samples:
        key = (each.name, *sorted(each.labels.items()))
        known = samples.get(key)
        samples[key] = each if known is None else known._replace(value=add(known.value, each.value))
    one.samples = list(samples.values())
    return one


@frozen
class _Reading(Collector):
    name: str
    meaning: str
    value: Callable[[], float]
    total: bool

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily if self.total else GaugeMetricFamily
        yield family(self.name, self.meaning, self.value())


@frozen
class _Readings(Collector):
    name: str
    meaning: str
    labels: tuple[str, ...]
    values: Callable[[], Mapping[tuple[str, ...], float]]
    total: bool

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily if self.total else GaugeMetricFamily
        metric = family(self.name, self.meaning, labels=self.labels)
        for labels, value in self.values().items():
            metric.add_metric(labels, value)
        yield metric


@frozen
class HttpMetrics:
    """Counts requests and their bytes.  One series is looked up once and then kept."""

    _in_flight: Gauge
    _total: Counter
    _seconds: Histogram
    _received: Histogram
    _sent: Histogram
    _running: dict[str, Gauge] = field(factory=dict, init=False)
    _answered: dict[tuple[str, str, int], _Answered] = field(factory=dict, init=False)

    @classmethod
    def on(cls, registry: CollectorRegistry) -> Self:
        """Return what counts in *registry*."""
        return cls(
            Gauge(
                "registry_http_in_flight_requests",
                "Requests being answered.",
                ["handler"],
                registry=registry,
                multiprocess_mode="livesum",
            ),
            Counter(
                "registry_http_requests",
                "Requests that were answered; 499 is one whose client left first.",
                ["handler", "code", "method"],
                registry=registry,
            ),
            Histogram(
                "registry_http_request_duration_seconds",
                "Time from a request's first line to the end of its answer.",
                ["handler", "method"],
                buckets=_REQUEST_SECONDS,
                registry=registry,
            ),
            Histogram(
                "registry_http_request_size_bytes",
                "Bytes of requests' bodies.",
                ["handler"],
                buckets=_SIZES,
                registry=registry,
            ),
            Histogram(
                "registry_http_response_size_bytes",
                "Bytes of answers' bodies.",
                ["handler"],
                buckets=_SIZES,
                registry=registry,
            ),
        )

    def began(self, request: Any) -> None:
        """See :class:`~txregistry.web.observers.RequestObserver`."""

    def routed(self, request: Any, route: str) -> None:
        """See :class:`~txregistry.web.observers.RequestObserver`."""
        handler = request.handler
        running = self._running.get(handler)
        if running is None:
            running = self._running[handler] = self._in_flight.labels(handler)
        running.inc()

    def ended(self, request: Any, status: int, seconds: float) -> None:
        """See :class:`~txregistry.web.observers.RequestObserver`."""
        if request.handler is not None:
            self._running[request.handler].dec()
        key = (request.handler or OTHER, _METHODS.get(request.method, _UNKNOWN_METHOD), status)
        answered = self._answered.get(key)
        if answered is None:
            answered = self._answered[key] = self._series(*key)
        total, duration, received, sent = answered
        total.inc()
        duration.observe(seconds)
        received.observe(request.body.received)
        sent.observe(request.sentLength)

    def _series(self, handler: str, method: str, status: int) -> _Answered:
        return (
            self._total.labels(handler, str(status), method),
            self._seconds.labels(handler, method),
            self._received.labels(handler),
            self._sent.labels(handler),
        )


@frozen
class StorageMetrics:
    """Times the operations of a driver."""

    _actions: dict[str, Any]
    _faults: dict[str, Any]
    _read: Any
    _written: Any
    _open: Gauge
    _now: Callable[[], float] = time.perf_counter

    @classmethod
    def on(cls, registry: CollectorRegistry, driver: str) -> Self:
        """Return what counts in *registry* for a driver of that name."""
        seconds = Histogram(
            "registry_storage_action_seconds",
            "Time that operations of the storage take, failed ones included.",
            ["driver", "action"],
            buckets=_STORAGE_SECONDS,
            registry=registry,
        )
        faults = Counter(
            "txregistry_storage_errors",
            "Operations that the storage failed at, by what was wrong.",
            ["driver", "error"],
            registry=registry,
        )
        moved = Counter(
            "txregistry_storage_bytes",
            "Bytes read from and written to the storage, but for those that the kernel sends by itself.",
            ["driver", "direction"],
            registry=registry,
        )
        uploads = Gauge(
            "txregistry_upload_sessions_open",
            "Upload sessions that are being written to.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        return cls(
            {action: seconds.labels(driver, action) for action in ACTIONS},
            {name: faults.labels(driver, name) for _, name in _STORAGE_ERRORS},
            moved.labels(driver, "read"),
            moved.labels(driver, "written"),
            uploads,
        )

    def began(self, action: str, path: str) -> Ended:
        """See :class:`~txregistry.telemetry.storage.StorageObserver`."""
        timer, began = self._actions[action], self._now()

        def ended(error: BaseException | None, size: int) -> None:
            timer.observe(self._now() - began)
            if error is not None:
                self._count(error)
            if size:
                (self._read if action in ("GetContent", "Read") else self._written).inc(size)
            if action == "Writer" and error is None:
                self._open.inc()
            elif action == "Close":
                self._open.dec()

        return ended

    def _count(self, error: BaseException) -> None:
        for kind, name in _STORAGE_ERRORS:
            if isinstance(error, kind):
                self._faults[name].inc()
                return
