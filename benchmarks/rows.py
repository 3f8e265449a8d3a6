"""What is measured: each work does one thing to a running server, and gives the figures of some rows."""

import re
import subprocess
from collections.abc import Callable, Sequence
from functools import partial

import attrs

from benchmarks.bodies import GIB, MIB, Body, plain, streamed
from benchmarks.crews import CONTEXT, Begin, together
from benchmarks.loads import (
    ACCEPT,
    Image,
    pull_image,
    push_blob,
    push_image,
    small_image,
    stream_blob,
    verify_blob,
)
from benchmarks.servers import Server
from benchmarks.wire import Connection
from tests.processes import find_program

CLIENTS = 8
"""How many push or pull small images."""
IMAGES = 200
PUSHERS = 4
LARGE = 256 * MIB
MIDDLING = 64 * MIB
PULLS = 4
"""How often each client pulls the large blob: once is over too soon to be measured well."""
SECONDS = 5
"""How long ``wrk`` asks."""
ASKING = 4
"""Connections that ask for a manifest while others push."""


@attrs.frozen
class Goal:
    """
    What is wanted of txregistry.

    :param more: whether higher is better.
    :param bound: what must be reached: a ratio to docker-registry's figure.
    :param absolute: the bound is a figure, not a ratio.
    """

    more: bool
    bound: float
    absolute: bool = False

    def met(self, ours: float, theirs: float) -> bool:
        """Say whether a figure is as good as it should be."""
        value = ours if self.absolute else ours / theirs
        return value >= self.bound if self.more else value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.more else "≤"
        return f"{sign} {self.bound:g}{'' if self.absolute else ' ×'}"


@attrs.frozen
class Row:
    """One row of the table; no goal: it only says what else happened."""

    name: str
    title: str
    unit: str
    goal: Goal | None = None


@attrs.frozen
class Work:
    """
    One thing that is done to a server.

    :param prepare: brings the server into the state that is needed, outside the measurement.
    :param measure: does it; the answer has the figure of each row.
    :param tls: it is done over TLS, to a server of its own.
    """

    name: str
    rows: tuple[Row, ...]
    prepare: Callable[[Server], None]
    measure: Callable[[Server], dict[str, float]]
    tls: bool = False


MEMORY = Row("memory", "peak resident memory in all of that", "MiB", Goal(False, 100, absolute=True))


def _nothing(server: Server) -> None:
    """Leave the server as it is."""


def _acting(server: Server, act: Callable[[Connection], None], begin: Begin) -> None:
    """Be a client with one connection."""
    connection = server.connect()
    begin()
    act(connection)
    connection.close()


def _at_once(server: Server, acts: Sequence[Callable[[Connection], None]]) -> float:
    seconds, _ = together([partial(_acting, server, act) for act in acts])
    return seconds


