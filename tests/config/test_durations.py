from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry.config.durations import format_duration, parse_duration


class ParseTests(SynchronousTestCase):
    def test_go_spellings(self) -> None:
        """Durations mean what Go's time.ParseDuration makes of them."""
        for text, seconds in (
            ("30s", 30.0),
            ("1h30m", 5400.0),
            ("168h", 604800.0),
            ("500ms", 0.5),
            ("1.5s", 1.5),
            (".5h", 1800.0),
            ("1.s", 1.0),
            ("250us", 0.00025),
            ("250µs", 0.00025),
            ("250μs", 0.00025),
            ("10ns", 1e-8),
            ("+5s", 5.0),
            ("1h1m1s1ms", 3661.001),
            ("0s", 0.0),
        ):
            self.assertEqual(parse_duration(text), seconds, text)

    def test_zero_needs_no_unit(self) -> None:
        """Zero is zero in every unit."""
        for text in ("0", "0.0", "+0", "-0"):
            self.assertEqual(parse_duration(text), 0.0, text)

    def test_number_without_unit(self) -> None:
        """A bare number is refused with the reason, since Go would read it as nanoseconds."""
        for text in ("30", "1.5", "-3"):
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertIn("a number needs a unit", str(error))

    def test_negative(self) -> None:
        """A negative duration is refused with the reason."""
        self.assertIn("not negative", str(self.assertRaises(ValueError, parse_duration, "-5s")))

    def test_refused(self) -> None:
        """What Go refuses is refused."""
        for text in ("", "+", ".", "s", "1 h", "1d", "5 s", "1h 30m", "1e3s", "30S", "1h-3m", "٣s", "9e99h"):
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertIn("a duration such as 30s, 1h30m or 500ms", str(error))

    def test_too_long(self) -> None:
        """What does not fit Go's 64 bits of nanoseconds is refused."""
        self.assertEqual(parse_duration("2562047h"), 2562047 * 3600.0)
        self.assertRaises(ValueError, parse_duration, "2562048h")


class FormatTests(SynchronousTestCase):
    def test_spellings(self) -> None:
        """The shortest usual spelling is chosen."""
        for seconds, text in (
            (0.0, "0s"),
            (30.0, "30s"),
            (60.0, "1m"),
            (100.0, "1m40s"),
            (5400.0, "1h30m"),
            (604800.0, "168h"),
            (0.5, "500ms"),
            (1.5, "1.5s"),
            (0.00025, "0.25ms"),
        ):
            self.assertEqual(format_duration(seconds), text)

    @given(st.floats(min_value=0, max_value=1e9))
    def test_round_trip(self, seconds: float) -> None:
        """Every duration is read back as the same number of seconds."""
        self.assertEqual(parse_duration(format_duration(seconds)), seconds)
