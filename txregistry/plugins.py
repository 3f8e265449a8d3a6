"""Announcing and finding plugins.

A distribution announces a plugin by a line in ``twisted/plugins/<distribution>_plugins.py``::

    s3 = StorageDriverMaker("s3", "txregistry_s3.driver.make")

The second part is a dotted name, so that nothing of the driver is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import frozen
from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import InvalidName, namedAny
from zope.interface import implementer

from txregistry.errors import ConfigError
from txregistry.interfaces import (
    IAccessPolicy,
    IAccessPolicyMaker,
    IAuthBackend,
    IAuthBackendMaker,
    IStorageDriver,
    IStorageDriverMaker,
)

T = TypeVar("T")


def _load(factory: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = namedAny(factory)
    except (ImportError, AttributeError, InvalidName) as error:
        problem = f"installed, but {factory} cannot be imported: {error}"
        raise ConfigError("", problem) from error
    return found


@implementer(IPlugin, IStorageDriverMaker)
@frozen
class StorageDriverMaker:
    """Announces a storage driver.

    :param name: what ``storage:`` in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """

    name: str
    factory: str

    def make(self, options: Mapping[str, Any], reactor: Any) -> IStorageDriver:
        """See :meth:`txregistry.interfaces.IStorageDriverMaker.make`."""
        driver: IStorageDriver = _load(self.factory)(options, reactor)
        return driver


@implementer(IPlugin, IAuthBackendMaker)
@frozen
class AuthBackendMaker:
    """Announces an auth backend.

    :param name: what ``auth:`` in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """

    name: str
    factory: str

    def make(self, options: Mapping[str, Any], reactor: Any) -> IAuthBackend:
        """See :meth:`txregistry.interfaces.IAuthBackendMaker.make`."""
        backend: IAuthBackend = _load(self.factory)(options, reactor)
        return backend


@implementer(IPlugin, IAccessPolicyMaker)
@frozen
class AccessPolicyMaker:
    """Announces an access policy.

    :param name: what ``access:`` in the configuration calls it.
    :param factory: the dotted name of ``make(options, reactor)``.
    """

    name: str
    factory: str

    def make(self, options: Any, reactor: Any) -> IAccessPolicy:
        """See :meth:`txregistry.interfaces.IAccessPolicyMaker.make`."""
        policy: IAccessPolicy = _load(self.factory)(options, reactor)
        return policy


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
