"""Large bodies that cost a client next to nothing: hashed beforehand, sent from memory by the kernel."""

import functools
import hashlib
import io
import mmap
import os
import random
from typing import Any, Self

import attrs

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
CHUNK = 32 * KIB
"""Docker's engine streams a layer in chunks of this size."""

_BLOCK = 64 * MIB


@attrs.frozen(eq=False)
class Memory:
    """
    Bytes in memory that a socket can be sent without copying them.

    :param descriptor: an open file of them that is on no disk.
    :param view: the same bytes.
    """

    descriptor: int
    view: memoryview

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Keep some bytes so."""
        descriptor = os.memfd_create("benchmark")
        with io.FileIO(descriptor, "wb", closefd=False) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        return cls(descriptor, memoryview(mmap.mmap(descriptor, len(data), prot=mmap.PROT_READ)))


@attrs.frozen
class Body:
    """
    A blob as it is sent.

    :param size: of the blob, in bytes, whatever is put around it.
    :param pieces: what is sent first, each so many bytes from the beginning of some memory.
    :param tail: what is sent at the end, which tells this body from others.
    """

    size: int
    digest: str
    pieces: tuple[tuple[Memory, int], ...]
    tail: bytes


def frame(chunk: bytes) -> bytes:
    """Put the frame of the chunked transfer coding around some bytes."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


def framed(data: bytes) -> bytes:
    """Give some bytes in the chunked transfer coding, as docker's engine cuts them."""
    frames = [frame(data[start : start + CHUNK]) for start in range(0, len(data), CHUNK)]
    return b"".join([*frames, b"0\r\n\r\n"])


@functools.cache
def _noise() -> Memory:
    return Memory.of(random.Random("txregistry").randbytes(_BLOCK))


@functools.cache
def _framed_noise() -> Memory:
    view = _noise().view
    return Memory.of(b"".join(frame(bytes(view[at : at + CHUNK])) for at in range(0, _BLOCK, CHUNK)))


@functools.cache
def _hashed(size: int) -> Any:
    digester = hashlib.sha256()
    for memory, count in _repeated(_noise(), size):
        digester.update(memory.view[:count])
    return digester


def _repeated(memory: Memory, size: int) -> tuple[tuple[Memory, int], ...]:
    whole, rest = divmod(size, len(memory.view))
    return ((memory, len(memory.view)),) * whole + (((memory, rest),) if rest else ())


def _tail(number: int, size: int) -> tuple[bytes, str]:
    tail = random.Random(number).randbytes(CHUNK)
    digester = _hashed(size - CHUNK).copy()
    digester.update(tail)
    return tail, f"sha256:{digester.hexdigest()}"


def plain(size: int, number: int) -> Body:
    """
    Give a blob to send with its length.

    :param size: bytes, a multiple of :data:`CHUNK`.
    :param number: blobs of different numbers differ.
    """
    tail, digest = _tail(number, size)
    return Body(size, digest, _repeated(_noise(), size - CHUNK), tail)


def streamed(size: int, number: int) -> Body:
    """Give the blob that :func:`plain` gives in the chunked transfer coding, as docker's engine sends it."""
    tail, digest = _tail(number, size)
    length = len(frame(bytes(CHUNK)))
    pieces = _repeated(_framed_noise(), (size // CHUNK - 1) * length)
    return Body(size, digest, pieces, frame(tail) + b"0\r\n\r\n")
