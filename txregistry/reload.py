"""Taking a changed configuration into use while the server runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from attrs import field, mutable
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txregistry.config.load import Loaded
from txregistry.config.schema import Config
from txregistry.errors import ConfigError
from txregistry.logs import Output
from txregistry.service import RegistryService
from txregistry.waiting import in_thread

_log = Logger()

#: What can change while the server runs; all below it can, too.
CHANGEABLE = (
    "log.level",
    "log.formatter",
    "log.fields",
    "log.accesslog",
    "storage.delete",
    "storage.maintenance.readonly",
    "auth",
    "tokenservice",
    "access",
    "groups",
    "immutable",
    "validation",
    "warnings",
    "notifications.endpoints",
)


@mutable(eq=False)
class Reload:
    """Reads the configuration again whenever it is asked to; requests that come while it does are one.

    :param reactor: what it runs on.
    :param service: the server.
    :param output: the log.
    :param started: the configuration that the server was started with.
    :param read: reads the configuration; it may block.
    """

    _reactor: Any
    _service: RegistryService
    _output: Output
    _started: Config
    _read: Callable[[], Loaded]
    _running: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)

    def request(self) -> None:
        """Read it again, now or when the reading under way has ended.  To be called on the reactor's thread."""
        self._again = True
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        try:
            while self._again and self._service.running:
                self._again = False
                self._service.supervisor.reloading()
                try:
                    await self._once()
                finally:
                    if self._service.running:
                        self._service.supervisor.ready()
        finally:
            self._running = False

    async def _once(self) -> None:
        try:
            loaded = await in_thread(self._reactor)(self._read)
            await self._service.adopt(loaded.config)
        except ConfigError as error:
            _log.error("the configuration cannot be used, the old one stays: {error}", error=error)
            return
        except Exception:
            _log.failure("the configuration cannot be read again, the old one stays", Failure())
            return
        self._output.use(loaded.config.log)
        for warning in loaded.warnings:
            _log.warn("{warning}", warning=warning)
        fixed = unchangeable(self._started, loaded.config)
        if fixed:
            _log.warn("needs a restart: {keys}", keys=", ".join(fixed))
        _log.info("the configuration was read again")


def unchangeable(old: Config, new: Config) -> list[str]:
    """Return the keys that differ and have no effect before a restart."""
    return [
        key
        for key in _differences(msgspec.to_builtins(old), msgspec.to_builtins(new), "")
        if not any(f"{key}.".startswith(f"{one}.") for one in CHANGEABLE)
    ]


def _differences(old: Any, new: Any, above: str) -> Iterator[str]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new:
            yield above.rstrip(".")
        return
    for key in {**old, **new}:
        if above == "storage." and key == "options":
            yield from _differences(old[key], new[key], f"storage.{new['driver']}.")
        else:
            yield from _differences(old.get(key), new.get(key), f"{above}{key}.")
