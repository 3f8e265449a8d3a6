"""From the section ``health`` to the checks that it describes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from txregistry.config.schema import Config
from txregistry.config.values import address
from txregistry.errors import ConfigError
from txregistry.health.checks import Check
from txregistry.health.condition import Condition
from txregistry.health.probes import (
    file_probe,
    http_probe,
    storage_probe,
    tcp_probe,
    without_password,
    writability_probe,
)
from txregistry.interfaces import IStorageDriver, IWritability

#: Distribution's, also where the file says 0.
_INTERVAL = 10.0
_STATUS = 200


def condition(
    config: Config,
    driver: IStorageDriver,
    reactor: Any,
    in_thread: Callable[[Callable[[], None]], Awaitable[None]],
) -> Condition:
    """Return the registry's condition, with every check that the configuration describes, none begun.

    :raises txregistry.errors.ConfigError: two checks have one name.
    """
    health = config.health
    storage = health.storagedriver
    named: list[tuple[str, Check]] = []
    pause = storage.interval or _INTERVAL
    if storage.enabled:
        name = f"storagedriver_{config.storage.driver}"
        check = Check(name, reactor, storage_probe(driver), pause, storage.threshold)
        named.append(("health.storagedriver", check))
    for n, file in enumerate(health.file):
        probe = file_probe(file.file, in_thread)
        named.append((f"health.file.{n}", Check(file.file, reactor, probe, file.interval or _INTERVAL)))
    for n, http in enumerate(health.http):
        interval = http.interval or _INTERVAL
        probe = http_probe(
            reactor, http.uri, http.headers, http.statuscode or _STATUS, http.timeout or interval
        )
        check = Check(without_password(http.uri), reactor, probe, interval, http.threshold)
        named.append((f"health.http.{n}", check))
    for n, tcp in enumerate(health.tcp):
        interval = tcp.interval or _INTERVAL
        target = address(tcp.addr)
        probe = tcp_probe(reactor, tcp.addr, target.host, target.port, tcp.timeout or interval)
        named.append((f"health.tcp.{n}", Check(tcp.addr, reactor, probe, interval, tcp.threshold)))
    seen: set[str] = set()
    for where, check in named:
        if check.name in seen:
            raise ConfigError(where, f"a second check of {check.name!r}; each thing can be checked once")
        seen.add(check.name)
    writability = None
    if IWritability.providedBy(driver):
        writability = Check("storage", reactor, writability_probe(driver), pause)
    read_only = config.storage.maintenance.readonly.enabled
    return Condition([check for _, check in named], writability, read_only)
