"""From a configuration to a running server."""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve, field, mutable
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web.resource import IResource

from txregistry import __version__, descriptors
from txregistry.config import caches, checks, endpoints, gates
from txregistry.config.complaints import complaints
from txregistry.config.drivers import make
from txregistry.config.schema import Config, Http, Validation
from txregistry.config.telemetry import Telemetry
from txregistry.content.facts import Facts
from txregistry.content.registry import Registry
from txregistry.debug import DebugService, Page
from txregistry.errors import ConfigError
from txregistry.figures import (
    figures_page,
    show_cache,
    show_collecting,
    show_lag,
    show_notifications,
    show_purging,
)
from txregistry.health.condition import Condition
from txregistry.health.lag import ReactorLag
from txregistry.interfaces import IAuthBackend, IRedirects, IRereading, IStorageDriver
from txregistry.listening import listen_inherited, listen_tcp, listen_unix
from txregistry.mails import mail_services
from txregistry.manifest import Platform
from txregistry.notify.service import Notifications
from txregistry.pages import health_pages, process_variables, threads, variables_page
from txregistry.protection import TagProtection
from txregistry.purging import PurgingService
from txregistry.rounds import Rounds
from txregistry.supervisor import Supervisor
from txregistry.telemetry.storage import observed
from txregistry.validation import NO_URL, Rules
from txregistry.web.announcer import Announcer
from txregistry.web.app import Permissions, make_resource
from txregistry.web.guard import Guard
from txregistry.web.locations import Locations
from txregistry.web.manners import RepositoryWarning
from txregistry.web.pace import LeastPace
from txregistry.web.proxies import Proxies
from txregistry.web.site import RegistrySite
from txregistry.web.states import UploadStates
from txregistry.web.tally import UploadTally

T = TypeVar("T")

_log = Logger()

_SECRET_SIZE = 32
_THREADS = 32
#: Seconds between two looks at the TLS files.
_TLS_INTERVAL = 5
#: Seconds after which an auth backend that another one replaced is closed.
_LAST_QUESTIONS = 10
#: Keys that say who may do what.
_GUARDING = ("auth", "tokenservice", "access", "groups")


def make_service(config: Config, reactor: Any, environ: Mapping[str, str] | None = None) -> RegistryService:
    """Return the server that a configuration describes, not yet started.

    :param environ: the environment's variables, where ``OTEL_*`` say where traces go.
    :raises txregistry.errors.ConfigError: what only the parts themselves could check is wrong.
    """
    telemetry = Telemetry.of(config, environ or {}, reactor)
    metrics = telemetry.metrics
    driver = observed(make(config.storage, reactor), telemetry.storage)
    cache = caches.cache(config, reactor)
    registry = Registry.on(driver, in_thread(reactor), facts=Facts(cache))
    http = config.http
    secret = http.secret.encode("utf-8") or secrets.token_bytes(_SECRET_SIZE)
    proxies = Proxies.named(http.trustedproxies)
    locations = Locations(http.host, http.prefix, http.relativeurls, proxies)
    guard = make_guard(config, reactor, locations)
    if metrics is not None:
        guard = evolve(guard, note=metrics.admit)
    notifications = endpoints.notifications(config, reactor)
    announcer = Announcer(
        notifications,
        locations,
        endpoints.source(config),
        config.notifications.events.includereferences,
        random.Random().getrandbits,  # noqa: S311 (an event's id need not be hard to guess)
    )
    condition = checks.condition(config, driver, reactor, in_thread(reactor))
    states = UploadStates(secret)
    tally = UploadTally(registry.uploads, http.limits.uploadsperclient, reactor.seconds)

    def resource(config: Config, guard: Guard) -> IResource:
        manifests = evolve(
            registry.manifests,
            rules=rules(config.validation),
            protection=TagProtection.of(config.immutable),
        )
        return make_resource(
            evolve(registry, manifests=manifests, redirects=redirects(config, driver)),
            states,
            in_thread(reactor),
            locations,
            Permissions(
                write=not config.storage.maintenance.readonly.enabled, delete=config.storage.delete.enabled
            ),
            [RepositoryWarning(warn.repositories, warn.text) for warn in config.warnings],
            guard,
            announcer,
            condition,
            tally,
        )

    site = RegistrySite(
        resource(config, guard),
        reactor,
        prefix=http.prefix,
        headers=http.headers,
        timeout=http.idletimeout,
        access_log=not config.log.accesslog.disabled,
        verifies_clients=http.tls is not None
        and bool(http.tls.clientcas)
        and "verify" in http.tls.clientauth,
        observers=telemetry.requests,
        condition=condition,
        limits=descriptors.limits(http.limits),
        proxies=proxies,
    )
    lag = ReactorLag(reactor)
    parts: list[IService] = [*mail_services(config.log, reactor), *telemetry.parts, notifications]
    parts += [lag, LeastPace(reactor, site), *condition.parts()]
    if cache is not None:
        parts.append(caches.CacheService(cache))
        if metrics is not None:
            show_cache(metrics, cache)
    pages: dict[str, Page] = {
        **health_pages(condition),
        "/debug/vars": variables_page(process_variables(lag)),
        "/debug/threads": threads,
    }
    if metrics is not None:
        pages[http.debug.prometheus.path] = figures_page(metrics, in_thread(reactor))
        show_lag(metrics, lag)
        show_notifications(metrics, notifications, time.time)
    if http.debug.addr:
        parts.append(DebugService(reactor, http.debug.addr, pages))
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
    return RegistryService(
        reactor,
        driver,
        guard,
        site,
        config,
        _context_factory(http),
        resource,
        notifications,
        Supervisor(environ or {}, reactor),
        parts,
        condition,
    )


