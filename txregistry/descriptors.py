"""The files and connections that the process may have open, shared among those who need them."""

from __future__ import annotations

import resource
from contextlib import suppress

from txregistry.config.limits import LimitKeys
from txregistry.web.crowd import Limits

#: What one transfer needs: its socket, a second descriptor of that, and a file.
_EACH = 3
#: What the process itself needs.
_OWN = 32


def limits(keys: LimitKeys) -> Limits:
    """Return what clients may have, having made as much of the system's limit as may be had.

    The soft limit is for programs that cannot deal with high numbers; the hard one is the operator's.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        # Where the hard limit is none, the system has one of its own (fs.nr_open), which is refused here.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    connections = keys.connections
    if soft != resource.RLIM_INFINITY:
        room = max(_EACH, (soft - _OWN) // _EACH)
        connections = min(connections or room, room)
    return Limits(connections, keys.connectionsperclient, keys.uploadsperclient)
