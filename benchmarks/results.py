"""The figures of a run: kept as JSON, laid out as a table."""

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from benchmarks.rows import Row
from tests.processes import DISTRIBUTION, TXREGISTRY
from txregistry import __version__

Figures = dict[str, float]


@attrs.frozen
class Results:
    """
    What a run gave.

    :param machine: where it was.
    :param versions: of each program.
    :param settings: what was added to txregistry's configuration.
    :param rows: in their order.
    :param rounds: of each program, the figures of each round.
    """

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    rounds: Mapping[str, Sequence[Figures]]

    @property
    def programs(self) -> list[str]:
        """What was measured."""
        return list(self.rounds)

    def median(self, program: str, row: Row) -> float:
        """Give a program's figure in a row."""
        return statistics.median(figures[row.name] for figures in self.rounds[program])

    def ratio(self, row: Row) -> float | None:
        """Give txregistry's figure divided by docker-registry's; None if one of them was not measured."""
        if TXREGISTRY not in self.rounds or DISTRIBUTION not in self.rounds:
            return None
        return self.median(TXREGISTRY, row) / self.median(DISTRIBUTION, row)

    def verdict(self, row: Row) -> str:
        """Say whether the row's goal is met."""
        if row.goal is None or self.ratio(row) is None:
            return ""
        return (
            "met" if row.goal.met(self.median(TXREGISTRY, row), self.median(DISTRIBUTION, row)) else "NOT MET"
        )

    def table(self) -> list[str]:
        """Lay out the lines of the table."""
        rounds = len(next(iter(self.rounds.values())))
        lines = [
            "{processor}, {cores} cores, {system}, Python {python}, data on {filesystem}".format(
                **self.machine
            ),
            ", ".join(f"{program} {version}" for program, version in self.versions.items())
            + f"; medians of {rounds}"
            + (f"; txregistry with {self.settings}" if self.settings else ""),
            "",
            f"{'':52}"
            + "".join(f"{program:>17}" for program in self.programs)
            + f"{'ratio':>8}{'wanted':>9}",
        ]
        for row in self.rows:
            line = f"{row.title:41}{row.unit:>11}"
            line += "".join(f"{spelled(self.median(program, row)):>17}" for program in self.programs)
            ratio = self.ratio(row)
            line += f"{'' if ratio is None else f'{ratio:.2f}':>8}"
            line += f"{'' if row.goal is None else str(row.goal):>9}  {self.verdict(row)}"
            lines.append(line.rstrip())
        return lines

    def document(self) -> dict[str, Any]:
        """Give all that is known, with every single figure."""
        return {
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "settings": dict(self.settings),
            "rows": [
                {
                    "name": row.name,
                    "title": row.title,
                    "unit": row.unit,
                    "goal": None if row.goal is None else attrs.asdict(row.goal),
                    "medians": {program: self.median(program, row) for program in self.programs},
                    "ratio": self.ratio(row),
                    "verdict": self.verdict(row),
                }
                for row in self.rows
            ],
            "rounds": {program: list(rounds) for program, rounds in self.rounds.items()},
        }


def spelled(figure: float) -> str:
    """Spell a figure with about three digits that matter."""
    if figure >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def machine(directory: str) -> dict[str, Any]:
    """
    Name this machine.

    :param directory: where the data is.
    """
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        "filesystem": _filesystem(directory),
    }


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(directory: str) -> str:
    said = subprocess.run(["df", "--output=fstype", directory], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def version(program: str, path: str | None) -> str:
    """Ask a program for its version."""
    if program == TXREGISTRY:
        return f"{__version__} (Python {sys.version.split()[0]})"
    said = subprocess.run([path or program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]
