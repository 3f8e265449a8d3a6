"""What a store of objects can do: the seam between one kind of store and what all drivers over such stores share."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from attrs import field, frozen
from zope.interface import Interface

#: The version of an object that is not there.
ABSENT = ""


class Conflict(Exception):
    """An object is not of the version that a condition asked for."""


class PastEnd(Exception):
    """An object was asked for from a place beyond its end."""


@frozen
class ObjectInfo:
    """What a store says of an object.

    :param size: bytes of the whole object.
    :param modified: when it was last written, in seconds since the epoch, by the store's clock.
    :param version: changes with every change of the content; an ETag, or a generation.
    :param now: what the store's clock showed when it said all this (the answer's ``Date``).
    :param notes: what was noted of it when it was put: short ASCII texts under lower-case names.
    :param md5: the MD5 of its bytes, hexadecimal; None where the store does not tell it.
    """

    size: int
    modified: float
    version: str
    now: float
    notes: Mapping[str, str] = field(factory=dict)
    md5: str | None = None

    @property
    def age(self) -> float:
        """Seconds since it was written, by the store's own clock."""
        return self.now - self.modified

    def by_its_clock(self, moment: float, now: float) -> float:
        """Return what the store's clock shows at a moment.  It is a second behind at most, never ahead.

        :param moment: by the clock here, in seconds since the epoch.
        :param now: what that shows.
        """
        return moment + (self.now - now if self.now else 0)


class IBody(Interface):
    """The bytes of an object, as they arrive."""

    def read(size: int) -> Awaitable[bytes]:
        """Return the next bytes, at most *size*; ``b""`` at the end.

        :raises txregistry.errors.StorageUnavailable: the connection failed, or nothing came for too long.
        """

    def close() -> Awaitable[None]:
        """Let go of the connection.  More than once is harmless."""


@frozen
class Opened:
    """An object whose bytes are on their way.

    :param info: what is known of it.
    :param body: its bytes, from where they were asked for to the end.  To be closed.
    """

    info: ObjectInfo
    body: IBody


@frozen
class Found:
    """One entry of a page of a listing.

    :param path: an object's path; of a folder, with the slash at its end.
    :param modified: when the object was last written, by the store's clock; 0 of a folder.
    :param size: the object's bytes; 0 of a folder.
    """

    path: str
    modified: float = 0.0
    size: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether this stands for all objects whose paths begin with its own."""
        return self.path.endswith("/")


@frozen
class Page:
    """A part of a listing.

    :param found: its entries, in the store's own order.
    :param token: what the next page is asked for with; None if there is none.
    :param now: what the store's clock showed.
    """

    found: Sequence[Found]
    token: str | None
    now: float


@frozen
class Piece:
    """All bytes of one object, as a part of another.

    :param path: the object.
    :param size: its bytes.
    """

    path: str
    size: int


class IObjectStore(Interface):
    """Objects under paths.

    Paths begin with a slash and are those of storage drivers, and some that no storage driver is asked for, with
    ``~`` in their last part; the store puts its root directory before them.  What was put, deleted or made
    is seen by every operation that begins afterwards, by listings too.

    Each operation tries again, by itself and for a short time, what failed in passing.  All raise
    :exc:`txregistry.errors.StorageUnavailable` where that did not help, and the outcome is not known then;
    :exc:`txregistry.errors.StorageFull` or :exc:`txregistry.errors.StorageFault` where the store will not do it.
    """

    def prepare() -> None:
        """Make ready: called once before the reactor runs, so this alone may block for a moment.

        A store that cannot be reached is no reason to fail; one that says no is.

        :raises txregistry.errors.ConfigError: this store cannot be used.
        """

    def close() -> Awaitable[None]:
        """Let go of connections."""

    def head(path: str) -> Awaitable[ObjectInfo]:
        """Return what is known of an object.

        :raises txregistry.errors.PathUnknown: there is none.
        """

    def get(path: str, start: int = 0, version: str | None = None) -> Awaitable[Opened]:
        """Open an object to be read from *start* to its end.

        Failures after this returned are the reader's to mend, who opens it again from where it came to.

        :param version: the one that is wanted; None for whichever there is.
        :raises txregistry.errors.PathUnknown: there is none.
        :raises Conflict: it is of another version.
        :raises PastEnd: it is not longer than *start*, and *start* is not 0.
        """

    def put(
        path: str,
        pieces: Sequence[bytes],
        notes: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> Awaitable[str]:
        """Make an object of *pieces*, one after the other, at once and durably; return its version.

        :param version: what the one that is there must be of, :data:`ABSENT` if there must be none; None if
            that does not matter.
        :raises Conflict: it is of another; or a first try has put it, and a second one found that.
        """

    def refresh(path: str, info: ObjectInfo) -> Awaitable[float]:
        """Give a small object the present time, its content and notes being what they were; return that time.

        :param info: what is known of it.
        :returns: what :meth:`head` says from now on of when it was written.
        :raises txregistry.errors.PathUnknown: there is none.
        :raises Conflict: someone has put or refreshed it meanwhile, or a first try has.  Only an
            :class:`IConditionalStore` says so.
        """

    def assemble(path: str, pieces: Sequence[Piece]) -> Awaitable[None]:
        """Make an object of others, without their bytes passing here; at once and durably.

        All pieces but the last are of at least the ``smallest`` size that the driver was given.  When this fails,
        or is cancelled, nothing is left of what it had begun, as far as that could be seen to.

        :raises txregistry.errors.PathUnknown: there is no such piece.
        """

    def delete(paths: Sequence[str], once: bool = False) -> Awaitable[None]:
        """Remove objects.  One that is not there is no error.

        :param once: ask once, wait for the answer for ten seconds at most, and do not try again.
        """

    def page(
        prefix: str, after: str = "", deep: bool = False, limit: int = 1000, token: str | None = None
    ) -> Awaitable[Page]:
        """List objects.

        :param prefix: what their paths begin with.
        :param after: a path with that prefix; entries that come before it in the store's order need not be listed,
            nor that object itself.  Those that are byte by byte after it must be.
        :param deep: list every object, rather than one folder for all that have the same name up to the next slash.
        :param limit: entries at most.
        :param token: the previous page's; *prefix*, *after* and *deep* are the same then.
        """

    def sign(path: str, method: str) -> Awaitable[str | None]:
        """Return a URL by which anybody can have an object from the store for a while; None if it gives none.

        :param method: ``GET`` or ``HEAD``.
        """

    def tidy(before: float) -> Awaitable[None]:
        """Remove what :meth:`assemble` began before *before*, seconds since the epoch, and never ended."""


class IConditionalStore(IObjectStore):
    """A store that deletes an object only if nothing was done to it since it was looked at.

    Its :meth:`~IObjectStore.refresh` costs the same for objects of any size, changes what :meth:`remove` goes by,
    and does nothing to an object that is not the one it was told of.
    """

    def remove(path: str, info: ObjectInfo) -> Awaitable[None]:
        """Remove an object that was neither put nor refreshed since *info* was said of it.

        That it is gone already, by a first try whose answer was lost, is no error.

        :raises Conflict: it was.
        :raises txregistry.errors.PathUnknown: there is none.
        """
