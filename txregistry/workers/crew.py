"""The crew: the process that was started, which has others answer requests and does what is to be done once.

It holds the sockets and never accepts from them: of TCP one for each worker, all on one address (``SO_REUSEPORT``),
since the kernel spreads connections evenly over these and not over the processes that share one.  Each worker is a
process of its own, started anew with all of them, the file of shared locks and one end of a line.  One that ends
before its time is replaced, at once the first time and then later and later; until then others accept what comes
to its socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from attrs import field, mutable
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from txregistry import errors, pages
from txregistry.config.schema import Config
from txregistry.core import Share
from txregistry.debug import Answer
from txregistry.health.condition import Condition
from txregistry.listening import listen, share_tcp
from txregistry.logs import Output
from txregistry.notify.entries import Entry
from txregistry.notify.service import Notifications
from txregistry.storage.exclusion import SharedTurn, make_shared_file
from txregistry.supervisor import Supervisor
from txregistry.telemetry.metrics import Metrics
from txregistry.workers import messages
from txregistry.workers.figures import CrewFigures, CrewProcesses
from txregistry.workers.line import Line, adopt
from txregistry.workers.process import start_process

_log = Logger()

#: Seconds for which a worker must have lived for its end to be the first one again.
STEADY = 10.0
#: Seconds until one is replaced that ended too soon, the first time and at most.
_DELAYS = (0.5, 30.0)
#: Seconds for which a worker that is well may say nothing, at least.
_SILENCE = 10.0
#: Seconds that a worker may take to do as another configuration says.
_ADOPTION = 30.0
#: Seconds that it may take to end when its last request has.
_GRACE = 15.0


@mutable(eq=False)
class Worker(ProcessProtocol):
    """One place in the crew, and the process that fills it.

    :param crew: the crew.
    :param number: from 1.
    :ivar pid: of the process; None while there is none.
    :ivar starts: how many processes there have been.
    :ivar listens: whether it answers requests.
    :ivar variables: what it said last of itself.
    :ivar heard: when that was.
    """

    crew: Crew
    number: int
    pid: int | None = field(default=None, init=False)
    starts: int = field(default=0, init=False)
    listens: bool = field(default=False, init=False)
    variables: Mapping[str, Any] = field(factory=dict, init=False)
    heard: float = field(default=0.0, init=False)
    line: Line | None = field(default=None, init=False)
    ended: Deferred[None] | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _quick: int = field(default=0, init=False)
    _leaving: bool = field(default=False, init=False)
    _covers: list[int] = field(factory=list, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """Start a process."""
        self._timer = None
        crew = self.crew
        ours, theirs = socket.socketpair()
        self.starts += 1
        self.listens, self._began, self.heard = False, crew.now(), crew.now()
        self.ended = Deferred()
        try:
            process = crew.spawn(self, theirs.fileno())
        except OSError as error:
            ours.close()
            _log.error("worker {number} cannot be started: {error}", number=self.number, error=error.strerror)
            self._replace()
            return
        finally:
            theirs.close()
        self.pid, self._leaving = process.pid, False
        self.line = Line(self._answer, lambda: None)
        adopt(crew.reactor, self.line, ours)
        self.line.begin(
            messages.Start(
                self.number,
                crew.count,
                crew.sockets,
                crew.config,
                crew.share.secret,
                crew.share.source,
                os.getpid(),
                crew.figures.directory,
            )
        )

    def stop(self) -> None:
        """Have it end: when it has answered what is under way, or at once if it has not begun to answer."""
        if self.line is not None and (self.listens or self._leaving):
            Deferred.fromCoroutine(self._ask_quietly(self.line, messages.Stop()))
        else:
            self._give_up()

    def cover(self, sockets: list[int]) -> None:
        """Have it accept from the sockets of workers that do not, and from those alone."""
        if self.line is not None and sockets != self._covers:
            self._covers = sockets
            Deferred.fromCoroutine(self._ask_quietly(self.line, messages.Cover(sockets)))

    def hurry(self) -> None:
        """Have it end without waiting for what is under way."""
        if self.line is not None:
            Deferred.fromCoroutine(self._ask_quietly(self.line, messages.Hurry()))

    def _give_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.kill()

    def kill(self) -> None:
        """End it now."""
        if self.transport is not None and self.pid is not None:
            self.transport.signalProcess("KILL")

    async def adopt(self) -> None:
        """Have it do as the crew's configuration says; if it cannot, have it replaced."""
        line, config = self.line, self.crew.config
        if line is None:
            return
        asking = Deferred.fromCoroutine(line.ask(messages.Adopt(config)))
        asking.addTimeout(_ADOPTION, self.crew.reactor)
        try:
            problem = await asking
        except Exception as error:
            problem = str(error) or type(error).__name__
        if problem:
            _log.error("worker {number} is replaced: {problem}", number=self.number, problem=problem)
            self.stop()

    def processEnded(self, reason: Failure) -> None:
        """Note the end of the process, and replace it unless it was wanted."""
        pid, self.pid, self.line = self.pid, None, None
        self.listens, self._covers = False, []
        self.crew.figures.end(self.number)
        self.crew.spread()
        if not self.crew.stopping:
            status: Any = reason.value
            how = f"status {status.exitCode}" if status.signal is None else f"signal {status.signal}"
            _log.error("worker {number} ended: process {pid}, {how}", number=self.number, pid=pid, how=how)
            self._replace()
        if self.ended is not None:
            ended, self.ended = self.ended, None
            ended.callback(None)

    def _replace(self) -> None:
        self._quick = 0 if self.crew.now() - self._began >= STEADY else self._quick + 1
        shortest, longest = _DELAYS
        delay = 0.0 if self._quick <= 1 else min(longest, shortest * 2 ** min(self._quick - 2, 16))
        self._timer = self.crew.reactor.callLater(delay, self.start)

    async def _ask_quietly(self, line: Line, message: messages.Message) -> Any:
        try:
            return await line.ask(message)
        except errors.StorageError:
            return None

    async def threads(self) -> str:
        """Return what each of its threads does."""
        if self.line is None:
            return ""
        return str(await self._ask_quietly(self.line, messages.Threads()))

    async def _answer(self, message: messages.Message) -> Any:
        crew, self.heard = self.crew, self.crew.now()
        if isinstance(message, messages.Tell):
            return await crew.keep(message)
        if isinstance(message, messages.Report):
            self.variables = message.variables
            crew.figures.note(self.number, message.families)
        elif isinstance(message, messages.Listening):
            self.listens, self._leaving = message.listens, not message.listens
            if self.listens:
                _log.info("worker {number} answers requests: process {pid}", number=self.number, pid=self.pid)
            crew.spread()
        return crew.state()


