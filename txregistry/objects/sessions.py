"""Files that are appended to: what is kept of them, where, and who holds them.

An object cannot be appended to.  Such a file is an object of its own kind, its *session*: a small document that
names the objects in which the bytes are, its *segments*, beside it.  A note on the object says so, and how many
bytes the file has, so that whoever looks at it needs no second look.

The document says who holds the file, too.  It is replaced only by a put that is conditional on its version: who
takes the file over from a holder that has not been heard of for a while changes the version, and nothing that the
old holder does later counts.  Segments have names that no other holder gives, and never change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from attrs import evolve, field, frozen

from txregistry import errors
from txregistry.objects.store import Conflict, IObjectStore, ObjectInfo, Opened, Piece

#: The note of a session: bytes of the file.
SIZE = "txregistry-size"
#: What the names of segments begin with; no storage path has it.
MARK = "~"
#: Seconds after which a holder that was not heard of has lost the file, and between two signs of life.
LEASE = 30.0
RENEWAL = 10.0
#: Bytes of a document at most.
_LONGEST = 4 * 1024 * 1024


@frozen
class Session:
    """What is kept of a file that is appended to.

    :param holder: who has it open; empty if no one has.
    :param segments: names and sizes, in order.
    :param number: makes documents different that are alike otherwise, and with them their versions.
    """

    holder: str = ""
    segments: Sequence[tuple[str, int]] = ()
    number: int = field(default=0)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(size for _, size in self.segments)

    def held(self, info: ObjectInfo) -> bool:
        """Say whether someone has the file open, and was heard of lately.

        :param info: what the store says of this document.
        """
        return bool(self.holder) and info.age < LEASE

    def pieces(self, path: str) -> list[Piece]:
        """Return the objects that have the file's bytes."""
        return [Piece(segment(path, name), size) for name, size in self.segments]

    def encode(self) -> bytes:
        """Return the document."""
        return json.dumps(
            {"holder": self.holder, "number": self.number, "segments": list(self.segments)}
        ).encode("ascii")

    @classmethod
    def decode(cls, path: str, content: bytes) -> Session:
        """Return what a document says.

        :raises txregistry.errors.StorageFault: it makes no sense.
        """
        try:
            found = json.loads(content)
            segments = tuple((str(name), int(size)) for name, size in found["segments"])
            return cls(str(found["holder"]), segments, int(found["number"]))
        except (ValueError, KeyError, TypeError) as error:
            raise errors.StorageFault(
                path, "the document of a file that is written makes no sense"
            ) from error


def segment(path: str, name: str) -> str:
    """Return the path of a segment of a file."""
    return f"{segments_of(path)}-{name}"


def segments_of(path: str) -> str:
    """Return what the paths of all segments of a file begin with.

    They lie beside it.  Its name may be as long as a name can be, and so is not a part of theirs.
    """
    folder, _, name = path.rpartition("/")
    return f"{folder}/{MARK}{hashlib.sha256(name.encode('ascii')).hexdigest()[:16]}"


def is_session(info: ObjectInfo) -> bool:
    """Say whether an object is a file's session rather than the file."""
    return SIZE in info.notes


def size_of(info: ObjectInfo) -> int:
    """Return how many bytes a file has.

    :param info: of its object.
    """
    return int(info.notes[SIZE]) if is_session(info) else info.size


async def load(path: str, opened: Opened) -> Session:
    """Return the session that an object is, and let go of it.

    :raises txregistry.errors.StorageError: it cannot be read.
    """
    return Session.decode(path, await _all_of(path, opened))


async def _all_of(path: str, opened: Opened) -> bytes:
    found = []
    try:
        if opened.info.size > _LONGEST:
            raise errors.StorageFault(path, "the document of a file that is written is too long")
        while chunk := await opened.body.read(_LONGEST):
            found.append(chunk)
    finally:
        await opened.body.close()
    return b"".join(found)


async def save(store: IObjectStore, path: str, session: Session, version: str) -> str:
    """Put a session in the place of the one of that version, and return its own version.

    :raises txregistry.objects.store.Conflict: there is another one, or none.
    """
    content = session.encode()
    try:
        return await store.put(path, [content], {SIZE: str(session.size)}, version)
    except Conflict:
        # A first try may have come through, whose answer did not.
        try:
            opened = await store.get(path)
        except errors.PathUnknown:
            opened = None
        if opened is not None and await _all_of(path, opened) == content:
            return opened.info.version
        raise


def numbered(session: Session, holder: str, segments: Sequence[tuple[str, int]]) -> Session:
    """Return the session that follows another one."""
    return evolve(session, holder=holder, segments=tuple(segments), number=session.number + 1)
