"""``meterstream bill``: what a location's energy costs over some days, from the table or from files."""

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple, get_args

import click

from app.cli.documents import Loaded, read_documents
from app.cli.errors import EXIT_FAILED, InputError
from app.cli.readings import STDIN, ReadingOptions, open_lines, read_rows
from app.domain.bill_records import PricedInterval
from app.domain.bill_sessions import asked_for
from app.domain.bills import Bill, make_bill
from app.domain.calendar import calendar_for
from app.domain.locations import Location
from app.domain.sessions import SessionPart
from app.domain.tariffs import Tariff
from app.importers.csv_readings import CsvOptions, Granularity
from app.importers.detect import Format
from app.importers.rows import Direction, read_map
from app.wire.bill import NewestPriced, PricedRecordError, to_document
from app.wire.session import NewestSessions

_FAILURES_SHOWN: Final = 20
_PLOTS: Final = (".png", ".svg", ".pdf")
_EARLIEST: Final = date(1970, 1, 2)
_LATEST: Final = date(2200, 1, 1)
_FILES: Final = click.Path(dir_okay=False, path_type=Path)

Period = tuple[date, date]


class Asked(NamedTuple):
    """Whose bill, and for which local dates."""

    location_id: str
    device_id: str | None
    period: Period


class Files(NamedTuple):
    """The files that a bill is made from without Kafka; none of the first two: Kafka has it all."""

    records: tuple[Path, ...]
    priced: Path | None
    documents: tuple[Path, ...]
    reading: ReadingOptions


class Made(NamedTuple):
    """A bill, and what was wrong on the way to it: lines and messages that could not be used."""

    bill: Bill
    warnings: list[str]


def _date(_ctx: click.Context, _option: click.Parameter, text: str) -> date:
    """Read a date; of the years in which there are readings."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise click.BadParameter(f"{text!r} is not a date (expected one such as 2025-03-01)")
    if not _EARLIEST <= found <= _LATEST:
        raise click.BadParameter(f"{text} is out of range (expected {_EARLIEST} to {_LATEST})")
    return found


def _plot_file(_ctx: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Require a suffix that says the format."""
    if path is not None and path.suffix.lower() not in _PLOTS:
        raise click.BadParameter(f"{path} does not end with one of {', '.join(_PLOTS)}")
    return path


