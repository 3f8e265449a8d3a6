"""How much of what was sent a client has taken, as the kernel knows."""

from __future__ import annotations

import socket
import struct
from typing import Any

#: Where ``tcpi_bytes_acked`` is in ``struct tcp_info`` (linux/tcp.h, since Linux 4.1).
_ACKNOWLEDGED = 120


def taken(transport: Any) -> int | None:
    """Return how many bytes the other end of a connection has acknowledged; None where that is not known."""
    connection = getattr(transport, "socket", None)
    if connection is None:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED + 8)
    except OSError:
        # A Unix socket, or one that is closed.
        return None
    if len(info) < _ACKNOWLEDGED + 8:
        return None
    return int(struct.unpack_from("=Q", info, _ACKNOWLEDGED)[0])
