"""How long it takes until a server listens: ``python -m benchmarks.startup --help``.

Each program is started again and again over the same empty storage, everything it reads in the page cache, and asked
for a connection every 2 ms until it accepts one.  The CPU seconds are those of the whole process until then.
"""

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

import attrs

from benchmarks.servers import Server
from tests.processes import DISTRIBUTION, TXREGISTRY, end_process

_STEP = 0.002
_PATIENCE = 30.0


@attrs.frozen
class Start:
    """What one start took, in seconds."""

    wall: float
    cpu: float


def start(command: Sequence[str], port: int, log: str) -> Start:
    """
    Start a server, wait until it listens, and stop it.

    :raises AssertionError: it did not listen in time.
    """
    with open(log, "ab") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while not _listens(port):
                if process.poll() is not None or time.perf_counter() - began > _PATIENCE:
                    raise AssertionError(f"{command[0]} does not listen; see {log}")
                time.sleep(_STEP)
            wall = time.perf_counter() - began
            with open(f"/proc/{process.pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        finally:
            end_process(process)
    return Start(wall, cpu)


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def measure(program: str, times: int, directory: str) -> list[Start]:
    """Return what each of so many starts took, after one that is not counted."""
    server = Server(program, directory, os.path.join(directory, "data"))
    server.write_config()
    return [start(server.command(), server.port, server.log_path) for _ in range(times + 1)][1:]


def imports(directory: str) -> dict[str, float]:
    """Return how long the modules of each distribution take to be imported, in ms, slowest first."""
    server = Server(TXREGISTRY, directory, os.path.join(directory, "data"))
    server.write_config()
    path = os.path.join(directory, "imports")
    command = [sys.executable, "-X", "importtime", *server.command()[1:]]
    start(command, server.port, path)
    took: Counter[str] = Counter()
    with open(path) as file:
        for line in file:
            if line.startswith("import time:") and "|" in line and "[us]" not in line:
                itself, _, name = line.removeprefix("import time:").split("|")
                top = name.strip().split(".")[0].lstrip("_")
                took["the standard library" if top in sys.stdlib_module_names else top] += int(itself)
    return {name: microseconds / 1000 for name, microseconds in took.most_common()}


def main(arguments: Sequence[str]) -> None:
    """Print what starting takes, and what of it importing does."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--times", type=int, default=10, metavar="N", help="starts (10)")
    parser.add_argument(
        "--imports", type=int, default=12, metavar="N", help="lines of the list of imports (12)"
    )
    parser.add_argument("--programs", nargs="+", default=(DISTRIBUTION, TXREGISTRY), metavar="NAME")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="txregistry-startup-") as directory:
        print(f"{'':20}{'median s':>10}{'fastest s':>11}{'CPU s':>8}")
        for program in options.programs:
            starts = measure(program, options.times, directory)
            walls = [one.wall for one in starts]
            cpu = statistics.median(one.cpu for one in starts)
            print(f"{program:20}{statistics.median(walls):10.3f}{min(walls):11.3f}{cpu:8.2f}", flush=True)
        took = imports(directory)
        print(f"\nimports of txregistry, {sum(took.values()):.0f} ms in all while they are timed:")
        for name, milliseconds in list(took.items())[: options.imports]:
            print(f"{name:24}{milliseconds:8.1f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
