"""What answers requests: wired by the configuration, not started."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from attrs import evolve, field, frozen
from twisted.application.service import IService
from twisted.web.resource import IResource

from txregistry import descriptors
from txregistry.config import caches, gates
from txregistry.config.limits import LimitKeys
from txregistry.config.schema import Config, Validation
from txregistry.config.telemetry import Telemetry
from txregistry.content.facts import Facts
from txregistry.content.locks import Locks
from txregistry.content.registry import Registry
from txregistry.events import Source
from txregistry.figures import show_cache, show_crowd, show_lag
from txregistry.health.condition import Condition
from txregistry.health.lag import ReactorLag
from txregistry.interfaces import IRedirects, IStorageDriver
from txregistry.mails import mail_services
from txregistry.manifest import Platform
from txregistry.notify.service import Teller
from txregistry.protection import TagProtection
from txregistry.telemetry.storage import observed
from txregistry.validation import NO_URL, Rules
from txregistry.waiting import in_thread
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


@frozen
class Share:
    """What a process that answers requests has in common with others that do.

    :param secret: what uploads' addresses are signed with.
    :param source: what events say of where they happened.
    :param notifications: who is told of what happens.
    :param condition: returns whether the registry on a driver is well.
    :param locks: who may change a repository.
    :param workers: how many of them there are: each takes its part of what is limited.
    """

    secret: bytes
    source: Source
    notifications: Teller
    condition: Callable[[IStorageDriver], Condition]
    locks: Locks = field(factory=Locks)
    workers: int = 1


@frozen
class Core:
    """What answers requests.

    :param driver: where everything is stored.
    :param guard: who may do what.
    :param site: what serves connections.
    :param resource: makes what answers requests.
    :param condition: whether the registry is well.
    :param lag: how late the reactor is.
    :param parts: what runs while it does.
    """

    config: Config
    driver: IStorageDriver
    guard: Guard
    site: RegistrySite
    resource: Callable[[Config, Guard], IResource]
    condition: Condition
    lag: ReactorLag
    parts: list[IService]

    @classmethod
    def of(
        cls, config: Config, reactor: Any, driver: IStorageDriver, telemetry: Telemetry, share: Share
    ) -> Core:
        """Return what a configuration describes.

        :param driver: where everything is stored.
        :param telemetry: who sees what is done.
        :raises txregistry.errors.ConfigError: what only the parts themselves could check is wrong.
        """
        metrics = telemetry.metrics
        driver = observed(driver, telemetry.storage)
        cache = caches.cache(config, reactor)
        registry = Registry.on(driver, in_thread(reactor), facts=Facts(cache), locks=share.locks)
        http = config.http
        proxies = Proxies.named(http.trustedproxies)
        locations = Locations(http.host, http.prefix, http.relativeurls, proxies)
        guard = make_guard(config, reactor, locations)
        if metrics is not None:
            guard = evolve(guard, note=metrics.admit)
        announcer = Announcer(
            share.notifications,
            locations,
            share.source,
            config.notifications.events.includereferences,
            random.Random().getrandbits,  # noqa: S311 (an event's id need not be hard to guess)
        )
        condition = share.condition(driver)
        states = UploadStates(share.secret)
        limits = _part(http.limits, share.workers)
        tally = UploadTally(registry.uploads, limits.uploadsperclient, reactor.seconds)

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
                    write=not config.storage.maintenance.readonly.enabled,
                    delete=config.storage.delete.enabled,
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
            limits=descriptors.limits(limits),
            proxies=proxies,
        )
        lag = ReactorLag(reactor)
        parts: list[IService] = [*mail_services(config.log, reactor), *telemetry.parts]
        parts += [lag, LeastPace(reactor, site)]
        if cache is not None:
            parts.append(caches.CacheService(cache))
            if metrics is not None:
                show_cache(metrics, cache)
        if metrics is not None:
            show_lag(metrics, lag)
            show_crowd(metrics, site.crowd)
        return cls(config, driver, guard, site, resource, condition, lag, parts)


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


def redirects(config: Config, driver: IStorageDriver) -> IRedirects | None:
    """Return what tells clients where blobs are, if the driver can and the configuration lets it."""
    if config.storage.redirect.disable or not IRedirects.providedBy(driver):
        return None
    return IRedirects(driver)


def _part(limits: LimitKeys, workers: int) -> LimitKeys:
    """Return the limits of one of several processes, which come to the whole together."""
    return LimitKeys(
        **{key: math.ceil(bound / workers) for key, bound in msgspec.structs.asdict(limits).items()}
    )
