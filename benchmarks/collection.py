"""Garbage collection beside CNCF Distribution's, over the same data.

Usage: ``python -m benchmarks.collection [MANIFESTS …]``; without numbers, 5,000 and 50,000.  Each manifest names a
config and four layers, of which it shares two with others; one manifest in ten was deleted.  The data is written to
the storage directory in Distribution's layout, once for each program, and what is timed is a dry run and then a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REPOSITORIES = 50


def store(root: str, content: bytes) -> str:
    """Store a blob; return its digest."""
    encoded = hashlib.sha256(content).hexdigest()
    directory = f"{root}/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}"
    if not os.path.isdir(directory):
        os.makedirs(directory)
        with open(f"{directory}/data", "wb") as file:
            file.write(content)
    return f"sha256:{encoded}"


def link(root: str, path: str, digest: str) -> None:
    """Make a link."""
    directory = f"{root}/docker/registry/v2/repositories/{path}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/link", "w", encoding="ascii") as file:
        file.write(digest)


def fill(root: str, manifests: int) -> None:
    """Make a storage directory."""
    for number in range(manifests):
        name = f"team/app{number % REPOSITORIES}"
        blobs = [
            store(root, b"%d %s" % (of, kind))
            for kind, of in (
                (b"config", number),
                (b"layer", number),
                (b"layer 2", number),
                (b"shared", number % 200),
                (b"base", number % 20),
            )
        ]
        kind = "application/vnd.oci.image.layer.v1.tar"
        described = [{"mediaType": kind, "digest": blob, "size": 10} for blob in blobs]
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        digest = store(root, json.dumps(document).encode())
        for blob in blobs:
            link(root, f"{name}/_layers/{blob.replace(':', '/')}", blob)
        if number % 10:
            place = digest.replace(":", "/")
            link(root, f"{name}/_manifests/revisions/{place}", digest)
            link(root, f"{name}/_manifests/tags/v{number}/current", digest)
            link(root, f"{name}/_manifests/tags/v{number}/index/{place}", digest)
    past = time.time() - 30 * 24 * 3600
    for directory, _, names in os.walk(root):
        for each in names:
            os.utime(os.path.join(directory, each), (past, past))


def timed(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return seconds, seconds of CPU, and the most memory that it had, in MiB."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - began
        if status:
            said.seek(0)
            raise SystemExit(f"{command[0]}: {said.read().decode()[-2000:]}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main(sizes: list[int]) -> None:
    """Print a table."""
    programs = {
        "txregistry": [sys.executable, "-m", "txregistry.cli", "garbage-collect", "--quiet"],
        "docker-registry": ["docker-registry", "garbage-collect"],
    }
    print(f"{'manifests':>10} {'':16}{'':8}{'s':>8}{'CPU s':>8}{'MiB':>8}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            data = f"{directory}/data"
            fill(data, size)
            shutil.copytree(data, f"{directory}/copy")
            for (name, command), root in zip(programs.items(), (data, f"{directory}/copy"), strict=True):
                path = f"{directory}/{name}.yml"
                with open(path, "w", encoding="utf-8") as file:
                    file.write(
                        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n"
                        "http: {addr: '127.0.0.1:0'}\n"
                    )
                for label, options in (("dry run", ["--dry-run"]), ("run", [])):
                    took, cpu, memory = timed([*command, *options, path])
                    print(f"{size:>10} {name:16}{label:8}{took:8.1f}{cpu:8.1f}{memory:8.0f}", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [5_000, 50_000])
