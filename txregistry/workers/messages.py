"""What a crew and its workers say to each other."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from txregistry.config.schema import Config
from txregistry.events import Source
from txregistry.notify.entries import Entry

#: The descriptors that a worker is started with, beside the usual three; sockets are from the last one on.
LINE, LOCKS, SOCKETS = 3, 4, 5


class _Message(Struct, frozen=True, tag=True):
    pass


class Start(_Message, frozen=True):
    """To a worker: the first thing that it is told.

    :param number: which worker it is, from 1.
    :param workers: of how many.
    :param sockets: how many it is given: one for each worker, or one for all.
    :param config: what it is to do.
    :param secret: what uploads' addresses are signed with.
    :param source: what events say of where they happened.
    :param crew: the crew's process id.
    :param figures: the directory in which it counts; empty to count nothing.
    """

    number: int
    workers: int
    sockets: int
    config: Config
    secret: bytes
    source: Source
    crew: int
    figures: str


class Adopt(_Message, frozen=True):
    """To a worker: another configuration, which the crew has found good.  It says what is wrong, or nothing."""

    config: Config


class Cover(_Message, frozen=True):
    """To a worker: accept from these sockets too, whose workers do not, and from no others but its own.

    :param sockets: their numbers, from 0.
    """

    sockets: list[int]


class Stop(_Message, frozen=True):
    """To a worker: accept no more, answer what is under way, end."""


class Hurry(_Message, frozen=True):
    """To a worker that was told to stop: wait no longer for what is under way."""


class Threads(_Message, frozen=True):
    """To a worker: what does each thread do?  It answers with a text."""


class State(Struct, frozen=True):
    """How the registry is: see :class:`txregistry.health.condition.Condition`."""

    failures: dict[str, str]
    hindrances: dict[str, str]


class Family(Struct, frozen=True):
    """Figures of one name.

    :param kind: ``counter`` or ``gauge``.
    :param samples: the name, labels and value of each.
    """

    name: str
    meaning: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


class Report(_Message, frozen=True):
    """From a worker, again and again: how it is.  It is answered with a :class:`State`.

    :param variables: its part of ``/debug/vars``.
    :param families: what it counts and others cannot see.
    """

    variables: dict[str, Any]
    families: list[Family]


class Listening(_Message, frozen=True):
    """From a worker: whether it accepts connections.  This is answered with a :class:`State`."""

    listens: bool


class Tell(_Message, frozen=True):
    """From a worker: events, to be kept and delivered.  It is answered when they are on disk.

    :param soon: whether they need not be yet.
    """

    entries: list[Entry]
    soon: bool = False


Message: TypeAlias = Start | Adopt | Cover | Stop | Hurry | Threads | Report | Listening | Tell


class Ask(Struct, frozen=True, tag=True):
    """A message that is to be answered."""

    number: int
    message: Message


class Answer(Struct, frozen=True, tag=True):
    """The answer to a message.

    :param problem: what was wrong: the name of an exception and what it says; None where there is a value.
    """

    number: int
    value: Any = None
    problem: tuple[str, str] | None = None


_decoder: msgspec.msgpack.Decoder[Ask | Answer] = msgspec.msgpack.Decoder(Ask | Answer)


def encode(envelope: Ask | Answer) -> bytes:
    """Return what :func:`decode` makes the same of."""
    return msgspec.msgpack.encode(envelope)


def decode(content: bytes) -> Ask | Answer:
    """Return what was encoded.

    :raises ValueError: that was nothing.
    """
    return _decoder.decode(content)
