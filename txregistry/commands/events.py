"""``txregistry events``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from txregistry import errors
from txregistry.commands.invocation import CONFIG, in_one_line
from txregistry.config.endpoints import place
from txregistry.config.load import load
from txregistry.errors import ConfigError
from txregistry.events import decode
from txregistry.notify.database import OutboxDatabase
from txregistry.notify.entries import Delivery

_ENDPOINT = click.option("--endpoint", help="Those for this endpoint; for every endpoint if not given.")
_EVENT = click.option("--event", "numbers", type=int, multiple=True, help="The one of this number.")


@click.group()
def events() -> None:
    """Work on the events that endpoints have not been given.

    A server may run on the same outbox meanwhile; it notices within seconds what was changed.
    """


@events.command("list")
@_ENDPOINT
@click.option("--all", "everything", is_flag=True, help="Also those that are still to be tried.")
@CONFIG
def list_events(endpoint: str | None, everything: bool, config: str | None) -> None:
    """List the events that were set aside.

    Prints for each, between tabs: its number, the endpoint, whether it is set-aside or waiting, how often it
    failed by its own fault, when it happened, what happened, to what, and why it failed last.
    """
    with _outbox(config) as database:
        if database is not None:
            for delivery in database.deliveries(endpoint, everything):
                click.echo("\t".join(_fields(delivery)))


@events.command()
@_ENDPOINT
@_EVENT
@click.option("--all", "everything", is_flag=True, help="All that were set aside.")
@CONFIG
def retry(endpoint: str | None, numbers: tuple[int, ...], everything: bool, config: str | None) -> None:
    """Have events tried again that were set aside."""
    _require_choice(numbers, everything)
    with _outbox(config) as database:
        count = 0 if database is None else database.retry(endpoint, None if everything else numbers)
    click.echo(f"{count} to be tried again")


@events.command()
@_ENDPOINT
@_EVENT
@click.option("--all", "everything", is_flag=True, help="All, also those that are still to be tried.")
@CONFIG
def drop(endpoint: str | None, numbers: tuple[int, ...], everything: bool, config: str | None) -> None:
    """Remove events for good."""
    _require_choice(numbers, everything)
    with _outbox(config) as database:
        count = 0 if database is None else database.drop(endpoint, None if everything else numbers)
    click.echo(f"{count} removed")


def _require_choice(numbers: tuple[int, ...], everything: bool) -> None:
    if bool(numbers) == everything:
        raise click.UsageError("say which: --event NUMBER, once or more often, or --all")


@contextmanager
def _outbox(path: str | None) -> Iterator[OutboxDatabase | None]:
    """Open the outbox that a configuration describes; None where there is none yet."""
    with in_one_line(ConfigError, errors.StorageError):
        kept = place(load(path, os.environ).config)
        if kept.location is None or not os.path.exists(kept.location):
            yield None
            return
        database = OutboxDatabase(kept.location, kept.limit)
        try:
            database.open(serve=False)
        except ConfigError as error:
            raise ConfigError(f"notifications.outbox.{error.where}", error.problem) from None
        try:
            yield database
        finally:
            database.close()


def _fields(delivery: Delivery) -> list[str]:
    time = datetime.fromtimestamp(delivery.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        event = decode(delivery.content)
        target = event.target
        what = [event.action, f"{target.repository}{f':{target.tag}' if target.tag else f'@{target.digest}'}"]
    except ValueError:
        what = ["?", delivery.repository]
    state = "set-aside" if delivery.set_aside else "waiting"
    return [
        str(delivery.event),
        delivery.endpoint,
        state,
        str(delivery.tries),
        time,
        *what,
        delivery.problem,
    ]
