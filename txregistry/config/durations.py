"""Durations as Go writes them: ``1h30m``, ``168h``, ``500ms``."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # U+00B5, micro sign
    "μs": Decimal("1e-6"),  # U+03BC, Greek mu
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
# Go keeps a duration in 64 bits of nanoseconds; what it refuses is refused here too.
_LONGEST = Decimal(2**63 - 1) * _UNITS["ns"]

EXPECTED = "a duration such as 30s, 1h30m or 500ms"


def parse_duration(text: str) -> float:
    """Return the seconds that a Go duration stands for.

    :param text: as ``time.ParseDuration`` of Go reads it, but never negative.
    :raises ValueError: it is none; the message says what was expected.
    """
    if _NUMBER.fullmatch(text):
        if Decimal(text) == 0:
            return 0.0
        raise ValueError(f"{EXPECTED}; a number needs a unit (Distribution would read it as nanoseconds)")
    if text.startswith("-"):
        raise ValueError(f"{EXPECTED}, not negative")
    seconds = Decimal(0)
    position = 1 if text.startswith("+") else 0
    while part := _PART.match(text, position):
        seconds += Decimal(part[1]) * _UNITS[part[2]]
        position = part.end()
    if position != len(text) or position < 2:
        raise ValueError(EXPECTED)
    if seconds > _LONGEST:
        raise ValueError(f"{EXPECTED}, at most 292 years")
    return float(seconds)


def parse_interval(text: str) -> float:
    """Return the seconds that a duration between two times stands for.

    :raises ValueError: it is not a duration, or less than a second.
    """
    seconds = parse_duration(text)
    if seconds < 1:
        raise ValueError("a duration of at least 1s")
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest usual spelling of a duration, which :func:`parse_duration` reads back."""
    exact = Decimal(repr(seconds))
    if exact == 0:
        return "0s"
    if exact < 1:
        return f"{_plain(exact * 1000)}ms"
    hours, rest = divmod(exact, 3600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{_plain(count)}{unit}" for count, unit in parts if count)


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
