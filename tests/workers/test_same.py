"""What one process promises, several do: the tests of a process, with two workers."""

from __future__ import annotations

from tests import (
    test_collection_race,
    test_concurrency,
    test_crash,
    test_farewell,
    test_reload,
    test_service,
    test_supervisor,
)
from tests.notify import test_kills
from tests.test_service import ConfiguredServer
from tests.workers.case import CrewServer, WornServer


class StopTests(test_service.StopTests):
    """SIGTERM ends the workers, and not what they are doing."""

    kind = CrewServer


class FarewellTests(test_farewell.FarewellTests):
    """How workers end that are told to twice, or that have much to do."""

    kind = CrewServer


class ReloadTests(test_reload.ReloadTests):
    """SIGHUP reaches all workers."""

    kind = CrewServer


class SupervisorTests(test_supervisor.SupervisorTests):
    """systemd is told of all workers together."""

    kind = CrewServer


class UploadTests(test_concurrency.UploadTests):
    """One upload, and more than one who wants something of it, from any worker."""

    kind = CrewServer


class PushTests(test_concurrency.PushTests):
    """The same thing from many sides, through any worker."""

    kind = CrewServer


class DeleteTests(test_concurrency.DeleteTests):
    """Deletions against whatever needs what they delete, in another worker."""

    kind = CrewServer


class CollectionRaceTests(test_collection_race.CollectionRaceTests):
    """Collections by other processes, while two workers serve."""

    kind = CrewServer


class CrashTests(test_crash.CrashTests):
    """SIGKILL of all processes, again and again."""

    kind = CrewServer


class WornTests(test_crash.CrashTests):
    """SIGKILL of one worker, again and again."""

    kind: type[ConfiguredServer] = WornServer


class EventKillTests(test_kills.KillTests):
    """SIGKILL of one worker, while several push and a receiver that fails now and then is told."""

    kind: type[ConfiguredServer] = WornServer
