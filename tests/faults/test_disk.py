"""Every system call of a registry's day fails once, and comes last once, before a kill and before a power cut."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.disk import CHANGES, LOOKS, AtOnce, Disk, Killed, error, failing, killed, states
from tests.faults.history import History
from tests.faults.scenario import Day, look
from txregistry import errors
from txregistry.content import uploads
from txregistry.content.registry import Registry
from txregistry.storage.filesystem import FilesystemDriver

#: What a full or read-only disk, a broken one and a machine out of descriptors say.
ERRORS = {
    errno.EIO: errors.StorageFault,
    errno.ENOSPC: errors.StorageFull,
    errno.EDQUOT: errors.StorageFull,
    errno.EROFS: errors.StorageFull,
    errno.EMFILE: errors.StorageUnavailable,
}

#: Calls without which nothing can be removed.
REMOVING = re.compile("unlink|rmdir|rename|stat|_txregistry/trash")
#: Which calls are troubled: one of so many, another one in each run.  ``make soak`` takes all.
EVERY = int(os.environ.get("REGISTRY_TEST_EVERY", "7"))
#: Random outcomes of a power cut at each moment, beside the extremes.
EACH = int(os.environ.get("REGISTRY_TEST_OUTCOMES", "1"))


class DiskCase(SynchronousTestCase):
    """A registry on a directory whose calls are watched."""

    def setUp(self) -> None:
        # Thousands of small files: in memory where there is such a place.
        self.directory = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.addCleanup(shutil.rmtree, self.directory)
        self.failures: list[errors.StorageError] = []
        # So that every part of an upload is kept, however small.
        self.patch(uploads, "WORTH_KEEPING", 1)

    def registry(self, root: str) -> Registry:
        """Return a registry that begins on a directory."""
        driver = FilesystemDriver(root, AtOnce())  # type: ignore[arg-type]
        driver.prepare()
        return Registry.on(driver, lambda work: succeed(work()))

    def done(self, work: Any) -> Any:
        """Return the result of *work*, or raise what it raised."""
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        (result,) = results
        if isinstance(result, BaseException) or hasattr(result, "raiseException"):
            result.raiseException()
        return result

    @contextlib.contextmanager
    def lived(self, name: str, trouble: Any = None) -> Iterator[tuple[str, Registry, Disk, History]]:
        """Live a day on an empty directory with trouble, which is over then."""
        root = f"{self.directory}/{name}"
        os.makedirs(root)
        with Disk(root) as disk:
            registry = self.registry(root)
            history = History(lambda: len(disk.changes))
            if trouble is not None:
                disk.trouble = trouble
            self.failures = []
            with contextlib.suppress(Killed):
                self.done(Day(registry, history, self.failures.append).run())
        try:
            yield root, registry, disk, history
        finally:
            self.done(registry.driver.close())
            shutil.rmtree(root)

    def look_after_crash(self, root: str, history: History, uploads: bool = True) -> None:
        """Begin anew on a directory: what was promised is there, and another day goes well."""
        registry = self.registry(root)
        try:
            self.done(look(registry, history, uploads))
            with Disk(root):
                again, self.failures = History(), []
                self.done(Day(registry, again, self.failures.append).run())
            self.assertEqual(self.failures, [])
            self.done(look(registry, again))
        finally:
            self.done(registry.driver.close())
        self.assert_whole(root)

    def assert_whole(self, root: str) -> None:
        """Fail unless each blob has the digest that it is named by, and each link leads to one."""
        stored = set()
        data = f"{root}/docker/registry/v2"
        for path in files(f"{data}/blobs"):
            algorithm, _, encoded, _ = os.path.relpath(path, f"{data}/blobs").split("/")
            with open(path, "rb") as file:
                self.assertEqual(hashlib.file_digest(file, algorithm).hexdigest(), encoded, path)
            stored.add(f"{algorithm}:{encoded}")
        for path in files(f"{data}/repositories"):
            if path.endswith("/link"):
                with open(path) as file:
                    self.assertIn(file.read(), stored, path)

    def left(self, root: str) -> list[str]:
        """Return the files that hold bytes of no use: of uploads that have ended, and of writes that failed.

        A deletion whose sync failed leaves what it took away in the trash, lest it come back in part.
        """
        repositories = f"{root}/docker/registry/v2/repositories"
        uploads = [path for path in files(repositories) if "/_uploads/" in path and path.endswith("/data")]
        ended = [path for path in uploads if not os.path.exists(os.path.dirname(path) + "/startedat")]
        return ended + list(files(f"{root}/_txregistry/new"))


class KillTests(DiskCase):
    """The process is gone before a call."""

    def test_D03_kill_before_each_call(self) -> None:
        """Wherever it is killed, what was acknowledged is there, nothing is half there, and a new one goes on."""
        for number in calls():
            trouble = failing(number, killed, CHANGES)
            with self.lived(str(number), trouble) as (root, _, _, history), capturedLogs():
                self.look_after_crash(root, history)
            if not trouble.fired:
                break
        self.assertGreater(number, 100)


class ErrorTests(DiskCase):
    """A call fails, or a write does less than was asked."""

    def test_D04_error_at_each_call(self) -> None:
        """Whatever call fails in whatever way, that is a storage error of the right kind and nothing is lost.

        A file whose sync failed is not synced again, and no bytes stay that no one is told of.
        """
        for number, kind in ERRORS.items():
            for at in calls():
                trouble = failing(at, error(number), CHANGES + LOOKS)
                with capturedLogs(), self.lived(f"{number}-{at}", trouble) as (root, registry, disk, history):
                    self.assertEqual(disk.left_open, [], disk.failed)
                    wrong = [failure for failure in self.failures if type(failure) is not kind]
                    self.assertEqual(wrong, [], disk.failed)
                    synced_again = [
                        change.path
                        for change in disk.changes
                        if change.name == "fsync"
                        for failed in disk.failed
                        if failed.name == "fsync" and failed.file == change.file
                    ]
                    self.assertEqual(synced_again, [])
                    self.done(look(registry, history))
                    # What could not be removed is left to the next tidying.
                    if not any(REMOVING.search(f"{failed.name} {failed.path}") for failed in disk.failed):
                        self.assertEqual(self.left(root), [], disk.failed)
                    self.look_after_crash(root, history)
                if not trouble.fired:
                    break
            self.assertGreater(at, 200)

    def test_D04_short_writes(self) -> None:
        """A write that takes half of what it was given is gone on with."""
        for at in calls():
            trouble = failing(at, lambda: 1, ("write",))
            with self.lived(str(at), trouble) as (_, registry, _, history):
                self.assertEqual(self.failures, [])
                self.done(look(registry, history))
            if not trouble.fired:
                break
        self.assertGreater(at, 20)


class PowerCutTests(DiskCase):
    """The power goes, and takes what was not synced with it."""

    def test_D02_power_cut_after_each_change(self) -> None:
        """Whatever a file system makes of what was not synced, all that was acknowledged is there, whole."""
        seed = int(os.environ.get("TXREGISTRY_SEED", random.SystemRandom().randrange(1 << 32)))
        numbers = itertools.count()

        def fresh() -> str:
            return f"{self.directory}/cut-{next(numbers)}"

        with self.lived("day") as (_, _, disk, history):
            changes = list(disk.changes)
        self.assertEqual(self.failures, [])
        rng = random.Random(seed)
        for position, root in states(changes, rng, fresh, EACH):
            if rng.randrange(EVERY):
                continue
            os.makedirs(root, exist_ok=True)
            try:
                with capturedLogs():
                    # That an upload survives is a promise of the file system: its directory is not synced.
                    self.look_after_crash(root, history.until(position), uploads=False)
            except BaseException as failure:
                last = changes[:position][-3:]
                raise AssertionError(
                    f"TXREGISTRY_SEED={seed}, {position}, after {last}: {failure}"
                ) from failure
            shutil.rmtree(root)


def calls() -> Iterator[int]:
    """Return the numbers of the calls that are troubled, the first at random."""
    return itertools.count(random.SystemRandom().randint(1, EVERY), EVERY)


def files(directory: str) -> Iterator[str]:
    """Return the paths of all files below a directory."""
    for parent, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(parent, name)
