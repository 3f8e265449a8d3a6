"""Bytes to a client, on the shortest way."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def send(transport: Any, data: bytes) -> None:
    """Write to a connection; what the kernel takes, it has when this returns, unless something waits before it.

    Twisted would ask the kernel to tell when there is room, send in another turn of the loop, and ask not to be
    told any more.
    """
    if _is_idle(transport):
        sent = transport.writeSomeData(data)
        # What went wrong goes wrong again where the transport can deal with it.
        if isinstance(sent, int):
            data = data[sent:]
    if data:
        transport.write(data)


def is_plain(transport: Any) -> bool:
    """Say whether bytes go to the kernel as they are, and not through TLS."""
    return isinstance(transport, Connection) and not transport.TLS


def _is_idle(transport: Any) -> bool:
    return is_plain(transport) and not (
        transport.dataBuffer
        or transport._tempDataBuffer
        or transport.disconnecting
        or transport.disconnected
        or transport._aborting
    )
