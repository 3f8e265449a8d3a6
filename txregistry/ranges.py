"""Byte ranges, of downloads (``Range``) and of uploads (``Content-Range``)."""

from __future__ import annotations

import re

from attrs import frozen

from txregistry import errors

_BYTES_RANGE = re.compile(
    r"bytes[ \t]*=[ \t]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t]*", re.I | re.A
)
_CHUNK_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:\*|([0-9]{1,19})))?")


@frozen
class ByteRange:
    """A run of bytes.

    :param start: the first byte's position.
    :param stop: the position after the last byte.
    """

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes it is long."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Return the ``Content-Range`` of a 206 whose whole is *size* bytes (RFC 9110, 14.4)."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return what part of *size* bytes a ``Range`` header asks for; None where the whole is to be sent.

    Several ranges, another unit and a malformed header all mean the whole (RFC 9110, 14.2 allows a server
    to ignore them).

    :raises txregistry.errors.RangeUnsatisfiable: a single range, but none of it exists.
    """
    match = _BYTES_RANGE.fullmatch(header) if header is not None else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise errors.RangeUnsatisfiable(size)
    return ByteRange(start, stop)


def parse_chunk_range(header: str) -> ByteRange:
    """Return the range of an uploaded chunk: ``start-end``, both inclusive (distribution-spec).

    The HTTP form, ``bytes start-end/total``, is understood too.

    :raises txregistry.errors.SizeInvalid: it is neither.
    """
    match = _CHUNK_RANGE.fullmatch(header)
    if match is None or int(match[2]) < int(match[1]) or (match[3] and int(match[3]) <= int(match[2])):
        raise errors.SizeInvalid({"Content-Range": header[:100]}, message="malformed Content-Range")
    return ByteRange(int(match[1]), int(match[2]) + 1)
