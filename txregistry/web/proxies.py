"""The proxies that stand before the registry, and what they may say of clients."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeAlias

from attrs import frozen

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What stands for whoever connects to a Unix socket.
UNIX = "unix"


@frozen
class Proxies:
    """Whose word counts for where a request comes from.

    :param networks: ``http.trustedproxies``; without any, none is told apart from a client.
    :param unix: whether whoever connects to the Unix socket is one.
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False

    @classmethod
    def named(cls, texts: Iterable[str]) -> Proxies:
        """Return the proxies of some networks, and of ``unix``."""
        listed = list(texts)
        networks = tuple(ipaddress.ip_network(text) for text in listed if text != UNIX)
        return cls(networks, UNIX in listed)

    def __bool__(self) -> bool:
        return bool(self.networks) or self.unix

    def trusts(self, host: str | None) -> bool:
        """Say whether an address is a proxy's; None is whoever connects to a Unix socket."""
        return self.unix if host is None else bool(self.networks) and _within(self.networks, host)

    def speaks(self, request: Any) -> bool:
        """Say whether what a request says of its origin counts: always, where no proxy is named."""
        return not self or self.trusts(_peer(request))

    def client(self, request: Any) -> str:
        """Return the address that a request comes from.

        Of the addresses that proxies added to ``X-Forwarded-For``, the last that is none of theirs: what stands
        before it anyone could have written.
        """
        peer = _peer(request)
        if not self or not self.trusts(peer):
            return UNIX if peer is None else peer
        told = ",".join(
            str(value, "latin-1") for value in request.requestHeaders.getRawHeaders(b"X-Forwarded-For", [])
        )
        known = UNIX if peer is None else peer
        for text in reversed(told.split(",")):
            address = _address(text.strip(" \t"))
            if address is None:
                break
            known = address
            if not self.trusts(address):
                break
        return known


def _peer(request: Any) -> str | None:
    return getattr(request.getClientAddress(), "host", None)


def _address(text: str) -> str | None:
    """Return an address as it is usually written; None where it is none."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        # A zone, which may be any text, means nothing to anyone else.
        return None if "%" in text else str(ipaddress.ip_address(text))
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _within(networks: tuple[Network, ...], host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address.version == one.version and address in one for one in networks)
