"""What connections come in by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import field, mutable
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall

from txregistry.config.schema import Config, Tls
from txregistry.waiting import in_thread
from txregistry.web.site import RegistrySite

#: Seconds between two looks at the TLS files.
_TLS_INTERVAL = 5


class Front(Protocol):
    """Lets connections in.

    :ivar where: how the log calls the place; None where the log is not told.
    """

    where: str | None

    def open(self) -> None:
        """Begin.

        :raises txregistry.errors.ConfigError: that cannot be done.
        """
        ...

    async def ready(self) -> None:
        """Return when requests are answered."""
        ...

    async def adopt(self, config: Config) -> None:
        """Do as another configuration says, which has been found good."""
        ...

    async def close(self, seconds: float) -> None:
        """Let no more in, and return when those who are in have their answers.

        :param seconds: after these, they are cut off.
        """
        ...

    def hurry(self) -> None:
        """Wait no longer for that, but cut them off."""
        ...


@mutable(eq=False)
class SiteFront:
    """Connections to this process.

    :param reactor: what it runs on.
    :param site: what serves them.
    :param tls: the certificate's files and the rules; None for plain HTTP.
    :param listen: listens for a factory, by a TLS context factory or None.
    :param where: see :class:`Front`.
    """

    _reactor: Any
    _site: RegistrySite
    _tls: Tls | None
    _listen: Callable[[Any, Any], IListeningPort]
    where: str | None
    _context_factory: Any = field(default=None, init=False)
    _port: IListeningPort | None = field(default=None, init=False)
    _refreshing: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._refreshing = LoopingCall(lambda: Deferred.fromCoroutine(self._refresh()))
        self._refreshing.clock = self._reactor
        if self._tls is not None:
            # Imported where it is used: it takes longer than everything else at start-up.
            from txregistry import tls

            self._context_factory = tls.ServerCertificates(self._tls)

    def open(self) -> None:
        """See :class:`Front`."""
        self._port = self._listen(self._site, self._context_factory)
        if self._context_factory is not None:
            self._refreshing.start(_TLS_INTERVAL, now=False)

    async def ready(self) -> None:
        """See :class:`Front`."""

    async def adopt(self, config: Config) -> None:
        """See :class:`Front`."""
        if self._context_factory is not None:
            await self._refresh()

    async def close(self, seconds: float) -> None:
        """See :class:`Front`."""
        if self._refreshing.running:
            self._refreshing.stop()
        if self._port is not None:
            port, self._port = self._port, None
            await maybeDeferred(port.stopListening)
        await self._site.drain(seconds)

    def hurry(self) -> None:
        """See :class:`Front`."""
        self._site.hurry()

    async def _refresh(self) -> None:
        await self._context_factory.refresh(in_thread(self._reactor))
