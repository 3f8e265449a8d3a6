"""The seams: what can be plugged in.

Methods that do work return awaitables; an implementation may write ``async def`` or return a Deferred.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import frozen
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from txregistry.access import Access, Attempt, Decision, Identity
from txregistry.events import Event

T = TypeVar("T")


@frozen
class FileInfo:
    """What a driver knows of a path.

    :param size: bytes; 0 for a directory.
    :param modified: when it was last written, in seconds since the epoch.
    :param is_directory: whether paths lie below it.
    """

    size: int
    modified: float
    is_directory: bool = False


class IFileReader(Interface):
    """A file being read, from some offset onwards."""

    def read(size: int) -> Awaitable[bytes]:
        """Return the next bytes, at most *size*; ``b""`` at the end.

        :raises txregistry.errors.StorageError: they cannot be read.
        """

    def close() -> Awaitable[None]:
        """Let go of the file.  More than once is harmless."""


class IFileWriter(Interface):
    """A file being appended to, held by this writer alone until it is closed."""

    offset: int = Attribute("Bytes in the file: those found at the opening and those written since.")

    def write(chunks: Iterable[bytes]) -> Awaitable[None]:
        """Append *chunks* in order.

        The iterable is consumed once, on whatever thread the driver writes from: a caller may pass a
        generator that hashes each chunk as it passes.  What it raises comes through, *offset* then saying
        what was kept.  No second call is made before the first has ended, but :meth:`close` may be.

        :raises txregistry.errors.StorageFull: there is no room; some of the bytes may have been written.
        :raises txregistry.errors.StorageError: anything else; the same.
        """

    def sync() -> Awaitable[None]:
        """Return when what was written would survive a loss of power.  The file's time is then the present.

        The name that a new file has may not: it is moved to where it is to last.

        :raises txregistry.errors.StorageError: it would not.  The file must then be dropped; a second
            ``sync`` proves nothing.
        """

    def close() -> Awaitable[None]:
        """Let go of the file, once a write under way has ended.  More than once is harmless."""


class IStorageDriver(Interface):
    """Files under storage paths (:mod:`txregistry.paths`), directories being implied by them.

    Every method that takes a path raises :exc:`txregistry.errors.PathInvalid` for one that is not of the
    grammar, and a :exc:`txregistry.errors.StorageError` where the back end fails.  Instances serve one
    event loop; all their blocking work happens on threads of their own.
    """

    def prepare() -> None:
        """Make ready: called once before the reactor runs, so this alone may block for a moment.

        :raises txregistry.errors.ConfigError: this storage cannot be used, and why, in one line; its
            ``where`` is the option's name.
        """

    def close() -> Awaitable[None]:
        """Let go of threads and connections; no other method is called afterwards."""

    def read(path: str, limit: int) -> Awaitable[bytes]:
        """Return the whole of a small file.

        :param limit: bytes that the caller is ready to hold.
        :raises txregistry.errors.PathUnknown: there is no file at *path*.
        :raises txregistry.errors.StorageFault: it is longer than *limit*.
        """

    def write(path: str, content: bytes, durable: bool = True) -> Awaitable[None]:
        """Make *content* the whole of the file, at once: no one ever sees a part of it.

        :param durable: return only when it would survive a loss of power.
        """

    def open_reader(path: str, offset: int = 0) -> Awaitable[IFileReader]:
        """Open a file to be read from *offset*.

        :raises txregistry.errors.PathUnknown: there is no file at *path*.
        """

    def open_writer(path: str) -> Awaitable[IFileWriter]:
        """Open a file to be appended to, making it if need be.

        :raises txregistry.errors.FileBusy: another writer has it open, in this process or another.
        """

    def stat(path: str) -> Awaitable[FileInfo]:
        """Return what is known of a file or directory.

        :raises txregistry.errors.PathUnknown: there is neither.
        """

    def touch(paths: Sequence[str], age: float = 0) -> Awaitable[Sequence[FileInfo | None]]:
        """Keep files from being discarded: give each the present time, as if it were written now.

        Return what is known of each; None where there is no file.

        :param age: seconds; a file that was written or touched less than that ago is left as it is.
        """

    def discard(path: str, before: float) -> Awaitable[FileInfo | None]:
        """Remove a file that was neither written nor touched lately, with the directories that are empty then.

        Between the look at its time and its removal no one else, in this process or another, touches the file
        or puts another in its place.

        :param before: seconds since the epoch; a file of that time or later stays.
        :returns: what was known of the file; None if it stays, or there is none.
        """

    def list(path: str) -> Awaitable[list[str]]:
        """Return the names directly below a directory, in byte order.

        :raises txregistry.errors.PathUnknown: there is no directory at *path*.
        """

    def move(source: str, target: str) -> Awaitable[None]:
        """Give a file another path, at once and durably, in place of what may be there.

        :raises txregistry.errors.PathUnknown: there is no file at *source*.
        """

    def delete(path: str, durable: bool = True) -> Awaitable[None]:
        """Remove a file, or a directory with all below it, at once.  Readers that have it open may go on.

        :param durable: return only when it would not come back after a loss of power.
        :raises txregistry.errors.PathUnknown: there is nothing at *path*.
        """


class ILocalFiles(Interface):
    """A driver whose files are files of this machine, so that the kernel can send them."""

    def open_local(path: str) -> Awaitable[int]:
        """Open a file and return its descriptor, which the caller closes.

        :raises txregistry.errors.PathUnknown: there is no file at *path*.
        """


class IOrderedListing(Interface):
    """A driver that can list a part of a large directory for what that part costs."""

    def list_after(path: str, after: str, limit: int) -> Awaitable[list[str]]:
        """Return names directly below a directory, in byte order, the first ones that come after *after*.

        :param after: a name, or any text; empty for the beginning.
        :param limit: names at most, 1 or more.  Fewer than that means that there are no more.
        :returns: none where there is no directory.
        """


class IRedirects(Interface):
    """A driver whose files can be had from elsewhere by those who are told where."""

    def redirect(path: str, method: str) -> Awaitable[str | None]:
        """Return a URL that answers for a file as a client expects it to, ranges included, for some minutes.

        Whoever has the URL needs nothing else.  Whether there is such a file is not looked at.

        :param method: ``GET`` or ``HEAD``.
        :returns: None where there is no such URL for this file.
        """


class IBatching(Interface):
    """A driver whose calls block a thread, so that several in a row are best made on one.

    In a batch its methods are called on whatever thread the batch is on.
    """

    def batch(work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Return the result of *work*, which awaits one call of this driver after the other.

        Cancelling this does not stop *work* once a thread has it.
        """

    def durably(work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Return the result of *work*, a part of a batch, when all that it changes would survive a loss of power.

        Meanwhile it may be that none of it would, or a part, in no order: that is what makes it quicker.  *work*
        awaits this driver only.
        """


class ITidying(Interface):
    """A driver that keeps files of its own, of which a process that was killed may leave some behind."""

    def tidy() -> Awaitable[None]:
        """Remove what was left behind, and nothing that another process still needs.

        :raises txregistry.errors.StorageError: it cannot be looked for.
        """


class IWritability(Interface):
    """A driver that can tell whether it could be written to, without writing."""

    def check_writable() -> Awaitable[None]:
        """Return if writing would find room and leave to write.

        :raises txregistry.errors.StorageFull: it would not, or there would be too little room soon.
        :raises txregistry.errors.StorageError: that cannot be told.
        """


class IOneProcess(Interface):
    """A driver whose files no other process can see, or may touch, while it is in use."""


class IStorageDriverMaker(IPlugin):
    """Makes a storage driver of one kind.  This is what a distribution announces."""

    name: str = Attribute("What ``storage:`` in the configuration calls it.")

    def make(options: Mapping[str, Any], reactor: Any) -> IStorageDriver:
        """Return a driver.  Checks *options* and wires; touches nothing outside the process.

        :param options: the keys below ``storage.<name>``.
        :raises txregistry.errors.ConfigError: an option is unknown, missing or wrong; its ``where`` is the
            option's name.
        """


class IAuthBackend(Interface):
    """Says who makes a request.  Instances serve one event loop; nothing in them blocks it."""

    def prepare() -> None:
        """Make ready: called once before the reactor runs, so this alone may block for a moment.

        :raises txregistry.errors.ConfigError: this backend cannot be used, and why, in one line; its
            ``where`` is the option's name.
        """

    def close() -> Awaitable[None]:
        """Let go of threads and connections; no other method is called afterwards."""

    def authenticate(attempt: Attempt) -> Awaitable[Identity]:
        """Return who makes a request: :data:`txregistry.access.ANONYMOUS` if it does not say.

        :raises txregistry.errors.Unauthorized: what it says is not true, or cannot be understood.
        :raises txregistry.errors.TooManyRequests: too much of what it said lately was not.
        """

    def challenges(attempt: Attempt, accesses: Sequence[Access], error: str | None) -> list[str]:
        """Return what to ask of a client that is not let in: values of ``WWW-Authenticate``, the best first.

        :param accesses: what the request needs.
        :param error: ``invalid_token`` or ``insufficient_scope`` (RFC 6750, 3.1) where credentials were given
            and did not do; None where there were none.
        """


class IUserMarks(Interface):
    """A backend that can say whether a user's credentials are still those that they were.

    Only users of such a backend are given refresh tokens.
    """

    def mark(user: str) -> Awaitable[str | None]:
        """Return what changes when a user's credentials do, and tells nothing of them; None for no user."""


class IRereading(Interface):
    """A backend that reads files while it is in use."""

    def reread() -> Awaitable[None]:
        """Return when what the files say now is in force: an operator who changed them wants it so.

        Files that are wrong are logged, and what they said before stays in force.
        """


class ITokenIssuing(Interface):
    """A backend that gives tokens to clients, by routes of its own."""


class IAuthBackendMaker(IPlugin):
    """Makes an auth backend of one kind.  This is what a distribution announces."""

    name: str = Attribute("What ``auth:`` in the configuration calls it.")

    def make(options: Mapping[str, Any], reactor: Any) -> IAuthBackend:
        """Return a backend.  Checks *options* and wires; touches nothing outside the process.

        :param options: the keys below ``auth.<name>``.
        :raises txregistry.errors.ConfigError: an option is unknown, missing or wrong; its ``where`` is the
            option's name.
        """


class IAccessPolicy(Interface):
    """Says what someone may do.  Answers at once, from what it holds in memory."""

    def decide(identity: Identity, access: Access) -> Decision:
        """Say whether *identity* may have *access*, and why."""


class IAccessPolicyMaker(IPlugin):
    """Makes an access policy of one kind.  This is what a distribution announces."""

    name: str = Attribute("What ``access:`` in the configuration calls it.")

    def make(options: Any, reactor: Any) -> IAccessPolicy:
        """Return a policy.

        :param options: what stands below ``access.<name>``.
        :raises txregistry.errors.ConfigError: it cannot be used; its ``where`` is the option's name.
        """


class INotifier(Interface):
    """Tells someone of events.  Instances serve one event loop; nothing in them blocks it."""

    def prepare() -> None:
        """Make ready: called once, before there is an event, perhaps while the server runs.

        So this may block, but not for longer than it takes to open a file.

        :raises txregistry.errors.ConfigError: this notifier cannot be used, and why, in one line; its
            ``where`` is the option's name.
        """

    def close() -> Awaitable[None]:
        """Let go of threads and connections; no other method is called afterwards."""

    def notify(event: Event) -> Awaitable[None]:
        """Return when *event* has been taken by whoever it is for.

        There is no second call before the first has ended.  A call that takes longer than the endpoint's
        ``timeout`` is cancelled, and must end then.  An event may come again that has been taken already,
        when that could not be noted.

        :raises txregistry.errors.EventRefused: it is not wanted.  It is tried again, later and later; after
            some tries it is set aside and those behind it go on.
        :raises txregistry.errors.EndpointFailed: it cannot be delivered now, as no other event could.  It
            is tried again as long as it takes.
        """


class INotifierMaker(IPlugin):
    """Makes a notifier of one kind.  This is what a distribution announces."""

    name: str = Attribute("What ``type`` of an endpoint in the configuration calls it.")

    def make(options: Mapping[str, Any], reactor: Any) -> INotifier:
        """Return a notifier.  Checks *options* and wires; touches nothing outside the process.

        :param options: the endpoint's keys, less those that every endpoint has.
        :raises txregistry.errors.ConfigError: an option is unknown, missing or wrong; its ``where`` is the
            option's name.
        """


class ICache(Interface):
    """Remembers what never changes, and may forget any of it at any time.  Instances serve one event loop.

    ``get``, ``put`` and ``forget`` fail with nothing: a cache in trouble knows no key and keeps no value.  None
    takes longer than 50 ms, whatever becomes of a server behind it: a request waits for it.
    """

    requests: int = Attribute("How often it was asked for a value.")
    hits: int = Attribute("How often it had one.")
    errors: int = Attribute("How often it could not say.")

    def prepare() -> None:
        """Make ready: called once before the reactor runs.  A server that cannot be reached is no reason to fail.

        :raises txregistry.errors.ConfigError: this cache cannot be used, and why, in one line; its ``where`` is
            the key's whole path.
        """

    def close() -> Awaitable[None]:
        """Let go of connections and timers; no other method is called afterwards."""

    def get(key: str) -> Awaitable[bytes | None]:
        """Return what is kept under a key, printable ASCII; None where there is nothing."""

    def put(key: str, value: bytes) -> Awaitable[None]:
        """Keep a value under a key, perhaps."""

    def forget(key: str) -> Awaitable[None]:
        """Keep nothing under a key."""


class ICacheMaker(IPlugin):
    """Makes a cache of one kind.  This is what a distribution announces."""

    name: str = Attribute("What ``storage.cache.blobdescriptor`` in the configuration calls it.")

    def make(options: Mapping[str, Any], reactor: Any) -> ICache:
        """Return a cache.  Checks *options* and wires; touches nothing outside the process.

        :param options: ``blobdescriptorsize``, the entries that are kept at most, 0 for no limit; ``redis``, the
            section of that name with every key, None where there is none.
        :raises txregistry.errors.ConfigError: an option is wrong; its ``where`` is the key's whole path.
        """
