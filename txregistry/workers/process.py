"""Starting a worker's process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.protocol import ProcessProtocol

#: Variables that are of no use to others than those whom they were meant for.
_NOT_PASSED_ON = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
)


def start_process(reactor: Any, protocol: ProcessProtocol, log: int | None, given: Mapping[int, int]) -> Any:
    """Start ``python -m txregistry.workers``; return the process.

    :param protocol: is told of its end.
    :param log: the descriptor of its standard output; None for nowhere.
    :param given: descriptors of this process, by what they are in the new one.
    :raises OSError: that cannot be done.
    """
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    # It finds what this process found, and nothing in the directory that it happens to be started in.
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return reactor.spawnProcess(
            protocol,
            sys.executable,
            [sys.executable, "-P", "-m", "txregistry.workers"],
            env=environ,
            childFDs={0: nothing, 1: nothing if log is None else log, 2: 2, **given},
        )
    finally:
        os.close(nothing)