def _wrk(server: Server, path: str, connections: int = 32, seconds: int = SECONDS) -> str:
    """Ask for one path over some connections; the answer is what ``wrk`` says, an error ends it all."""
    command = [find_program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-H", ACCEPT.strip(), f"http://{server.host}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{server.program}: {done.stdout}")
    return done.stdout


def _found(pattern: str, said: str) -> re.Match[str]:
    found = re.search(pattern, said)
    assert found is not None, said
    return found


def _requests_per_second(said: str) -> float:
    return float(_found(r"Requests/sec:\s*([\d.]+)", said)[1])


def _p99(said: str) -> float:
    """Give the latency that one request in a hundred exceeds, in ms."""
    found = _found(r"99%\s+([\d.]+)(us|ms|s)\b", said)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def _one_image() -> Image:
    return small_image(IMAGES)  # a number that the many images have not


def _manifest_path() -> str:
    return f"/v2/{_one_image().repository}/manifests/1"


def _small_blob_path() -> str:
    image = _one_image()
    return f"/v2/{image.repository}/blobs/{image.blobs[0][0]}"


def _asked(path: Callable[[], str]) -> Callable[[Server], None]:
    def prepare(server: Server) -> None:
        _wrk(server, path(), seconds=1)

    return prepare


def _asking(name: str, path: Callable[[], str]) -> Callable[[Server], dict[str, float]]:
    def measure(server: Server) -> dict[str, float]:
        return {name: _requests_per_second(_wrk(server, path()))}

    return measure


def _with_images(act: Callable[[Connection, Image], None], server: Server) -> float:
    def client(first: int, begin: Begin) -> None:
        images = [small_image(number) for number in range(first, IMAGES, CLIENTS)]
        connection = server.connect()
        begin()
        for image in images:
            act(connection, image)
        connection.close()

    seconds, _ = together([partial(client, first) for first in range(CLIENTS)])
    return IMAGES / seconds


def _push_images(server: Server) -> dict[str, float]:
    return {"push-images": _with_images(push_image, server)}


def _images_are_there(server: Server) -> None:
    last = small_image(IMAGES - 1)
    connection = server.connect()
    if not connection.exists(f"/v2/{last.repository}/manifests/1", ACCEPT):
        _push_images(server)
    connection.close()


def _pull_images(server: Server) -> dict[str, float]:
    return {"pull-images": _with_images(pull_image, server)}


def _push_put(server: Server) -> dict[str, float]:
    blobs = [plain(LARGE, number) for number in range(PUSHERS)]
    cpu = server.cpu_seconds()
    seconds = _at_once(server, [partial(push_blob, repository="bench/put", body=blob) for blob in blobs])
    size = PUSHERS * LARGE
    return {
        "push-put": size / MIB / seconds,
        "push-put-cpu": (server.cpu_seconds() - cpu) / (size / GIB),
    }


def _push_patch(server: Server) -> dict[str, float]:
    blobs = [streamed(LARGE, PUSHERS + number) for number in range(PUSHERS)]
    acts = [partial(stream_blob, repository="bench/patch", digest=blob.digest, body=blob) for blob in blobs]
    seconds = _at_once(server, acts)
    return {"push-patch": PUSHERS * LARGE / MIB / seconds}


def _there(server: Server, repository: str, blob: Body) -> None:
    """Push a blob unless it was, and read it once: right, and in the page cache."""
    connection = server.connect()
    if not connection.exists(f"/v2/{repository}/blobs/{blob.digest}"):
        push_blob(connection, repository, blob)
    verify_blob(connection, repository, blob)
    connection.close()


def _large_is_there(server: Server) -> None:
    _there(server, "bench/put", plain(LARGE, 0))


def _pull(server: Server) -> dict[str, float]:
    path = f"/v2/bench/put/blobs/{plain(LARGE, 0).digest}"

    def pull(connection: Connection) -> None:
        for _ in range(PULLS):
            assert connection.fetch(path) == LARGE

    cpu = server.cpu_seconds()
    seconds = _at_once(server, [pull] * PUSHERS)
    size = PUSHERS * PULLS * LARGE
    return {"pull": size / MIB / seconds, "pull-cpu": (server.cpu_seconds() - cpu) / (size / GIB)}


def _latency(server: Server) -> dict[str, float]:
    """Ask for a manifest while others push one blob after the other."""
    stop, pushed = CONTEXT.Event(), CONTEXT.Value("L")
    path = _manifest_path()

    def pusher(client: int, begin: Begin) -> None:
        connection = server.connect()
        number = 1000 * (client + 1)
        begin()
        while not stop.is_set():
            push_blob(connection, "bench/beside", plain(MIDDLING, number))
            number += 1
            with pushed.get_lock():
                pushed.value += 1
        connection.close()

    def asking() -> str:
        try:
            return _wrk(server, path, connections=ASKING)
        finally:
            stop.set()

    plain(MIDDLING, 0)  # what all have in common is hashed before the clients are forked
    seconds, said = together([partial(pusher, client) for client in range(PUSHERS)], asking)
    assert said is not None
    return {"p99": _p99(said), "beside": pushed.value * MIDDLING / MIB / seconds}


def _push_tls(server: Server) -> dict[str, float]:
    blob = plain(GIB, 0)
    cpu = server.cpu_seconds()
    seconds = _at_once(server, [partial(push_blob, repository="bench/tls", body=blob)])
    return {"push-tls": GIB / MIB / seconds, "push-tls-cpu": server.cpu_seconds() - cpu}


def _tls_is_there(server: Server) -> None:
    _there(server, "bench/tls", plain(GIB, 0))


def _pull_tls(server: Server) -> dict[str, float]:
    path = f"/v2/bench/tls/blobs/{plain(GIB, 0).digest}"

    def pull(connection: Connection) -> None:
        assert connection.fetch(path) == GIB

    cpu = server.cpu_seconds()
    seconds = _at_once(server, [pull])
    return {"pull-tls": GIB / MIB / seconds, "pull-tls-cpu": server.cpu_seconds() - cpu}


WORKS = (
    Work(
        "manifest",
        (Row("manifest", "manifest GET by tag", "requests/s", Goal(True, 6.5)),),
        _asked(_manifest_path),
        _asking("manifest", _manifest_path),
    ),
    Work(
        "small-blob",
        (Row("small-blob", "small blob GET", "requests/s", Goal(True, 5)),),
        _asked(_small_blob_path),
        _asking("small-blob", _small_blob_path),
    ),
    Work(
        "push-images",
        (Row("push-images", "push of small images", "images/s", Goal(True, 5)),),
        _nothing,
        _push_images,
    ),
    Work(
        "pull-images",
        (Row("pull-images", "pull of small images", "images/s", Goal(True, 5)),),
        _images_are_there,
        _pull_images,
    ),
    Work(
        "push-put",
        (
            Row("push-put", "push of 4 × 256 MiB, a PUT each", "MiB/s", Goal(True, 2.5)),
            Row("push-put-cpu", "  the server's CPU for it", "s/GiB", Goal(False, 0.4)),
        ),
        _nothing,
        _push_put,
    ),
    Work(
        "push-patch",
        (Row("push-patch", "push of 4 × 256 MiB, a PATCH each", "MiB/s", Goal(True, 2.3)),),
        _nothing,
        _push_patch,
    ),
    Work(
        "pull",
        (
            Row("pull-cpu", "pull of 256 MiB by 4, the server's CPU", "s/GiB", Goal(False, 0.6)),
            Row("pull", "  its speed", "MiB/s", Goal(True, 1)),
        ),
        _large_is_there,
        _pull,
    ),
    Work(
        "p99",
        (
            Row("p99", "manifest GET p99 beside 4 × 64 MiB", "ms", Goal(False, 0.25)),
            Row("beside", "  what is pushed meanwhile", "MiB/s"),
        ),
        _asked(_manifest_path),
        _latency,
    ),
    Work(
        "push-tls",
        (
            Row("push-tls", "push of 1 GiB over TLS", "MiB/s", Goal(True, 0.77)),
            Row("push-tls-cpu", "  the server's CPU for it", "s/GiB"),
        ),
        _nothing,
        _push_tls,
        tls=True,
    ),
    Work(
        "pull-tls",
        (
            Row("pull-tls", "pull of 1 GiB over TLS", "MiB/s", Goal(True, 0.77)),
            Row("pull-tls-cpu", "  the server's CPU for it", "s/GiB"),
        ),
        _tls_is_there,
        _pull_tls,
        tls=True,
    ),
)


def warm_up(server: Server) -> None:
    """Do a little of everything, so that no row pays for a first time; the same for every server."""
    connection = server.connect()
    blob = plain(32 * MIB, 0)
    push_blob(connection, "bench/warm", blob)
    verify_blob(connection, "bench/warm", blob)
    for number in (IMAGES, IMAGES + 1):
        push_image(connection, small_image(number))
    for _ in range(20):
        pull_image(connection, small_image(IMAGES + 1))
    connection.close()
