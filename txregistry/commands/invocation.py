"""What the subcommands share: the configuration file that they are given, and how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from twisted.internet.defer import Deferred

from txregistry.config.complaints import complaints
from txregistry.config.drivers import make
from txregistry.config.load import load
from txregistry.config.schema import Config
from txregistry.errors import ConfigError
from txregistry.interfaces import IStorageDriver

CONFIG = click.argument("config", required=False, type=click.Path())


@contextmanager
def in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """End the process with one line for what the user can mend."""
    try:
        yield
    except kinds as error:
        click.echo(f"txregistry: {error}", err=True)
        sys.exit(1)


def on_storage(path: str | None, work: Callable[[Any, Config, IStorageDriver], Awaitable[None]]) -> None:
    """Do something with the storage that a configuration names, and end the process.

    :param path: the configuration file.
    :param work: is given the reactor, the configuration and the storage driver, made ready.
    """
    # Installing a reactor is a side effect that the other commands are better without.
    from twisted.internet.task import react

    with in_one_line(ConfigError):
        config = load(path, os.environ).config
        react(lambda reactor: Deferred.fromCoroutine(_on_storage(reactor, config, work)))


async def _on_storage(
    reactor: Any, config: Config, work: Callable[[Any, Config, IStorageDriver], Awaitable[None]]
) -> None:
    # The reactor ends with what this raises: SystemExit quietly, with its status, anything else with a traceback.
    with in_one_line(ConfigError):
        driver = make(config.storage, reactor)
        with complaints(f"storage.{config.storage.driver}"):
            driver.prepare()
        try:
            await work(reactor, config, driver)
        finally:
            await driver.close()
