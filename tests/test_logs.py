import errno
import io
import json
import os
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txregistry.config.log import Log
from txregistry.logs import observer, timestamp

TIME = 1767323045.6789
STAMP = "2026-01-02T03:04:05.678Z"


class Unspeakable(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("never")


class FullFile(io.StringIO):
    """A file on a disk that may be full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def failure(error: Exception) -> Failure:
    try:
        raise error
    except Exception:
        return Failure()


class LogsCase(SynchronousTestCase):
    """Writes events through an observer and looks at the text."""

    settings = Log()

    def lines(self, *events: dict[str, object], settings: Log | None = None) -> list[str]:
        stream = io.StringIO()
        observe = observer(settings or self.settings)(stream)
        for event in events:
            observe({"log_time": TIME, "log_level": LogLevel.info, "log_namespace": "a.b", **event})
        return stream.getvalue().splitlines(keepends=True)

    def line(self, settings: Log | None = None, /, **event: object) -> str:
        (line,) = self.lines(event, settings=settings)
        self.assertTrue(line.endswith("\n"))
        return line[:-1]


class ObserverTests(LogsCase):
    def test_interface(self) -> None:
        """What is made is an observer of twisted.logger."""
        verifyObject(ILogObserver, observer(Log())(io.StringIO()))

    def test_full_disk(self) -> None:
        """What cannot be written is passed over, and said to be missing once something can be written again."""
        stream = FullFile()
        observe = observer(Log())(stream)
        for text in ("one", "two", "three", "four"):
            stream.full = text in ("two", "three")
            observe({"log_time": TIME, "log_level": LogLevel.info, "log_format": text})
        self.assertEqual(
            stream.getvalue().splitlines(),
            [
                f"{STAMP} info one",
                f"{STAMP} info four",
                f"{STAMP} error lines before this may be missing, the log could not be written: "
                "No space left on device",
            ],
        )

    def test_through_a_logger(self) -> None:
        """Events of a Logger arrive with their message formatted."""
        stream = io.StringIO()
        log = Logger(namespace="here", observer=observer(Log())(stream))
        log.info("{count} blobs", count=3)
        log.debug("quiet")
        self.assertRegex(stream.getvalue(), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info 3 blobs\n\Z")

    def test_levels(self) -> None:
        """An event is written if it is at least as severe as the configured level."""
        levels = list(LogLevel.iterconstants())
        cases: tuple[tuple[Literal["debug", "info", "warn", "error"], list[str]], ...] = (
            ("debug", ["debug", "info", "warning", "error", "critical"]),
            ("info", ["info", "warning", "error", "critical"]),
            ("warn", ["warning", "error", "critical"]),
            ("error", ["error", "critical"]),
        )
        for level, expected in cases:
            lines = self.lines(*({"log_level": each} for each in levels), settings=Log(level=level))
            self.assertEqual([line.split()[1] for line in lines], expected)

    def test_chatter(self) -> None:
        """That a connection to another server begins and ends is for those who look for faults."""
        output = io.StringIO()
        for level in ("info", "debug"):
            globalLogPublisher.addObserver(quiet := observer(Log(level=level))(output))
            factory = Factory()
            factory.doStart()
            factory.doStop()
            globalLogPublisher.removeObserver(quiet)
            if level == "info":
                self.assertEqual(output.getvalue(), "")
        self.assertEqual(
            [line.split()[1:3] for line in output.getvalue().splitlines()],
            [["debug", "Starting"], ["debug", "Stopping"]],
        )

    def test_no_work_for_filtered_events(self) -> None:
        """The message of an event that is not written is never formatted."""

        def shown() -> str:
            self.fail("was formatted")

        self.assertEqual(self.lines({"log_level": LogLevel.debug, "log_format": "{a()}", "a": shown}), [])

    def test_stream_that_cannot_encode(self) -> None:
        """A character that the file's encoding lacks is escaped, and the event still written."""
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        observer(Log())(stream)({"log_time": TIME, "log_level": LogLevel.info, "log_format": "é"})
        self.assertEqual(raw.getvalue().decode(), f"{STAMP} info \\xe9\n")

    def test_flushed(self) -> None:
        """An event is in the file at once."""
        raw = io.BytesIO()
        stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
        observer(Log())(stream)({"log_time": TIME, "log_level": LogLevel.info, "log_format": "a"})
        self.assertIn(b" a\n", raw.getvalue())

    def test_timestamp(self) -> None:
        """Times are RFC 3339 in UTC, cut to the millisecond."""
        self.assertEqual(timestamp(TIME), STAMP)
        self.assertEqual(timestamp(0), "1970-01-01T00:00:00.000Z")
        self.assertEqual(timestamp(0.9999), "1970-01-01T00:00:00.999Z")


class TextTests(LogsCase):
    settings = Log(fields={"service": "registry", "place": "room 1"})

    def test_line(self) -> None:
        """A line is the time, the level, the message and the configured fields."""
        self.assertEqual(
            self.line(log_format="hello {who}", who="you"),
            f'{STAMP} info hello you service=registry place="room 1"',
        )

    def test_fields(self) -> None:
        """An event's own fields follow the configured ones and override them."""
        self.assertEqual(
            self.line(
                log_format="a", fields={"status": 200, "ok": True, "none": None, "service": "x", "s": 0.5}
            ),
            f'{STAMP} info a service=x place="room 1" status=200 ok=true none="" s=0.5',
        )

    def test_fields_alone(self) -> None:
        """An event without a message is its fields."""
        self.assertEqual(self.line(Log(), fields={"status": 200}), f"{STAMP} info status=200")

    def test_quoting(self) -> None:
        """A field's value that could be taken for several is quoted."""
        self.assertEqual(
            self.line(Log(), fields={"a": 'x" b=y', "c": "\\", "d": "p=q", "e f": "/v2/a:b@c"}),
            f'{STAMP} info a="x\\" b=y" c="\\\\" d="p=q" "e f"=/v2/a:b@c',
        )

    def test_H12_one_line(self) -> None:
        """No character of a message or a field can begin another line or steer a terminal."""
        text = "a\nb\rc\td\0e\x1b[31mf\x7f\x85\u2028\u2029\u202e\u2066\ud800"
        escaped = r"a\nb\rc\td\x00e\x1b[31mf\x7f\x85\u2028\u2029\u202e\u2066\ud800"
        self.assertEqual(self.line(Log(), log_format="{a}", a=text), f"{STAMP} info {escaped}")
        self.assertEqual(self.line(Log(), fields={"a": text}), f'{STAMP} info a="{escaped}"')

    @given(st.text(st.characters()))
    def test_H12_any_text(self, text: str) -> None:
        """Whatever the text, an event is one line that can be encoded."""
        line = self.line(Log(), log_format="{a}", a=text, fields={"b": text, text: 1})
        self.assertEqual(line.splitlines(), [line])
        line.encode()

    def test_failure(self) -> None:
        """A traceback follows its line, indented."""
        lines = self.lines(
            {"log_format": "oh", "log_failure": failure(ValueError("a\n2026 info\x1b forged"))}
        )
        self.assertEqual(lines[0], f'{STAMP} info oh service=registry place="room 1"\n')
        self.assertTrue(all(line.startswith("    ") for line in lines[1:]))
        text = "".join(lines)
        self.assertIn("    Traceback (most recent call last):\n", text)
        self.assertIn("ValueError: a\n", text)
        self.assertIn("    2026 info\\x1b forged\n", text)

    def test_failure_without_a_message(self) -> None:
        """A failure that comes without a message speaks for itself."""
        lines = self.lines({"log_failure": failure(ValueError("reason"))}, settings=Log())
        self.assertEqual(lines[0], f"{STAMP} info reason\n")

    def test_format_that_fails(self) -> None:
        """An event whose message cannot be formatted is still one line."""
        self.assertIn("Unable to format event", self.line(log_format="{missing}"))


class JsonTests(LogsCase):
    settings = Log(formatter="json", fields={"service": "registry"})

    def event(self, settings: Log | None = None, /, **event: object) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.line(settings, **event))
        return parsed

    def test_object(self) -> None:
        """A line is one JSON object with time, level, message, logger and the configured fields."""
        self.assertEqual(
            self.event(log_format="hello {who}", who="you", log_level=LogLevel.warn),
            {"time": STAMP, "level": "warning", "msg": "hello you", "logger": "a.b", "service": "registry"},
        )

    def test_fields(self) -> None:
        """An event's own fields are keys with their JSON values, and override the configured ones."""
        event = self.event(fields={"status": 200, "ok": True, "none": None, "service": "x"})
        self.assertEqual(
            {key: event[key] for key in ("status", "ok", "none", "service")},
            {"status": 200, "ok": True, "none": None, "service": "x"},
        )

    def test_reserved_names(self) -> None:
        """A field cannot pass for what the log itself says."""
        names = ("time", "level", "msg", "logger", "error")
        event = self.event(log_format="true", fields=dict.fromkeys(names, "forged"))
        self.assertEqual((event["msg"], event["level"]), ("true", "info"))
        self.assertEqual({event[f"fields.{name}"] for name in names}, {"forged"})

    def test_failure(self) -> None:
        """A traceback is in the key error, on the same line."""
        event = self.event(log_format="oh", log_failure=failure(ValueError("reason")))
        self.assertIn("ValueError: reason", str(event["error"]))
        self.assertEqual(event["msg"], "oh")

    def test_failure_that_cannot_be_shown(self) -> None:
        """An exception that cannot be shown does not cost the event."""
        event = self.event(log_format="oh", log_failure=failure(Unspeakable()))
        self.assertEqual(event["msg"], "oh")
        self.assertIn("error", event)

    def test_value_that_is_no_json(self) -> None:
        """A field that JSON has no word for is its text."""
        self.assertEqual(self.event(fields={"a": LogLevel.info})["a"], str(LogLevel.info))

    def test_foreign_fields(self) -> None:
        """Another library's event whose fields are no mapping is written without them."""
        self.assertEqual(self.event(log_format="a", fields=["x"])["msg"], "a")

    @given(st.text(st.characters()))
    def test_H12_any_text(self, text: str) -> None:
        """Whatever the text, an event is one line that can be encoded and gives the text back."""
        line = self.line(log_format="{a}", a=text)
        self.assertEqual(line.splitlines(), [line])
        self.assertEqual(json.loads(line)["msg"], text)
        line.encode()


class LogstashTests(LogsCase):
    settings = Log(formatter="logstash", fields={"service": "registry"})

    def test_object(self) -> None:
        """A line is an object of Logstash's format, version 1."""
        self.assertEqual(
            json.loads(self.line(log_format="hello", fields={"status": 200, "type": "x"})),
            {
                "@timestamp": STAMP,
                "@version": "1",
                "type": "log",
                "level": "info",
                "message": "hello",
                "logger": "a.b",
                "service": "registry",
                "status": 200,
                "fields.type": "x",
            },
        )
