"""The rows of the table: each does one thing to a running server and says how fast it was."""

import multiprocessing
import os
import re
import subprocess
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier

import attrs

from benchmarks.loads import (
    ACCEPT,
    CLIENTS,
    IMAGES,
    LARGE,
    Image,
    large_blob,
    large_stream,
    pull_image,
    push_blob,
    push_image,
    small_image,
    stream_blob,
)
from benchmarks.wire import Connection, connected
from tests.processes import RegistryServer, find_program
from tests.registry_client import RegistryClient

MIB = 1 << 20
PATIENCE = 120.0
"""Seconds that the clients of one row may take."""


@attrs.frozen
class Row:
    """
    One row.

    :param prepare: brings the server into the state that the row needs, outside the measurement.
    :param measure: the thing itself; the answer is the figure, higher is better.
    """

    name: str
    unit: str
    prepare: Callable[[RegistryServer], None]
    measure: Callable[[RegistryServer], float]


def _nothing(server: RegistryServer) -> None:
    """Leave the server as it is."""


def _push_put(server: RegistryServer) -> float:
    data, digest = large_blob()
    with connected(server.port) as connection:
        began = time.perf_counter()
        push_blob(connection, "bench/large", digest, memoryview(data))
        return LARGE / MIB / (time.perf_counter() - began)


def _push_patch(server: RegistryServer) -> float:
    frames, digest = large_stream()
    with connected(server.port) as connection:
        began = time.perf_counter()
        stream_blob(connection, "bench/large", digest, frames)
        return LARGE / MIB / (time.perf_counter() - began)


def _large_is_there(server: RegistryServer) -> None:
    """Push the large blob unless a row did, and read it once: right, and in the page cache."""
    data, digest = large_blob()
    client = RegistryClient(server.host)
    if client.request("HEAD", f"/v2/bench/large/blobs/{digest}").status != 200:
        with connected(server.port) as connection:
            push_blob(connection, "bench/large", digest, memoryview(data))
    assert client.measure_blob("bench/large", digest) == (digest, LARGE)


def _pull(server: RegistryServer) -> float:
    _, digest = large_blob()
    with connected(server.port) as connection:
        began = time.perf_counter()
        connection.send("GET", f"/v2/bench/large/blobs/{digest}")
        size = connection.discard(200)
        seconds = time.perf_counter() - began
    assert size == LARGE
    return LARGE / MIB / seconds


def _one_image(server: RegistryServer) -> Image:
    return small_image(IMAGES)  # a number that the rows of many images do not use


def _one_image_is_there(server: RegistryServer) -> None:
    image = _one_image(server)
    path = f"/v2/{image.repository}/manifests/1"
    if RegistryClient(server.host).manifest(image.repository, "1").status != 200:
        with connected(server.port) as connection:
            push_image(connection, image)
    _wrk(server, path, seconds=1)
    _wrk(server, f"/v2/{image.repository}/blobs/{image.blobs[0][0]}", seconds=1)


def _wrk(server: RegistryServer, path: str, seconds: int = 5) -> float:
    """Ask for one path over 32 connections; the answer is requests a second, an error ends it all."""
    command = [
        find_program("wrk"),
        "-t1",
        "-c32",
        f"-d{seconds}s",
        "-H",
        ACCEPT.strip(),
        f"http://{server.host}{path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{server.program}: {done.stdout}")
    found = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


def _manifest(server: RegistryServer) -> float:
    return _wrk(server, f"/v2/{_one_image(server).repository}/manifests/1")


def _small_blob(server: RegistryServer) -> float:
    image = _one_image(server)
    return _wrk(server, f"/v2/{image.repository}/blobs/{image.blobs[0][0]}")


def _client(port: int, numbers: range, act: Callable[[Connection, Image], None], barrier: Barrier) -> None:
    """Be one of several client processes: make the images, wait for the others, then act on each image."""
    images = [small_image(number) for number in numbers]
    with connected(port) as connection:
        barrier.wait(PATIENCE)
        for image in images:
            act(connection, image)


def _by_many_clients(server: RegistryServer, act: Callable[[Connection, Image], None]) -> float:
    """Do something with all images, in several processes at once; the answer is images a second."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(CLIENTS + 1)
    clients = [
        context.Process(
            target=_client, args=(server.port, range(first, IMAGES, CLIENTS), act, barrier), daemon=True
        )
        for first in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    barrier.wait(PATIENCE)
    began = time.perf_counter()
    for client in clients:
        client.join(PATIENCE)
    seconds = time.perf_counter() - began
    if any(client.exitcode != 0 for client in clients):
        for client in clients:
            client.kill()
        raise RuntimeError(f"{server.program}: a client failed; its traceback is above")
    return IMAGES / seconds


def _push_images(server: RegistryServer) -> float:
    return _by_many_clients(server, push_image)


def _images_are_there(server: RegistryServer) -> None:
    last = small_image(IMAGES - 1)
    if RegistryClient(server.host).manifest(last.repository, "1").status != 200:
        _push_images(server)


def _pull_images(server: RegistryServer) -> float:
    return _by_many_clients(server, pull_image)


ROWS = (
    Row("push-put", "MiB/s", _nothing, _push_put),
    Row("push-patch", "MiB/s", _nothing, _push_patch),
    Row("pull", "MiB/s", _large_is_there, _pull),
    Row("manifest", "req/s", _one_image_is_there, _manifest),
    Row("small-blob", "req/s", _one_image_is_there, _small_blob),
    Row("push-images", "images/s", _nothing, _push_images),
    Row("pull-images", "images/s", _images_are_there, _pull_images),
)


def warm_up(server: RegistryServer) -> None:
    """Do a little of everything, so that no row pays for a first time; the same for every server."""
    data = os.urandom(32 * MIB)
    client = RegistryClient(server.host)
    digest = client.push_bytes("bench/warm", data)
    assert client.measure_blob("bench/warm", digest) == (digest, len(data))
    image = small_image(IMAGES + 1)
    with connected(server.port) as connection:
        push_image(connection, image)
        for _ in range(20):
            pull_image(connection, image)
