"""What a plugin says of its own keys, made to name their whole paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from txregistry.errors import ConfigError


@contextmanager
def complaints(where: str) -> Iterator[None]:
    """Give a plugin's complaints, which name its own keys, the whole path of those keys.

    :param where: the path of the plugin's section.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.where}".rstrip("."), error.problem) from None