@mutable(eq=False)
class Crew:
    """Starts workers, replaces them, and lets all know what concerns all.  See :class:`txregistry.front.Front`.

    :param reactor: what it runs on.
    :param config: what each worker is to do.
    :param count: how many there are.
    :param share: what they have in common.
    :param notifications: who keeps and delivers what they tell of.
    :param supervisor: what started this process.
    :param output: the log, to which they write, too; None for their standard output.
    """

    reactor: Any
    config: Config
    count: int
    share: Share
    _notifications: Notifications
    _supervisor: Supervisor
    _output: Output | None
    where: str | None = field(init=False)
    figures: CrewFigures = field(factory=CrewFigures, init=False)
    stopping: bool = field(default=False, init=False)
    _workers: list[Worker] = field(init=False)
    _port: Any = field(default=None, init=False)
    _sockets: list[socket.socket] = field(factory=list, init=False)
    _condition: Condition = field(factory=Condition, init=False)
    _locks: int = field(default=-1, init=False)
    _log_descriptor: int | None = field(default=1, init=False)
    _ready: Deferred[None] | None = field(factory=Deferred, init=False)
    _watching: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._workers = [Worker(self, number) for number in range(1, self.count + 1)]
        addr = "a socket of systemd's" if self._supervisor.has_socket else self.config.http.addr
        self.where = f"{addr}, with {self.count} workers"
        self._watching = LoopingCall(self._watch)
        self._watching.clock = self.reactor

    def make_metrics(self) -> Metrics:
        """Return figures of the whole crew."""
        self.figures.open()
        processes = CrewProcesses(lambda: [os.getpid(), *(one.pid for one in self._workers if one.pid)])
        return Metrics.make(processes, self.figures.collect)

    def attend(self, condition: Condition) -> None:
        """Let workers know of the registry's condition, and it of them."""
        self._condition = condition
        condition.others = self._hindrances

    def open(self) -> None:
        """See :class:`~txregistry.front.Front`."""
        http, inherited = self.config.http, self._supervisor.has_socket
        # What comes before there is a worker to accept it waits.
        if http.net == "tcp" and not inherited:
            self._sockets = share_tcp(http.addr, self.count, "http.addr")
        else:
            # A socket of which there can be one alone is shared, though not evenly.
            self._port = listen(self.reactor, http, Factory(), inherited=inherited)
            self._port.stopReading()
            self._sockets = [self._port.socket]
        self._locks = make_shared_file()
        self.reactor.callWhenRunning(self._start)

    async def ready(self) -> None:
        """See :class:`~txregistry.front.Front`."""
        if self._ready is not None:
            await self._ready

    async def adopt(self, config: Config) -> None:
        """See :class:`~txregistry.front.Front`."""
        self.config = config
        await DeferredList([Deferred.fromCoroutine(one.adopt()) for one in self._workers])

    async def close(self, seconds: float) -> None:
        """See :class:`~txregistry.front.Front`."""
        self.stopping = True
        if self._watching.running:
            self._watching.stop()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        for one in self._sockets:
            one.close()
        for worker in self._workers:
            worker.stop()
        deadline = self.reactor.callLater(seconds + _GRACE, self._kill)
        await DeferredList([one.ended for one in self._workers if one.ended is not None])
        if deadline.active():
            deadline.cancel()
        self.figures.close()
        os.close(self._locks)

    def hurry(self) -> None:
        """See :class:`~txregistry.front.Front`."""
        for worker in self._workers:
            worker.hurry()

    # What workers ask for.

    @property
    def sockets(self) -> int:
        """How many sockets there are: one for each worker, or one for all."""
        return len(self._sockets)

    def now(self) -> float:
        """Return the time, in seconds."""
        seconds: float = self.reactor.seconds()
        return seconds

    def spawn(self, worker: Worker, line: int) -> Any:
        """Start a worker's process.

        :param line: the descriptor of its end of the line.
        """
        given = {messages.LINE: line, messages.LOCKS: self._locks}
        given |= {messages.SOCKETS + place: one.fileno() for place, one in enumerate(self._sockets)}
        return start_process(self.reactor, worker, self._log_descriptor, given)

    def state(self) -> messages.State:
        """Return how the registry is."""
        return messages.State(self._condition.failures(), self._condition.hindrances())

    async def keep(self, told: messages.Tell) -> None:
        """Keep events, to be delivered; those for endpoints that are none any more are not."""
        entries = [
            Entry(one.time, one.repository, one.content, wanting)
            for one in told.entries
            if (wanting := [name for name in one.endpoints if name in self._notifications.couriers])
        ]
        if not told.soon:
            await self._notifications.keep(entries)
            return
        for one in entries:
            self._notifications.keep_soon(one)

    def spread(self) -> None:
        """Have those who accept connections do so for those who do not."""
        if self.stopping:
            return
        accepting = [one for one in self._workers if one.listens]
        idle = [one.number - 1 for one in self._workers if not one.listens and self.sockets > 1]
        for place, worker in enumerate(accepting):
            worker.cover(idle[place :: len(accepting)])
        if self._ready is not None and all(one.listens for one in self._workers):
            ready, self._ready = self._ready, None
            ready.callback(None)

    # What operators ask for.

    def variables(self) -> dict[str, Any]:
        """Return for each worker what ``/debug/vars`` says of it."""
        return {
            str(one.number): {
                "pid": one.pid,
                "starts": one.starts,
                "listens": one.listens,
                **(one.variables if one.pid else {}),
            }
            for one in self._workers
        }

    async def threads_page(self, request: Any) -> Answer:
        """Answer with what each thread of each process is doing."""
        texts = [f"process {os.getpid()}\n\n{pages.threads_text()}"]
        for worker in self._workers:
            texts.append(f"worker {worker.number}, process {worker.pid}\n\n{await worker.threads()}")
        return Answer("\n\n".join(texts).encode("utf-8", "replace"), "text/plain; charset=utf-8")

    def _start(self) -> None:
        if self.stopping:
            return
        if self._output is not None:
            self._log_descriptor = self._output.take_turns(SharedTurn(self._locks))
        for worker in self._workers:
            worker.start()
        if self._supervisor.patience:
            self._watching.start(1, now=False)

    def _watch(self) -> None:
        """Kill those that have said nothing for so long that systemd would kill this process."""
        for worker in self._workers:
            silent = self.now() - worker.heard
            if worker.listens and silent > max(self._supervisor.patience, _SILENCE):
                _log.error(
                    "worker {number} is killed: silent for {seconds} s",
                    number=worker.number,
                    seconds=round(silent, 1),
                )
                worker.kill()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    def _hindrances(self) -> Mapping[str, str]:
        if any(one.listens for one in self._workers):
            return {}
        return {"workers": "none of them answers requests"}
