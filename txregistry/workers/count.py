"""How many processes answer requests."""

from __future__ import annotations

import os
from contextlib import suppress

from txregistry.config.schema import Config
from txregistry.config.values import AUTO
from txregistry.errors import ConfigError
from txregistry.interfaces import IOneProcess, IStorageDriver

#: What a container may use of the processors: microseconds, or ``max``, in each so many (cgroups, version 2).
_QUOTA = "/sys/fs/cgroup/cpu.max"


def count(config: Config, driver: IStorageDriver) -> int:
    """Return the number of processes that a configuration wants.

    :raises txregistry.errors.ConfigError: it wants several, and its storage is of one process alone.
    """
    wanted = config.http.workers
    alone = IOneProcess.providedBy(driver)
    if wanted == AUTO:
        return 1 if alone else processors()
    if alone and int(wanted) > 1:
        problem = (
            f"found {wanted}, expected 1: what storage.{config.storage.driver} keeps is one process's alone"
        )
        raise ConfigError("http.workers", problem)
    return int(wanted)


def processors(quota: str = _QUOTA) -> int:
    """Return how many processors this process may keep busy.

    :param quota: the file that says what a container may use.
    """
    usable = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError), open(quota, encoding="ascii") as file:
        most, _, period = file.read().partition(" ")
        usable = min(usable, int(most) // int(period))
    return max(usable, 1)
