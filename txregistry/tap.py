"""``twist registry``: the only place that imports the reactor."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger, LogLevel, globalLogBeginner
from twisted.python import usage

from txregistry.config.load import Loaded, load
from txregistry.errors import ConfigError
from txregistry.logs import Output
from txregistry.reload import Reload
from txregistry.service import RegistryService, make_service
from txregistry.supervisor import handed_over

_log = Logger()


def prepare(path: str | None) -> tuple[Loaded, RegistryService, Output]:
    """Read and check the configuration, and wire what it describes.

    :param path: the file; None for the one that ``REGISTRY_CONFIGURATION_PATH`` names.
    :raises txregistry.errors.ConfigError: something is wrong with it.
    """
    from twisted.internet import reactor

    loaded = load(path, os.environ)
    output = Output(loaded.config.log)
    service = make_service(loaded.config, reactor, {**handed_over(), **os.environ}, output)
    return loaded, service, output


class Options(usage.Options):
    """What can be said on the command line."""

    synopsis = "[--config FILE]"
    optParameters = [
        [
            "config",
            "c",
            None,
            "The configuration file; $REGISTRY_CONFIGURATION_PATH if not given.",
        ],
    ]

    service: RegistryService
    loaded: Loaded
    output: Output

    def postOptions(self) -> None:
        """Prepare the server, or end the process with one line.

        The log's form and level are the configuration's, not those of ``twist``'s own options.
        """
        try:
            self.loaded, self.service, self.output = prepare(self["config"])
        except ConfigError as error:
            # A UsageError would be followed by twist's whole help text.
            raise SystemExit(f"txregistry: {error}") from None
        parent: Any = getattr(self, "parent", None)
        if parent is not None:
            parent["fileLogObserverFactory"] = self.output.open
            parent["logLevel"] = LogLevel.debug


def makeService(options: Options) -> IService:
    """Return the server that the configuration describes."""
    for warning in options.loaded.warnings:
        _log.warn("{warning}", warning=warning)
    _reload_on_hangup(options)
    _hurry_when_asked_twice(options.service)
    _ignore_meaningless_signals()
    return options.service


def work() -> None:
    """Be a worker of a crew (:mod:`txregistry.workers`)."""
    from twisted.internet import reactor

    from txregistry.storage.exclusion import SharedTurn
    from txregistry.workers import messages
    from txregistry.workers.line import beginning
    from txregistry.workers.worker import Duty, die_with_parent

    with socket.socket(fileno=messages.LINE) as end:
        try:
            start = beginning(end)
        except EOFError:
            return
        die_with_parent(start.crew)
        config = start.config
        output = Output(config.log, {"worker": str(start.number)})
        # Twisted would wrap what Python makes of a standard output in what writes to the log.
        globalLogBeginner.beginLoggingTo([output.open(sys.stdout)])
        output.take_turns(SharedTurn(messages.LOCKS))
        # It is the crew's to read the configuration again.
        _ignore(signal.SIGHUP)
        _ignore_meaningless_signals()
        try:
            duty = Duty(reactor, start, output)
        except ConfigError as error:
            raise SystemExit(f"txregistry: {error}") from None
        duty.begin(end)
        # It is for the crew to say that it is to end sooner: a signal to all processes reaches this one late.
        ending = (signal.SIGTERM, signal.SIGINT)
        reactor.addSystemEventTrigger("before", "shutdown", lambda: _ignore(*ending))
        reactor.run()


def _ignore_meaningless_signals() -> None:
    # They would end the process, and are sent by those who take it for a server that opens its log anew.
    _ignore(signal.SIGUSR1, signal.SIGUSR2)


def _ignore(*numbers: int) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _reload_on_hangup(options: Options) -> None:
    from twisted.internet import reactor

    path = options["config"]
    reload = Reload(
        reactor, options.service, options.output, options.loaded.config, lambda: load(path, os.environ)
    )
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(reload.request))  # type: ignore[attr-defined]


def _hurry_when_asked_twice(service: RegistryService) -> None:
    from twisted.internet import reactor

    def listen() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: reactor.callFromThread(service.hurry))  # type: ignore[attr-defined]

    # The reactor's own handlers, which would stop it once more, are those of the first signal.
    reactor.addSystemEventTrigger("before", "shutdown", listen)
