"""Which values are secrets, so that none of them is shown."""

from __future__ import annotations

import re
from typing import Any

MASK = "********"

_WORDS = (
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "accesskey",
    "accountkey",
    "credential",
    "authorization",
    "cookie",
    "connectionstring",
)
#: Sections in which the first part is a plugin's name, whatever that looks like.
_PLUGINS = {("storage",), ("auth",), ("access",)}
#: A checker of Twisted's may be spelt with passwords in it, ``memory:alice:…``.
_CHECKERS = {("auth", "cred"), ("auth", "cred", "cred")}
#: Sections whose headers are sent to others, and say who sends them by whatever name.
_SENDING = {("health",), ("notifications",)}
_USER_INFO = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+@")


def is_secret(path: tuple[str, ...]) -> bool:
    """Return whether the value at this path must not be shown.

    A value is a secret if its own key, or one above it in the same section, looks like the name of one.
    """
    if path[:2] in (("http", "tls"), ("redis", "tls")) or path == ("tokenservice", "key"):
        return False  # names of files
    if path in _CHECKERS:
        return True
    if path[:1] in _SENDING and "headers" in path:
        return True
    return any(_looks_secret(part) for part in path[2 if path[:1] in _PLUGINS else 1 :])


def masked(value: Any, path: tuple[str, ...]) -> Any:
    """Return the value with every secret in it replaced, also a password in a URL.

    An empty value is no secret, and stays, so that one can see that it is empty.
    """
    if isinstance(value, dict):
        return {key: masked(entry, (*path, key)) for key, entry in value.items()}
    if isinstance(value, list):
        return [masked(item, path) for item in value]
    if is_secret(path) and value not in (None, ""):
        return MASK
    return _USER_INFO.sub(rf"\1:{MASK}@", value) if isinstance(value, str) else value


def _looks_secret(key: str) -> bool:
    letters = re.sub("[^a-z]", "", key.lower())
    return letters.endswith("key") or any(word in letters for word in _WORDS)
