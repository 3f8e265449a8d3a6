"""The storage section: one key in it is a driver's name."""

from __future__ import annotations

from typing import Any

from txregistry.config.complaints import complaints
from txregistry.config.decode import (
    Path,
    dotted,
    entries_of,
    keys,
    mismatch,
    nearest,
    refuse_unknown,
    unbuilt_keys,
    value,
)
from txregistry.config.document import Mapping, Node, Scalar, plain
from txregistry.config.schema import Storage
from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriver, IStorageDriverMaker
from txregistry.plugins import find, installed

KIND = "storage driver"

_OWN = frozenset(keys(Storage)) - {"driver", "options"}

RESERVED = _OWN | set(unbuilt_keys(("storage",)))
"""The keys of ``storage`` that are not drivers' names."""


def expand(node: Node) -> Node:
    """Return the storage section as a mapping where a driver's name alone stands for it."""
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
        nothing = Scalar(None, "", node.origin)
        return Mapping({node.value: nothing}, node.origin, {node.value: node.origin})
    return node


def storage(node: Node, path: Path = ("storage",)) -> Storage:
    """Decode the storage section, and see that its driver is installed.

    :raises txregistry.errors.ConfigError: it names no driver, or several, or one that is not installed.
    """
    entries = entries_of(expand(node), path)
    names = [key for key in entries.entries if key not in RESERVED]
    available = sorted(installed(IStorageDriverMaker))
    if not names:
        raise ConfigError(
            dotted(path),
            f"no storage driver is named; expected one of {', '.join(available)} ({node.origin})",
        )
    if len(names) > 1:
        _refuse_several(entries, names, available, path)
    (name,) = names
    where = (*path, name)
    refuse_unknown(entries, [name, *RESERVED], path)
    _refuse_uninstalled(name, available, where, entries.origins[name])
    rest = {key: entry for key, entry in entries.entries.items() if key in _OWN}
    return Storage(
        driver=name,
        options=_options(entries.entries[name], where),
        **{
            key: value(keys(Storage)[key], entry, (*path, key))
            for key, entry in rest.items()
            if not (isinstance(entry, Scalar) and entry.value is None)
        },
    )


def make(settings: Storage, reactor: Any) -> IStorageDriver:
    """Return the driver that the configuration names.

    :raises txregistry.errors.ConfigError: it is not installed, or one of its options is wrong; the
        complaint names the option's whole path.
    """
    where = f"storage.{settings.driver}"
    maker = find(IStorageDriverMaker, settings.driver, KIND, where)
    with complaints(where):
        return maker.make(settings.options, reactor)


def _options(node: Node, path: Path) -> dict[str, Any]:
    if isinstance(node, Scalar) and node.value is None:
        return {}
    if not isinstance(node, Mapping):
        raise mismatch(node, path, "a mapping of the driver's options")
    options: dict[str, Any] = plain(node)
    return options


def _refuse_several(entries: Mapping, names: list[str], available: list[str], path: Path) -> None:
    for name in names:
        near = nearest(name, RESERVED)
        if name not in available and near is not None:
            raise ConfigError(
                dotted((*path, name)),
                f"unknown key; did you mean {dotted((*path, near))}? ({entries.origins[name]})",
            )
    found = ", ".join(f"{name} ({entries.origins[name]})" for name in names)
    raise ConfigError(dotted(path), f"found {len(names)} storage drivers, {found}; expected one")


def _refuse_uninstalled(name: str, available: list[str], where: Path, origin: str) -> None:
    try:
        find(IStorageDriverMaker, name, KIND, dotted(where))
    except ConfigError as error:
        near = nearest(name, available) if name not in available else None
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(error.where, f"{error.problem}{hint} ({origin})") from None
