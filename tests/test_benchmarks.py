"""What the benchmarks are made of, where it could be wrong without anyone seeing it."""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import re
import time

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.__main__ import setting
from benchmarks.bodies import CHUNK, MIB, Body, framed, plain, streamed
from benchmarks.results import Results
from benchmarks.rows import Goal, Row
from benchmarks.servers import cpu_seconds_of, merged
from tests.processes import DISTRIBUTION, TXREGISTRY


def sent(body: Body) -> bytes:
    """Return what goes over the wire."""
    return b"".join([*(memory.view[:count] for memory, count in body.pieces), body.tail])


def unframed(data: bytes) -> bytes:
    """Take the frames of the chunked transfer coding away."""
    parts, at = [], 0
    while True:
        head = re.compile(rb"([0-9a-f]+)\r\n").match(data, at)
        assert head is not None, data[at : at + 20]
        size = int(head[1], 16)
        if size == 0:
            assert data[head.end() :] == b"\r\n"
            return b"".join(parts)
        parts.append(data[head.end() : head.end() + size])
        at = head.end() + size + 2


class TestBodies(SynchronousTestCase):
    """Large bodies."""

    def test_plain(self) -> None:
        """A body's bytes have the size and digest that it says."""
        body = plain(65 * MIB, 1)
        content = sent(body)
        self.assertEqual(len(content), body.size)
        self.assertEqual(f"sha256:{hashlib.sha256(content).hexdigest()}", body.digest)

    def test_streamed(self) -> None:
        """A streamed body is the plain one in frames of docker's size."""
        body = streamed(65 * MIB, 1)
        content = sent(body)
        self.assertEqual(hashlib.sha256(unframed(content)).hexdigest(), body.digest.partition(":")[2])
        self.assertEqual(body.digest, plain(65 * MIB, 1).digest)
        self.assertEqual(content[: len("8000\r\n")], b"%x\r\n" % CHUNK)

    def test_numbers(self) -> None:
        """Bodies of different numbers are different blobs."""
        self.assertNotEqual(plain(MIB, 1).digest, plain(MIB, 2).digest)

    def test_small(self) -> None:
        """What is framed in one go ends with an empty frame."""
        self.assertEqual(unframed(framed(b"x" * (CHUNK + 1))), b"x" * (CHUNK + 1))


class TestGoals(SynchronousTestCase):
    """What is wanted, and whether it is met."""

    def test_ratio(self) -> None:
        """A ratio is met by being reached, from below or from above."""
        self.assertTrue(Goal(True, 5).met(50, 10))
        self.assertFalse(Goal(True, 5).met(49, 10))
        self.assertTrue(Goal(False, 0.25).met(2.5, 10))
        self.assertFalse(Goal(False, 0.25).met(2.6, 10))

    def test_absolute(self) -> None:
        """A figure that is wanted whatever the other's is does not depend on it."""
        self.assertTrue(Goal(False, 100, absolute=True).met(99, 1))
        self.assertFalse(Goal(False, 100, absolute=True).met(101, 1000))

    def test_table(self) -> None:
        """A row that is lost is in the table, and says so."""
        row = Row("pull", "pull", "MiB/s", Goal(True, 1))
        rounds = {DISTRIBUTION: [{"pull": one} for one in (1.0, 90.0, 100.0)], TXREGISTRY: [{"pull": 45.0}]}
        machine = {"processor": "a", "cores": 2, "system": "b", "python": "3", "filesystem": "ext4"}
        line = Results(machine, {}, {}, [row], rounds).table()[-1]
        self.assertEqual(line.split(), ["pull", "MiB/s", "90.0", "45.0", "0.50", "≥", "1", "×", "NOT", "MET"])


class TestSettings(SynchronousTestCase):
    """``--set``."""

    def test_setting(self) -> None:
        """A setting's value is read as the configuration file's values are."""
        self.assertEqual(setting("http.workers=2"), {"http": {"workers": 2}})
        self.assertEqual(setting("a.b.c=x=y"), {"a": {"b": {"c": "x=y"}}})
        self.assertRaises(argparse.ArgumentTypeError, setting, "http.workers")

    def test_merged(self) -> None:
        """A setting changes nothing beside it."""
        config = {"http": {"addr": "x", "workers": 1}, "log": {}}
        expected = {"http": {"addr": "x", "workers": 2}, "log": {}}
        self.assertEqual(merged(config, {"http": {"workers": 2}}), expected)
        self.assertEqual(config["http"], {"addr": "x", "workers": 1})


def compute(seconds: float) -> None:
    """Use so much CPU."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class TestProcesses(SynchronousTestCase):
    """What a server's processes use."""

    def test_family(self) -> None:
        """What a process's children compute counts as its own, while they run and when they have ended."""
        before = cpu_seconds_of(os.getpid())
        context = multiprocessing.get_context("fork")
        done, leave = context.Event(), context.Event()

        def child() -> None:
            compute(0.2)
            done.set()
            leave.wait(60)

        process = context.Process(target=child, daemon=True)
        process.start()
        self.assertTrue(done.wait(60))
        self.assertGreaterEqual(cpu_seconds_of(os.getpid()) - before, 0.18)
        leave.set()
        process.join()
        self.assertGreaterEqual(cpu_seconds_of(os.getpid()) - before, 0.18)
