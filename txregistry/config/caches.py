"""From ``storage.cache`` to what remembers."""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from txregistry.config.schema import Config
from txregistry.errors import ConfigError
from txregistry.interfaces import ICache, ICacheMaker
from txregistry.plugins import find


def cache(config: Config, reactor: Any) -> ICache | None:
    """Return the cache that the configuration describes, not prepared yet; None where it describes none.

    :raises txregistry.errors.ConfigError: there is no such cache, or it cannot be used.
    """
    keys = config.storage.cache
    name = keys.blobdescriptor or keys.layerinfo
    if not name:
        return None
    where = "storage.cache.blobdescriptor" if keys.blobdescriptor else "storage.cache.layerinfo"
    maker = find(ICacheMaker, name, "cache", where)
    redis = None if config.redis is None else msgspec.to_builtins(config.redis)
    options = {"blobdescriptorsize": max(0, keys.blobdescriptorsize), "redis": redis}
    try:
        return maker.make(options, reactor)
    except ConfigError as error:
        raise ConfigError(error.where or where, error.problem) from None


@define(eq=False, slots=False)
class CacheService(Service):
    """Makes a cache ready when the registry starts, and lets go of it when it stops."""

    _cache: ICache

    def startService(self) -> None:
        """Make it ready.

        :raises txregistry.errors.ConfigError: it cannot be used.
        """
        self._cache.prepare()
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Let go of it."""
        super().stopService()
        return Deferred.fromCoroutine(_close(self._cache))


async def _close(cache: ICache) -> None:
    await cache.close()
