"""The dashboard and the alerts speak of figures that there are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import yaml
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.processes import CHECKOUT
from tests.telemetry.test_metrics import MetricsCase
from txregistry.cache.memory import MemoryCache
from txregistry.collecting import CollectingService
from txregistry.config.collecting import GarbageCollection
from txregistry.config.purging import UploadPurging
from txregistry.figures import (
    show_cache,
    show_collecting,
    show_crowd,
    show_lag,
    show_notifications,
    show_purging,
)
from txregistry.health.lag import ReactorLag
from txregistry.notify.service import Notifications
from txregistry.purging import PurgingService
from txregistry.web.crowd import Crowd, Limits
from txregistry.web.proxies import Proxies

_NAME = re.compile(r"\b(?:registry|txregistry|process|python)_[a-z_]+\b")
_SELECTOR = re.compile(r"\{[^}]*\}")


def document(name: str) -> str:
    """Return a file of the documentation."""
    with open(os.path.join(CHECKOUT, "docs", name), encoding="utf-8") as file:
        return file.read()


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    (group,) = yaml.safe_load(document("monitoring/alerts.yml"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[str]:
    """Yield every expression of the dashboard and of the alerts."""
    for panel in json.loads(document("monitoring/dashboard.json"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for rule in rules():
        yield rule["expr"]


class FiguresTests(MetricsCase):
    """The names."""

    def setUp(self) -> None:
        super().setUp()
        show_lag(self.metrics, ReactorLag(Clock()))
        show_crowd(self.metrics, Crowd(Limits(), Proxies()))
        show_cache(self.metrics, MemoryCache(1))
        clock = Clock()
        show_collecting(self.metrics, CollectingService(clock, self.driver, GarbageCollection()))
        show_purging(self.metrics, PurgingService(clock, self.driver, UploadPurging()))
        show_notifications(self.metrics, Notifications([], None, clock, clock, lambda: 0.0), clock.seconds)  # type: ignore[arg-type]

    def exported(self) -> set[str]:
        """Return the names of all series and of all families that a registry exports."""
        self.server.push_image("team/app", "v1")
        self.metrics.admit("authenticated")
        found = set()
        for family in self.metrics.registry.collect():
            found.add(f"{family.name}_total" if family.type == "counter" else family.name)
            found.update(sample.name for sample in family.samples)
        return found

    def test_used(self) -> None:
        """Each name that is asked for is one that the registry exports."""
        exported = self.exported()
        for expression in expressions():
            names = _NAME.findall(_SELECTOR.sub("", expression))
            if expression.startswith("up{"):
                continue
            self.assertNotEqual(names, [], expression)
            self.assertEqual(set(names) - exported, set(), expression)

    def test_explained(self) -> None:
        """Each figure that the registry exports is explained."""
        explained = set(_NAME.findall(document("metrics.rst")))
        for family in self.metrics.registry.collect():
            names = {family.name, f"{family.name}_total"}
            self.assertTrue(names & explained, family.name)


class AlertTests(SynchronousTestCase):
    """The alerts."""

    def test_explained(self) -> None:
        """Each alert is explained, and there is no explanation of one that there is not."""
        explained = re.findall(r"^``(Txregistry\w+)``$", document("metrics.rst"), re.M)
        self.assertEqual([rule["alert"] for rule in rules()], explained)
