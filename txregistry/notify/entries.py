"""What is put into the outbox, and what is found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field, frozen


@frozen
class Entry:
    """An event to be stored.

    :param time: seconds since the epoch.
    :param repository: where it happened: in each, events are delivered in order.
    :param content: the event.
    :param endpoints: for whom it is.
    """

    time: float
    repository: str
    content: bytes
    endpoints: Sequence[str]


@frozen
class Note:
    """What became of trying to deliver an event.

    :param endpoint: to whom.
    :param event: its number.
    :param delivered: it need not be kept any more.
    :param set_aside: it is kept, and not tried again.
    :param tries: how often it failed by its own fault.
    :param problem: why it failed last.
    """

    endpoint: str
    event: int
    delivered: bool = False
    set_aside: bool = False
    tries: int = 0
    problem: str = ""


@frozen
class Delivery:
    """An event that an endpoint has not been given.

    :param time: when it happened, seconds since the epoch.
    """

    endpoint: str
    event: int
    time: float
    repository: str
    content: bytes
    set_aside: bool
    tries: int
    problem: str


@define
class Queue:
    """What is kept for one endpoint.

    :ivar waiting: the numbers of the events that are to be delivered, oldest first, with their repository and tries.
    :ivar set_aside: how many are not tried any more.
    """

    waiting: list[tuple[int, str, int]] = field(factory=list)
    set_aside: int = 0


@frozen
class Written:
    """What came of writing.

    :param numbers: that of each event, in order.
    :param dropped: by endpoint, the numbers and repositories of its oldest events, which were removed because
        there was no room for more.
    """

    numbers: Sequence[int]
    dropped: Mapping[str, Sequence[tuple[int, str]]]
