"""What operators can ask the debug server."""

from __future__ import annotations

import json
import resource
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from txregistry.debug import Answer, Page
from txregistry.health.condition import Condition
from txregistry.health.lag import ReactorLag
from txregistry.web.probes import LIVE, READY

#: Values that parts of the registry give to ``/debug/vars``, by name; each is anything that JSON can say.
Variables = dict[str, Callable[[], Any]]


def health_pages(condition: Condition) -> dict[str, Page]:
    """Return the pages that tell whether the registry is well."""

    async def health(request: Any) -> Answer:
        return _told(condition.failures())

    async def live(request: Any) -> Answer:
        return _told({})

    async def ready(request: Any) -> Answer:
        return _told(condition.hindrances())

    return {"/debug/health": health, LIVE: live, READY: ready}


def variables_page(variables: Mapping[str, Callable[[], Any]]) -> Page:
    """Return the page that shows values of the running registry, as Go's ``expvar`` does.

    :param variables: asked for anew each time; more may be added while the server runs.
    """

    async def page(request: Any) -> Answer:
        return _json({name: value() for name, value in sorted(variables.items())})

    return page


def process_variables(lag: ReactorLag) -> Variables:
    """Return what can be said of any server: its command line, memory, threads and how late its reactor is."""
    return {
        "cmdline": lambda: sys.orig_argv,
        "process": lambda: {
            "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "threads": threading.active_count(),
        },
        "reactor": lambda: {"lag": lag.last, "lag_smoothed": lag.smoothed, "lag_worst": lag.worst},
    }


async def threads(request: Any) -> Answer:
    """Answer with what each thread is doing, as a traceback."""
    return Answer(threads_text().encode("utf-8", "replace"), "text/plain; charset=utf-8")


def threads_text() -> str:
    """Return what each thread of this process is doing, as tracebacks."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )


def _told(failures: Mapping[str, str]) -> Answer:
    answer = _json(failures)
    answer.status = 503 if failures else 200
    return answer


def _json(document: object) -> Answer:
    return Answer(json.dumps(document, separators=(",", ":")).encode("ascii"))
