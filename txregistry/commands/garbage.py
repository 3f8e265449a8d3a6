"""``txregistry garbage-collect``."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec

from txregistry.commands.invocation import CONFIG, in_one_line, on_storage
from txregistry.config.durations import format_duration, parse_duration
from txregistry.config.schema import Config
from txregistry.content.garbage import ClockSet, Collection, Eligible, Rules, Tally, Time
from txregistry.errors import FileBusy, StorageError
from txregistry.interfaces import IStorageDriver
from txregistry.pace import Pace


class _Duration(click.ParamType):  # type: ignore[type-arg]
    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read a duration as the configuration writes it."""
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as error:
            self.fail(f"expected {error}", param, ctx)


@click.command("garbage-collect")
@click.option("-d", "--dry-run", is_flag=True, help="Remove nothing; say what would go.")
@click.option("-m", "--delete-untagged", is_flag=True, help="Remove manifests, too, that no tag leads to.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object on each line.")
@click.option(
    "--age",
    type=_Duration(),
    help="Leave what was pushed, mounted or asked for less than this ago; "
    "storage.maintenance.garbagecollection.age if not given.",
)
@click.option("--rate", type=click.IntRange(1), help="Manifests read and files removed a second at most.")
@CONFIG
def garbage_collect(
    config: str | None,
    dry_run: bool,
    delete_untagged: bool,
    quiet: bool,
    as_json: bool,
    age: float | None,
    rate: int | None,
) -> None:
    """Remove what no manifest needs any more.

    Registries may run on the same storage meanwhile, and take pushes and deletes.  A run can be stopped at any
    moment; the next one goes on with what is left.
    """

    async def work(reactor: Any, loaded: Config, driver: IStorageDriver) -> None:
        settled = loaded.storage.maintenance.garbagecollection.age if age is None else age
        show = _nothing if quiet else _json if as_json else _text
        rules = Rules(settled, delete_untagged, dry_run)
        clocks = Time(time.time, time.monotonic)
        collection = Collection(driver, rules, clocks, Pace(reactor, rate or 0).turn, show)
        with in_one_line(StorageError, ClockSet):
            try:
                tally = await collection.run()
            except FileBusy:
                raise StorageError("another collection of garbage is under way on this storage") from None
        if not quiet:
            _summarize(tally, rules, as_json)

    on_storage(config, work)


def _nothing(one: Eligible) -> None:
    """Print nothing."""


def _text(one: Eligible) -> None:
    what = {"manifest": "manifest", "link": "layer link", "blob": "blob"}[one.kind]
    where = f"{one.repository}: " if one.repository else ""
    size = f"{one.size} bytes; " if one.kind == "blob" else ""
    click.echo(f"{where}{what} eligible for deletion: {one.digest} ({size}{one.reason})")


def _json(one: Eligible) -> None:
    told = {"kind": one.kind, "digest": str(one.digest), "bytes": one.size, "reason": one.reason}
    repository = None if one.repository is None else str(one.repository)
    click.echo(msgspec.json.encode({**told, "repository": repository}).decode())


def _summarize(tally: Tally, rules: Rules, as_json: bool) -> None:
    if as_json:
        counts = {
            "manifests_read": tally.manifests_read,
            "marked": tally.marked,
            "removed": tally.removed,
            "kept": tally.kept,
            "bytes": tally.bytes,
            "dry_run": rules.dry_run,
        }
        click.echo(msgspec.json.encode({"summary": counts}).decode())
        return
    gone, kept = tally.removed, tally.kept
    click.echo(
        f"\n{tally.marked} blobs marked, {gone['blob']} blobs and {gone['manifest']} manifests "
        f"eligible for deletion"
    )
    verb = "would be freed" if rules.dry_run else "freed"
    click.echo(f"{tally.bytes} bytes {verb}; {gone['link']} layer links")
    click.echo(
        f"left because they are younger than {format_duration(rules.age)}: {kept['blob']} blobs, "
        f"{kept['manifest']} manifests, {kept['link']} layer links"
    )
