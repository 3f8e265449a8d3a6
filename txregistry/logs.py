"""The application's log: one event, one line, in the format that the configuration names.

An event's own data travels in its ``fields``, a dict of names and JSON scalars::

    _log.info("answered {status}", status=200, fields={"http.response.status": 200})
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, TextIO, TypeAlias

from attrs import field, mutable
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from txregistry.config.log import Log

Line: TypeAlias = Callable[[LogEvent], str]

# The names that logrus, and so CNCF Distribution, gives the levels.
_NAMES = {
    LogLevel.debug: "debug",
    LogLevel.info: "info",
    LogLevel.warn: "warning",
    LogLevel.error: "error",
    LogLevel.critical: "critical",
}
_THRESHOLDS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}

# What Twisted says at level info of every connection that a client of it makes.
_CHATTER = frozenset({"Starting factory {factory!r}", "Stopping factory {factory!r}"})

# What could end a line, move a terminal's cursor, turn the direction of writing, or not be encoded at all.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BARE = re.compile(r"[A-Za-z0-9_./:@+,*%()\[\]{}^-]+")
_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


@implementer(ILogObserver)
@mutable
class LineObserver:
    """Writes the events of some levels to a file; what cannot be written is lost.

    :param stream: the file; None for nowhere.
    :param accepted: those levels.
    :param line: makes the text of an event.
    :param turn: entered while a line is written: others who write to the file do so, too.
    """

    stream: TextIO | None
    accepted: frozenset[Any]
    line: Line
    turn: AbstractContextManager[None] = field(factory=nullcontext)
    #: Why the last event could not be written; None if it was.
    _problem: str | None = field(default=None, init=False)

    def __call__(self, event: LogEvent) -> None:
        """Write one event, or do nothing at all if its level is not wanted."""
        if self.stream is None or _level(event) not in self.accepted:
            return
        line = self.line(event)
        try:
            with self.turn:
                try:
                    self.stream.write(line)
                except UnicodeEncodeError:
                    self.stream.write(line.encode("ascii", "backslashreplace").decode("ascii"))
                self.stream.flush()
        except OSError as error:
            # Whoever serves goes on, whatever becomes of the log.
            self._problem = error.strerror or str(error)
            return
        if self._problem is not None:
            problem, self._problem = self._problem, None
            self(
                {
                    "log_time": event["log_time"],
                    "log_level": LogLevel.error,
                    "log_format": "lines before this may be missing, the log could not be written: {problem}",
                    "problem": problem,
                }
            )


def observer(
    settings: Log,
    more: Mapping[str, str] = MappingProxyType({}),
    turn: AbstractContextManager[None] | None = None,
) -> Callable[[TextIO | None], ILogObserver]:
    """Return what makes an observer for an open text file, as the configuration wants it.

    :param more: fields that every line carries beside those of the configuration.
    :param turn: see :class:`LineObserver`.
    """
    levels = accepted(settings.level)
    line = formatter(settings.formatter, {**settings.fields, **more})

    def make(stream: TextIO | None) -> ILogObserver:
        return LineObserver(stream, levels, line, turn or nullcontext())

    return make


@implementer(ILogObserver)
class Output:
    """Writes events to a file as the configuration wants it, which may change.

    :param settings: the configuration.
    :param more: fields that every line carries beside.
    """

    def __init__(self, settings: Log, more: Mapping[str, str] = MappingProxyType({})) -> None:
        self._settings = settings
        self._more = more
        self._turn: AbstractContextManager[None] | None = None
        self._stream: TextIO | None = None
        self._observer: ILogObserver | None = None

    def open(self, stream: TextIO | None) -> ILogObserver:
        """Write to an open text file from now on; None is what Python makes of a standard output that is closed."""
        self._stream = stream
        self._make()
        return self

    def use(self, settings: Log) -> None:
        """Write as another configuration wants it."""
        self._settings = settings
        self._make()

    def take_turns(self, turn: AbstractContextManager[None]) -> int | None:
        """Enter *turn* for each line, as others do who write to the same file.

        :returns: the file's descriptor; None where nothing is written.
        """
        self._turn = turn
        self._make()
        return None if self._stream is None else self._stream.fileno()

    def _make(self) -> None:
        self._observer = observer(self._settings, self._more, self._turn)(self._stream)

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        if self._observer is not None:
            self._observer(event)


def accepted(level: Literal["error", "warn", "info", "debug"]) -> frozenset[Any]:
    """Return the levels of the events that are logged where the configuration names this one."""
    threshold = _THRESHOLDS[level]
    return frozenset(one for one in LogLevel.iterconstants() if one >= threshold)


def timestamp(seconds: float) -> str:
    """Return a time as RFC 3339 writes it, in UTC with milliseconds.

    :param seconds: since the epoch.
    """
    whole, thousandths = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{thousandths:03d}Z"


def escape(text: str) -> str:
    """Return the text with every character replaced that could make one line look like several."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_escaped, text)


