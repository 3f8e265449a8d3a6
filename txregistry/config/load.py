"""Loading: the file, what the environment overrides, and the checks that take more than one key."""

from __future__ import annotations

from collections.abc import Mapping as Mapping_

import msgspec
from attrs import frozen

from txregistry.config import values
from txregistry.config.decode import dotted, entries_of, section
from txregistry.config.document import Mapping, Node, Scalar, describe, is_empty, parse
from txregistry.config.drivers import storage
from txregistry.config.environment import CONFIGURATION_PATH, override
from txregistry.config.schema import Config, Storage
from txregistry.config.unbuilt import OBSOLETE
from txregistry.errors import ConfigError


@frozen
class Loaded:
    """What came of loading.

    :param config: the configuration, checked, defaults filled in.
    :param warnings: what an operator should hear of, a line each; none of it stands in the way.
    """

    config: Config
    warnings: tuple[str, ...]


def load(path: str | None, environ: Mapping_[str, str]) -> Loaded:
    """Return the configuration that a file and the environment make together.

    :param path: the file; ``None`` for the one that ``REGISTRY_CONFIGURATION_PATH`` names.
    :param environ: the environment's variables.
    :raises txregistry.errors.ConfigError: it cannot be used.
    """
    path = path or environ.get(CONFIGURATION_PATH)
    if not path:
        raise ConfigError(CONFIGURATION_PATH, "not set, and no configuration file is named")
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(repr(path), "is not the name of a file") from None
    root = parse(content, path)
    if not isinstance(root, Mapping):
        raise ConfigError(path, f"found {describe(root)}, expected a mapping that begins with version: 0.1")
    warnings = [*_drop_obsolete(root), *override(root, environ)]
    _check_access(root)
    root.entries.setdefault("storage", Scalar(None, "", "nothing in the file"))
    root.origins.setdefault("storage", "nothing in the file")
    config = _with_level(section(Config, root, (), {Storage: storage}), root, warnings)
    _check_address(config, root)
    _check_headers(config, root)
    return Loaded(config, tuple(warnings))


def _drop_obsolete(root: Mapping) -> list[str]:
    """Take out the keys that only Distribution 2 knew; return a warning for each."""
    dropped = [key for key in OBSOLETE if root.entries.pop(key, None) is not None]
    return [
        f"{key}: a key of Distribution 2 that has no effect here; {OBSOLETE[key]} ({root.origins[key]})"
        for key in dropped
    ]


def _with_level(config: Config, root: Mapping, warnings: list[str]) -> Config:
    """Return the configuration with what ``loglevel`` says in the place of ``log.level``, if that says nothing."""
    if not config.loglevel:
        return config
    warnings.append(f"loglevel: an old name, write log.level{_origin(root, ('loglevel',))}")
    log = config.log
    if not _is_written(root, ("log", "level")):
        log = msgspec.structs.replace(log, level=config.loglevel)
    return msgspec.structs.replace(config, log=log, loglevel="")


def _is_written(root: Node, path: tuple[str, ...]) -> bool:
    node = root
    for key in path:
        if not isinstance(node, Mapping) or key not in node.entries:
            return False
        node = node.entries[key]
    return not is_empty(node)


def _check_access(root: Mapping) -> None:
    """Refuse rules that are written and hold nothing: without rules, everyone may do everything."""
    rules = root.entries.get("access")
    if isinstance(rules, Scalar) and rules.value is None:
        expected = "rules, or [] which lets no one do anything, or no access at all"
        raise ConfigError("access", f"found nothing, expected {expected} ({root.origins['access']})")


def _check_address(config: Config, root: Mapping) -> None:
    check = values.socket_path if config.http.net == "unix" else values.address
    try:
        check(config.http.addr)
    except ValueError as error:
        origin = _origin(root, ("http", "addr"))
        raise ConfigError("http.addr", f"found {config.http.addr!r}, expected {error}{origin}") from None
    if config.http.net == "unix" and config.http.tls is not None:
        problem = "TLS on a Unix socket is not offered; remove http.tls or use tcp"
        raise ConfigError("http.tls", f"{problem}{_origin(root, ('http', 'tls'))}")


def _check_headers(config: Config, root: Mapping) -> None:
    seen: dict[str, str] = {}
    for name in config.http.headers:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            path = ("http", "headers", name)
            raise ConfigError(
                dotted(path), f"the same header as {other}; expected each once{_origin(root, path)}"
            )


def _origin(root: Node, path: tuple[str, ...]) -> str:
    """Return where a key was written, in brackets; nothing if it was not."""
    node = root
    for key in path:
        entries = entries_of(node, path)
        if key not in entries.entries:
            return ""
        node = entries.entries[key]
    return f" ({node.origin})"
