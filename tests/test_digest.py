"""Digests, and the hashing of content as it passes."""

from __future__ import annotations

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txregistry import errors
from txregistry.digest import Digest, Digester

#: image-spec, "Registered Algorithms".
SPEC = re.compile(r"\A(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\Z")
BLOCKS = {"sha256": 64, "sha512": 128}
STATES = {"sha256": (b"sha\x03", 108), "sha512": (b"sha\x07", 204)}
A = "a" * 64

algorithms = st.sampled_from(sorted(BLOCKS))
near_digests = st.from_regex(
    r"(sha256|sha512|SHA256|md5|sha256\+b64)?:?[a-fA-F0-9]{63,65}\n?", fullmatch=True
)


def padded(message: bytes, block: int) -> bytes:
    """Return *message* as FIPS 180-4 pads it: whole blocks, after which the state is the digest."""
    length = (8 * len(message)).to_bytes(block // 8, "big")
    zeros = -(len(message) + 1 + len(length)) % block
    return message + b"\x80" + bytes(zeros) + length


class TestDigest(SynchronousTestCase):
    """What spells a digest, and what does not."""

    def test_traps(self) -> None:
        """What is nearly a digest is refused."""
        for text in (
            "",
            ":",
            A,
            f":{A}",
            "sha256:",
            f"sha256:{A[:-1]}",
            f"sha256:{A}a",
            f"sha256:{A.upper()}",
            f"SHA256:{A}",
            f"sha256:{A}\n",
            f"\nsha256:{A}",
            f" sha256:{A}",
            f"sha256: {A}",
            f"sha256::{A}",
            f"sha256:sha256:{A}",
            f"sha512:{A}",
            f"sha256:{A}{A}",
            f"md5:{A[:32]}",
            f"sha256+b64:{A}",
            f"sha256:{'g' * 64}",
            "sha256:" + "\u0661" * 64,
            f"sha256:{A[:-3]}%2f",
            "sha256:../../" + A[:58],
            "sha256:" + "\x00" * 64,
            "\ud800",
        ):
            self.assertRaises(errors.DigestInvalid, Digest.parse, text)

    def test_refusal_is_short(self) -> None:
        """A refusal does not echo a digest of any length back."""
        error = self.assertRaises(errors.DigestInvalid, Digest.parse, "x" * 100_000)
        self.assertLess(len(str(error.detail)), 300)

    @given(st.one_of(st.text(), near_digests, st.from_regex(SPEC)))
    def test_grammar(self, text: str) -> None:
        """A text is accepted if and only if it is of the spec's grammar, and is spelt the same afterwards."""
        try:
            digest = Digest.parse(text)
        except errors.DigestInvalid:
            self.assertIsNone(SPEC.search(text))
        else:
            self.assertIsNotNone(SPEC.search(text))
            self.assertEqual(str(digest), text)
            self.assertEqual(f"{digest.algorithm}:{digest.hex}", text)

    @given(st.binary(max_size=300), algorithms)
    def test_of(self, content: bytes, algorithm: str) -> None:
        """The digest of some content is the one that hashlib finds, and its text parses back to it."""
        digest = Digest.of(content, algorithm)
        self.assertEqual(str(digest), f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")
        self.assertEqual(Digest.parse(str(digest)), digest)

    def test_canonical(self) -> None:
        """Where no algorithm is asked for it is sha256."""
        empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        self.assertEqual(str(Digest.of(b"")), empty)

    def test_algorithms_differ(self) -> None:
        """Digests of one content by two algorithms are two digests."""
        self.assertNotEqual(Digest.of(b"x", "sha256"), Digest.of(b"x", "sha512"))
        self.assertFalse(Digester("sha256").matches(Digest.of(b"", "sha512")))


class TestDigester(SynchronousTestCase):
    """Hashing as content passes."""

    def test_unknown_algorithm(self) -> None:
        """An algorithm that is not known is refused as a digest of it would be."""
        for algorithm in ("", "md5", "SHA256", "sha256\n", "x" * 10_000):
            error = self.assertRaises(errors.DigestInvalid, Digester, algorithm)
            self.assertLess(len(str(error.detail)), 100)

    @given(st.lists(st.binary(max_size=200)), algorithms)
    def test_through(self, chunks: list[bytes], algorithm: str) -> None:
        """Chunks pass unchanged and are hashed, however the content is cut."""
        digester = Digester(algorithm)
        self.assertEqual(list(digester.through(chunks)), chunks)
        content = b"".join(chunks)
        self.assertEqual(digester.offset, len(content))
        self.assertEqual(digester.digest(), Digest.of(content, algorithm))

    def test_through_hashes_what_was_taken(self) -> None:
        """A chunk that no one has taken yet is not hashed."""
        digester = Digester()
        passing = digester.through([b"one", b"two"])
        next(passing)
        self.assertEqual(digester.digest(), Digest.of(b"one"))

    @given(st.binary(max_size=200), st.binary(max_size=200), algorithms)
    def test_digest_ends_nothing(self, first: bytes, second: bytes, algorithm: str) -> None:
        """A digest can be taken in between; what follows is hashed as if it had not been."""
        digester = Digester(algorithm)
        digester.update(first)
        self.assertEqual(digester.digest(), Digest.of(first, algorithm))
        digester.update(second)
        self.assertTrue(digester.matches(Digest.of(first + second, algorithm)))
        self.assertEqual(digester.matches(Digest.of(first, algorithm)), not second)


class TestState(SynchronousTestCase):
    """The state of a hash, saved and taken up again."""

    def test_known_vector(self) -> None:
        """The state after ``abc`` is the one that Go documents, byte for byte."""
        digester = Digester()
        digester.update(b"abc")
        words = "6a09e667 bb67ae85 3c6ef372 a54ff53a 510e527f 9b05688c 1f83d9ab 5be0cd19"
        self.assertEqual(
            digester.state(),
            b"sha\x03" + bytes.fromhex(words) + b"abc" + bytes(61) + b"\0\0\0\0\0\0\0\x03",
        )

    @given(st.binary(max_size=300), st.binary(max_size=63), algorithms)
    def test_format(self, message: bytes, rest: bytes, algorithm: str) -> None:
        """A state is Go's: magic, words, the block under way, the length, all big-endian.

        A padded message leaves exactly its digest in the words, which hashlib can tell.
        """
        magic, size = STATES[algorithm]
        blocks = padded(message, BLOCKS[algorithm])
        digester = Digester(algorithm)
        digester.update(blocks + rest)
        expected = (
            magic
            + hashlib.new(algorithm, message).digest()
            + rest.ljust(BLOCKS[algorithm], b"\0")
            + len(blocks + rest).to_bytes(8, "big")
        )
        self.assertEqual(digester.state(), expected)
        self.assertEqual(len(expected), size)

    @given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), algorithms)
    def test_any_split(self, parts: list[bytes], algorithm: str) -> None:
        """A hash that is saved and restored at any places ends as hashlib's does in one go."""
        digester = Digester(algorithm)
        for part in parts:
            digester.update(part)
            state = digester.state()
            digester = Digester.restore(algorithm, state)
            self.assertEqual(digester.state(), state)
        content = b"".join(parts)
        self.assertEqual(digester.offset, len(content))
        self.assertEqual(digester.digest().hex, hashlib.new(algorithm, content).hexdigest())

    def test_block_edges(self) -> None:
        """A hash can be taken up at, just before and just after the end of a block, and with its length."""
        for algorithm, block in BLOCKS.items():
            content = bytes(range(256)) * 2
            for cut in (0, 1, block - 1, block, block + 1, 2 * block - 1, 2 * block, 2 * block + 1):
                digester = Digester(algorithm)
                digester.update(content[:cut])
                restored = Digester.restore(algorithm, digester.state())
                restored.update(content[cut:])
                self.assertEqual(restored.digest().hex, hashlib.new(algorithm, content).hexdigest())

    def test_beyond_a_word_of_bits(self) -> None:
        """A hash of more than 512 MiB, whose length in bits needs two words, can be taken up again."""
        chunk, times = bytes(range(256)) * 4096 * 4, 129
        digester, expected = Digester(), hashlib.sha256()
        for _ in range(times):
            digester.update(chunk)
            expected.update(chunk)
        digester.update(b"odd")
        expected.update(b"odd")
        restored = Digester.restore("sha256", digester.state())
        restored.update(chunk)
        expected.update(chunk)
        self.assertGreater(restored.offset * 8, 2**32)
        self.assertEqual(restored.digest().hex, expected.hexdigest())

    def test_no_state(self) -> None:
        """What is not a state of the algorithm is a ValueError: short, long, another's, another magic."""
        good = {algorithm: Digester(algorithm).state() for algorithm in BLOCKS}
        for algorithm, other in (("sha256", "sha512"), ("sha512", "sha256")):
            state = good[algorithm]
            for bad in (b"", state[:-1], state + b"\0", good[other], b"sha\x02" + state[4:], b"\x80\x04N."):
                self.assertRaises(ValueError, Digester.restore, algorithm, bad)

    @given(st.binary(max_size=220), algorithms)
    def test_any_bytes(self, noise: bytes, algorithm: str) -> None:
        """Bytes of any kind are a state or a ValueError; a state is restored as it is, and goes on."""
        magic, size = STATES[algorithm]
        self.assertRaises(ValueError, Digester.restore, algorithm, noise)
        state = magic + noise.ljust(size, b"\xff")[: size - len(magic)]
        digester = Digester.restore(algorithm, state)
        self.assertEqual(digester.offset, int.from_bytes(state[-8:], "big"))
        digester.update(b"more" * 100)
        self.assertEqual(len(digester.digest().hex), len(Digest.of(b"", algorithm).hex))

    def test_earlier_state_is_kept(self) -> None:
        """A state is a copy: hashing more does not change it."""
        digester = Digester()
        digester.update(b"one")
        state = digester.state()
        digester.update(b"two")
        self.assertEqual(Digester.restore("sha256", state).digest(), Digest.of(b"one"))
