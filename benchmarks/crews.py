"""Several clients at once, each a process of its own."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

PATIENCE = 180.0
"""Seconds that clients which work at once may take."""

T = TypeVar("T")
Begin = Callable[[], None]

CONTEXT = multiprocessing.get_context("fork")


class Failed(Exception):
    """A client did not do what it should; its traceback is on standard error."""


def together(
    clients: Sequence[Callable[[Begin], None]], meanwhile: Callable[[], T] | None = None
) -> tuple[float, T | None]:
    """
    Run clients at once; return the seconds from the first one's beginning to the last one's end.

    :param clients: each prepares itself, calls what it is given, which returns when all have, and works.
    :param meanwhile: done in this process while they work; what it gives is returned too.
    :raises Failed: one of them did.
    """
    barrier = CONTEXT.Barrier(len(clients) + 1)
    begun, ended = (CONTEXT.Array("d", len(clients), lock=False) for _ in range(2))

    def run(number: int) -> None:
        def begin() -> None:
            barrier.wait(PATIENCE)
            begun[number] = time.perf_counter()

        clients[number](begin)
        ended[number] = time.perf_counter()

    processes = [CONTEXT.Process(target=run, args=(number,), daemon=True) for number in range(len(clients))]
    for process in processes:
        process.start()
    try:
        barrier.wait(PATIENCE)
        result = None if meanwhile is None else meanwhile()
        for process in processes:
            process.join(PATIENCE)
        if any(process.exitcode != 0 for process in processes):
            raise Failed("a client failed; its traceback is above")
    finally:
        for process in processes:
            process.kill()
    return max(ended) - min(begun), result