@click.command("bill")
@click.option("--location", "location_id", required=True, metavar="ID", help="Whose bill.")
@click.option("--from", "first", required=True, callback=_date, metavar="DATE", help="First local date.")
@click.option("--to", "end", required=True, callback=_date, metavar="DATE", help="Local date before which it ends.")
@click.option("--device", "device_id", metavar="ID", help="Only this device's energy and sessions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--table", "as_table", is_flag=True, help="Print tables (what is done by default).")
@click.option("--days", is_flag=True, help="Tables: with the totals of each day.")
@click.option(
    "--plot", callback=_plot_file, type=_FILES, metavar="FILE", help="Draw energy and cost by day (png, svg, pdf)."
)
@click.option("--strict", is_flag=True, help="Exit code 1 when the bill is incomplete or anything could not be read.")
@click.option("--records", multiple=True, type=_FILES, metavar="FILE", help="Price these records, without Kafka.")
@click.option("--priced", type=_FILES, metavar="FILE", help="Take these priced records (- for stdin), without Kafka.")
@click.option("--locations", multiple=True, type=_FILES, metavar="FILE", help="Without Kafka: locations.")
@click.option("--tariffs", multiple=True, type=_FILES, metavar="FILE", help="Without Kafka: tariffs.")
@click.option("--series", multiple=True, type=_FILES, metavar="FILE", help="With --records: series.")
@click.option("--format", "format_", type=click.Choice(get_args(Format)), help="Of --records, if they do not tell.")
@click.option("--everywhere", is_flag=True, help="CSV, NEM12: every reading is of --location, whatever its point is.")
@click.option("--map", "map_file", type=_FILES, metavar="FILE", help="CSV, NEM12: metering point to location.")
@click.option("--timezone", metavar="ZONE", help="CSV: of times without an offset, and of months.")
@click.option("--granularity", type=click.Choice(get_args(Granularity)), help="CSV: if not to be inferred.")
@click.option("--direction", type=click.Choice(get_args(Direction)), default="import", help="CSV: of all readings.")
def bill_command(  # noqa: PLR0913, PLR0917 - click passes them by name
    location_id: str,
    first: date,
    end: date,
    device_id: str | None,
    as_json: bool,  # noqa: FBT001
    as_table: bool,  # noqa: FBT001
    days: bool,  # noqa: FBT001
    plot: Path | None,
    strict: bool,  # noqa: FBT001
    records: tuple[Path, ...],
    priced: Path | None,
    locations: tuple[Path, ...],
    tariffs: tuple[Path, ...],
    series: tuple[Path, ...],
    format_: Format | None,
    everywhere: bool,  # noqa: FBT001
    map_file: Path | None,
    timezone: str | None,
    granularity: Granularity | None,
    direction: Direction,
) -> None:
    """Bill a location for some days, from the table or from files.

    The days are local dates of the location, the last one not included. Without files everything is read from Kafka.
    With --records a file is priced as by `meterstream price` (JSON Lines, CSV, NEM12), with --priced it holds what
    `price` writes, which does not name charging sessions; both need documents from files. --records and those of
    documents may be given several times, and a file may hold documents of all three kinds, whichever of
    --locations, --tariffs and --series names it.

    A bill says whether it is complete, and names every interval that is missing, incomplete or not priced. The
    location's own meters are billed; its devices are for directions in which it has no own meter.

    \b
    Example:
      meterstream bill --location loc_1 --from 2025-03-01 --to 2025-04-01
      meterstream bill --location loc_1 --from 2025-03-01 --to 2025-04-01 --json --plot march.png
      meterstream bill --location loc_1 --from 2025-03-01 --to 2025-04-01 --records nem12.csv \\
          --everywhere --locations locations.json --tariffs tariffs.json
    """  # noqa: D301 - click reads the \b
    if as_json and as_table:
        raise click.UsageError("--json and --table exclude each other")
    if everywhere and map_file:
        raise click.UsageError("--map and --everywhere exclude each other")
    if not first < end:
        raise click.UsageError(f"--from {first} is not before --to {end}")
    reading = ReadingOptions(
        format_,
        read_map(map_file) if map_file else None,
        location_id if everywhere else None,
        CsvOptions(direction, timezone, granularity),
    )
    files = Files(records, priced, tuple(dict.fromkeys((*locations, *tariffs, *series))), reading)
    _check_sources(files)
    made = _made(Asked(location_id, device_id, (first, end)), files)
    _show(made, plot, as_json=as_json, days=days)
    if strict and (made.warnings or not made.bill.complete):
        raise SystemExit(EXIT_FAILED)


def _check_sources(files: Files) -> None:
    """Require all files of one way, or none."""
    if files.records and files.priced:
        raise click.UsageError("--records and --priced exclude each other")
    offline = bool(files.records or files.priced)
    if offline and not files.documents:
        raise click.UsageError("--records and --priced need documents: --locations, --tariffs, --series")
    if files.documents and not offline:
        raise click.UsageError("--locations, --tariffs and --series need --records or --priced")


def _made(asked: Asked, files: Files) -> Made:
    """Return the bill, from wherever it is made. Raises `InputError` for what cannot be billed."""
    try:
        if not (files.records or files.priced):
            return asyncio.run(_from_kafka(asked))
        documents = read_documents(files.documents)
        location = next((one for one in documents.locations if one.location_id == asked.location_id), None)
        if location is None:
            raise InputError(f"no location {asked.location_id!r} in the files of documents")
        if files.priced:
            return _from_priced(asked, location, documents, files.priced)
        return _from_records(asked, location, documents, files)
    except ValueError as error:
        if type(error) is ValueError:
            raise InputError(str(error)) from None
        raise


def _versions(tariffs: list[Tariff]) -> dict[str, list[Tariff]]:
    """Return tariffs by their id."""
    found: dict[str, list[Tariff]] = {}
    for tariff in tariffs:
        found.setdefault(tariff.tariff_id, []).append(tariff)
    return found


def _instants(asked: Asked, location: Location) -> tuple[int, int]:
    """Return the midnights at which the bill begins and ends."""
    calendar = calendar_for(location.timezone)
    first, end = asked.period
    return calendar.day_start_us(first), calendar.day_start_us(end)


def _bill(
    asked: Asked,
    location: Location,
    tariffs: dict[str, list[Tariff]],
    intervals: list[PricedInterval],
    sessions: list[SessionPart] | None,
) -> Bill:
    return make_bill(location, tariffs, intervals, asked.period, asked.device_id, sessions=sessions)


