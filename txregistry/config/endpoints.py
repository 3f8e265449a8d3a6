"""From the section ``notifications`` to who is told of what."""

from __future__ import annotations

import os
import random
import socket
import uuid
from typing import Any

from txregistry.config import values
from txregistry.config.complaints import complaints
from txregistry.config.notifications import EndpointKeys, NotificationKeys
from txregistry.config.schema import Config, Storage
from txregistry.errors import ConfigError
from txregistry.events import Source
from txregistry.interfaces import INotifierMaker
from txregistry.notify.courier import Endpoint
from txregistry.notify.service import Notifications, Place
from txregistry.plugins import find
from txregistry.storage import filesystem
from txregistry.storage.threads import Threads

_DEFAULT = Endpoint("", None)  # type: ignore[arg-type]
#: Below the root of a filesystem storage, where Distribution never looks.
_BELOW_ROOT = "_txregistry/outbox.sqlite"


def notifications(config: Config, reactor: Any) -> Notifications:
    """Return the service that the configuration describes.

    :raises txregistry.errors.ConfigError: something is wrong with it.
    """

    def thread() -> Threads:
        return Threads(reactor, 1, "txregistry-outbox")

    return Notifications(endpoints(config, reactor), place(config), thread, reactor, random.random)


def endpoints(config: Config, reactor: Any) -> list[Endpoint]:
    """Return those who are told, their notifiers not prepared yet.

    :raises txregistry.errors.ConfigError: something is wrong with one of them.
    """
    keys = config.notifications
    found: dict[str, Endpoint] = {}
    for number, one in enumerate(keys.endpoints):
        where = f"notifications.endpoints.{number}"
        if not one.name.isprintable():
            raise ConfigError(f"{where}.name", "expected a name of printable characters")
        if one.disabled:
            continue
        if one.name in found:
            raise ConfigError(
                f"{where}.name", f"another endpoint is called {one.name!r}; expected each its own"
            )
        found[one.name] = _endpoint(keys, one, where, reactor)
    return list(found.values())


def place(config: Config) -> Place:
    """Return where events are kept.

    :raises txregistry.errors.ConfigError: a bound is not one.
    """
    outbox = config.notifications.outbox
    for key, number in (("maxbytes", outbox.maxbytes), ("maxtries", outbox.maxtries)):
        if number < 1:
            raise ConfigError(f"notifications.outbox.{key}", f"found {number}, expected at least 1")
    return Place(outbox.path or _below(config.storage), outbox.maxbytes)


def source(config: Config) -> Source:
    """Return what events say of where they happened: this host, and the port of ``http.addr``."""
    host = socket.gethostname()
    try:
        port = values.address(config.http.addr).port
    except ValueError:
        return Source(addr=host, instance_id=str(uuid.uuid4()))
    return Source(addr=f"{host}:{port}", instance_id=str(uuid.uuid4()))


def _endpoint(keys: NotificationKeys, one: EndpointKeys, where: str, reactor: Any) -> Endpoint:
    maker = find(INotifierMaker, one.type, "notifier", f"{where}.type")
    with complaints(where):
        notifier = maker.make(one.options, reactor)
    return Endpoint(
        name=one.name,
        notifier=notifier,
        timeout=one.timeout or _DEFAULT.timeout,
        threshold=one.threshold if one.threshold > 0 else _DEFAULT.threshold,
        backoff=one.backoff or _DEFAULT.backoff,
        tries=keys.outbox.maxtries,
        ignored_media_types=frozenset([*one.ignoredmediatypes, *one.ignore.mediatypes]),
        ignored_actions=frozenset(one.ignore.actions),
    )


def _below(storage: Storage) -> str | None:
    if storage.driver != "filesystem":
        return None
    root = storage.options.get("rootdirectory", filesystem.DEFAULT_ROOT)
    return os.path.join(root, _BELOW_ROOT)
