"""Everything that reads what others wrote, fed by Hypothesis: see ``tests/parsers.py``."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.parsers import PARSERS, Parser

#: What is found at the seams of grammars.
PIECES = st.sampled_from(
    [
        *(b"\0", b"\n", b"\r\n", b"\t", b" ", b"\x0b", b"\x1c", b"\x85", b"\xff", b"\xc2\x85", b"\xd9\xa1"),
        *(
            b"/",
            b"..",
            b":",
            b",",
            b";",
            b"=",
            b"%",
            b"%2f",
            b'"',
            b"\\",
            b"[",
            b"]" * 9,
            b"{" * 60,
            b"-",
            b"+",
        ),
        *(b"0", b"_", b"1_0", b"9" * 400, b"1e400", b"NaN", b"true", b"null", b"\\ud800", b"\xed\xa0\x80"),
        *(b"*", b"&a", b"*a", b"<<", b"!!", b"| ", b"~", b"#", b"sha256:", b"a" * 300),
    ]
)


class ParserTests(SynchronousTestCase):
    """Each parser accepts its seeds, and else what is of the grammar; what it refuses it refuses as it says."""

    def feed(self, parser: Parser) -> None:
        """Feed a parser with anything, and with what it accepts, damaged."""
        self.assertTrue(any(parser.try_(seed) for seed in parser.seeds))
        damages = st.lists(
            st.tuples(st.integers(0, 600), st.integers(0, 4), st.one_of(PIECES, st.binary(max_size=4))),
            min_size=1,
            max_size=4,
        )

        @settings(
            max_examples=150,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(
            st.one_of(
                st.binary(max_size=200),
                st.lists(PIECES, max_size=6).map(b"".join),
                st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
                st.tuples(st.sampled_from(parser.seeds), damages).map(lambda pair: _damaged(*pair)),
            )
        )
        def anything(data: bytes) -> None:
            parser.try_(data)

        anything()
        self.assertEqual(self.flushLoggedErrors(), [])


def _damaged(seed: bytes, damages: list[tuple[int, int, bytes]]) -> bytes:
    for at, removed, added in damages:
        at %= len(seed) + 1
        seed = seed[:at] + added + seed[at + removed :]
    return seed


def _add_tests() -> None:
    for name, parser in PARSERS.items():

        def test(self: ParserTests, parser: Parser = parser) -> None:
            self.feed(parser)

        test.__doc__ = f"Whatever the bytes: the parser of {name}."
        setattr(ParserTests, f"test_H11_{name}", test)


_add_tests()
