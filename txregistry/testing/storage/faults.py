"""A storage driver in front of another that fails, waits or dies when a test says so.

To see what becomes of a failure anywhere, let the first call fail, then the second, and so on until none does::

    for number in itertools.count(1):
        trouble = Trouble(number, fail(errors.StorageUnavailable("", "")))
        work_with(FaultyDriver(MyDriver(), trouble))
        if not trouble.fired:
            break
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any

from attrs import field, frozen, mutable
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from txregistry.interfaces import FileInfo, IFileReader, IFileWriter, IStorageDriver

#: What happens in place of a call, or before it: raises, or returns what is waited for.
Effect = Callable[[], Awaitable[Any] | None]


class Killed(BaseException):
    """The process is gone: nothing that it would do happens any more."""


def fail(error: Exception) -> Effect:
    """Return what lets a call fail."""

    def effect() -> None:
        raise error

    return effect


def delay(reactor: Any, seconds: float) -> Effect:
    """Return what lets a call wait before it begins."""
    return lambda: deferLater(reactor, seconds)


def kill() -> None:
    """Die: this call and all that follow are not made."""
    raise Killed


@mutable(eq=False)
class Pause:
    """Holds a call until the test lets it go.

    :ivar reached: fires when the call is made.
    """

    reached: Deferred[None] = field(factory=Deferred)
    _go: Deferred[None] = field(factory=Deferred)

    def __call__(self) -> Deferred[None]:
        """Hold the call."""
        self.reached.callback(None)
        return self._go

    def go_on(self) -> None:
        """Let the call be made."""
        self._go.callback(None)


@mutable(eq=False)
class Trouble:
    """What happens to one call.

    :param number: which, counted from 1 on.
    :param effect: what happens.
    :param names: the calls that are counted, such as ``write`` or ``writer.sync``; all if none is given.
    :param path: only those at a path that contains this.
    :ivar fired: whether there was such a call.
    """

    number: int
    effect: Effect
    names: Collection[str] = ()
    path: str = ""
    fired: bool = False

    def before(self, name: str, path: str) -> Awaitable[Any] | None:
        """Let happen what is to happen before a call."""
        if (self.names and name not in self.names) or self.path not in path:
            return None
        self.number -= 1
        if self.number != 0:
            return None
        self.fired = True
        return self.effect()


@implementer(IStorageDriver)
class FaultyDriver:
    """Passes calls on to another driver, with trouble.  It provides nothing but ``IStorageDriver`` itself.

    :param driver: the other one.
    :param trouble: what happens; None for nothing.
    :ivar calls: what was asked for, each as (name, path).
    """

    def __init__(self, driver: IStorageDriver, trouble: Trouble | None = None) -> None:
        self._driver = driver
        self._dead = False
        self.trouble = trouble
        self.calls: list[tuple[str, str]] = []

    async def pass_by(self, name: str, path: str) -> None:
        """Note a call and let happen what is to happen before it."""
        if self._dead:
            raise Killed
        self.calls.append((name, path))
        try:
            waiting = None if self.trouble is None else self.trouble.before(name, path)
        except Killed:
            self._dead = True
            raise
        if waiting is not None:
            await waiting

    def prepare(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        self._driver.prepare()

    async def close(self) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self._driver.close()

    async def read(self, path: str, limit: int) -> bytes:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("read", path)
        return await self._driver.read(path, limit)

    async def write(self, path: str, content: bytes, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("write", path)
        await self._driver.write(path, content, durable)

    async def open_reader(self, path: str, offset: int = 0) -> IFileReader:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("open_reader", path)
        return _Reader(self, path, await self._driver.open_reader(path, offset))

    async def open_writer(self, path: str) -> IFileWriter:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("open_writer", path)
        return _Writer(self, path, await self._driver.open_writer(path))

    async def stat(self, path: str) -> FileInfo:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("stat", path)
        return await self._driver.stat(path)

    async def touch(self, paths: Sequence[str], age: float = 0) -> Sequence[FileInfo | None]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("touch", " ".join(paths))
        return await self._driver.touch(paths, age)

    async def discard(self, path: str, before: float) -> FileInfo | None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("discard", path)
        return await self._driver.discard(path, before)

    async def list(self, path: str) -> builtins.list[str]:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("list", path)
        return await self._driver.list(path)

    async def move(self, source: str, target: str) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("move", f"{source} {target}")
        await self._driver.move(source, target)

    async def delete(self, path: str, durable: bool = True) -> None:
        """See :class:`~txregistry.interfaces.IStorageDriver`."""
        await self.pass_by("delete", path)
        await self._driver.delete(path, durable)


@implementer(IFileReader)
@frozen
class _Reader:
    _faulty: FaultyDriver
    _path: str
    _reader: IFileReader

    async def read(self, size: int) -> bytes:
        await self._faulty.pass_by("reader.read", self._path)
        return await self._reader.read(size)

    async def close(self) -> None:
        # Even one that is dead lets go of its files.
        await self._reader.close()


@implementer(IFileWriter)
@frozen
class _Writer:
    _faulty: FaultyDriver
    _path: str
    _writer: IFileWriter

    @property
    def offset(self) -> int:
        return self._writer.offset

    async def write(self, chunks: Iterable[bytes]) -> None:
        await self._faulty.pass_by("writer.write", self._path)
        await self._writer.write(chunks)

    async def sync(self) -> None:
        await self._faulty.pass_by("writer.sync", self._path)
        await self._writer.sync()

    async def close(self) -> None:
        await self._writer.close()