def formatter(name: Literal["text", "json", "logstash"], static: Mapping[str, str]) -> Line:
    """Return what makes a line, or with a traceback several, of an event.

    :param static: fields that every line carries.
    """
    if name == "text":
        return _text(static)
    if name == "json":
        return _json(static, {}, ("time", "level", "msg"))
    return _json(static, {"@version": "1", "type": "log"}, ("@timestamp", "level", "message"))


def _text(static: Mapping[str, str]) -> Line:
    def line(event: LogEvent) -> str:
        parts = [timestamp(event["log_time"]), level_name(event), escape(message(event))]
        fields = {**static, **_fields(event)}
        parts += [f"{_key(str(key))}={_scalar_word(value)}" for key, value in fields.items()]
        lines = [" ".join(part for part in parts if part)]
        lines += [f"    {escape(each)}" for each in _traceback(event).splitlines()]
        return "\n".join(lines) + "\n"

    return line


def _json(static: Mapping[str, str], constant: Mapping[str, str], names: tuple[str, str, str]) -> Line:
    time, level, said = names
    reserved = {*names, *constant, "logger", "error"}

    def line(event: LogEvent) -> str:
        entry: dict[str, Any] = {
            time: timestamp(event["log_time"]),
            level: level_name(event),
            said: message(event),
            **constant,
        }
        if event.get("log_namespace"):
            entry["logger"] = event["log_namespace"]
        for key, value in {**static, **_fields(event)}.items():
            # As logrus does: a field must not pass for what the log itself says.
            entry[f"fields.{key}" if key in reserved else str(key)] = value
        traceback = _traceback(event)
        if traceback:
            entry["error"] = traceback
        return json.dumps(entry, default=str) + "\n"

    return line


def level_name(event: LogEvent) -> str:
    """Return what the log calls an event's level."""
    return _NAMES.get(_level(event), "info")


def _level(event: LogEvent) -> Any:
    return LogLevel.debug if event.get("log_format") in _CHATTER else event.get("log_level", LogLevel.info)


def message(event: LogEvent) -> str:
    """Return what an event says."""
    text = _plain(event)
    if text is None:
        text = formatEvent(event)
    failure = event.get("log_failure")
    if not text and isinstance(failure, Failure):
        return failure.getErrorMessage()
    return text


def _fields(event: LogEvent) -> Mapping[Any, Any]:
    # Another library's event may use the word for something else.
    fields = event.get("fields")
    return fields if isinstance(fields, Mapping) else {}


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        text: str = failure.getTraceback()
    except Exception as error:
        # Formatting calls the exception's own __str__, which may do anything.
        return f"(the traceback cannot be shown: {type(error).__name__})"
    return text


def _plain(event: LogEvent) -> str | None:
    """Return what Twisted would make of an event, for less; None where that takes more than filling in."""
    template = event.get("log_format")
    if not isinstance(template, str) or "()" in template or "log_flattened" in event:
        return None
    try:
        return template.format_map(event)
    except Exception:
        # Twisted says what is wrong with it.
        return None


def _scalar_word(value: object) -> str:
    if isinstance(value, str):
        return _word(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _word("" if value is None else str(value))


@lru_cache(maxsize=256)
def _key(text: str) -> str:
    """Return a field's name; there are few."""
    return _word(text)


def _word(text: str) -> str:
    """Return a text as it is, or in quotes if it could be taken for more than one word."""
    if _BARE.fullmatch(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escape(quoted)}"'


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
