"""A directory whose system calls are seen, and fail when a test says so, in this process.

What a power cut may leave of it is worked out from the calls: everything that was not synced may be there or not.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any, Self

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

#: What changes a file system, and what only looks.
CHANGES = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "utime")
LOOKS = ("stat", "lstat", "fstat", "listdir", "scandir", "pread", "read")


class Killed(BaseException):
    """The process is gone: nothing that it would have done in this call or later happens."""


class AtOnce:
    """In place of a driver's threads: work is done when it is asked for."""

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Return what *work* makes of *args*."""
        try:
            return succeed(work(*args))
        except BaseException:
            return fail(Failure())

    def stop(self) -> None:
        """Nothing runs."""


@attrs.frozen
class Change:
    """A call that changed something.

    :param name: of :data:`CHANGES`, ``open`` meaning that a file was made.
    :param path: below the root; of a write and an fsync, that by which the file was opened.
    :param other: where a rename leads.
    :param descriptor: the number of the open file among all.
    """

    name: str
    path: str
    other: str = ""
    data: bytes = b""
    file: int = 0


class Disk:
    """The calls on files below a root, while this is entered.  Nothing is really synced, which takes time.

    :param root: a directory that exists.
    :ivar changes: what was changed, in order.
    :ivar failed: the calls that failed with an error of a test's, and the number of the open file.
    :ivar left_open: what was still open at the end.
    :ivar trouble: called before each call with its name and path: may raise, or return the number of bytes that a
        write shall take.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.changes: list[Change] = []
        self.failed: list[Change] = []
        self.left_open: list[str] = []
        self.trouble: Callable[[str, str], int | None] = lambda name, path: None
        self._dead = False
        self._open: dict[int, tuple[str, int]] = {}
        self._opened = 0
        self._originals: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> Self:
        for name in (*CHANGES, *LOOKS, "close"):
            self._originals[name] = getattr(os, name)
            setattr(os, name, self._watched(name, self._originals[name]))
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no more, and close what the process has open, as its death would."""
        for name, original in self._originals.items():
            setattr(os, name, original)
        self.left_open = [path for path, _ in self._open.values()]
        for descriptor in self._open:
            os.close(descriptor)

    def _watched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            path = self._path(args[0] if args else ".", kwargs.get("dir_fd", kwargs.get("src_dir_fd")))
            if path is None:
                return original(*args, **kwargs)
            if name == "close":
                # One that died has nothing to close, and the number may be another's by now.
                if not self._dead and self._open.pop(args[0], None) is not None:
                    original(*args)
                return None
            if self._dead:
                raise Killed(name)
            try:
                short = self.trouble(name, path)
            except Killed:
                self._dead = True
                raise
            except OSError:
                self.failed.append(Change(name, path, file=self._number(args[0])))
                raise
            if short is not None:
                args = (args[0], bytes(args[1][:short]))
            made = name == "open" and bool(args[1] & os.O_CREAT) and not os.path.lexists(self.root + path)
            result = None if name == "fsync" else original(*args, **kwargs)
            self._note(name, path, args, result, made)
            return result

        return call

    def _number(self, what: Any) -> int:
        return self._open[what][1] if what in self._open else 0

    def _path(self, what: Any, folder: int | None) -> str | None:
        if isinstance(what, int):
            return self._open[what][0] if what in self._open else None
        path = os.fsdecode(what)
        if folder is not None and folder in self._open:
            return f"{self._open[folder][0]}/{path}"
        return path.removeprefix(self.root) if path == self.root or path.startswith(self.root + "/") else None

    def _note(self, name: str, path: str, args: tuple[Any, ...], result: Any, made: bool) -> None:
        if name == "open":
            self._opened += 1
            self._open[result] = (path, self._opened)
            if made:
                self.changes.append(Change("open", path))
        elif name == "write":
            self.changes.append(Change("write", path, data=bytes(args[1][:result])))
        elif name == "rename":
            other = self._path(args[1], None)
            assert other is not None
            self.changes.append(Change("rename", path, other))
            # Open files are known by where they are now.
            for descriptor, (where, number) in list(self._open.items()):
                if where == path or where.startswith(path + "/"):
                    self._open[descriptor] = (other + where.removeprefix(path), number)
        elif name in ("fsync", "mkdir", "unlink", "rmdir"):
            self.changes.append(Change(name, path, file=self._number(args[0])))


def failing(
    at: int, trouble: Callable[[], int | None], names: tuple[str, ...]
) -> Callable[[str, str], int | None]:
    """Return what makes the call of the given number fail, counting those of the given names.

    :param at: from 1 on.  The attribute ``fired`` of what is returned then says whether there were so many.
    """
    return _Failing(at, trouble, names)


@attrs.define
class _Failing:
    left: int
    trouble: Callable[[], int | None]
    names: tuple[str, ...]
    fired: bool = False

    def __call__(self, name: str, path: str) -> int | None:
        if name in self.names:
            self.left -= 1
            if self.left == 0:
                self.fired = True
                return self.trouble()
        return None


def error(number: int) -> Callable[[], None]:
    """Return what raises an error of the kernel."""

    def trouble() -> None:
        raise OSError(number, os.strerror(number))

    return trouble


def killed() -> None:
    """Be killed before the call."""
    raise Killed


# What a power cut leaves.


@attrs.define(eq=False)
class _Node:
    """A file or directory, as it is and as much of it as is on the disk for sure."""

    is_directory: bool
    content: bytes = b""
    synced: int = 0
    entries: dict[str, _Node] = attrs.field(factory=dict)


@attrs.define(eq=False)
class _Move:
    """A change to names that is not synced yet: *node* leaves one name for another, either of which may be none."""

    node: _Node
    source: tuple[_Node, str] | None
    target: tuple[_Node, str] | None

    @property
    def folders(self) -> set[int]:
        return {id(place[0]) for place in (self.source, self.target) if place is not None}

    def apply(self, tree: dict[int, dict[str, _Node]]) -> None:
        if self.source is not None:
            names = tree.setdefault(id(self.source[0]), {})
            if names.get(self.source[1]) is self.node:
                del names[self.source[1]]
        if self.target is not None:
            tree.setdefault(id(self.target[0]), {})[self.target[1]] = self.node


class PowerCut:
    """Follows the changes to a disk, and says what would be left of it if the power went.

    The rules are those that POSIX leaves: data is there for sure once its file was synced, a name once its
    directory was; of the rest, the changes to one directory happen in order, and nothing else is certain.  A rename
    happens whole.
    """

    def __init__(self) -> None:
        self._root = _Node(True)
        self._sure: dict[int, dict[str, _Node]] = {}
        self._pending: list[_Move] = []

    def follow(self, change: Change) -> None:
        """Take account of one more change."""
        if change.name == "fsync":
            node = self._find(change.path)
            if not node.is_directory:
                node.synced = len(node.content)
                return
            for move in self._needed(node):
                move.apply(self._sure)
                self._pending.remove(move)
        elif change.name == "write":
            self._find(change.path).content += change.data
        elif change.name in ("open", "mkdir"):
            self._move(_Node(change.name == "mkdir"), None, self._place(change.path))
        elif change.name == "rename":
            self._move(self._find(change.path), self._place(change.path), self._place(change.other))
        else:
            self._move(self._find(change.path), self._place(change.path), None)

    def leave(self, root: str, rng: random.Random, names: float, data: float) -> None:
        """Put into an empty directory what may be left.

        :param names: how likely a change to a name is to have come through; 0 and 1 are certain.
        :param data: how likely it is that data which was not synced is there; some of it may be.
        """
        tree = {key: dict(entries) for key, entries in self._sure.items()}
        stopped: set[int] = set()
        for move in self._pending:
            if move.folders & stopped or rng.random() >= names:
                stopped |= move.folders
            else:
                move.apply(tree)
        self._put(self._root, root, tree, rng, data)

    def _put(self, node: _Node, path: str, tree: dict[int, Any], rng: random.Random, data: float) -> None:
        if node.is_directory:
            os.makedirs(path, exist_ok=True)
            for name, below in tree.get(id(node), {}).items():
                self._put(below, f"{path}/{name}", tree, rng, data)
            return
        size = len(node.content)
        if rng.random() >= data:
            size = node.synced if data == 0 else rng.randint(node.synced, size)
        with open(path, "wb") as file:
            file.write(node.content[:size])

    def _needed(self, directory: _Node) -> list[_Move]:
        """Return the changes to a directory, and those before them to directories that they move files from."""
        folders = {id(directory)}
        found = []
        for move in reversed(self._pending):
            if move.folders & folders:
                folders |= move.folders
                found.append(move)
        return found[::-1]

    def _move(self, node: _Node, source: Any, target: Any) -> None:
        if source is not None:
            del source[0].entries[source[1]]
        if target is not None:
            target[0].entries[target[1]] = node
        self._pending.append(_Move(node, source, target))

    def _find(self, path: str) -> _Node:
        node = self._root
        for name in path.split("/")[1:]:
            node = node.entries[name]
        return node

    def _place(self, path: str) -> tuple[_Node, str]:
        folder, _, name = path.rpartition("/")
        return self._find(folder), name


def states(
    changes: list[Change], rng: random.Random, root: Callable[[], str], each: int
) -> Iterator[tuple[int, str]]:
    """Return what power cuts may leave: how many changes had been made, and the directory.

    :param root: makes an empty directory.
    :param each: how many random ones there are for each moment, beside the extremes: nothing of what was not
        synced; the names without the data.
    """
    cut = PowerCut()
    for number in range(len(changes) + 1):
        if number:
            cut.follow(changes[number - 1])
        for names, data in [(0.0, 0.0), (1.0, 0.0), *[(0.7, 0.5)] * each]:
            path = root()
            cut.leave(path, rng, names, data)
            yield number, path
