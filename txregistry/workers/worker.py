"""What a worker is: a server that listens on the crew's socket, and leaves to the crew what is done once."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import field, mutable
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from txregistry import errors, pages
from txregistry.config import endpoints
from txregistry.config.drivers import make
from txregistry.config.telemetry import Telemetry
from txregistry.content.locks import Locks
from txregistry.core import Core, Share
from txregistry.errors import ConfigError
from txregistry.events import Event
from txregistry.front import SiteFront
from txregistry.health.condition import Condition
from txregistry.listening import listen_inherited
from txregistry.logs import Output
from txregistry.notify.courier import Endpoint, wanting
from txregistry.notify.entries import Entry
from txregistry.notify.service import entry
from txregistry.service import RegistryService
from txregistry.storage.exclusion import SharedLocks
from txregistry.storage.threads import Threads
from txregistry.supervisor import Supervisor
from txregistry.telemetry.metrics import Metrics
from txregistry.workers import messages
from txregistry.workers.figures import count_in, reported
from txregistry.workers.line import Line, adopt

_log = Logger()

#: Seconds between two reports to the crew.
INTERVAL = 1.0
#: Seconds for which events of pulls are gathered.
_GATHERING = 0.05
#: So many of them may wait for the crew.
_MOST = 10_000
#: Threads that may wait for a repository that another worker holds.
_WAITING = 64
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Be killed when the process that started this one ends, whatever this one is at.

    :param parent: its process id.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


@mutable(eq=False)
class ToldCondition(Condition):
    """The registry's condition, as the crew has told it."""

    told: messages.State = field(factory=lambda: messages.State({}, {}), init=False)

    @property
    def is_well(self) -> bool:
        """Whether requests are answered."""
        return not self.told.failures

    def failures(self) -> dict[str, str]:
        """See :class:`~txregistry.health.condition.Condition`."""
        return dict(self.told.failures)

    def hindrances(self) -> dict[str, str]:
        """See :class:`~txregistry.health.condition.Condition`."""
        stopping = {"stopping": "the registry is being stopped"} if self.stopping else {}
        return {**self.told.hindrances, **stopping}


class DistantNotifications(Service):
    """Has the crew keep events and deliver them.  See :class:`txregistry.notify.service.Teller`.

    :param reactor: where time comes from.
    :param line: leads to the crew.
    :param endpoints: who is told.
    """

    def __init__(self, reactor: Any, line: Line, endpoints: Sequence[Endpoint]) -> None:
        self._reactor = reactor
        self._line = line
        self._endpoints = list(endpoints)
        self._gathered: list[Entry] = []
        self._under_way = 0
        self._timer: IDelayedCall | None = None
        self._last: Deferred[None] | None = None

    def wanted(self, action: str, media_type: str) -> list[str]:
        """See :class:`~txregistry.notify.service.Teller`."""
        return wanting(self._endpoints, action, media_type)

    async def tell(self, events: Sequence[tuple[Event, Sequence[str]]]) -> None:
        """See :class:`~txregistry.notify.service.Teller`."""
        now = self._reactor.seconds()
        # What happened before is told of before.
        self._send()
        await self._line.ask(messages.Tell([entry(event, to, now) for event, to in events]))

    def tell_soon(self, event: Event, endpoints: Sequence[str]) -> None:
        """See :class:`~txregistry.notify.service.Teller`."""
        if len(self._gathered) + self._under_way >= _MOST:
            return
        self._gathered.append(entry(event, endpoints, self._reactor.seconds()))
        if self._timer is None:
            self._timer = self._reactor.callLater(_GATHERING, self._timed)

    async def exchange(self, endpoints: Sequence[Endpoint]) -> None:
        """See :class:`~txregistry.notify.service.Teller`."""
        self._endpoints = list(endpoints)

    def stopService(self) -> Deferred[None] | None:
        """Send what has been gathered."""
        super().stopService()
        self._send()
        return self._last

    def _timed(self) -> None:
        self._timer = None
        self._send()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathered:
            entries, self._gathered = self._gathered, []
            self._last = Deferred.fromCoroutine(self._send_soon(entries))

    async def _send_soon(self, entries: list[Entry]) -> None:
        self._under_way += len(entries)
        try:
            await self._line.ask(messages.Tell(entries, soon=True))
        except errors.StorageError as error:
            _log.error("events of pulls are lost: {error}", error=error)
        finally:
            self._under_way -= len(entries)


@mutable(eq=False, slots=False)
class Reporting(Service):
    """Reports to the crew how this worker is, and hears how the registry is.

    :param reactor: where time comes from.
    :param line: leads to the crew.
    :param condition: what is heard.
    :param variables: what ``/debug/vars`` is told.
    :param metrics: what is counted; None for nothing.
    """

    _reactor: Any
    _line: Line
    _condition: ToldCondition
    _variables: Mapping[str, Any]
    _metrics: Metrics | None
    _looping: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._looping = LoopingCall(lambda: Deferred.fromCoroutine(self._report()))
        self._looping.clock = self._reactor

    def startService(self) -> None:
        """Begin when requests are answered."""
        super().startService()
        self._reactor.callWhenRunning(lambda: Deferred.fromCoroutine(self._begin()))

    def leave(self) -> None:
        """Say that no more connections are accepted."""
        Deferred.fromCoroutine(self._say(messages.Listening(False)))

    def stopService(self) -> Deferred[None]:
        """Report for the last time."""
        super().stopService()
        if self._looping.running:
            self._looping.stop()
        return Deferred.fromCoroutine(self._report())

    async def _begin(self) -> None:
        await self._say(messages.Listening(True))
        if self.running:
            self._looping.start(INTERVAL)

    async def _report(self) -> None:
        families = [] if self._metrics is None else reported(self._metrics.readings)
        await self._say(messages.Report({name: value() for name, value in self._variables.items()}, families))

    async def _say(self, message: messages.Message) -> None:
        try:
            told = await self._line.ask(message)
        except errors.StorageError:
            # The crew is gone, and soon this worker is.
            return
        self._condition.told = messages.State(**told)


