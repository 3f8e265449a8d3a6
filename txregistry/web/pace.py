"""The least pace at which clients must send: one timer looks at all connections, so that no request has its own."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

#: Bytes a second of a body that must arrive.
LEAST_RATE = 1024
#: Seconds over which they are counted.
WINDOW = 30
#: Seconds between two looks.
INTERVAL = 5


class LeastPace(Service):
    """Ends requests whose bodies arrive too slowly.

    A byte now and then keeps a connection from being idle, and so could keep as many as there may be for ever.

    :param reactor: where time comes from.
    :param site: whose connections these are.
    """

    def __init__(self, reactor: Any, site: Any) -> None:
        self._reactor = reactor
        self._site = site
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._looking.start(INTERVAL, now=False)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        self._looking.stop()

    def _look(self) -> None:
        now = self._reactor.seconds()
        for channel in list(self._site.channels):
            channel.check_pace(now)
