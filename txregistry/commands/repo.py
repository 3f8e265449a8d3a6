"""``txregistry repo``."""

from __future__ import annotations

import sys
from typing import Any

import click
from twisted.internet.task import deferLater

from txregistry.commands.invocation import CONFIG, in_one_line, on_storage
from txregistry.config.schema import Config
from txregistry.content import layout, removal
from txregistry.content.registry import Registry
from txregistry.content.tree import Tree
from txregistry.errors import NameInvalid, NameUnknown, StorageError
from txregistry.interfaces import IStorageDriver
from txregistry.protection import TagProtection
from txregistry.reference import RepositoryName, Tag
from txregistry.waiting import in_thread

_PAGE = 1000
#: Seconds in which nothing must have come to a repository that is removed.
_SETTLE = 2


@click.group()
def repo() -> None:
    """Look at repositories, and remove them."""


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


@repo.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Remove immutable tags, too.")
@click.argument("name")
@CONFIG
def delete(name: str, config: str | None, yes: bool, force: bool) -> None:
    """Remove the repository NAME: its tags, manifests, and all else that is its own.

    Repositories below it stay.  The bytes stay until garbage is collected.  A server may run on the same storage
    meanwhile; what is pushed before this ends goes as well.
    """
    with in_one_line(NameInvalid):
        repository = RepositoryName.parse(name)

    async def work(reactor: Any, loaded: Config, driver: IStorageDriver) -> None:
        tree = Tree(driver, lambda: deferLater(reactor, 0, lambda: None))
        protection = TagProtection.of(loaded.immutable)
        with in_one_line(StorageError, NameUnknown):
            if not await removal.own(tree, repository):
                raise NameUnknown({"name": name})
            tags = await tree.names(layout.tags(repository))
            immutable = [tag for tag in tags if protection.covers(repository, tag)]
            if immutable and not force:
                more = f" and {len(immutable) - 1} more" if len(immutable) > 1 else ""
                click.echo(f"txregistry: {name}:{immutable[0]}{more} is immutable; see --force", err=True)
                sys.exit(1)
            if not (yes or click.confirm(f"Remove {name} with {len(tags)} tags?", err=True)):
                sys.exit(1)
            await removal.remove(tree, repository, lambda: deferLater(reactor, _SETTLE, lambda: None))

    on_storage(config, work)