def make_guard(config: Config, reactor: Any, locations: Locations) -> Guard:
    """Return who may do what, by the configuration.

    :raises txregistry.errors.ConfigError: a rule, or an auth backend's option, is wrong.
    """
    policy = gates.policy(config, reactor)
    return Guard(gates.backend(config, reactor, policy), policy, locations)


def rules(validation: Validation) -> Rules:
    """Return the rules for manifests that the configuration describes, with Distribution's meaning."""
    if validation.disabled:
        return Rules(allow=None, children="none")
    urls, indexes = validation.manifests.urls, validation.manifests.indexes
    allow = tuple(re.compile(pattern) for pattern in urls.allow)
    deny = tuple(re.compile(pattern) for pattern in urls.deny)
    listed = frozenset(Platform(one.architecture, one.os) for one in indexes.platformlist)
    # A list of what is denied alone allows the rest; neither list allows nothing.
    return Rules(
        allow=allow or (None if deny else NO_URL), deny=deny, children=indexes.platforms, platforms=listed
    )


@mutable(eq=False, slots=False)
class RegistryService(Service):
    """The server: its storage, its listening port and what else runs while it does.

    :param reactor: what it runs on.
    :param driver: where everything is stored.
    :param guard: who may do what.
    :param site: what serves connections.
    :param config: how it is reached, among other things.
    :param context_factory: the TLS certificate and rules; None for plain HTTP.
    :param resource: makes what answers requests.
    :param notifications: tells of what happens.
    :param supervisor: what started this process.
    :param parts: what is started before the first request is answered, in this order, and stopped after the last.
        A part that cannot start raises :exc:`txregistry.errors.ConfigError`.
    :param condition: whether the registry is well, which is to know when it is stopped.
    """

    _reactor: Any
    _driver: IStorageDriver
    _guard: Guard
    _site: RegistrySite
    _config: Config
    _context_factory: Any
    _resource: Callable[[Config, Guard], IResource]
    _notifications: Notifications
    supervisor: Supervisor
    _parts: Sequence[IService] = ()
    _condition: Condition = field(factory=Condition)
    _port: IListeningPort | None = None
    _refreshing: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._adopted = self._config
        self._refreshing = LoopingCall(self._refresh)

    def startService(self) -> None:
        """Make the storage ready, then listen.

        Called before the reactor runs.  What fails here ends the process with one line on standard error:
        there is no other way to do so from inside ``twist``.
        """
        http = self._config.http
        try:
            with complaints(f"storage.{self._config.storage.driver}"):
                self._driver.prepare()
            gates.prepare(self._config, self._guard.backend)
            for part in self._parts:
                part.startService()
            self._port = self._listen()
        except ConfigError as error:
            raise SystemExit(f"txregistry: {error}") from None
        super().startService()
        if self._context_factory is not None:
            self._refreshing.clock = self._reactor
            self._refreshing.start(_TLS_INTERVAL, now=False)
        self._reactor.suggestThreadPoolSize(_THREADS)
        advice = gates.advice(self._config)
        if advice is not None:
            _log.warn("{advice}", advice=advice)
        if not http.secret:
            _log.warn(
                "http.secret is not set: a random one is used, so uploads cannot go on after a restart or "
                "on another instance"
            )
        addr = "a socket of systemd's" if self.supervisor.has_socket else http.addr
        _log.info("txregistry {version} listens on {addr}", version=__version__, addr=addr)
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
        self._site.resource = self._resource(config, guard)
        read_only = config.storage.maintenance.readonly.enabled
        self._condition.read_only = read_only
        for part in self._parts:
            if isinstance(part, Rounds):
                part.paused = read_only
        self._site.access_log = not config.log.accesslog.disabled
        self._adopted = config
        if fresh:
            old, self._guard = self._guard, guard
            # Requests that came before may still ask it who makes them.
            self._reactor.callLater(_LAST_QUESTIONS, lambda: Deferred.fromCoroutine(_close(old.backend)))
        elif IRereading.providedBy(self._guard.backend):
            await IRereading(self._guard.backend).reread()
        if self._context_factory is not None:
            await self._context_factory.refresh(run)

    def stopService(self) -> Deferred[None]:
        """Accept no more, let what is under way end, and close the storage."""
        super().stopService()
        self._condition.stopping = True
        self.supervisor.stopping()
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """Wait no longer for what is under way when the server stops."""
        self._site.hurry()

    def _listen(self) -> IListeningPort:
        http = self._config.http
        if self.supervisor.has_socket:
            return listen_inherited(self._reactor, self._site, self._context_factory)
        if http.net == "tcp":
            return listen_tcp(self._reactor, http.addr, self._site, "http.addr", self._context_factory)
        return listen_unix(self._reactor, http.addr, self._site, "http.addr")

    def _refresh(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._context_factory.refresh(in_thread(self._reactor)))

    async def _stop(self) -> None:
        if self._refreshing.running:
            self._refreshing.stop()
        if self._port is not None:
            port, self._port = self._port, None
            await maybeDeferred(port.stopListening)
        await self._site.drain(self._config.http.draintimeout)
        for part in reversed(self._parts):
            await maybeDeferred(part.stopService)
        await self._driver.close()
        await self._guard.backend.close()
        self.supervisor.stopped()
        _log.info("txregistry stopped")


def redirects(config: Config, driver: IStorageDriver) -> IRedirects | None:
    """Return what tells clients where blobs are, if the driver can and the configuration lets it."""
    if config.storage.redirect.disable or not IRedirects.providedBy(driver):
        return None
    return IRedirects(driver)


async def _close(backend: IAuthBackend) -> None:
    await backend.close()


def in_thread(reactor: Any) -> Callable[[Callable[[], T]], Awaitable[T]]:
    """Return what runs a function on the reactor's own threads."""

    def run(work: Callable[[], T]) -> Awaitable[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return run


def _context_factory(http: Http) -> Any:
    if http.tls is None:
        return None
    # Imported where it is used: it takes longer than everything else at start-up.
    from txregistry import tls

    return tls.ServerCertificates(http.tls)
