"""Listings in byte order of names, whatever order a store has.

A store lists folders by their paths with the slash at their end: ``v1-rc/`` before ``v1/``, since a hyphen and a
dot come before a slash.  So of a page that ends with ``v1-rc.2/`` it is not known whether there are ``v1-rc/`` and
``v1/``, which come first among names: that is asked.  Nothing else that comes later in the store's order has its
place before.
"""

from __future__ import annotations

from collections.abc import Sequence

from txregistry import errors
from txregistry.objects.sessions import MARK
from txregistry.objects.store import Found, IObjectStore

_MOST = 1000
#: What sorts before the slash, of what names may contain.
_BEFORE_SLASH = "-."


async def names(store: IObjectStore, folder: str) -> list[str]:
    """Return all names directly below a folder, in byte order.

    :raises txregistry.errors.PathUnknown: there is nothing below it.
    """
    prefix, token = f"{folder}/", None
    found: set[str] = set()
    anything = False
    while True:
        page = await store.page(prefix, limit=_MOST, token=token)
        anything = anything or bool(page.found)
        found.update(_names(page.found, prefix))
        token = page.token
        if token is None:
            break
    if not anything:
        raise errors.PathUnknown(folder)
    return sorted(found)


async def names_after(store: IObjectStore, folder: str, after: str, limit: int) -> list[str]:
    """Return the first names directly below a folder that come after *after*, in byte order, at most *limit*."""
    prefix, token = f"{folder}/", None
    found: set[str] = set()
    while True:
        # One more than is wanted, for the folder that *after* itself may be.
        size = min(_MOST, limit + 1)
        page = await store.page(prefix, prefix + after if after else "", limit=size, token=token)
        found.update(name for name in _names(page.found, prefix) if name > after)
        last = page.found[-1].path[len(prefix) :].rstrip("/") if page.found else ""
        token = page.token
        if token is None:
            return sorted(found)[:limit]
        if len(found) >= limit:
            break
    # What is yet to come and belongs before the last of these: names that it begins with.
    for end, character in enumerate(last):
        name = last[:end]
        if character in _BEFORE_SLASH and name > after and name not in found:
            below = await store.page(f"{prefix}{name}/", deep=True, limit=1)
            if below.found:
                found.add(name)
    return sorted(found)[:limit]


def _names(found: Sequence[Found], prefix: str) -> list[str]:
    names = (one.path[len(prefix) :].rstrip("/") for one in found)
    return [name for name in names if name and MARK not in name]
