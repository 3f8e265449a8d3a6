"""From a configuration to a running server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, mutable
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from txregistry import __version__
from txregistry.config import checks, endpoints, gates
from txregistry.config.complaints import complaints
from txregistry.config.drivers import make
from txregistry.config.schema import Config
from txregistry.config.telemetry import Telemetry
from txregistry.core import Core, Share, make_guard
from txregistry.debug import DebugService, Page
from txregistry.errors import ConfigError
from txregistry.figures import figures_page, show_collecting, show_notifications, show_purging
from txregistry.front import Front, SiteFront
from txregistry.interfaces import IAuthBackend, IRereading
from txregistry.listening import listen
from txregistry.logs import Output
from txregistry.notify.service import Notifications, Teller
from txregistry.pages import health_pages, process_variables, threads, variables_page
from txregistry.purging import PurgingService
from txregistry.rounds import Rounds
from txregistry.supervisor import Supervisor
from txregistry.waiting import in_thread
from txregistry.workers.count import count

if TYPE_CHECKING:
    from txregistry.telemetry.metrics import Metrics
    from txregistry.workers.crew import Crew

_log = Logger()

_SECRET_SIZE = 32
_THREADS = 32
#: Seconds after which an auth backend that another one replaced is closed.
_LAST_QUESTIONS = 10
#: Keys that say who may do what.
_GUARDING = ("auth", "tokenservice", "access", "groups")


def make_service(
    config: Config, reactor: Any, environ: Mapping[str, str] | None = None, output: Output | None = None
) -> RegistryService:
    """Return the server that a configuration describes, not yet started.

    Where it is to be several processes this is what starts them, and does what is to be done once.

    :param environ: the environment's variables, where ``OTEL_*`` say where traces go.
    :param output: the log, where other processes are to write to it.
    :raises txregistry.errors.ConfigError: what only the parts themselves could check is wrong.
    """
    environ, http = environ or {}, config.http
    supervisor = Supervisor(environ, reactor)
    notifications = endpoints.notifications(config, reactor)
    share = Share(
        secret=http.secret.encode("utf-8") or secrets.token_bytes(_SECRET_SIZE),
        source=endpoints.source(config),
        notifications=notifications,
        condition=lambda driver: checks.condition(config, driver, reactor, in_thread(reactor)),
    )
    crew = None
    driver = make(config.storage, reactor)
    if (workers := count(config, driver)) > 1:
        # Imported where it is used: most registries are one process.
        from txregistry.workers.crew import Crew

        crew = Crew(reactor, config, workers, share, notifications, supervisor, output)
    telemetry = Telemetry.of(config, environ, reactor, None if crew is None else crew.make_metrics)
    core = Core.of(config, reactor, driver, telemetry, share)
    front: Front
    if crew is None:
        where = "a socket of systemd's" if supervisor.has_socket else http.addr
        front = SiteFront(
            reactor,
            core.site,
            http.tls,
            lambda factory, tls: listen(reactor, http, factory, tls, supervisor.has_socket),
            where,
        )
    else:
        front = crew
        crew.attend(core.condition)
    parts = [*core.parts, notifications, *core.condition.parts()]
    parts += _upkeep(core, reactor, telemetry.metrics, notifications, crew)
    return RegistryService(reactor, core, front, notifications, supervisor, parts)


def _upkeep(
    core: Core, reactor: Any, metrics: Metrics | None, notifications: Notifications, crew: Crew | None
) -> list[IService]:
    """Return what is done once, however many processes there are: pages for operators, and upkeep of the storage."""
    config, driver, lag = core.config, core.driver, core.lag
    parts: list[IService] = []
    pages: dict[str, Page] = {
        **health_pages(core.condition),
        "/debug/vars": variables_page(
            process_variables(lag) | ({} if crew is None else {"workers": crew.variables})
        ),
        "/debug/threads": threads if crew is None else crew.threads_page,
    }
    if metrics is not None:
        pages[config.http.debug.prometheus.path] = figures_page(metrics, in_thread(reactor))
        show_notifications(metrics, notifications, time.time)
    if config.http.debug.addr:
        parts.append(DebugService(reactor, config.http.debug.addr, pages))
    maintenance = config.storage.maintenance
    if maintenance.uploadpurging.enabled:
        purging = PurgingService(reactor, driver, maintenance.uploadpurging)
        purging.paused = maintenance.readonly.enabled
        parts.append(purging)
        if metrics is not None:
            show_purging(metrics, purging)
    collection = maintenance.garbagecollection
    if collection.enabled:
        # Imported where it is used: most registries collect by hand.
        from txregistry.collecting import CollectingService

        collecting = CollectingService(reactor, driver, collection)
        collecting.paused = maintenance.readonly.enabled
        parts.append(collecting)
        if metrics is not None:
            show_collecting(metrics, collecting)
    return parts


@mutable(eq=False, slots=False)
class RegistryService(Service):
    """The server: its storage, what connections come in by, and what else runs while it does.

    :param reactor: what it runs on.
    :param core: what answers requests.
    :param front: what connections come in by.
    :param notifications: tells of what happens.
    :param supervisor: what started this process.
    :param parts: what is started before the first request is answered, in this order, and stopped after the last.
        A part that cannot start raises :exc:`txregistry.errors.ConfigError`.
    """

    _reactor: Any
    _core: Core
    _front: Front
    _notifications: Teller
    supervisor: Supervisor
    _parts: Sequence[IService] = ()

    def __attrs_post_init__(self) -> None:
        self._adopted, self._guard = self._core.config, self._core.guard

    def startService(self) -> None:
        """Make the storage ready, then listen.

        May block for a moment.  What fails here ends the process with one line on standard error: there is no
        other way to do so from inside ``twist``.
        """
        config = self._core.config
        try:
            with complaints(f"storage.{config.storage.driver}"):
                self._core.driver.prepare()
            gates.prepare(config, self._guard.backend)
            for part in self._parts:
                part.startService()
            self._front.open()
        except ConfigError as error:
            raise SystemExit(f"txregistry: {error}") from None
        super().startService()
        self._reactor.suggestThreadPoolSize(_THREADS)
        if self._front.where is not None:
            self._advise()
        Deferred.fromCoroutine(self._get_ready())

    def _advise(self) -> None:
        config = self._core.config
        advice = gates.advice(config)
        if advice is not None:
            _log.warn("{advice}", advice=advice)
        if not config.http.secret:
            _log.warn(
                "http.secret is not set: a random one is used, so uploads cannot go on after a restart or "
                "on another instance"
            )

    async def _get_ready(self) -> None:
        await self._front.ready()
        if not self.running:
            return
        if self._front.where is not None:
            _log.info("txregistry {version} listens on {addr}", version=__version__, addr=self._front.where)
        self.supervisor.ready()

    async def adopt(self, config: Config) -> None:
        """Answer new requests as another configuration says; those under way go on by the old.

        What cannot change while the server runs stays as it was.

        :raises txregistry.errors.ConfigError: it cannot be used; nothing has changed then.
        """
        guard, run = self._guard, in_thread(self._reactor)
        fresh = any(getattr(config, key) != getattr(self._adopted, key) for key in _GUARDING)
        if fresh:
            guard = evolve(make_guard(config, self._reactor, guard.locations), note=guard.note)
        try:
            if fresh:
                await run(lambda: gates.prepare(config, guard.backend))
            if config.notifications.endpoints != self._adopted.notifications.endpoints:
                await self._notifications.exchange(endpoints.endpoints(config, self._reactor))
        except BaseException:
            if fresh:
                await guard.backend.close()
            raise
        self._core.site.resource = self._core.resource(config, guard)
        read_only = config.storage.maintenance.readonly.enabled
        self._core.condition.read_only = read_only
        for part in self._parts:
            if isinstance(part, Rounds):
                part.paused = read_only
        self._core.site.access_log = not config.log.accesslog.disabled
        self._adopted = config
        if fresh:
            old, self._guard = self._guard, guard
            # Requests that came before may still ask it who makes them.
            self._reactor.callLater(_LAST_QUESTIONS, lambda: Deferred.fromCoroutine(_close(old.backend)))
        elif IRereading.providedBy(self._guard.backend):
            await IRereading(self._guard.backend).reread()
        await self._front.adopt(config)

    def stopService(self) -> Deferred[None]:
        """Accept no more, let what is under way end, and close the storage."""
        super().stopService()
        self._core.condition.stopping = True
        self.supervisor.stopping()
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """Wait no longer for what is under way when the server stops."""
        self._front.hurry()

    async def _stop(self) -> None:
        await self._front.close(self._core.config.http.draintimeout)
        for part in reversed(self._parts):
            await maybeDeferred(part.stopService)
        await self._core.driver.close()
        await self._guard.backend.close()
        self.supervisor.stopped()
        if self._front.where is not None:
            _log.info("txregistry stopped")


async def _close(backend: IAuthBackend) -> None:
    await backend.close()
