"""Announcing and finding plugins.

A distribution announces a plugin by a line in ``twisted/plugins/<distribution>_plugins.py``::

    s3 = StorageDriverMaker("s3", "txregistry_s3.driver.make")

The second part is a dotted name, so that nothing of the driver is imported before it is used.
"""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import frozen
from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import InvalidName, namedAny
from zope.interface import implementer

from txregistry.errors import ConfigError
from txregistry.interfaces import (
    IAccessPolicyMaker,
    IAuthBackendMaker,
    ICacheMaker,
    INotifierMaker,
    IStorageDriverMaker,
)

T = TypeVar("T")


@frozen
class _Maker:
    name: str
    factory: str

    def make(self, options: Any, reactor: Any) -> Any:
        """Make what was announced, by calling what the dotted name leads to.

        :raises txregistry.errors.ConfigError: it leads nowhere, or the options are wrong.
        """
        try:
            factory = namedAny(self.factory)
        except (ImportError, AttributeError, InvalidName) as error:
            problem = f"installed, but {self.factory} cannot be imported: {error}"
            raise ConfigError("", problem) from error
        return factory(options, reactor)


@implementer(IPlugin, IStorageDriverMaker)
class StorageDriverMaker(_Maker):
    """Announces a storage driver.

    :param name: what ``storage:`` in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """


@implementer(IPlugin, IAuthBackendMaker)
class AuthBackendMaker(_Maker):
    """Announces an auth backend.

    :param name: what ``auth:`` in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """


@implementer(IPlugin, IAccessPolicyMaker)
class AccessPolicyMaker(_Maker):
    """Announces an access policy.

    :param name: what ``access:`` in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """


@implementer(IPlugin, INotifierMaker)
class NotifierMaker(_Maker):
    """Announces a notifier.

    :param name: what ``type`` of an endpoint in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """


@implementer(IPlugin, ICacheMaker)
class CacheMaker(_Maker):
    """Announces a cache.

    :param name: what ``storage.cache.blobdescriptor`` in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """


def installed(interface: type[T]) -> dict[str, list[T]]:
    """Return the plugins of an interface by their names."""
    found: dict[str, list[T]] = {}
    for plugin in getPlugins(interface):  # type: ignore[type-var]
        found.setdefault(plugin.name, []).append(plugin)  # type: ignore[attr-defined]
    return found


def find(interface: type[T], name: str, kind: str, where: str) -> T:
    """Return the one plugin of that name.

    :param kind: what to call such a plugin in a complaint, ``storage driver``.
    :param where: the configuration's key that named it.
    :raises txregistry.errors.ConfigError: there is none, or more than one.
    """
    found = installed(interface)
    candidates = found.get(name, [])
    if not candidates:
        raise ConfigError(where, f"no {kind} named {name!r}; installed: {', '.join(sorted(found)) or 'none'}")
    if len(candidates) > 1:
        raise ConfigError(
            where, f"{len(candidates)} installed distributions announce a {kind} named {name!r}"
        )
    return candidates[0]
