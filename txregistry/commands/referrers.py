"""``txregistry referrers``."""

from __future__ import annotations

from typing import Any

import click

from txregistry.commands.invocation import CONFIG, on_storage
from txregistry.config.schema import Config
from txregistry.content.registry import Registry
from txregistry.interfaces import IStorageDriver
from txregistry.reference import RepositoryName
from txregistry.waiting import in_thread

_PAGE = 1000


@click.group()
def referrers() -> None:
    """Work on the index of referrers."""


@referrers.command()
@CONFIG
def rebuild(config: str | None) -> None:
    """Index again which manifests refer to others.

    For data that was written by a registry without the referrers API, and for an index that was lost.  A
    server may run on the same storage meanwhile.
    """
    on_storage(config, _rebuild)


async def _rebuild(reactor: Any, config: Config, driver: IStorageDriver) -> None:
    registry = Registry.on(driver, in_thread(reactor))
    last = ""
    while names := await registry.catalog.names(_PAGE, last):
        for name in names:
            count = await registry.manifests.index_referrers(RepositoryName(name))
            click.echo(f"{name}: {count}")
        last = names[-1]
