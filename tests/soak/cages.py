"""A server that may have so much memory and no more, page cache included (cgroups)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

_ROOT = "/sys/fs/cgroup"


@contextlib.contextmanager
def caged(pid: int, limit: int) -> Iterator[str]:
    """Let a process have so many bytes; yield the cage, a directory.  Needs root.

    What is more is taken from the page cache, and if that is not enough the process is killed.
    """
    second = os.path.exists(os.path.join(_ROOT, "cgroup.controllers"))
    cage = os.path.join(_ROOT if second else os.path.join(_ROOT, "memory"), f"txregistry-{pid}")
    os.mkdir(cage)
    try:
        _write(cage, "memory.max" if second else "memory.limit_in_bytes", limit)
        _write(cage, "cgroup.procs", pid)
        yield cage
    finally:
        # A cage with a process in it cannot be removed; the process may have ended by now.
        with contextlib.suppress(OSError):
            _write(os.path.dirname(cage), "cgroup.procs", pid)
        deadline = time.monotonic() + 10
        while True:
            try:
                os.rmdir(cage)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _write(cage: str, name: str, value: int) -> None:
    with open(os.path.join(cage, name), "w") as file:
        file.write(str(value))
