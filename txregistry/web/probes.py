"""Answers for what looks after the process: whether it lives, and whether it wants requests."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from txregistry.health.condition import Condition
from txregistry.web.answers import answer

LIVE = "/livez"
READY = "/readyz"

#: Their paths below ``http.prefix``, which are answered in every condition.
PROBES = frozenset({LIVE, READY})

_HEADERS = {"Content-Type": "text/plain", "Cache-Control": "no-store"}


@frozen
class ProbeRoutes:
    """The two routes; they tell nothing but yes or no.

    :param condition: whether the registry is well.
    """

    condition: Condition

    async def live(self, request: Any) -> bytes:
        """``GET /livez``: the reactor turns, or there would be no answer."""
        return answer(request, 200, b"ok\n", _HEADERS)

    async def ready(self, request: Any) -> bytes:
        """``GET /readyz``."""
        if self.condition.hindrances():
            return answer(request, 503, b"not ready\n", _HEADERS)
        return answer(request, 200, b"ok\n", _HEADERS)
