"""Digests, and the hashing of content as it passes (image-spec, "Digests").

A :class:`Digester` can hand out its inner state and take it back, in the format of Go's
``encoding.BinaryMarshaler`` that Distribution keeps beside an upload: that is how a hash goes on in another
process.  ``hashlib`` has no such thing, so the work is done by libcrypto's own functions through ctypes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hmac
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Self

from attrs import field, frozen

from txregistry import errors

_ENCODED = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}

#: Every algorithm that digests may have.
ALGORITHMS = tuple(_ENCODED)
#: The algorithm used where no one asks for another.
CANONICAL = "sha256"

#: Digests that are not parsed again: the same are asked for, and pointed to, over and over.
_REMEMBERED = 4096


@frozen
class Digest:
    """An algorithm and what it made of some content, ``sha256:…``.

    :param algorithm: ``sha256`` or ``sha512``.
    :param hex: lower-case hexadecimal digits, of the algorithm's length.
    """

    algorithm: str
    hex: str

    @classmethod
    @lru_cache(maxsize=_REMEMBERED)
    def parse(cls, text: str) -> Self:
        """Return the digest that *text* spells.

        :raises txregistry.errors.DigestInvalid: malformed, or of an algorithm that is not known here.
        """
        algorithm, _, encoded = text.partition(":")
        grammar = _ENCODED.get(algorithm)
        if grammar is None or grammar.fullmatch(encoded) is None:
            raise errors.DigestInvalid({"digest": text[:200]}, message="invalid digest or unknown algorithm")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> Self:
        """Return the digest of *content*."""
        digester = Digester(algorithm)
        digester.update(content)
        return cls(algorithm, digester.digest().hex)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@frozen
class _Algorithm:
    """What libcrypto and Go call the parts of one hash.

    libcrypto's context is: eight state words, the length in bits as two words (low, high), the block under
    way, the number of bytes in it, the digest's length.  Go's state is: a magic, the eight words big-endian,
    the block, the length in bytes as a big-endian 64-bit number.
    """

    prefix: str
    word: int
    block: int
    size: int
    magic: bytes
    context: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        word = ctypes.c_uint32 if self.word == 4 else ctypes.c_uint64

        class Context(ctypes.Structure):
            _fields_ = (
                ("state", word * 8),
                ("low", word),
                ("high", word),
                ("block", ctypes.c_ubyte * self.block),
                ("pending", ctypes.c_uint),
                ("size", ctypes.c_uint),
            )

        object.__setattr__(self, "context", Context)


_LIBCRYPTO = {
    "sha256": _Algorithm("SHA256", 4, 64, 32, b"sha\x03"),
    "sha512": _Algorithm("SHA512", 8, 128, 64, b"sha\x07"),
}


def _load_libcrypto() -> ctypes.CDLL:
    for name in ("libcrypto.so.3", ctypes.util.find_library("crypto"), "libcrypto.so.1.1"):
        if name is None:
            continue
        try:
            library = ctypes.CDLL(name)
            for algorithm in _LIBCRYPTO.values():
                getattr(library, f"{algorithm.prefix}_Update").argtypes = (
                    ctypes.c_void_p,
                    ctypes.c_char_p,
                    ctypes.c_size_t,
                )
        except (OSError, AttributeError):
            continue
        return library
    raise ImportError("txregistry needs OpenSSL's libcrypto (Debian: libssl3)")


_libcrypto = _load_libcrypto()


class Digester:
    """Hashes content as it passes.

    Not safe for two threads at once; each call may come from another thread.

    :param algorithm: ``sha256`` or ``sha512``.
    :raises txregistry.errors.DigestInvalid: another algorithm.
    """

    def __init__(self, algorithm: str = CANONICAL) -> None:
        known = _LIBCRYPTO.get(algorithm)
        if known is None:
            raise errors.DigestInvalid({"algorithm": algorithm[:40]}, message="unknown digest algorithm")
        self.algorithm = algorithm
        self._known = known
        self._context = known.context()
        self._update = getattr(_libcrypto, f"{known.prefix}_Update")
        getattr(_libcrypto, f"{known.prefix}_Init")(ctypes.byref(self._context))
        #: Bytes hashed so far.
        self.offset = 0

    def update(self, content: bytes) -> None:
        """Hash *content* as well.  The interpreter lock is released meanwhile."""
        self._update(ctypes.byref(self._context), content, len(content))
        self.offset += len(content)

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield *chunks*, each hashed as it passes."""
        for chunk in chunks:
            self.update(chunk)
            yield chunk

    def digest(self) -> Digest:
        """Return the digest of all that was hashed; more may follow."""
        copy = self._known.context.from_buffer_copy(self._context)
        result = ctypes.create_string_buffer(self._known.size)
        getattr(_libcrypto, f"{self._known.prefix}_Final")(result, ctypes.byref(copy))
        return Digest(self.algorithm, result.raw.hex())

    def matches(self, digest: Digest) -> bool:
        """Say whether what was hashed has this *digest*."""
        return hmac.compare_digest(str(self.digest()), str(digest))

    def state(self) -> bytes:
        """Return the state, as Go's ``MarshalBinary`` writes it: 108 bytes of sha256, 204 of sha512."""
        known, context = self._known, self._context
        pending = context.pending
        block = bytes(context.block)[:pending].ljust(known.block, b"\0")
        words = b"".join(int(word).to_bytes(known.word, "big") for word in context.state)
        return known.magic + words + block + self.offset.to_bytes(8, "big")

    @classmethod
    def restore(cls, algorithm: str, state: bytes) -> Self:
        """Return a digester that goes on from *state*.

        :raises ValueError: *state* is not one of this algorithm.
        """
        digester = cls(algorithm)
        known, context = digester._known, digester._context
        words_end = len(known.magic) + 8 * known.word
        if len(state) != words_end + known.block + 8 or not state.startswith(known.magic):
            raise ValueError(f"not a {algorithm} state")
        for index in range(8):
            start = len(known.magic) + index * known.word
            context.state[index] = int.from_bytes(state[start : start + known.word], "big")
        context.block[:] = state[words_end : words_end + known.block]
        offset = int.from_bytes(state[-8:], "big")
        context.pending = offset % known.block
        bits = offset * 8
        context.low = bits & (1 << 8 * known.word) - 1
        context.high = bits >> 8 * known.word
        digester.offset = offset
        return digester
