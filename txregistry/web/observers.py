"""Who is told of every request."""

from __future__ import annotations

from typing import Any, Protocol


class RequestObserver(Protocol):
    """Sees requests come and go."""

    def began(self, request: Any) -> None:
        """Note that a request's headers are in."""
        ...

    def routed(self, request: Any, route: str) -> None:
        """Note that a request's route is known, in the context in which it is then answered.

        :param route: the route's path, in Klein's notation.
        """
        ...

    def ended(self, request: Any, status: int, seconds: float) -> None:
        """Note that a request was answered, or broken off.

        :param status: of the answer; 499 where the client did not get the whole of it.
        :param seconds: from its first line on.
        """
        ...
