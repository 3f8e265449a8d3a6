"""One parser under Atheris: ``python -m tests.soak.fuzzing NAME [options of libFuzzer]``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["txregistry"]):
    from tests.parsers import PARSERS


def main(arguments: list[str]) -> None:
    """Feed a parser until the options say to stop, or it raises what it must not."""
    program, name, *options = arguments
    parser = PARSERS[name]

    def feed(data: bytes) -> None:
        parser.try_(data)

    atheris.Setup([program, *options], feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
