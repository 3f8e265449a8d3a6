"""``txregistry fsck``."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

import attrs
import click
import msgspec
from twisted.internet.task import deferLater

from txregistry.commands.invocation import CONFIG, in_one_line, on_storage
from txregistry.config.schema import Config
from txregistry.content.inspection import Finding, Inspection
from txregistry.content.links import Links
from txregistry.content.registry import Registry
from txregistry.content.repair import Repair
from txregistry.content.tree import Tree
from txregistry.core import rules
from txregistry.errors import StorageError
from txregistry.interfaces import IStorageDriver
from txregistry.waiting import in_thread

#: Seconds until what was found is looked at again.
_SETTLE = 2


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quick", is_flag=True, help="Do not read blobs, but compare their sizes.")
@click.option("--repair", is_flag=True, help="Put right what can be; keep what is taken away.")
@CONFIG
def fsck(config: str | None, as_json: bool, quick: bool, repair: bool) -> None:
    """Look through all that is stored for what is damaged or missing.

    Changes nothing without --repair, and with it removes nothing that is not kept in _txregistry/quarantine.
    Exits with 0 if there is nothing that was not mended, with 3 if there is, with 1 if the storage cannot be used.
    A server may run on the same storage meanwhile.
    """

    async def work(reactor: Any, loaded: Config, driver: IStorageDriver) -> None:
        findings: list[Finding] = []

        def report(finding: Finding) -> None:
            findings.append(finding)
            if not as_json:
                mended = "; mended" if finding.mended else ""
                where = finding.repository or "-"
                click.echo(f"{finding.kind} {where} {finding.what} {finding.path}: {finding.problem}{mended}")

        tree, links = Tree(driver, lambda: deferLater(reactor, 0, lambda: None)), Links(driver)
        hop = in_thread(reactor)
        run = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        repairs = Repair(links, tree, Registry.on(driver, hop).manifests, hop, run, time.time)
        inspection = Inspection(
            tree,
            links,
            rules(loaded.validation),
            hop,
            report,
            lambda: deferLater(reactor, _SETTLE, lambda: None),
            time.time() - loaded.storage.maintenance.uploadpurging.age,
            quick,
            repairs.mend if repair else None,
        )
        with in_one_line(StorageError):
            await inspection.run()
        faults = [finding for finding in findings if finding.is_fault]
        if as_json:
            document = {"findings": [attrs.asdict(one) for one in findings], "counts": inspection.counts}
            click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
        else:
            counts = ", ".join(f"{number} {name}" for name, number in inspection.counts.items())
            click.echo(f"{len(faults)} findings; looked at {counts}")
        if not all(finding.mended for finding in faults):
            sys.exit(3)

    on_storage(config, work)
