"""What clients did and were told, and what may therefore be found after a crash.

Each name (a blob of a repository, a manifest, a tag) is a register.  An operation on it has a beginning, and an
end with a result, or none if the server was gone first.  What an operation leaves may be found unless one that was
acknowledged began after it had ended.  So an operation without an end may show its effect at any later time, and
what was acknowledged can be undone by nothing but another operation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import attrs


@attrs.define(eq=False)
class Operation:
    """A change that a client asked for.

    :param values: what it makes of which names; None for not being there.
    :param began: when: the position of the history, and a number that only grows.
    :ivar ended: when it was answered.
    :ivar acknowledged: whether the answer was that it is done.
    """

    values: Mapping[Hashable, Any]
    began: tuple[float, int]
    ended: tuple[float, int] = (math.inf, 0)
    acknowledged: bool = False


class History:
    """All operations, of any number of clients.  May be used from threads.

    :param position: says how far something is that crashes are looked for in afterwards, such as a log of changes.
    """

    def __init__(self, position: Callable[[], float] = lambda: 0) -> None:
        self._position = position
        self._numbers = itertools.count(1)
        self._operations: dict[Hashable, list[Operation]] = {}

    def begin(self, values: Mapping[Hashable, Any]) -> Operation:
        """Note that a client asks for a change."""
        operation = Operation(values, self._now())
        for name in values:
            self._operations.setdefault(name, []).append(operation)
        return operation

    def acknowledge(self, operation: Operation) -> None:
        """Note that the client was told that it is done."""
        operation.acknowledged, operation.ended = True, self._now()

    def fail(self, operation: Operation) -> None:
        """Note that the client was told of an error, which may have come after the change."""
        operation.ended = self._now()

    def refuse(self, operation: Operation) -> None:
        """Note that the client was told that nothing is changed."""
        for name in operation.values:
            self._operations[name].remove(operation)

    def names(self) -> list[Hashable]:
        """Return all names that were ever written to."""
        return list(self._operations)

    def allowed(self, name: Hashable) -> list[Any]:
        """Return what may be found under a name."""
        operations = self._operations.get(name, [])
        begun = [operation.began for operation in operations if operation.acknowledged]
        last = max(begun, default=None)
        found = [
            operation.values[name] for operation in operations if last is None or operation.ended >= last
        ]
        # Before the first one there was nothing.
        return [None, *found] if last is None else found

    def check(self, name: Hashable, found: Any) -> None:
        """Fail if what is found under a name cannot be.

        :raises AssertionError: what clients were told says otherwise.
        """
        allowed = self.allowed(name)
        assert found in allowed, f"{name}: found {found!r}, which is none of {allowed!r}"

    def until(self, position: float) -> History:
        """Return the history as it was known when a position had been reached."""
        earlier = History()
        for name, operations in self._operations.items():
            known = [operation for operation in operations if operation.began[0] <= position]
            if known:
                earlier._operations[name] = [
                    operation
                    if operation.ended[0] <= position
                    else Operation(operation.values, operation.began)
                    for operation in known
                ]
        return earlier

    def _now(self) -> tuple[float, int]:
        return self._position(), next(self._numbers)
