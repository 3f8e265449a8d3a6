"""``txregistry repo``."""

from __future__ import annotations

from typing import Any

import click

from txregistry.commands.invocation import CONFIG, in_one_line, on_storage
from txregistry.config.schema import Config
from txregistry.content.registry import Registry
from txregistry.errors import NameInvalid, NameUnknown, StorageError
from txregistry.interfaces import IStorageDriver
from txregistry.reference import RepositoryName, Tag
from txregistry.service import in_thread

_PAGE = 1000


@click.group()
def repo() -> None:
    """Look at repositories."""


@repo.command("list")
@CONFIG
def list_repositories(config: str | None) -> None:
    """Print the name of each repository."""

    async def work(reactor: Any, loaded: Config, driver: IStorageDriver) -> None:
        catalog, last = Registry.on(driver, in_thread(reactor)).catalog, ""
        with in_one_line(StorageError):
            while names := await catalog.names(_PAGE, last):
                for last in names:
                    click.echo(last)

    on_storage(config, work)


@repo.command()
@click.argument("name")
@CONFIG
def tags(name: str, config: str | None) -> None:
    """Print each tag of the repository NAME, and the digest that it points to."""
    with in_one_line(NameInvalid):
        repository = RepositoryName.parse(name)

    async def work(reactor: Any, loaded: Config, driver: IStorageDriver) -> None:
        found = Registry.on(driver, in_thread(reactor)).tags
        with in_one_line(StorageError, NameUnknown):
            for tag in await found.names(repository):
                click.echo(f"{tag} {await found.resolve(repository, Tag(tag)) or '-'}")

    on_storage(config, work)
