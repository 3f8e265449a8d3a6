"""What started this process, and hears how it is: systemd, by sd_notify(3) and sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.task import LoopingCall


def handed_over() -> dict[str, str]:
    """Return the variables that tell of sockets, as they were when the process began.

    Twisted takes them out of the environment when it looks for its own plugins.
    """
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        pairs = (os.fsdecode(entry).partition("=") for entry in file.read().split(b"\0"))
        return {name: value for name, _, value in pairs if name.startswith("LISTEN_")}
    return {}


class Supervisor:
    """Tells systemd of this process; without systemd it does nothing.

    :param environ: the environment's variables.
    :param reactor: what the process runs on.
    """

    def __init__(self, environ: Mapping[str, str], reactor: Any) -> None:
        mine = environ.get("LISTEN_PID") == str(os.getpid())
        #: Whether there is exactly one socket to listen on, as Distribution wants it.
        self.has_socket = mine and environ.get("LISTEN_FDS") == "1"
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._reactor = reactor
        interval = environ.get("WATCHDOG_USEC", "")
        for_me = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._interval = int(interval) / 2e6 if interval.isdigit() and for_me else 0.0
        self._barking = LoopingCall(self._say, "WATCHDOG=1")
        self._barking.clock = reactor

    @property
    def patience(self) -> float:
        """Seconds of silence after which a process is given up; 0 where no one watches."""
        return self._interval * 2 if self._address else 0.0

    def ready(self) -> None:
        """Say that requests are answered, and from now on that this goes on."""
        # What listens before the reactor runs answers only when it does.
        self._reactor.callWhenRunning(self._say, "READY=1\nSTATUS=answers requests")
        if self._address and self._interval and not self._barking.running:
            self._barking.start(self._interval, now=False)

    def reloading(self) -> None:
        """Say that the configuration is being read again; :meth:`ready` says that this has ended."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reads its configuration again")

    def stopping(self) -> None:
        """Say that the end has begun.  Requests under way are still answered, so the watchdog is still fed."""
        self._say("STOPPING=1\nSTATUS=lets requests under way end")

    def stopped(self) -> None:
        """Say no more."""
        if self._barking.running:
            self._barking.stop()

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), address)
