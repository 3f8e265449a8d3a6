"""``Range`` and ``Content-Range``."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry import errors
from txregistry.ranges import ByteRange, parse_chunk_range, parse_range

#: RFC 9110, 14.1.2, one range; with the blanks that servers forgive.
ONE_RANGE = re.compile(r"\A[bB][yY][tT][eE][sS][ \t]*=[ \t]*([0-9]+-[0-9]*|-[0-9]+)[ \t]*\Z")
#: distribution-spec, "Pushing a blob in chunks", or RFC 9110, 14.4.
CHUNK = re.compile(r"\A(bytes[ =])?[0-9]+-[0-9]+(/([0-9]+|\*))?\Z")

near_ranges = st.text(alphabet="byteBYTES=-,0129 \t/*\n_+\u0661\u017f", max_size=40)
numbers = st.one_of(st.integers(0, 40), st.integers(0, 2**65))


class TestRange(SynchronousTestCase):
    """What part of a blob is asked for."""

    def test_examples(self) -> None:
        """The examples of RFC 9110, 14.1.2, of 10,000 bytes."""
        for header, start, stop in (
            ("bytes=0-499", 0, 500),
            ("bytes=500-999", 500, 1000),
            ("bytes=-500", 9500, 10_000),
            ("bytes=9500-", 9500, 10_000),
            ("bytes=0-0", 0, 1),
            ("bytes=-1", 9999, 10_000),
            ("bytes=0-99999", 0, 10_000),
            ("bytes=-99999", 0, 10_000),
            ("BYTES=1-2", 1, 3),
        ):
            self.assertEqual(parse_range(header, 10_000), ByteRange(start, stop), header)

    def test_ignored(self) -> None:
        """Several ranges, another unit and what is malformed mean the whole."""
        for header in (
            None,
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "items=0-1",
            "bytes=5-3",
            "bytes=1_0-",
            "bytes=+1-",
            "bytes= 1 - 2",
            "bytes=\u0661-",
            "byte\u017f=0-1",
            "bytes=0-1\n",
            "bytes=--1",
            "bytes=0x1-",
            "bytes=1.0-2",
            "bytes=0-" + "9" * 30,
            "bytes=" + "9" * 5000 + "-",
        ):
            self.assertIsNone(parse_range(header, 10), repr(header)[:40])

    def test_unsatisfiable(self) -> None:
        """A range of which nothing exists is an error that knows the size."""
        for header, size in (
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=0-", 0),
            ("bytes=-1", 0),
            ("bytes=-0", 10),
            ("bytes=9999999999999999999-", 10),
        ):
            error = self.assertRaises(errors.RangeUnsatisfiable, parse_range, header, size)
            self.assertEqual((error.size, error.detail), (size, {"size": size}))

    @given(st.one_of(st.text(), near_ranges, st.from_regex(ONE_RANGE)), st.integers(0, 50))
    @example("byte\u017f=0-1", 5)
    def test_grammar(self, header: str, size: int) -> None:
        """Only what is one range of the grammar is answered as one, and only within the content."""
        try:
            found = parse_range(header, size)
        except errors.RangeUnsatisfiable:
            self.assertIsNotNone(ONE_RANGE.search(header))
        else:
            if found is not None:
                self.assertIsNotNone(ONE_RANGE.search(header))
                self.assertTrue(0 <= found.start < found.stop <= size)

    @given(st.binary(max_size=40), st.integers(0, 45), st.none() | st.integers(0, 45))
    def test_selects(self, content: bytes, first: int, last: int | None) -> None:
        """A range selects just the bytes between its ends."""
        end = "" if last is None else str(last)
        selected = content[first:] if last is None else content[first : last + 1]
        self._assert_selects(f"bytes={first}-{end}", content, selected, last is not None and last < first)

    @given(st.binary(max_size=40), st.integers(0, 45))
    def test_selects_suffix(self, content: bytes, length: int) -> None:
        """A suffix range selects just the last bytes."""
        selected = content[-length:] if length else b""
        self._assert_selects(f"bytes=-{length}", content, selected, ignored=False)

    def _assert_selects(self, header: str, content: bytes, selected: bytes, ignored: bool) -> None:
        try:
            found = parse_range(header, len(content))
        except errors.RangeUnsatisfiable:
            self.assertEqual(selected, b"")
            self.assertFalse(ignored)
            return
        if ignored:
            self.assertIsNone(found)
            return
        assert found is not None
        self.assertEqual(content[found.start : found.stop], selected)
        self.assertEqual(found.length, len(selected))
        self.assertNotEqual(selected, b"")


class TestChunkRange(SynchronousTestCase):
    """Where an uploaded chunk belongs."""

    def test_forms(self) -> None:
        """The spec's form and HTTP's mean the same."""
        for header in ("0-9", "bytes 0-9/10", "bytes=0-9", "bytes 0-9/*", "0-9/99", "00-09"):
            self.assertEqual(parse_chunk_range(header), ByteRange(0, 10), header)

    def test_traps(self) -> None:
        """What is nearly a chunk's range is refused."""
        for header in (
            "",
            "-",
            "0",
            "0-",
            "-9",
            "9-0",
            "1_0-20",
            "+1-2",
            "1-+2",
            " 0-9",
            "0-9 ",
            "0-9\n",
            "0 - 9",
            "\u0661-\u0662",
            "0-\uff19",
            "1-2,3-4",
            "bytes */10",
            "bytes  0-9/10",
            "items 0-9/10",
            "0-9/",
            "0-9/-1",
            "0x0-0x9",
            "0.0-9",
            "0-" + "9" * 30,
            "9" * 5000 + "-" + "9" * 5000,
        ):
            self.assertRaises(errors.SizeInvalid, parse_chunk_range, header)

    def test_whole_too_small(self) -> None:
        """A chunk that ends beyond the whole it is said to be part of is refused (RFC 9110, 14.4)."""
        for header in ("bytes 0-9/9", "0-9/0", "bytes 5-5/5"):
            self.assertRaises(errors.SizeInvalid, parse_chunk_range, header)

    def test_refusal_is_short(self) -> None:
        """A refusal does not echo a header of any length back."""
        error = self.assertRaises(errors.SizeInvalid, parse_chunk_range, "x" * 100_000)
        self.assertLess(len(str(error.detail)), 200)

    @given(st.one_of(st.text(), near_ranges, st.from_regex(CHUNK)))
    def test_grammar(self, header: str) -> None:
        """What is accepted is of the grammar and is the run of bytes that it spells."""
        try:
            found = parse_chunk_range(header)
        except errors.SizeInvalid:
            return
        self.assertIsNotNone(CHUNK.search(header))
        first, last = re.findall("[0-9]+", header)[:2]
        self.assertEqual((found.start, found.stop), (int(first), int(last) + 1))
        self.assertGreater(found.length, 0)

    @given(st.integers(0, 10**18), st.integers(1, 10**18), st.integers(0, 10**18))
    def test_round_trip(self, start: int, length: int, beyond: int) -> None:
        """What the registry writes of a range it reads back."""
        chunk = ByteRange(start, start + length)
        self.assertEqual(parse_chunk_range(f"{start}-{start + length - 1}"), chunk)
        self.assertEqual(parse_chunk_range(chunk.content_range(chunk.stop + beyond)), chunk)
        self.assertEqual(chunk.length, length)

    @given(numbers, numbers)
    def test_numbers(self, first: int, last: int) -> None:
        """Numbers of any size are a range or refused; they are never cut short."""
        try:
            found = parse_chunk_range(f"{first}-{last}")
        except errors.SizeInvalid:
            self.assertTrue(last < first or max(first, last) >= 10**19)
        else:
            self.assertEqual(found, ByteRange(first, last + 1))
