"""When something that failed is tried again."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen, mutable

#: Tries of one call.
_TRIES = 3
#: Seconds that the first pause is at most; each one after it twice as long.
_PAUSE = 0.5


@mutable
class Budget:
    """Bounds what trying again adds to the load of a store that is in trouble.

    Each second try costs, each success gives back a part: while most calls succeed nobody notices, and in a long
    outage there are hardly more tries than calls.

    :param left: second tries that may be made.
    """

    most: float = 50.0
    left: float = 50.0

    def spend(self) -> bool:
        """Take what a try costs; say whether there was enough."""
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def earn(self) -> None:
        """Note a success."""
        self.left = min(self.most, self.left + 0.1)


@frozen
class Retries:
    """Says whether to try again, and how long to wait before.

    :param fraction: a number from 0 to 1, another one each time.
    :param tries: tries of one call at most.
    :param pause: seconds that the first pause is at most.
    """

    fraction: Callable[[], float]
    tries: int = _TRIES
    pause: float = _PAUSE
    budget: Budget = field(factory=Budget)

    def wait(self, tried: int) -> float | None:
        """Return the seconds to wait after that many tries; None to give up."""
        if tried >= self.tries or not self.budget.spend():
            return None
        longest: float = self.pause * 2 ** (tried - 1)
        return longest * (0.5 + self.fraction() / 2)
