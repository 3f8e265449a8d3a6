"""``txregistry usage``."""

from __future__ import annotations

from typing import Any

import attrs
import click
import msgspec
from twisted.internet.task import deferLater

from txregistry.commands.invocation import CONFIG, in_one_line, on_storage
from txregistry.config.schema import Config
from txregistry.content.links import Links
from txregistry.content.tree import Tree
from txregistry.content.usage import measure
from txregistry.errors import StorageError
from txregistry.interfaces import IStorageDriver


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@CONFIG
def usage(config: str | None, as_json: bool) -> None:
    """Say how many bytes each repository takes.

    SIZE is all that a repository has, OWN what no other has too.  The total counts once what several have.
    """

    async def work(reactor: Any, loaded: Config, driver: IStorageDriver) -> None:
        tree = Tree(driver, lambda: deferLater(reactor, 0, lambda: None))
        with in_one_line(StorageError):
            found = await measure(tree, Links(driver))
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(attrs.asdict(found))).decode())
            return
        width = max([len("REPOSITORY"), *(len(one.name) for one in found.repositories)])
        click.echo(f"{'REPOSITORY':{width}} {'MANIFESTS':>10} {'BLOBS':>10} {'SIZE':>18} {'OWN':>18}")
        for one in found.repositories:
            click.echo(
                f"{one.name:{width}} {one.manifests:>10} {one.blobs:>10} {one.size:>18,} {one.own:>18,}"
            )
        click.echo(f"{'total':{width}} {'':>10} {'':>10} {found.total:>18,}")

    on_storage(config, work)
