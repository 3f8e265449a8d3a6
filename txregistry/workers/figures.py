"""What workers count, put together: whoever scrapes one page sees one registry.

What is counted for each request is in files that worker and crew share (``prometheus_client.multiprocess``), so that
nothing of it is lost with a worker.  The rest is in what workers report of themselves.
"""

from __future__ import annotations

import glob
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence

from attrs import field, frozen, mutable
from prometheus_client import Metric, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from txregistry.workers.messages import Family

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def count_in(directory: str, number: int) -> None:
    """Count in a directory from now on, as a worker.  The one that takes its place goes on counting there."""
    os.environ[_VARIABLE] = directory
    values.ValueClass = values.MultiProcessValue(lambda: number)


def reported(readings: CollectorRegistry) -> list[Family]:
    """Return what is to be reported of one process."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(one.name, dict(one.labels), one.value) for one in metric.samples],
        )
        for metric in readings.collect()
    ]


@mutable(eq=False)
class CrewFigures:
    """What all workers of a crew count, and counted.

    :ivar directory: where they count; empty before :meth:`open`.
    """

    directory: str = field(default="", init=False)
    _reports: dict[int, list[Family]] = field(factory=dict, init=False)
    _ended: dict[tuple[str, str, tuple[tuple[str, str], ...]], tuple[Family, float]] = field(
        factory=dict, init=False
    )

    def open(self) -> None:
        """Make the directory."""
        self.directory = tempfile.mkdtemp(prefix="txregistry-figures-")

    def close(self) -> None:
        """Remove it."""
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def note(self, number: int, report: list[Family]) -> None:
        """Take a worker's report, in place of its last."""
        self._reports[number] = report

    def end(self, number: int) -> None:
        """Note that a worker is no more; what it has counted stays counted."""
        for family in self._reports.pop(number, []):
            if family.kind == "counter":
                for name, labels, value in family.samples:
                    key = family.name, name, tuple(sorted(labels.items()))
                    before = self._ended.get(key, (family, 0.0))[1]
                    self._ended[key] = family, before + value
        if self.directory:
            mark_process_dead(number, self.directory)

    def collect(self) -> list[Metric]:
        """Return all of it.  May be called on any thread; families of one name come more than once."""
        found = [
            _metric(family, family.samples) for report in list(self._reports.values()) for family in report
        ]
        found += [
            _metric(family, [(name, dict(labels), value)])
            for (_, name, labels), (family, value) in list(self._ended.items())
        ]
        if glob.glob(os.path.join(self.directory, "*.db")):
            found += MultiProcessCollector(None, self.directory).collect()
        return found


@frozen
class CrewProcesses(Collector):
    """Tells of several processes as if they were one; also of what those that ended have computed.

    :param pids: returns those that there are, the first being the oldest.
    """

    pids: Callable[[], Sequence[int]]

    def collect(self) -> Iterable[Metric]:
        """Return the figures of the processes."""
        found: dict[str, Metric] = {}
        for pid in self.pids():
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                (sample,) = metric.samples
                known = found.setdefault(metric.name, metric)
                if known is not metric and metric.name not in (
                    "process_start_time_seconds",
                    "process_max_fds",
                ):
                    known.samples = [known.samples[0]._replace(value=known.samples[0].value + sample.value)]
        computed = found.get("process_cpu_seconds")
        if computed is not None:
            (sample,) = computed.samples
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            computed.samples = [sample._replace(value=sample.value + ended.ru_utime + ended.ru_stime)]
        return found.values()


def _metric(family: Family, samples: Iterable[tuple[str, dict[str, str], float]]) -> Metric:
    metric = Metric(family.name, family.meaning, family.kind)
    for name, labels, value in samples:
        metric.add_sample(name, labels, value)
    return metric
