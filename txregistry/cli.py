"""The ``txregistry`` command."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points

import click

from txregistry import __version__
from txregistry.access import ACTIONS, Identity
from txregistry.auth.rules import explain
from txregistry.commands.events import events
from txregistry.commands.fsck import fsck
from txregistry.commands.garbage import garbage_collect
from txregistry.commands.invocation import CONFIG, in_one_line
from txregistry.commands.referrers import referrers
from txregistry.commands.repo import repo
from txregistry.commands.usage import usage
from txregistry.config import gates
from txregistry.config.load import load
from txregistry.config.show import render
from txregistry.errors import ConfigError, NameInvalid
from txregistry.protection import TagProtection


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="txregistry")
def main() -> None:
    """An OCI and Docker registry on Twisted.

    Where a command takes a configuration file and none is given, it is the one that
    REGISTRY_CONFIGURATION_PATH names.
    """


@main.command()
@CONFIG
def serve(config: str | None) -> None:
    """Run the registry, as `twist registry --config CONFIG` does."""
    (twist,) = entry_points(group="console_scripts", name="twist")
    arguments = [] if config is None else ["--config", config]
    sys.exit(twist.load()(["twist", "registry", *arguments]))


@main.command()
@click.argument("user")
@click.option("--cost", default=10, show_default=True, help="Work that a guess costs: 4 to 14.")
@click.password_option(help="Asked for if not given; best not given, for others can see it.")
def password(user: str, cost: int, password: str) -> None:
    """Make a line of an htpasswd file for USER."""
    from txregistry.auth.passwords import hash_line

    with in_one_line(ValueError):
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
@CONFIG
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
    with in_one_line(ConfigError, NameInvalid):
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
@CONFIG
def check(config: str | None) -> None:
    """Say what the configuration means, or what is wrong with it.

    Prints every key with its value, REGISTRY_* variables applied and defaults filled in; secrets are
    masked.  Nothing is started, and the storage is not touched.
    """
    # Installing a reactor is a side effect that the other commands are better without.
    from txregistry.tap import prepare

    with in_one_line(ConfigError):
        loaded, *_ = prepare(config)
    for warning in loaded.warnings:
        click.echo(f"txregistry: warning: {warning}", err=True)
    click.echo(render(loaded.config), nl=False)


main.add_command(events)
main.add_command(fsck)
main.add_command(garbage_collect)
main.add_command(referrers)
main.add_command(repo)
main.add_command(usage)


if __name__ == "__main__":
    main()
