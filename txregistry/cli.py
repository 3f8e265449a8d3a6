"""The ``txregistry`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import click
from twisted.internet.defer import Deferred

from txregistry import __version__
from txregistry.access import ACTIONS, Identity
from txregistry.auth.rules import explain
from txregistry.config import gates
from txregistry.config.complaints import complaints
from txregistry.config.drivers import make
from txregistry.config.load import load
from txregistry.config.schema import Config
from txregistry.config.show import render
from txregistry.content.registry import Registry
from txregistry.errors import ConfigError, NameInvalid
from txregistry.protection import TagProtection
from txregistry.reference import RepositoryName
from txregistry.service import in_thread

_PAGE = 1000
_CONFIG = click.argument("config", required=False, type=click.Path())


@contextmanager
def _in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """End the process with one line for what the user can mend."""
    try:
        yield
    except kinds as error:
        click.echo(f"txregistry: {error}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="txregistry")
def main() -> None:
    """An OCI and Docker registry on Twisted.

    Where a command takes a configuration file and none is given, it is the one that
    REGISTRY_CONFIGURATION_PATH names.
    """


@main.command()
@_CONFIG
def serve(config: str | None) -> None:
    """Run the registry, as `twist registry --config CONFIG` does."""
    (twist,) = entry_points(group="console_scripts", name="twist")
    arguments = [] if config is None else ["--config", config]
    sys.exit(twist.load()(["twist", "registry", *arguments]))


@main.group()
def referrers() -> None:
    """Work on the index of referrers."""


@referrers.command()
@_CONFIG
def rebuild(config: str | None) -> None:
    """Index again which manifests refer to others.

    For data that was written by a registry without the referrers API, and for an index that was lost.  A
    server may run on the same storage meanwhile.
    """
    # Installing a reactor is a side effect that the other commands are better without.
    from twisted.internet.task import react

    with _in_one_line(ConfigError):
        loaded = load(config, os.environ)
        react(lambda reactor: Deferred.fromCoroutine(_rebuild(loaded.config, reactor)))


async def _rebuild(config: Config, reactor: Any) -> None:
    driver = make(config.storage, reactor)
    with complaints(f"storage.{config.storage.driver}"):
        driver.prepare()
    try:
        registry = Registry.on(driver, in_thread(reactor))
        last = ""
        while names := await registry.catalog.names(_PAGE, last):
            for name in names:
                count = await registry.manifests.index_referrers(RepositoryName(name))
                click.echo(f"{name}: {count}")
            last = names[-1]
    finally:
        await driver.close()


@main.command()
@click.argument("user")
@click.option("--cost", default=10, show_default=True, help="Work that a guess costs: 4 to 14.")
@click.password_option(help="Asked for if not given; best not given, for others can see it.")
def password(user: str, cost: int, password: str) -> None:
    """Make a line of an htpasswd file for USER."""
    from txregistry.auth.passwords import hash_line

    with _in_one_line(ValueError):
        click.echo(hash_line(user, password, cost))


@main.group()
def access() -> None:
    """Work on the rules of access."""


@access.command("explain")
@click.option("--user", help="Who asks; nobody in particular if not given.")
@click.option("--group", "groups", multiple=True, help="A group that the user's credentials name.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=VALUE", help="What they say beside.")
@click.option("--action", type=click.Choice(ACTIONS), required=True)
@click.argument("reference")
@_CONFIG
def explain_access(
    user: str | None,
    groups: tuple[str, ...],
    claims: tuple[str, ...],
    action: str,
    reference: str,
    config: str | None,
) -> None:
    """Say whether someone may do something with REFERENCE (team/app or team/app:1), and which rule says so.

    Exits with 0 if they may, with 3 if not.
    """
    name, _, tag = reference.partition(":")
    identity = Identity(user, frozenset(groups), dict(claim.partition("=")[::2] for claim in claims))
    with _in_one_line(ConfigError, NameInvalid):
        loaded = load(config, os.environ)
        decision = explain(gates.policy(loaded.config, None), identity, action, name)
    protection = TagProtection.of(loaded.config.immutable)
    click.echo(f"{'allowed' if decision.allowed else 'denied'}: {decision.reason}")
    if tag and action != "pull" and protection.covers(name, tag):
        click.echo(f"but {reference} is immutable: once it is there, it can be neither moved nor deleted")
    sys.exit(0 if decision.allowed else 3)


@main.group("config")
def config_group() -> None:
    """Work on the configuration."""


@config_group.command()
@_CONFIG
def check(config: str | None) -> None:
    """Say what the configuration means, or what is wrong with it.

    Prints every key with its value, REGISTRY_* variables applied and defaults filled in; secrets are
    masked.  Nothing is started, and the storage is not touched.
    """
    # Installing a reactor is a side effect that the other commands are better without.
    from txregistry.tap import prepare

    with _in_one_line(ConfigError):
        loaded, _ = prepare(config)
    for warning in loaded.warnings:
        click.echo(f"txregistry: warning: {warning}", err=True)
    click.echo(render(loaded.config), nl=False)


if __name__ == "__main__":
    main()
