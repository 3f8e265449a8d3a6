"""Images made of what this machine has, without a network: archives that docker and skopeo read."""

import atexit
import functools
import hashlib
import io
import json
import os
import random
import shutil
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Sequence

import attrs

MIB = 1 << 20
Layer = Callable[[tarfile.TarFile], None]
"""Writes the files of one layer."""


@attrs.frozen
class Archive:
    """
    A docker archive on disk.

    :param path: the tar file.
    :param name: the image's name in it, ``repository:tag``.
    :param image_id: the digest of the image's config, which every engine calls the image's id.
    """

    path: str
    name: str
    image_id: str


def _add_file(layer: tarfile.TarFile, path: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(data), mode
    layer.addfile(entry, io.BytesIO(data))


def noise(seed: int, size: int, file_size: int = 8 * MIB) -> Layer:
    """
    A layer of files that do not compress.

    :param seed: the same seed gives the same bytes.
    :param size: bytes in all.
    :param file_size: bytes in each file.
    """

    def write(layer: tarfile.TarFile) -> None:
        source = random.Random(seed)
        for number in range(size // file_size):
            _add_file(layer, f"noise/{seed}/{number}", source.randbytes(file_size))

    return write


def python_tree(layer: tarfile.TarFile) -> None:
    """A layer that holds the standard library of this Python: thousands of real files."""

    def clean(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if os.path.basename(entry.name) in {"__pycache__", "site-packages", "dist-packages", "test"}:
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = int(entry.mtime)
        return entry

    layer.add(sysconfig.get_path("stdlib"), "usr/lib/python", filter=clean)


def odd_files(layer: tarfile.TarFile) -> None:
    """A small layer with links, modes and names of all kinds."""
    _add_file(layer, "bin/run", b"#!/bin/sh\necho ready\n", 0o4755)
    _add_file(layer, "etc/naïve name with spaces", b"\x00\xff" * 100)
    _add_file(layer, "etc/empty", b"")
    for kind, path, target in (
        (tarfile.SYMTYPE, "bin/start", "run"),
        (tarfile.LNKTYPE, "bin/again", "bin/run"),
    ):
        link = tarfile.TarInfo(path)
        link.type, link.linkname = kind, target
        layer.addfile(link)


def write_archive(path: str, name: str, layers: Sequence[Layer]) -> Archive:
    """
    Write a docker archive.

    :param path: the file to write.
    :param name: ``repository:tag``.
    :param layers: from the lowest to the highest.
    """
    diff_ids: list[str] = []
    with tarfile.open(path, "w") as archive:
        for write_layer in layers:
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), suffix=".layer") as file:
                with tarfile.open(fileobj=file, mode="w") as layer:
                    write_layer(layer)
                file.seek(0)
                diff_ids.append(hashlib.file_digest(file, "sha256").hexdigest())
                archive.add(file.name, f"{diff_ids[-1]}/layer.tar")
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["/bin/run"], "Env": ["PATH=/bin"], "Labels": {"name": name}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}" for diff_id in diff_ids]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "tests"} for _ in diff_ids],
        }
        body = json.dumps(config).encode()
        image_id = hashlib.sha256(body).hexdigest()
        _add_file(archive, f"{image_id}.json", body)
        manifest = {
            "Config": f"{image_id}.json",
            "RepoTags": [name],
            "Layers": [f"{diff_id}/layer.tar" for diff_id in diff_ids],
        }
        _add_file(archive, "manifest.json", json.dumps([manifest]).encode())
    return Archive(path, name, f"sha256:{image_id}")


@functools.cache
def _directory() -> str:
    path = tempfile.mkdtemp(prefix="txregistry-images-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def large_image() -> Archive:
    """
    An image of about 570 MB in five layers, made once in a test run.

    The largest layer is the last, because a vfs engine copies all lower layers into each.
    """
    layers = [odd_files, python_tree, noise(1, 96 * MIB), noise(2, 128 * MIB), noise(3, 288 * MIB)]
    return write_archive(os.path.join(_directory(), "large.tar"), "peers/large:1", layers)


@functools.cache
def small_image(number: int = 0) -> Archive:
    """An image of a few MiB in three layers, made once in a test run; each number gives another."""
    layers = [odd_files, noise(100, 2 * MIB, MIB), noise(101 + number, MIB, MIB)]
    return write_archive(os.path.join(_directory(), f"small-{number}.tar"), f"peers/small:{number}", layers)