class _LocksService(Service):
    def __init__(self, locks: SharedLocks) -> None:
        self._locks = locks

    def stopService(self) -> None:
        super().stopService()
        self._locks.close()


class Ports:
    """The sockets that a worker was given, and those of them from which it accepts.

    :param reactor: what it runs on.
    :param start: what the crew said.
    :param factory: makes what serves connections.
    :param context_factory: the TLS certificate and rules; None for none.
    """

    def __init__(self, reactor: Any, start: messages.Start, factory: Any, context_factory: Any) -> None:
        self._reactor = reactor
        self._factory = factory
        self._context_factory = context_factory
        self._given = start.sockets
        self._own = (start.number - 1) % start.sockets
        # The name of a Unix socket, which Twisted would remove with the port, is not this worker's.
        self._named = start.config.http.net == "unix"
        self._open: dict[int, Any] = {self._own: self._listen(self._own)}

    def cover(self, sockets: Sequence[int]) -> None:
        """Accept from these, too, and from no others but its own."""
        if not self._open:
            return
        for number in {*sockets} - {*self._open}:
            self._open[number] = self._listen(number)
        for number in {*self._open} - {*sockets, self._own}:
            maybeDeferred(self._open.pop(number).stopListening)

    async def stop(self) -> None:
        """Accept no more."""
        ports, self._open = self._open, {}
        for port in ports.values():
            if self._named:
                port.stopReading()
            else:
                await maybeDeferred(port.stopListening)
        for number in range(self._given):
            os.close(messages.SOCKETS + number)

    def stopListening(self) -> Deferred[None]:
        """See :class:`twisted.internet.interfaces.IListeningPort`."""
        return Deferred.fromCoroutine(self.stop())

    def _listen(self, number: int) -> Any:
        return listen_inherited(
            self._reactor, self._factory, self._context_factory, messages.SOCKETS + number
        )


@mutable(eq=False)
class Duty:
    """A worker at work.

    :param reactor: what it runs on.
    :param start: what the crew said.
    :param output: the log.
    """

    _reactor: Any
    _start: messages.Start
    _output: Output
    service: RegistryService = field(init=False)
    line: Line = field(init=False)
    _reporting: Reporting = field(init=False)
    _ports: Ports | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        reactor, start = self._reactor, self._start
        config = start.config
        self.line = Line(self._answer, self._abandoned)
        if start.figures:
            count_in(start.figures, start.number)
        notifications = DistantNotifications(reactor, self.line, endpoints.endpoints(config, reactor))
        locks = SharedLocks(messages.LOCKS, Threads(reactor, _WAITING, "txregistry-locks"))
        condition = ToldCondition()
        share = Share(
            start.secret, start.source, notifications, lambda driver: condition, Locks(locks), start.workers
        )
        telemetry = Telemetry.of(config, os.environ, reactor, lambda: Metrics.make(shared=True))
        core = Core.of(config, reactor, make(config.storage, reactor), telemetry, share)
        front = SiteFront(reactor, core.site, config.http.tls, self._listen, None)
        variables = pages.process_variables(core.lag)
        del variables["cmdline"]
        self._reporting = Reporting(reactor, self.line, condition, variables, telemetry.metrics)
        parts = [_LocksService(locks), self._reporting, *core.parts, notifications]
        self.service = RegistryService(reactor, core, front, notifications, Supervisor({}, reactor), parts)

    def begin(self, end: socket.socket) -> None:
        """Make everything ready, and listen.

        :param end: this end of the line.
        """
        self.service.startService()
        self._reactor.addSystemEventTrigger("before", "shutdown", self._reporting.leave)
        self._reactor.addSystemEventTrigger("before", "shutdown", self.service.stopService)
        adopt(self._reactor, self.line, end)

    def _listen(self, factory: Any, context_factory: Any) -> Any:
        self._ports = Ports(self._reactor, self._start, factory, context_factory)
        return self._ports

    async def _answer(self, message: messages.Message) -> Any:
        if isinstance(message, messages.Adopt):
            try:
                await self.service.adopt(message.config)
            except ConfigError as error:
                return str(error)
            self._output.use(message.config.log)
        elif isinstance(message, messages.Threads):
            return pages.threads_text()
        elif isinstance(message, messages.Stop):
            # Not before this is answered.
            self._reactor.callLater(0, self._stop)
        elif isinstance(message, messages.Cover):
            if self._ports is not None:
                self._ports.cover(message.sockets)
        elif isinstance(message, messages.Hurry):
            self.service.hurry()
        return None

    def _stop(self) -> None:
        # It may have been sent a signal that said so, too.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _abandoned(self) -> None:
        os._exit(1)
