"""Whether the registry is well, and whether it wants requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import field, mutable

from txregistry.health.checks import Check


@mutable(eq=False)
class Condition:
    """What all checks together say.

    :param checks: while one of them fails, requests are refused.
    :param writability: while it fails, the registry answers, but is better not sent requests; None where the
        storage cannot tell.
    :ivar others: says what else stands in the way of requests, by name.
    :ivar read_only: whether no one is to write anyway, so that a storage that cannot be written to is no matter.
    :ivar stopping: whether the registry is being stopped.
    """

    checks: Sequence[Check] = ()
    writability: Check | None = None
    read_only: bool = False
    stopping: bool = field(default=False, init=False)
    others: Callable[[], Mapping[str, str]] = field(default=dict, init=False)

    def parts(self) -> list[Check]:
        """Return all checks, to be started and stopped with the registry."""
        return [*self.checks, *([] if self.writability is None else [self.writability])]

    @property
    def is_well(self) -> bool:
        """Whether requests are answered."""
        return all(check.error is None for check in self.checks)

    def failures(self) -> dict[str, str]:
        """Return what is wrong, by the name of the check that found it."""
        return {check.name: check.error for check in self.checks if check.error is not None}

    def hindrances(self) -> dict[str, str]:
        """Return why the registry should be sent no requests, by the name of what found it; none if it should."""
        found = {**self.failures(), **self.others()}
        writability = None if self.read_only else self.writability
        if writability is not None and writability.error is not None:
            found[writability.name] = writability.error
        if self.stopping:
            found["stopping"] = "the registry is being stopped"
        return found
