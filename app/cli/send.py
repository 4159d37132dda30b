"""``meterstream send``: meter records from files."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from app.cli.access import require_access
from app.cli.errors import EXIT_FAILED
from app.cli.readings import STDIN, ReadingOptions, read_arriving, read_rows, reading_options
from app.cli.signals import run
from app.importers.rows import MESSAGE_MAX_BYTES, FileError, Message, Row, group
from app.settings import Settings, load_settings
from app.streams.publish import Publisher
from app.streams.rights import Need
from app.streams.security import security_options
from app.streams.topics import topic_names

_ROWS_PER_MESSAGE: Final = 100
_FAILURES_SHOWN: Final = 20
_TICK_EVERY: Final = 64
_LISTEN_EVERY: Final = 512

Items = AsyncGenerator[Row | Message, None]
"""What a file holds: messages to send, and rows of which there is none."""


class Tally:
    """Counts, and the first failures in words; all of them go to a file if there is one."""

    def __init__(self, failures_file: BinaryIO | None) -> None:
        self.submitted = 0
        self.messages = 0
        self.accepted = 0
        self.failed = 0
        self.unsent = 0
        self.skipped: Counter[str] = Counter()
        self.shown: list[str] = []
        self._file = failures_file

    def on_problem(self, path: Path, row: Row) -> None:
        """Count a row of which there is no record to send."""
        if row.skipped is not None:
            self.skipped[row.skipped] += 1
        else:
            self.unsent += row.records
            self._fail(path, (row.number,), row.records, row.problem or "")

    def _fail(self, path: Path, rows: tuple[int, ...], records: int, reason: str) -> None:
        """Count rows that could not be sent, or were not accepted."""
        self.failed += records
        for row in rows:
            if len(self.shown) < _FAILURES_SHOWN:
                self.shown.append(f"{path}:{row}: {reason}")
            if self._file is not None:
                self._file.write(msgspec.json.encode({"file": str(path), "row": row, "reason": reason}) + b"\n")

    def on_answer(self, path: Path, message: Message, delivery: asyncio.Future[Any]) -> None:
        """Count what the broker said about a message."""
        error = delivery.exception()
        if error is None:
            self.accepted += message.records
        else:
            self._fail(path, message.rows, message.records, f"refused by the broker: {error}")


@click.command("send")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE...")
@reading_options
@click.option(
    "--batch",
    "rows_per_message",
    type=click.IntRange(1, 10_000),
    help=f"Rows of a location in one message. Default: {_ROWS_PER_MESSAGE}, for JSON Lines 1.",
)
@click.option(
    "--failures", "failures_file", type=click.File("wb"), help="Write every failed row and its reason here (JSONL)."
)
def send_command(
    files: tuple[Path, ...], reading: ReadingOptions, rows_per_message: int | None, failures_file: BinaryIO | None
) -> None:
    """Send meter records from files into meter.records.

    JSON Lines: a record, or an array of records, a line; - is standard input, sent as it comes. CSV: a header
    metering_point,period_start,quantity, with quantity in kWh and a granularity (5, 10, 15, 30, 60 minutes or months)
    that is the same in all of the file. NEM12: channels E* are import, B* export.

    Rows of one location keep their order. Counts what the broker accepted; whether a record is valid is seen by the
    worker (`meterstream rejected list`). Sending a file twice changes nothing. Ctrl-C or SIGTERM ends it with the
    counts so far (exit code 1).

    \b
    Example:
      meterstream send readings.jsonl
      meterstream send --map points.csv --timezone Europe/Berlin 2025-03.csv
      meterstream send --location loc_1 nem12.csv
    """  # noqa: D301 - click reads the \b
    settings = load_settings()
    tally = Tally(failures_file)
    sources = [(path, _messages(path, reading, rows_per_message, settings)) for path in files]
    try:
        run(_send_all(settings, sources, tally))
    finally:
        if tally.submitted or tally.failed or tally.skipped:
            _report(tally)
    if tally.failed:
        raise SystemExit(EXIT_FAILED)


def _messages(path: Path, reading: ReadingOptions, rows_per_message: int | None, settings: Settings) -> Items:
    """Return a file's messages. What makes a whole file unusable is raised now, before anything is sent."""
    size = rows_per_message or (1 if reading.format_of(path) == "jsonl" else _ROWS_PER_MESSAGE)
    grouped = partial(group, rows_per_message=size, max_bytes=min(MESSAGE_MAX_BYTES, settings.max_record_bytes // 2))
    if path == STDIN:
        return _arriving(grouped)
    items = grouped(read_rows(path, reading))
    first = list(itertools.islice(items, 1))
    return _at_hand(itertools.chain(first, items))


async def _at_hand(items: Iterator[Row | Message]) -> Items:
    """Yield what can be had without waiting; a signal is heard all the same."""
    for number, item in enumerate(items):
        if number % _LISTEN_EVERY == 0:
            await asyncio.sleep(0)
        yield item


async def _arriving(grouped: Callable[[list[Row]], Iterator[Row | Message]]) -> Items:
    """Yield messages of the rows that have come; none waits for the ones that may come later."""
    async with contextlib.aclosing(read_arriving()) as pieces:
        async for rows in pieces:
            for item in grouped(rows):
                yield item


async def _send_all(settings: Settings, sources: list[tuple[Path, Items]], tally: Tally) -> None:
    """Send the files, one after the other."""
    topic = topic_names(settings).records
    await require_access(settings, needs=[Need("Topic", topic, "Write")])
    publisher = Publisher(
        settings.bootstrap_servers,
        linger_ms=settings.linger_ms,
        max_batch_bytes=min(settings.producer_max_batch_bytes, settings.max_record_bytes),
        max_message_bytes=settings.max_record_bytes,
        compression=settings.compression,
        security=security_options(settings),
    )
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("connecting")
        async with publisher:
            for path, items in sources:
                try:
                    await _send_file(publisher, topic, path, items, tally, partial(progress.update, task))
                except FileError:
                    await publisher.flush()
                    raise


async def _send_file(  # noqa: PLR0917 - each is needed, and there is one call
    publisher: Publisher,
    topic: str,
    path: Path,
    items: Items,
    tally: Tally,
    update: Callable[..., None],
) -> None:
    """Send one file's messages."""
    number = 0
    async for item in items:
        if number % _TICK_EVERY == 0:
            update(
                description=f"{path.name}: {tally.submitted:,} submitted, {tally.accepted:,} accepted, "
                f"{tally.failed:,} failed"
            )
        number += 1
        if isinstance(item, Row):
            tally.on_problem(path, item)
            continue
        delivery = await publisher.send(topic, item.location_id.encode(), item.value)
        tally.submitted += item.records
        tally.messages += 1
        delivery.add_done_callback(partial(tally.on_answer, path, item))


def _report(tally: Tally) -> None:
    """Print the counts."""
    click.echo(f"submitted {tally.submitted} records in {tally.messages} messages")
    click.echo(f"accepted  {tally.accepted} by the broker")
    for reason, count in sorted(tally.skipped.items()):
        click.echo(f"skipped   {count}: {reason}")
    click.echo(f"failed    {tally.failed}")
    unconfirmed = tally.submitted - tally.accepted - tally.failed + tally.unsent
    if unconfirmed:
        click.echo(f"unknown   {unconfirmed}: the broker did not answer; send them again, nothing is counted twice")
    for line in tally.shown:
        click.echo(f"  {line}", err=True)
    if tally.failed > len(tally.shown):
        click.echo(f"  … and {tally.failed - len(tally.shown)} more (--failures FILE writes them all)", err=True)
