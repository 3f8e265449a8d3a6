"""Run the benchmarks and print the table: ``python -m benchmarks --help``."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence

import attrs

from benchmarks.loads import large_blob, large_stream
from benchmarks.rows import MIB, ROWS, Row, warm_up
from tests.processes import DISTRIBUTION, TXREGISTRY, RegistryServer

PROGRAMS = (DISTRIBUTION, TXREGISTRY)


@attrs.frozen
class Measurement:
    """What one row gave in one round: its figure, and the CPU seconds that the server spent on it."""

    figure: float
    cpu: float


@attrs.frozen
class Round:
    """What one server gave in one round."""

    measurements: dict[str, Measurement]
    peak_memory: int


def run_round(program: str, rows: Sequence[Row], directory: str | None) -> Round:
    """
    Start a server on an empty directory, take it through the rows and remove everything.

    :param directory: where the data goes; the usual temporary directory when None.
    """
    with tempfile.TemporaryDirectory(prefix="txregistry-bench-", dir=directory) as folder:
        server = RegistryServer(program, folder, os.path.join(folder, "data"))
        server.start()
        try:
            warm_up(server)
            measurements: dict[str, Measurement] = {}
            for row in rows:
                row.prepare(server)
                os.sync()  # no row waits for the disk because of the one before it
                cpu = server.cpu_seconds()
                figure = row.measure(server)
                measurements[row.name] = Measurement(figure, server.cpu_seconds() - cpu)
            return Round(measurements, server.peak_memory())
        finally:
            server.stop()


def median_of(rounds: Sequence[Round], row: Row) -> Measurement:
    """Take the median of the figures and of the CPU seconds, each for itself."""
    measured = [round_.measurements[row.name] for round_ in rounds]
    return Measurement(
        statistics.median(one.figure for one in measured), statistics.median(one.cpu for one in measured)
    )


def table(results: dict[str, list[Round]], rows: Sequence[Row], programs: Sequence[str]) -> list[str]:
    """Lay out the lines of the table; a ratio above 1 means that txregistry is faster."""
    widths = f"{'':22}" + "".join(f"{program:>18}{'cpu s':>9}" for program in programs)
    lines = [widths + ("     ratio" if len(programs) == 2 else "")]
    for row in rows:
        medians = {program: median_of(results[program], row) for program in programs}
        line = f"{row.name:12}{row.unit:>10}"
        line += "".join(f"{medians[program].figure:18.1f}{medians[program].cpu:9.2f}" for program in programs)
        if len(programs) == 2:
            ratio = medians[TXREGISTRY].figure / medians[DISTRIBUTION].figure
            line += f"{ratio:10.2f}{'' if ratio >= 1 else '  slower'}"
        lines.append(line)
    peaks = {program: max(one.peak_memory for one in results[program]) / MIB for program in programs}
    lines.append(
        f"{'peak memory':12}{'MiB':>10}" + "".join(f"{peaks[program]:18.1f}{'':9}" for program in programs)
    )
    return lines


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="rounds of which the median counts (3)"
    )
    parser.add_argument(
        "--rows", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS, help="measure only these"
    )
    parser.add_argument("--data", metavar="DIR", help="put the servers' data below this directory")
    parser.add_argument("--json", metavar="FILE", help="write every single figure to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Run all rounds, the servers in turn, and print the table."""
    options = parse_arguments(arguments)
    rows = [row for row in ROWS if row.name in options.rows]
    if {"push-put", "pull"} & set(options.rows):
        large_blob()  # made before the clock runs
    if "push-patch" in options.rows:
        large_stream()
    results: dict[str, list[Round]] = defaultdict(list)
    for number in range(options.rounds):
        order = options.programs if number % 2 == 0 else options.programs[::-1]
        for program in order:
            print(f"round {number + 1} of {options.rounds}: {program}", file=sys.stderr, flush=True)
            results[program].append(run_round(program, rows, options.data))
    print("\n".join(table(results, rows, options.programs)))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(
                {name: [attrs.asdict(one) for one in rounds] for name, rounds in results.items()},
                file,
                indent=2,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
