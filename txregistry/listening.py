"""Listening on the addresses that the configuration names."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from txregistry.config.schema import Http
from txregistry.config.values import address
from txregistry.errors import ConfigError

_BACKLOG = 1024
#: The first descriptor that systemd hands over.
INHERITED = 3


def listen(
    reactor: Any, http: Http, factory: Any, context_factory: Any = None, inherited: bool = False
) -> IListeningPort:
    """Listen where the configuration says.

    :param context_factory: the TLS certificate and rules; None for none.
    :param inherited: whether systemd has opened the socket.
    :raises txregistry.errors.ConfigError: that cannot be done.
    """
    if inherited:
        return listen_inherited(reactor, factory, context_factory)
    if http.net == "tcp":
        return listen_tcp(reactor, http.addr, factory, "http.addr", context_factory)
    return listen_unix(reactor, http.addr, factory, "http.addr")


def listen_tcp(
    reactor: Any, addr: str, factory: Any, where: str, context_factory: Any = None
) -> IListeningPort:
    """Listen on an address of TCP.

    :param addr: ``host:port`` or ``:port``.
    :param where: the configuration's key that named it.
    :param context_factory: the TLS certificate and rules; None for none.
    :raises txregistry.errors.ConfigError: that cannot be done.
    """
    parts = address(addr)
    last: CannotListenError | None = None
    for interface in _interfaces(parts.host, where):
        options = {"interface": interface, "backlog": _BACKLOG}
        try:
            return reactor.listenTCP(  # type: ignore[no-any-return]
                parts.port, _encrypting(factory, context_factory), **options
            )
        except CannotListenError as error:
            last = error
    raise _cannot_listen(where, addr, last)


def share_tcp(addr: str, count: int, where: str) -> list[socket.socket]:
    """Return sockets that listen on one address of TCP, over which the kernel spreads connections evenly.

    :param addr: ``host:port`` or ``:port``.
    :param where: the configuration's key that named it.
    :raises txregistry.errors.ConfigError: that cannot be done.
    """
    parts = address(addr)
    last = CannotListenError(None, None, None)
    for interface in _interfaces(parts.host, where):
        found: list[socket.socket] = []
        try:
            family = socket.AF_INET6 if ":" in interface else socket.AF_INET
            with _bound(family, (interface, parts.port), shared=False) as first:
                # Another server was not let in with it; the sockets of this one now are.
                first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                for _ in range(count):
                    found.append(_bound(family, first.getsockname()[:2], shared=True))
            for one in found:
                one.listen(_BACKLOG)
                one.setblocking(False)
        except OSError as error:
            for one in found:
                one.close()
            last = CannotListenError(interface, parts.port, error)
        else:
            return found
    raise _cannot_listen(where, addr, last)


def _bound(family: int, place: tuple[str, int], shared: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        one.bind(place)
    except BaseException:
        one.close()
        raise
    return one


def listen_unix(reactor: Any, path: str, factory: Any, where: str) -> IListeningPort:
    """Listen on a Unix socket, taking the place of one that a dead process left.

    :raises txregistry.errors.ConfigError: that cannot be done.
    """
    _remove_stale(path)
    try:
        return reactor.listenUNIX(path, factory, mode=0o666)  # type: ignore[no-any-return]
    except CannotListenError as error:
        raise _cannot_listen(where, path, error) from None


def listen_inherited(
    reactor: Any, factory: Any, context_factory: Any = None, descriptor: int = INHERITED
) -> IListeningPort:
    """Listen on a socket that was opened for this process, by systemd (sd_listen_fds(3)) if nothing else is said.

    :param context_factory: the TLS certificate and rules; None for none.
    :raises txregistry.errors.ConfigError: it is no socket that listens.
    """
    try:
        with socket.socket(fileno=os.dup(descriptor)) as given:
            given.setblocking(False)
            family, listens = given.family, given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not listens:
            raise OSError(0, "it does not listen")
    except OSError as error:
        raise ConfigError("LISTEN_FDS", f"the socket cannot be used: {error.strerror}") from None
    return reactor.adoptStreamPort(  # type: ignore[no-any-return]
        descriptor, family, _encrypting(factory, context_factory)
    )


def _encrypting(factory: Any, context_factory: Any) -> Any:
    if context_factory is None:
        return factory
    # Imported where it is used, as the certificates are.
    from txregistry.records import RecordsFactory

    return RecordsFactory(context_factory, factory)


def _interfaces(host: str, where: str) -> list[str]:
    """Return the addresses to try, in order: for no host, all of IPv6 and IPv4, else all of IPv4."""
    if not host:
        return ["::", ""]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(where, f"cannot find the address of {host!r}: {error.strerror}") from None
    return [str(found[0][4][0])]


def _cannot_listen(where: str, addr: str, error: CannotListenError | None) -> ConfigError:
    cause = getattr(error, "socketError", None)
    reason = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(cause)
    return ConfigError(where, f"cannot listen on {addr}: {reason}")


def _remove_stale(path: str) -> None:
    """Remove a socket that a dead process left."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        # Nothing is there, or it is not ours to remove; listening says what is wrong, if anything.
        return
