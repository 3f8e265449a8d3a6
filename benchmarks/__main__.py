"""Compare txregistry with CNCF Distribution and print the table: ``python -m benchmarks --help``."""

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import yaml

from benchmarks.bodies import MIB
from benchmarks.results import Figures, Results, machine, version
from benchmarks.rows import MEMORY, WORKS, Row, Work, warm_up
from benchmarks.servers import Certificate, Server, make_certificate, merged
from tests.processes import DISTRIBUTION, TXREGISTRY, find_program

THIRD = "registry"
"""What a program is called that is given by its path."""


@attrs.frozen
class Plan:
    """
    What is measured, and how.

    :param programs: each with its file; None for one that is found by its name.
    :param settings: what is added to txregistry's configuration.
    :param works: what is done, in this order.
    :param directory: where the data goes; the usual temporary directory when None.
    """

    programs: Mapping[str, str | None]
    settings: Mapping[str, Any]
    works: Sequence[Work]
    directory: str | None

    @property
    def rows(self) -> list[Row]:
        """The rows of the table."""
        plain = [row for work in self.works if not work.tls for row in work.rows]
        tls = [row for work in self.works if work.tls for row in work.rows]
        return [*plain, *([MEMORY] if plain else []), *tls]

    def round(self, program: str) -> Figures:
        """Take a program through all works, with fresh data, and remove everything."""
        figures: Figures = {}
        with tempfile.TemporaryDirectory(prefix="txregistry-bench-", dir=self.directory) as folder:
            plain = [work for work in self.works if not work.tls]
            if plain:
                figures |= self._round(program, plain, os.path.join(folder, "plain"), None)
            tls = [work for work in self.works if work.tls]
            if tls:
                figures |= self._round(program, tls, os.path.join(folder, "tls"), make_certificate(folder))
        return figures

    def _round(
        self, program: str, works: Sequence[Work], folder: str, certificate: Certificate | None
    ) -> Figures:
        os.mkdir(folder)
        server = Server(
            program,
            folder,
            os.path.join(folder, "data"),
            path=self.programs[program],
            settings=self.settings,
            certificate=certificate,
        )
        server.start()
        try:
            warm_up(server)
            figures: Figures = {}
            for work in works:
                work.prepare(server)
                os.sync()  # no work waits for the disk because of the one before it
                figures |= work.measure(server)
            if certificate is None:
                figures[MEMORY.name] = server.peak_memory() / MIB
            return figures
        finally:
            server.stop()


def setting(text: str) -> dict[str, Any]:
    """Read ``http.workers=2``."""
    path, separator, value = text.partition("=")
    if not separator or not all(path.split(".")):
        raise argparse.ArgumentTypeError(f"expected key.below=value, found {text!r}")
    result: Any = yaml.safe_load(value)
    for key in reversed(path.split(".")):
        result = {key: result}
    return dict(result)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    names = [work.name for work in WORKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="rounds of which the median counts (5)"
    )
    parser.add_argument("--rows", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--tls", action="store_true", help="measure the rows over TLS too")
    parser.add_argument(
        "--programs",
        nargs="+",
        choices=(DISTRIBUTION, TXREGISTRY),
        default=(DISTRIBUTION, TXREGISTRY),
        help="measure only these",
    )
    parser.add_argument(
        "--program-path", metavar="FILE", help=f"measure this program of Distribution too, as {THIRD!r}"
    )
    parser.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="add to txregistry's configuration, http.workers=2",
    )
    parser.add_argument("--data", metavar="DIR", help="put the servers' data below this directory")
    parser.add_argument("--json", metavar="FILE", help="write every single figure to this file")
    return parser.parse_args(arguments)


def plan(options: argparse.Namespace) -> Plan:
    """Say what is measured."""
    if options.rows:
        works = [work for work in WORKS if work.name in options.rows]
    else:
        works = [work for work in WORKS if options.tls or not work.tls]
    settings: Mapping[str, Any] = {}
    for one in options.settings:
        settings = merged(settings, one)
    programs: dict[str, str | None] = dict.fromkeys(options.programs)
    if DISTRIBUTION in programs:
        find_program(DISTRIBUTION)
    if options.program_path:
        programs = {**programs, THIRD: os.path.abspath(options.program_path)}
    return Plan(programs, settings, works, options.data)


def main(arguments: Sequence[str]) -> None:
    """Run all rounds, the servers in turn, and print the table."""
    options = parse_arguments(arguments)
    planned = plan(options)
    rounds: dict[str, list[Figures]] = defaultdict(list)
    programs = list(planned.programs)
    for number in range(options.rounds):
        for program in programs if number % 2 == 0 else reversed(programs):
            print(f"round {number + 1} of {options.rounds}: {program}", file=sys.stderr, flush=True)
            rounds[program].append(planned.round(program))
    results = Results(
        machine(options.data or tempfile.gettempdir()),
        {program: version(program, path) for program, path in planned.programs.items()},
        planned.settings,
        planned.rows,
        {program: rounds[program] for program in programs},
    )
    print("\n".join(results.table()))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results.document(), file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