def _from_priced(asked: Asked, location: Location, documents: Loaded, path: Path) -> Made:
    """Bill priced JSON Lines. They name no sessions."""
    newest, warnings = NewestPriced(location.location_id, *_instants(asked, location)), []
    for number, line in enumerate(_lines(path), start=1):
        try:
            newest.take(line)
        except PricedRecordError as error:
            warnings.append(f"{path}:{number}: not a priced record: {error}")
    return Made(_bill(asked, location, _versions(documents.tariffs), newest.intervals(), None), warnings)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines that are not blank. Raises `FileError`."""
    if path == STDIN:
        yield from (line for line in sys.stdin.buffer if line.strip())
        return
    with open_lines(path) as file:
        yield from (line for line in file if line.strip())


def _from_records(asked: Asked, location: Location, documents: Loaded, files: Files) -> Made:
    """Price records as a worker would, and bill them."""
    from app.compose import price_offline  # noqa: PLC0415 - other ways to a bill need no pipeline

    warnings: list[str] = []
    result = price_offline(_messages(files, warnings), documents.locations, documents.tariffs, documents.series)
    newest = NewestPriced(location.location_id, *_instants(asked, location))
    for value in result.priced:
        newest.take(value)
    sessions = NewestSessions(location.location_id, *_instants(asked, location))
    for value in result.intervals:
        sessions.take(value)
    for value in result.rejected:
        refused = json.loads(value)
        if refused.get("location_id") in {None, asked.location_id}:
            warnings.append(f"rejected: {refused['error']}: {refused['message']}")
    tariffs = _versions(documents.tariffs)
    return Made(_bill(asked, location, tariffs, newest.intervals(), sessions.parts()), warnings)


def _messages(files: Files, warnings: list[str]) -> Iterator[bytes]:
    """Yield the records of all files; add what is none to the warnings. Raises `FileError`."""
    for path in files.records:
        for row in read_rows(path, files.reading):
            if row.problem is not None:
                warnings.append(f"{path}:{row.number}: {row.problem}")
            elif row.skipped is None:
                yield row.value


async def _from_kafka(asked: Asked) -> Made:
    """Bill what the topics hold now."""
    from app.cli.access import require_access  # noqa: PLC0415 - files need no Kafka
    from app.settings import load_settings  # noqa: PLC0415 - files need no settings
    from app.streams.priced_reader import PricedReader  # noqa: PLC0415 - the same
    from app.streams.rights import reader_needs  # noqa: PLC0415 - the same

    settings = load_settings()
    await require_access(settings, needs=reader_needs(settings))
    async with PricedReader(settings) as reader:
        location = await reader.location(asked.location_id)
        if location is None:
            raise InputError(f"no location {asked.location_id!r} in Kafka at {settings.bootstrap_servers}")
        bill = _instants(asked, location)
        intervals = await reader.priced(location.location_id, *bill)
        linked = {link.tariff_id for link in location.links}
        priced_by = {component.tariff[0] for interval in intervals for component in interval.components}
        tariffs = await reader.tariffs(linked | priced_by)
        sessions: list[SessionPart] = []
        if asked_for(location, tariffs, bill):  # else nobody waits for another topic to be read
            sessions = await reader.sessions(location.location_id, *bill)
        return Made(_bill(asked, location, tariffs, intervals, sessions), list(reader.problems))


def _show(made: Made, plot: Path | None, *, as_json: bool, days: bool) -> None:
    """Draw a bill and print it, and say on stderr what could not be used."""
    if plot is not None:
        from app.cli.bill_plot import draw  # noqa: PLC0415 - loads matplotlib

        try:
            draw(made.bill, plot)
        except OSError as error:
            raise InputError(f"{plot}: cannot be written: {error.strerror}") from None
    if as_json:
        click.echo(json.dumps(to_document(made.bill), ensure_ascii=False, indent=2))
    else:
        from app.cli.bill_table import print_bill  # noqa: PLC0415 - loads rich

        print_bill(made.bill, days=days)
    for warning in made.warnings[:_FAILURES_SHOWN]:
        click.echo(f"Warning: {warning}", err=True)
    if len(made.warnings) > _FAILURES_SHOWN:
        click.echo(f"Warning: and {len(made.warnings) - _FAILURES_SHOWN} more", err=True)
