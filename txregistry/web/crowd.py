"""How many connections there may be: in all, and of one client."""

from __future__ import annotations

from collections import Counter

from attrs import field, frozen, mutable

from txregistry import errors
from txregistry.auth.throttle import network
from txregistry.web.proxies import Proxies

#: Connections over the limit that are told so, rather than closed without a word.
TOLD = 64
#: Seconds after which a client that was turned away may come again.
RETRY_SECONDS = 10


@frozen
class Limits:
    """Bounds of what clients may have at once; 0 for none.

    :param connections: in all.
    :param connections_per_client: of one address, or of one IPv6 network.
    :param uploads_per_client: uploads that one user, or one address without a user, has begun and not ended.
    """

    connections: int = 0
    connections_per_client: int = 0
    uploads_per_client: int = 0


@frozen
class Place:
    """A connection's place among the others.

    :param client: whom it counts for; None where no one is told apart.
    :param refusal: why it may not be used, if so.
    :param told: whether its client can be told.
    """

    client: str | None
    refusal: errors.Crowded | errors.TooManyRequests | None = None
    told: bool = False


@mutable(eq=False)
class Crowd:
    """All connections that there are.

    :param limits: how many there may be.
    :param proxies: whose connections are not one client's.
    :ivar refused: how many were turned away since the start.
    :ivar inside: how many there are now, those that were turned away left out.
    """

    limits: Limits
    proxies: Proxies
    refused: int = field(default=0, init=False)
    inside: int = field(default=0, init=False)
    _told: int = field(default=0, init=False)
    _clients: Counter[str] = field(factory=Counter, init=False)

    def enter(self, host: str | None) -> Place:
        """Take a place for a connection.

        :param host: the address that it comes from; None for a Unix socket.
        """
        limits = self.limits
        client = None
        if limits.connections_per_client and host is not None and not self.proxies.trusts(host):
            client = network(host)
        refusal: errors.Crowded | errors.TooManyRequests | None = None
        if limits.connections and self.inside >= limits.connections:
            refusal = errors.Crowded(RETRY_SECONDS)
        elif client is not None and self._clients[client] >= limits.connections_per_client:
            refusal = errors.TooManyRequests(RETRY_SECONDS)
        if refusal is not None:
            self.refused += 1
            told = self._told < TOLD
            self._told += told
            return Place(client, refusal, told)
        self.inside += 1
        if client is not None:
            self._clients[client] += 1
        return Place(client)

    def leave(self, place: Place) -> None:
        """Give a place back."""
        if place.refusal is not None:
            self._told -= place.told
            return
        self.inside -= 1
        if place.client is not None:
            self._clients[place.client] -= 1
            if not self._clients[place.client]:
                del self._clients[place.client]
