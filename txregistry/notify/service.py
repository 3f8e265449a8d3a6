"""The service that takes events and has them delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from txregistry import errors
from txregistry.events import Event, encode
from txregistry.notify.courier import Courier, Endpoint, Figures, wanting
from txregistry.notify.entries import Entry, Queue, Written
from txregistry.notify.outbox import Outbox, Thread

if TYPE_CHECKING:
    from txregistry.notify.database import OutboxDatabase

_log = Logger()

#: Seconds between two looks at what ``txregistry events`` may have changed.
INTERVAL = 2.0


@frozen
class Place:
    """Where the outbox is.

    :param location: an absolute path of this machine; None where the operator has to say it, and has not.
    :param limit: bytes that are kept for each endpoint.
    """

    location: str | None
    limit: int


class Teller(Protocol):
    """Takes events, for those endpoints that want them."""

    def wanted(self, action: str, media_type: str) -> list[str]:
        """Return the endpoints that are told of such an event."""
        ...

    async def tell(self, events: Sequence[tuple[Event, Sequence[str]]]) -> None:
        """Return when events are on disk, to be delivered.

        :param events: with the endpoints that each is for.
        :raises txregistry.errors.StorageError: they cannot be kept.
        """
        ...

    def tell_soon(self, event: Event, endpoints: Sequence[str]) -> None:
        """Have an event on disk soon: a crash before that loses it."""
        ...

    async def exchange(self, endpoints: Sequence[Endpoint]) -> None:
        """Have other endpoints.

        :param endpoints: not prepared yet.
        :raises txregistry.errors.ConfigError: one of them cannot be used; those from before go on.
        """
        ...


def entry(event: Event, endpoints: Sequence[str], seconds: float) -> Entry:
    """Return an event as it is kept.

    :param seconds: the time, since the epoch.
    """
    return Entry(seconds, event.repository, encode(event), list(endpoints))


class Notifications(Service):
    """Takes events, keeps them, and has them delivered to endpoints.

    Without endpoints it does nothing, and touches nothing.

    :param endpoints: who is told.
    :param place: where the outbox is.
    :param thread: makes the thread that works on it.
    :param reactor: where time comes from.
    :param random: returns a number from 0 to 1, by which delays are spread.
    :ivar figures: by endpoint, what its deliveries come to; those of endpoints that were exchanged stay.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        place: Place,
        thread: Callable[[], Thread],
        reactor: Any,
        random: Callable[[], float],
    ) -> None:
        self.figures: dict[str, Figures] = {}
        self._endpoints = list(endpoints)
        self._place = place
        self._thread = thread
        self._reactor = reactor
        self._random = random
        self._outbox: Outbox | None = None
        self._couriers: dict[str, Courier] = {}
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    @property
    def couriers(self) -> Mapping[str, Courier]:
        """Who delivers, by endpoint; ``pending`` of each says how many events wait."""
        return self._couriers

    def wanted(self, action: str, media_type: str) -> list[str]:
        """Return the endpoints that are told of such an event."""
        return wanting(self._endpoints, action, media_type)

    async def tell(self, events: Sequence[tuple[Event, Sequence[str]]]) -> None:
        """See :class:`Teller`."""
        now = self._reactor.seconds()
        await self.keep([entry(event, endpoints, now) for event, endpoints in events])

    def tell_soon(self, event: Event, endpoints: Sequence[str]) -> None:
        """See :class:`Teller`.  It is :data:`txregistry.notify.outbox.INTERVAL` that it may take."""
        self.keep_soon(entry(event, endpoints, self._reactor.seconds()))

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Return when entries are on disk, to be delivered.

        :raises txregistry.errors.StorageError: they cannot be kept.
        """
        if self._outbox is None:
            raise errors.StorageUnavailable("the outbox of notifications", "not open")
        await self._outbox.add(entries)

    def keep_soon(self, one: Entry) -> None:
        """Have an entry on disk soon."""
        if self._outbox is None or not self._outbox.add_soon(one):
            for endpoint in one.endpoints:
                self._figures(endpoint).dropped += 1

    def startService(self) -> None:
        """Open the outbox and begin to deliver.

        :raises txregistry.errors.ConfigError: it cannot be opened, or a notifier cannot be used.
        """
        if self._endpoints:
            for endpoint in self._endpoints:
                _prepare(endpoint)
            database = self._open()
            self._use(database.queues())
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Deliver no more, and close the outbox; what is in it is delivered next time."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def exchange(self, endpoints: Sequence[Endpoint]) -> None:
        """Have other endpoints.

        What is kept for an endpoint that is not among them stays in the outbox, until one of its name is back or
        ``txregistry events drop`` removes it.

        :param endpoints: not prepared yet.
        :raises txregistry.errors.ConfigError: one of them cannot be used; those from before go on.
        """
        prepared: list[Endpoint] = []
        try:
            for endpoint in endpoints:
                _prepare(endpoint)
                prepared.append(endpoint)
            if endpoints and self._outbox is None:
                self._open()
        except errors.ConfigError:
            for endpoint in prepared:
                await endpoint.notifier.close()
            raise
        before, couriers = self._endpoints, self._couriers
        # From here on what happens is kept for the new ones.
        self._endpoints, self._couriers = list(endpoints), {}
        for courier in couriers.values():
            await courier.stop()
        for endpoint in before:
            await endpoint.notifier.close()
        if self._outbox is not None:
            queues = await self._outbox.queues()
            self._use(queues)

    def _open(self) -> OutboxDatabase:
        if self._place.location is None:
            problem = (
                "missing; with this storage driver, expected the path of a file on a disk of this machine"
            )
            raise errors.ConfigError("notifications.outbox.path", problem)
        # Imported where it is used: with it comes SQLite.
        from txregistry.notify.database import OutboxDatabase

        database = OutboxDatabase(self._place.location, self._place.limit)
        outbox = Outbox(database, self._thread(), self._reactor, self._written)
        try:
            outbox.open()
        except errors.ConfigError as error:
            raise errors.ConfigError(f"notifications.outbox.{error.where}", error.problem) from None
        self._outbox = outbox
        self._looking.start(INTERVAL, now=False)
        return database

    def _use(self, queues: Mapping[str, Queue]) -> None:
        """Begin to deliver to the endpoints that there are now."""
        assert self._outbox is not None
        for endpoint in self._endpoints:
            figures = self._figures(endpoint.name)
            courier = Courier(endpoint, self._outbox, figures, self._reactor, self._random)
            courier.load(queues.get(endpoint.name, Queue()))
            self._couriers[endpoint.name] = courier
            courier.start()
        for name in queues.keys() - self._couriers.keys():
            kept = len(queues[name].waiting) + queues[name].set_aside
            _log.warn(
                "{kept} events are kept for {name}, which is no endpoint any more; they are delivered if it is one "
                "again, and removed by: txregistry events drop --endpoint {name} --all",
                kept=kept,
                name=name,
            )

    def _figures(self, name: str) -> Figures:
        return self.figures.setdefault(name, Figures())

    def _written(self, entries: Sequence[Entry], written: Written) -> None:
        for entry, number in zip(entries, written.numbers, strict=True):
            for name in entry.endpoints:
                if name in self._couriers:
                    self._couriers[name].add(number, entry.repository)
        for name, dropped in written.dropped.items():
            _log.error(
                "the outbox is full: the {count} oldest events for endpoint {name} were dropped",
                count=len(dropped),
                name=name,
            )
            if name in self._couriers:
                for number, repository in dropped:
                    self._couriers[name].drop(number, repository)

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look_once())

    async def _look_once(self) -> None:
        if self._outbox is None:
            return
        try:
            changed, oldest = await self._outbox.look()
            couriers = self._couriers
            if changed:
                queues = await self._outbox.queues()
                for name, courier in couriers.items():
                    courier.load(queues.get(name, Queue()))
            for name in couriers:
                self._figures(name).oldest = oldest.get(name)
        except errors.StorageError:
            _log.failure("cannot look into the outbox", Failure())

    async def _stop(self) -> None:
        if self._looking.running:
            self._looking.stop()
        for courier in self._couriers.values():
            await courier.stop()
        for endpoint in self._endpoints:
            await endpoint.notifier.close()
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            await outbox.close()


def _prepare(endpoint: Endpoint) -> None:
    """Make a notifier ready, and have its complaints say whose it is."""
    try:
        endpoint.notifier.prepare()
    except errors.ConfigError as error:
        where = f"notifications.endpoints.{endpoint.name}.{error.where}".rstrip(".")
        raise errors.ConfigError(where, error.problem) from None
