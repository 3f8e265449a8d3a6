"""The environment's say: ``REGISTRY_HTTP_TLS_KEY`` sets ``http.tls.key``."""

from __future__ import annotations

import re
from collections.abc import Mapping as Mapping_
from typing import Any, get_args, get_origin

from attrs import define, field

from txregistry.config.decode import (
    Path,
    bare,
    dotted,
    is_section,
    keys,
    nearest,
    rest_key,
    unbuilt_keys,
    variable_part,
)
from txregistry.config.document import Mapping, Node, Scalar, Sequence, describe, parse
from txregistry.config.drivers import expand
from txregistry.config.masks import is_secret
from txregistry.config.schema import Config, Storage
from txregistry.errors import ConfigError

PREFIX = "REGISTRY_"
CONFIGURATION_PATH = "REGISTRY_CONFIGURATION_PATH"

# Six digits are more than any list has items, and fewer than int() minds.
_INDEX = re.compile("[0-9]{1,6}")
# What Kubernetes sets in each container for each service (here one named registry, or registry-something).
_SERVICE_LINK = re.compile(
    r"REGISTRY_(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP).*)"
)
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://.*")


def override(root: Mapping, environ: Mapping_[str, str]) -> list[str]:
    """Apply the environment's variables to what the file says.

    :param root: the file's tree, which is changed.
    :return: a line for each variable that was ignored and perhaps should not have been.
    :raises txregistry.errors.ConfigError: a variable's value cannot be put where its name says.
    """
    warnings: list[str] = []
    links: list[str] = []
    for name in sorted(environ, key=_order):
        if not name.startswith(PREFIX) or name == CONFIGURATION_PATH:
            continue
        if _is_service_link(name, environ[name]):
            links.append(name)
        elif name == "REGISTRY_VERSION":
            warnings.append(f"{name}: the version of the format cannot be overridden; ignored")
        else:
            variable, target = _secret_from_file(name, environ[name]) or (
                _Variable(name, environ[name]),
                name,
            )
            if variable.assign(root, Config, (), target.removeprefix(PREFIX).split("_")) is None:
                hint = f"; did you mean {variable.near}?" if variable.near else ""
                warnings.append(f"{name}: names no key of the configuration; ignored{hint}")
    if links:
        warnings.append(f"{', '.join(links)}: set by Kubernetes for a service; ignored")
    return warnings


@define
class _Variable:
    """One variable on its way down the tree.

    :param literal: whether the value is a text, whatever YAML would make of it.
    :ivar near: the name that it was perhaps meant to have.
    """

    name: str
    value: str = field(repr=False)
    literal: bool = False
    near: str | None = field(default=None, init=False)

    def assign(self, node: Node | None, kind: Any, path: Path, parts: list[str]) -> Node | None:
        """Return the node with the value put below it, or ``None`` if the parts name no key.

        :param node: what is there now.
        :param kind: the schema's type of it; ``Any`` where the schema does not say.
        :param parts: those of the variable's name that are still to be followed.
        """
        if not parts and self.literal:
            return Scalar(self.value, self.value, self.name)
        if not parts:
            return parse(self.value, dotted(path), self.name)
        kind = bare(kind)
        if kind is Storage and node is not None:
            node = expand(node)
        if isinstance(node, Scalar) and node.value is None:
            node = None
        if get_origin(kind) is list or (kind is Any and isinstance(node, Sequence)):
            return self._assign_item(node, kind, path, parts)
        if is_section(kind) or get_origin(kind) is dict or kind is Any:
            return self._assign_key(node, kind, path, parts)
        return None

    def _assign_key(self, node: Node | None, kind: Any, path: Path, parts: list[str]) -> Node | None:
        if node is None:
            node = Mapping({}, self.name)
        if not isinstance(node, Mapping):
            raise self._mismatch(node, path)
        key, below = self._key(node, kind, path, parts[0])
        if key is None:
            return None
        entry = self.assign(node.entries.get(key), below, (*path, key), parts[1:])
        if entry is None:
            return None
        # A key stays the file's when the variable only sets something below it.
        origin = self.name if len(parts) == 1 else node.origins.get(key, self.name)
        node.set(key, entry, origin)
        return node

    def _assign_item(self, node: Node | None, kind: Any, path: Path, parts: list[str]) -> Node | None:
        if node is None:
            node = Sequence([], self.name)
        if isinstance(node, Scalar):
            node = Sequence([node], node.origin)  # one value stands for a list of one
        if not isinstance(node, Sequence):
            raise self._mismatch(node, path)
        if not _INDEX.fullmatch(parts[0]):
            return None
        index, count = int(parts[0]), len(node.items)
        if index > count:
            raise ConfigError(
                dotted(path), f"{self.name} sets item {index}, but the list has {count} (the first is item 0)"
            )
        below = Any if kind is Any else get_args(kind)[0]
        item = self.assign(
            node.items[index] if index < count else None, below, (*path, str(index)), parts[1:]
        )
        if item is not None:
            node.items[index:] = [item, *node.items[index + 1 :]]
        return None if item is None else node

    def _key(self, node: Mapping, kind: Any, path: Path, part: str) -> tuple[str | None, Any]:
        """Return the key that a part of the name stands for, and the type of what is below it."""
        if not part:
            return None, Any
        if is_section(kind):
            known: dict[str, Any] = dict.fromkeys(unbuilt_keys(path), Any)
            known |= keys(kind)
            if kind is Storage:
                # The driver's own keys stand below its name, which is free.
                del known["driver"], known["options"]
            for key, below in known.items():
                if part in (key.upper(), variable_part(below)):
                    return key, below
            if rest_key(kind) is not None:
                return part.lower(), Any
            if kind is not Storage:
                near = nearest(part, known)
                if near is not None:
                    self.near = PREFIX + "_".join((*path, near)).upper()
                return None, Any
        below = get_args(kind)[1] if get_origin(kind) is dict else Any
        return next((key for key in node.entries if key.upper() == part.upper()), part.lower()), below

    def _mismatch(self, node: Node, path: Path) -> ConfigError:
        found = describe(node, secret=is_secret(path))
        return ConfigError(
            dotted(path), f"{self.name} sets a key below it, but it is {found} ({node.origin})"
        )


def _secret_from_file(name: str, path: str) -> tuple[_Variable, str] | None:
    """Return a secret that is in a file, as container platforms hand it over, and the name that it is for.

    ``REGISTRY_HTTP_SECRET_FILE=/run/secrets/http`` sets ``http.secret``; so it is with every key whose name is
    that of a secret, and with no other.

    :raises txregistry.errors.ConfigError: the file cannot be read.
    """
    target = name.removesuffix("_FILE")
    parts = tuple(target.removeprefix(PREFIX).lower().split("_"))
    if target == name or not is_secret(parts):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return _Variable(name, file.read().removesuffix("\n"), literal=True), target
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(dotted(parts), f"{name} names a file that cannot be read: {reason}") from None


def _order(name: str) -> list[tuple[bool, int, str]]:
    """Sort a less specific name before those it begins, and item 2 before item 10."""
    return [(False, int(part), "") if _INDEX.fullmatch(part) else (True, 0, part) for part in name.split("_")]


def _is_service_link(name: str, value: str) -> bool:
    if name.endswith("_PORT") and _SERVICE_URL.fullmatch(value):
        return True
    return _SERVICE_LINK.fullmatch(name) is not None
