"""The ``txregistry`` command."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import click

from txregistry import __version__
from txregistry.config.show import render
from txregistry.errors import ConfigError

_CONFIG = click.argument("config", required=False, type=click.Path())


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

    try:
        loaded, _ = prepare(config)
    except ConfigError as error:
        click.echo(f"txregistry: {error}", err=True)
        sys.exit(1)
    for warning in loaded.warnings:
        click.echo(f"txregistry: warning: {warning}", err=True)
    click.echo(render(loaded.config), nl=False)
