"""``meterstream tail``: priced records as they come."""

import contextlib
from typing import Any

import click
import msgspec

from app.cli.consume import follow
from app.cli.signals import run
from app.settings import Settings, load_settings
from app.streams.topics import topic_names

_decode = msgspec.json.Decoder().decode


@click.command("tail")
@click.option("--location", help="Only this location.")
@click.option("--from-start", is_flag=True, help="Begin with what is there already, not with what comes next.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as they are, one JSON object a line.")
@click.option("--max", "max_records", type=click.IntRange(min=1), help="Stop after so many.")
def tail_command(location: str | None, from_start: bool, as_json: bool, max_records: int | None) -> None:  # noqa: FBT001
    """Show priced records as they come, one a line, until Ctrl-C or SIGTERM (exit code 0).

    A line is: start-end (UTC), location, tariff direction, energy, cost (a credit is negative), status, sequence,
    revision.

    \b
    Example:
      meterstream tail --location loc_1 --from-start
      meterstream tail --json --max 10
    """  # noqa: D301 - click reads the \b
    with contextlib.suppress(KeyboardInterrupt):
        run(_tail(load_settings(), location, from_start=from_start, as_json=as_json, max_records=max_records))


async def _tail(
    settings: Settings, location: str | None, *, from_start: bool, as_json: bool, max_records: int | None
) -> None:
    """Print until there were enough."""
    shown = 0
    async with contextlib.aclosing(follow(settings, topic_names(settings).priced, from_start=from_start)) as records:
        async for record in records:
            if record.value is None:
                continue
            priced = _decode(record.value)
            if location is not None and priced.get("location_id") != location:
                continue
            click.echo(record.value.decode() if as_json else line_of(priced))
            shown += 1
            if shown == max_records:
                return


def line_of(priced: dict[str, Any]) -> str:
    """Write a priced record for people."""
    start, end = str(priced["start_time"]), str(priced["end_time"])
    same_day = start[:10] == end[:10]
    period = f"{_short(start)}-{_short(end)[11:] if same_day else _short(end)}"
    meter = priced["location_id"] + (f"/{priced['device_id']}" if priced.get("device_id") else "")
    energy_kwh = priced["energy_wh"] / 1000
    cost = priced.get("cost")
    money = f"{cost} {priced.get('currency')}" if cost is not None else f"no cost ({priced.get('reason')})"
    part = "" if priced.get("complete", True) else " partial"
    return (
        f"{period}  {meter}  {priced['tariff_direction']}  {energy_kwh:.6g} kWh{part}  {money}  {priced['status']}  "
        f"seq {priced['sequence']}  rev {priced['revision']}"
    )


def _short(instant: str) -> str:
    """Drop the seconds of a UTC instant when they are zero."""
    return instant.removesuffix("Z").removesuffix(":00").replace("T", " ") + ("Z" if instant.endswith("Z") else "")
