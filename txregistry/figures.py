"""What the parts of the registry count, shown among its figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txregistry.debug import Answer, Page
from txregistry.health.lag import ReactorLag
from txregistry.interfaces import ICache
from txregistry.notify.courier import Figures
from txregistry.notify.service import Notifications
from txregistry.purging import PurgingService
from txregistry.waiting import InThread

if TYPE_CHECKING:
    from txregistry.collecting import CollectingService
    from txregistry.telemetry.metrics import Metrics
    from txregistry.web.crowd import Crowd


def figures_page(metrics: Metrics, in_thread: InThread) -> Page:
    """Return the page of a registry's figures.

    :param in_thread: where they are written out, which takes longer than the reactor should wait.
    """

    async def page(request: Any) -> Answer:
        accept = request.getHeader(b"Accept") or b""
        content, media_type = await in_thread(lambda: metrics.exposition(str(accept, "latin-1")))
        return Answer(content, media_type)

    return page


def show_purging(metrics: Metrics, purging: PurgingService) -> None:
    """Show what upload purging has done."""
    for name, meaning, value in (
        ("runs", "Runs of upload purging that ended.", lambda: purging.runs),
        ("failures", "Runs of upload purging that failed.", lambda: purging.failures),
        ("uploads", "Uploads that were purged.", lambda: purging.purged),
        ("bytes", "Bytes of uploads that were purged.", lambda: purging.purged_bytes),
    ):
        metrics.read(f"txregistry_purging_{name}", meaning, value, total=True)


def show_collecting(metrics: Metrics, collecting: CollectingService) -> None:
    """Show what garbage collection has done."""
    removed = collecting.removed
    for name, meaning, value in (
        ("runs", "Garbage collections that ended.", lambda: collecting.runs),
        ("failures", "Garbage collections that failed.", lambda: collecting.failures),
        ("blobs", "Blobs and manifests' bytes that were collected.", lambda: removed["blob"]),
        ("manifests", "Manifests that were collected.", lambda: removed["manifest"]),
        ("links", "Links to blobs that were collected.", lambda: removed["link"]),
        ("bytes", "Bytes that were freed.", lambda: collecting.removed_bytes),
    ):
        metrics.read(f"txregistry_collection_{name}", meaning, value, total=True)
    metrics.read(
        "txregistry_collection_last_success_timestamp_seconds",
        "When the last garbage collection ended that did not fail; 0 before.",
        lambda: collecting.last_success,
    )
    metrics.read(
        "txregistry_collection_last_duration_seconds",
        "How long that took.",
        lambda: collecting.last_seconds,
    )


def show_cache(metrics: Metrics, cache: ICache) -> None:
    """Show how often the cache was asked, and what for; the names are Distribution's."""
    for name, meaning, value in (
        ("requests", "How often the cache was asked for something.", lambda: cache.requests),
        ("hits", "How often the cache had it.", lambda: cache.hits),
        ("errors", "How often the cache could not say.", lambda: cache.errors),
    ):
        metrics.read(f"registry_storage_cache_{name}", meaning, value, total=True)


def show_notifications(metrics: Metrics, notifications: Notifications, now: Callable[[], float]) -> None:
    """Show what became of events; the names of the first two are Distribution's.

    :param now: the time, in seconds since the epoch.
    """

    def each(of: Callable[[Figures], float]) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {(name,): of(figures) for name, figures in list(notifications.figures.items())}

    def tries() -> dict[tuple[str, ...], float]:
        delivered, failed = each(lambda one: one.delivered)(), each(lambda one: one.failures)()
        return {
            **{("Successes", *name): count for name, count in delivered.items()},
            **{("Failures", *name): count for name, count in failed.items()},
        }

    def pending() -> dict[tuple[str, ...], float]:
        return {(name,): courier.pending for name, courier in list(notifications.couriers.items())}

    def age(figures: Figures) -> float:
        return 0.0 if figures.oldest is None else max(0.0, now() - figures.oldest)

    metrics.read_each(
        "registry_notifications_events",
        "Deliveries of events that were tried, by what came of them.",
        ("type", "endpoint"),
        tries,
        total=True,
    )
    # A gauge in spite of its name, which is Distribution's.
    metrics.read_each("registry_notifications_pending_total", "Events that wait.", ("endpoint",), pending)
    metrics.read_each(
        "txregistry_notifications_oldest_seconds",
        "How long ago the oldest event that waits happened.",
        ("endpoint",),
        each(age),
    )
    metrics.read_each(
        "txregistry_notifications_set_aside",
        "Events that are set aside.",
        ("endpoint",),
        each(lambda one: one.set_aside),
    )
    metrics.read_each(
        "txregistry_notifications_dropped",
        "Events that were removed because there was no room.",
        ("endpoint",),
        each(lambda one: one.dropped),
        total=True,
    )


def show_crowd(metrics: Metrics, crowd: Crowd) -> None:
    """Show how many connections there are, and how many there could not be."""
    metrics.read("txregistry_connections", "Connections of clients that are open.", lambda: crowd.inside)
    metrics.read(
        "txregistry_connections_refused",
        "Connections that were turned away because there were too many.",
        lambda: crowd.refused,
        total=True,
    )


def show_lag(metrics: Metrics, lag: ReactorLag) -> None:
    """Show how late the reactor is."""
    metrics.read(
        "txregistry_reactor_lag_seconds",
        "How much later than asked the reactor calls, averaged over about five seconds.",
        lambda: lag.smoothed,
    )
    for name, meaning, value in (
        ("lag_sum_seconds", "All lags of the reactor that were measured, added up.", lambda: lag.total),
        ("lag_measurements", "How often the reactor's lag was measured.", lambda: lag.count),
    ):
        metrics.read(f"txregistry_reactor_{name}", meaning, value, total=True)
