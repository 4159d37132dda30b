"""``meterstream rejected``: what was refused and why, and to send it again."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import click
import msgspec

from app.cli.access import require_access
from app.cli.consume import read_to_end
from app.cli.errors import EXIT_FAILED, InputError
from app.domain.instants import InstantError, parse_instant_us
from app.settings import Settings, load_settings
from app.streams.publish import Publisher
from app.streams.rights import Need
from app.streams.security import security_options
from app.streams.topics import topic_names
from app.wire.rejected import RejectedRecord, decode_rejected, raw_bytes

_RAW_SHOWN_CHARACTERS = 200


class Filters(NamedTuple):
    """Which of the rejected records are meant; None means all."""

    errors: tuple[str, ...]
    location: str | None
    since_us: int | None
    max_records: int | None

    def match(self, record: RejectedRecord) -> bool:
        """Tell whether a record is meant."""
        return (
            (not self.errors or record.error in self.errors)
            and (self.location is None or record.location_id == self.location)
            and (self.since_us is None or parse_instant_us(record.timestamp) >= self.since_us)
        )


class Found(NamedTuple):
    """A rejected record with the message that it stands in."""

    record: RejectedRecord
    key: bytes
    value: bytes


def _since(_ctx: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Read an instant."""
    try:
        return None if text is None else parse_instant_us(text)
    except InstantError as error:
        raise click.BadParameter(str(error)) from None


def _filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `list` and `replay` share."""
    for option in (
        click.option("--max", "max_records", type=click.IntRange(min=1), help="At most so many."),
        click.option("--since", callback=_since, metavar="TIME", help="Published at or after this instant (RFC 3339)."),
        click.option("--location", help="Only this location."),
        click.option(
            "--error", "errors", multiple=True, metavar="CODE", help="Only this code; may be given several times."
        ),
    ):
        command = option(command)
    return command


@click.group("rejected")
def rejected_command() -> None:
    """Show and replay rejected records.

    \b
    Example:
      meterstream rejected list --error unknown_location
      meterstream rejected replay --error unknown_location
    """  # noqa: D301 - click reads the \b


@rejected_command.command("list")
@_filter_options
@click.option("--json", "as_json", is_flag=True, help="Print the entries as they are, one JSON object a line.")
def list_command(
    errors: tuple[str, ...],
    location: str | None,
    since: int | None,
    max_records: int | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """List what was refused, why, and where it stood.

    \b
    Example:
      meterstream rejected list --location loc_1 --since 2025-03-01T00:00:00Z
      meterstream rejected list --json --max 100
    """  # noqa: D301 - click reads the \b
    asyncio.run(_list(load_settings(), Filters(errors, location, since, max_records), as_json=as_json))


@rejected_command.command("replay")
@_filter_options
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay_command(  # noqa: PLR0917 - click passes them by name
    errors: tuple[str, ...],
    location: str | None,
    since: int | None,
    max_records: int | None,
    dry_run: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
) -> None:
    """Send rejected records again, byte for byte, after what was wrong (an unknown location, say) is mended.

    Of a message of several records, only the rejected ones are sent. Doing it twice changes nothing more. A replayed
    record counts as submitted now: it replaces what was accepted for the same period in the meantime.

    \b
    Example:
      meterstream rejected replay --error unknown_location --dry-run
      meterstream rejected replay --error unknown_location --yes
    """  # noqa: D301 - click reads the \b
    settings = load_settings()
    found = asyncio.run(_collect(settings, Filters(errors, location, since, max_records)))
    target = topic_names(settings).records
    intervals = topic_names(settings).intervals
    replayable = [one for one in found if raw_bytes(one.record) is not None and one.record.topic != intervals]
    by_error = Counter(one.record.error for one in replayable)
    summary = ", ".join(f"{count} {error}" for error, count in sorted(by_error.items())) or "none"
    click.echo(f"{len(replayable)} rejected records to send to {target} again: {summary}")
    if len(replayable) < len(found):
        click.echo(f"{len(found) - len(replayable)} are left out: no raw bytes, or an interval and not a record")
    if dry_run or not replayable:
        return
    if not yes:
        click.confirm("Send them?", abort=True)
    failures = asyncio.run(_send(settings, target, replayable))
    click.echo(f"{len(replayable) - len(failures)} accepted by the broker, {len(failures)} failed")
    for failure in failures:
        click.echo(f"  {failure}", err=True)
    if failures:
        raise SystemExit(EXIT_FAILED)


async def _matching(settings: Settings, filters: Filters) -> AsyncGenerator[Found, None]:
    """Yield the rejected records that are meant."""
    matched = 0
    async with aclosing(read_to_end(settings, topic_names(settings).rejected)) as messages:
        async for message in messages:
            if message.value is None:
                continue
            try:
                record = decode_rejected(message.value)
            except msgspec.MsgspecError as error:
                where = f"{message.topic}, partition {message.partition}, offset {message.offset}"
                raise InputError(f"{where}: not an entry of ours: {error}") from None
            if filters.match(record):
                yield Found(record, message.key or (record.location_id or "").encode(), message.value)
                matched += 1
                if matched == filters.max_records:
                    return


async def _list(settings: Settings, filters: Filters, *, as_json: bool) -> None:
    """Print what matches."""
    counts: Counter[str] = Counter()
    async with aclosing(_matching(settings, filters)) as matching:
        async for found in matching:
            counts[found.record.error] += 1
            click.echo(found.value.decode() if as_json else _describe(found.record))
    summary = ", ".join(f"{count} {error}" for error, count in sorted(counts.items()))
    click.echo(f"{counts.total()} rejected" + (f": {summary}" if summary else ""), err=True)


def _describe(record: RejectedRecord) -> str:
    """Write an entry for people."""
    raw = record.raw or ""
    shown = raw if len(raw) <= _RAW_SHOWN_CHARACTERS else raw[:_RAW_SHOWN_CHARACTERS] + "…"
    where = f"{record.topic}/{record.partition}@{record.offset}[{record.record_num}]"
    return f"{record.timestamp}  {where}  {record.location_id or '-'}  {record.error}: {record.message}\n    {shown!r}"


async def _collect(settings: Settings, filters: Filters) -> list[Found]:
    """Return what matches, in the order of the partitions."""
    async with aclosing(_matching(settings, filters)) as matching:
        return [found async for found in matching]


async def _send(settings: Settings, target: str, found: Sequence[Found]) -> list[str]:
    """Publish raw bytes again; return a sentence for each that the broker did not take."""
    await require_access(settings, needs=[Need("Topic", target, "Write")])
    security = security_options(settings)
    publisher = Publisher(
        settings.bootstrap_servers,
        max_message_bytes=settings.max_record_bytes,
        compression=settings.compression,
        security=security,
    )
    async with publisher:
        deliveries = [(one, await publisher.send(target, one.key, raw_bytes(one.record))) for one in found]
        await publisher.flush()
    return [
        f"{one.record.topic}/{one.record.partition}@{one.record.offset}: {delivery.exception()}"
        for one, delivery in deliveries
        if delivery.exception() is not None
    ]
