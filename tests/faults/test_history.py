"""The model of what may be found after a crash."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.history import History


class HistoryTests(SynchronousTestCase):
    """One name."""

    def setUp(self) -> None:
        self.history = History()

    def write(self, value: str | None) -> None:
        """Write, and be told so."""
        self.history.acknowledge(self.history.begin({"x": value}))

    def test_acknowledged(self) -> None:
        """The last value that was acknowledged is the only one; before any, there is none."""
        self.assertEqual(self.history.allowed("x"), [None])
        self.write("a")
        self.write("b")
        self.assertEqual(self.history.allowed("x"), ["b"])
        self.assertRaises(AssertionError, self.history.check, "x", "a")
        self.assertRaises(AssertionError, self.history.check, "x", None)
        self.write(None)
        self.assertEqual(self.history.allowed("x"), [None])

    def test_unanswered(self) -> None:
        """What was never answered may be there, or not, whatever was acknowledged since."""
        self.history.begin({"x": "a"})
        self.assertEqual(self.history.allowed("x"), [None, "a"])
        self.write("b")
        self.assertEqual(self.history.allowed("x"), ["a", "b"])

    def test_failed(self) -> None:
        """What failed may have been done, until something later is acknowledged."""
        self.write("a")
        self.history.fail(self.history.begin({"x": "b"}))
        self.assertEqual(self.history.allowed("x"), ["a", "b"])
        self.write("c")
        self.assertEqual(self.history.allowed("x"), ["c"])

    def test_at_the_same_time(self) -> None:
        """Of two that overlapped, either may have been the last."""
        first, second = self.history.begin({"x": "a"}), self.history.begin({"x": "b"})
        self.history.acknowledge(second)
        self.history.acknowledge(first)
        self.assertEqual(self.history.allowed("x"), ["a", "b"])

    def test_refused(self) -> None:
        """What was refused is not there."""
        self.write("a")
        self.history.refuse(self.history.begin({"x": "b"}))
        self.assertEqual(self.history.allowed("x"), ["a"])
