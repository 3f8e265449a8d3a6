"""Values of the options of drivers: what they may be, in YAML and in ``REGISTRY_*`` variables."""

from __future__ import annotations

import re
from typing import Any

from txregistry.errors import ConfigError

_ROOT = re.compile(r"(?:/?[A-Za-z0-9._-]+)*/*")


def root_directory(key: str, value: Any) -> str:
    """Return a path that the paths of objects begin with.

    :raises txregistry.errors.ConfigError: it is none.
    """
    path = text(key, value)
    if not _ROOT.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise ConfigError(key, "expected a path of letters, digits, '.', '_' and '-'")
    return path


def text(key: str, value: Any) -> str:
    """Return a text, which may be written as a number.

    :raises txregistry.errors.ConfigError: it is none.
    """
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ConfigError(key, "expected a text")
    return str(value)


def flag(key: str, value: Any) -> bool:
    """Return a truth value, which may be written as a text.

    :raises txregistry.errors.ConfigError: it is none.
    """
    known = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ConfigError(key, f"expected true or false, found {value!r}")


def number(key: str, value: Any, least: int, most: int) -> int:
    """Return a number from *least* to *most*, which may be written as a text.

    :raises txregistry.errors.ConfigError: it is none.
    """
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(key, f"expected a number from {least} to {most}, found {value!r}")
    return value


def one_of(*known: str) -> Any:
    """Return what takes one of *known*, in whatever case, and returns it as it is spelt there."""

    def check(key: str, value: Any) -> str:
        found = next((one for one in known if isinstance(value, str) and one.lower() == value.lower()), None)
        if found is None:
            raise ConfigError(key, f"expected one of {', '.join(known)}, found {value!r}")
        return found

    return check
