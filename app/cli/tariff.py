"""``meterstream tariff``: foreign tariffs into ours, and ours checked and shown."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final, get_args

import click

from app.cli.documents import Found, clashes, read_content
from app.cli.errors import EXIT_BAD_INPUT, EXIT_FAILED, InputError
from app.domain.band_times import BandTimes
from app.domain.calendar import calendar_for
from app.domain.instants import InstantError, format_instant, parse_instant_us
from app.domain.overlaps import overlaps
from app.domain.tariffs import Direction, EnergyCharge, FixedCharge, SeriesRate, SessionCharge, Tariff
from app.domain.timeline import END_US, Timeline, holes
from app.importers.tariffs.common import Imported, ImportOptions, read_json
from app.importers.tariffs.registry import FORMATS
from app.wire.documents import DocumentError, document_key, version_key
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff

_STDIN: Final = "-"
_FILE: Final = click.Path(dir_okay=False, allow_dash=True)


@click.group("tariff")
def tariff_command() -> None:
    """Import, check and show tariffs.

    \b
    Example:
      meterstream tariff import ocpi tariff.json --timezone Europe/Amsterdam > tariffs.json
      meterstream tariff check tariffs.json
      meterstream tariff show tariffs.json --at 2025-03-03T16:00:00Z
    """  # noqa: D301 - click reads the \b


def _read(path: str) -> bytes:
    """Read a file, or standard input. Raises `InputError`."""
    try:
        return sys.stdin.buffer.read() if path == _STDIN else Path(path).read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise InputError(message) from None


# --- import ----------------------------------------------------------------------------------------------------------


def _dates(_ctx: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Read dates, as documents write them."""
    try:
        return tuple(date.fromisoformat(text).isoformat() for text in texts)
    except ValueError as error:
        raise click.BadParameter(f"{error} (expected dates such as 2025-12-25)") from None


@tariff_command.command("import")
@click.argument("format_", type=click.Choice(list(FORMATS)), metavar="FORMAT")
@click.argument("file", type=_FILE)
@click.option("--tariff-id", metavar="ID", help="Of the first tariff; others append to it.")
@click.option("--currency", metavar="CODE", help="If the format does not say it (GBP).")
@click.option("--timezone", metavar="ZONE", help="If the format does not say it (Europe/London).")
@click.option("--direction", type=click.Choice(get_args(Direction)), help="If the format does not say it.")
@click.option("--holiday", "holidays", multiple=True, callback=_dates, metavar="DATE", help="May be given often.")
@click.option("--partial", is_flag=True, help="Write the documents even without the parts that are refused.")
@click.option("--jsonl", is_flag=True, help="Write a document a line, not one array.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write here, not to stdout."
)
def import_command(  # noqa: PLR0913, PLR0917 - click passes them by name
    format_: str,
    file: str,
    tariff_id: str | None,
    currency: str | None,
    timezone: str | None,
    direction: Direction | None,
    holidays: tuple[str, ...],
    partial: bool,  # noqa: FBT001
    jsonl: bool,  # noqa: FBT001
    out: Path | None,
) -> None:
    """Import a foreign tariff: documents for `load` and `price` on stdout.

    FORMAT is urdb (OpenEI), cdr (Australian Consumer Data Right), octopus, ocpi or flatpeak; FILE is its JSON (- for
    standard input). What is left out without a change of the price is named on stderr. A part that would change the
    price and cannot be expressed is refused: all such parts are named, nothing is written, and the exit code is 1;
    with --partial the rest is written.

    \b
    Example:
      meterstream tariff import octopus unit-rates.json --tariff-id agile --timezone Europe/London > agile.json
      meterstream tariff import ocpi tariffs.json --timezone Europe/Amsterdam --partial --out tariffs.json
    """  # noqa: D301 - click reads the \b
    options = ImportOptions(tariff_id, currency, timezone, direction, holidays)
    found = FORMATS[format_](read_json(_read(file)), options)
    for part in found.left_out:
        click.echo(f"left out: {part}", err=True)
    for part in found.refused:
        click.echo(f"refused: {part}", err=True)
    if found.refused and not partial:
        click.echo(f"Error: {len(found.refused)} parts cannot be expressed; --partial writes the others", err=True)
        raise SystemExit(EXIT_FAILED)
    problems = list(_invalid(found))
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    if problems:
        raise SystemExit(EXIT_FAILED)
    _write([*found.tariffs, *found.series], out, jsonl=jsonl)
    counts = f"{len(found.tariffs)} tariffs, {len(found.series)} series"
    click.echo(f"{counts}; {len(found.refused)} parts refused, {len(found.left_out)} left out", err=True)


def _invalid(found: Imported) -> Iterator[str]:
    """Yield what is wrong with the documents as ours: holes that the foreign tariff has, for the most part."""
    kinds: tuple[tuple[str, list[dict[str, Any]], Callable[[dict[str, Any]], object]], ...] = (
        ("tariff", found.tariffs, parse_tariff),
        ("series", found.series, parse_series),
    )
    for kind, documents, parse in kinds:
        for document in documents:
            try:
                parse(document)
            except DocumentError as error:
                yield from (f"{kind} {document.get(f'{kind}_id')!r}: {problem}" for problem in error.problems)
    if not found.tariffs and not found.series:
        yield "nothing is left to write"


def _write(documents: Sequence[dict[str, Any]], out: Path | None, *, jsonl: bool) -> None:
    """Write documents. Raises `InputError` when the file cannot be written."""
    if jsonl:
        text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    else:
        text = json.dumps(documents, ensure_ascii=False, indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{out}: cannot be written: {error.strerror}"
        raise InputError(message) from None


# --- check -----------------------------------------------------------------------------------------------------------


@tariff_command.command("check")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@click.option("--strict", is_flag=True, help="Exit code 1 for warnings too.")
def check_command(files: tuple[str, ...], strict: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Check tariffs, and show a week of each.

    Every problem is named with its path: wrong values, unknown fields, holes. Warnings name what is seldom meant:
    windows that earlier bands hide, taxes of 100 % and more. A picture of a week, for each season, shows which band
    holds when. FILE is JSON or JSON Lines of our documents (- for standard input); locations and series in it are
    checked too. The exit code is 1 when there are problems.

    \b
    Example:
      meterstream tariff check tariffs.json
      meterstream tariff import flatpeak t.json --currency GBP | meterstream tariff check --strict -
    """  # noqa: D301 - click reads the \b
    found, problems, unreadable = _documents(files)
    warned = False
    for where, document in found:
        if isinstance(document, Tariff):
            warned |= _check(where, document)
        else:
            click.echo(f"{where}: {document_key(document)}: valid")
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    if problems:
        raise SystemExit(EXIT_BAD_INPUT if unreadable else EXIT_FAILED)
    if warned and strict:
        raise SystemExit(EXIT_FAILED)


def _documents(files: Sequence[str]) -> tuple[list[Found], list[str], bool]:
    """Return the valid documents of files, every problem, and whether a file could not be read."""
    found: list[Found] = []
    problems: list[str] = []
    unreadable = False
    for path in files:
        try:
            of_file, of_others = read_content(path, _read(path))
        except InputError as error:
            unreadable = True
            problems.append(error.message)
            continue
        if not of_file and not of_others:
            problems.append(f"{path}: no document in it (expected at least one)")
        found += of_file
        problems += of_others
    return found, [*problems, *clashes(found)], unreadable


def _doubts(tariff: Tariff) -> Iterator[str]:
    """Yield what is allowed, and yet is seldom meant: hidden windows, taxes of 100 % and more, fields without effect."""
    yield from overlaps(tariff)
    for number, tax in enumerate(tariff.taxes):
        if tax.rate >= 1:
            yield f"taxes[{number}].rate: '{tax.rate:f}' adds {tax.rate * 100:f} % (a tax of 5 % is '0.05')"
    if tariff.billing_period is not None and tariff.tier_period != "BILLING":
        yield f"billing_period: has no effect, since tier_period is {tariff.tier_period!r} (expected 'BILLING')"


def _check(where: str, tariff: Tariff) -> bool:
    """Print a valid tariff's warnings and pictures; tell whether there were warnings."""
    warnings = list(_doubts(tariff))
    for warning in warnings:
        click.echo(f"Warning: {where}: {warning}", err=True)
    if tariff.direction == "EXPORT":
        for hole in holes(replace(tariff, direction="IMPORT")):
            click.echo(f"Note: {where}: {hole}; energy exported then earns nothing", err=True)
    click.echo(f"{where}: valid" + (f", {len(warnings)} warning{'s'[: len(warnings) > 1]}" if warnings else ""))
    _print(tariff)
    return bool(warnings)


def _print(tariff: Tariff) -> None:
    """Print a summary, with colours at a terminal that wants them."""
    from rich.console import Console  # noqa: PLC0415 - not for `import`

    from app.cli.tariff_picture import summary  # noqa: PLC0415 - not for `import`

    Console(highlight=False, soft_wrap=True, markup=False, emoji=False).print(summary(tariff))


# --- show ------------------------------------------------------------------------------------------------------------


def _instant(_ctx: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Read an instant."""
    try:
        return None if text is None else parse_instant_us(text)
    except InstantError as error:
        raise click.BadParameter(str(error)) from None


@tariff_command.command("show")
@click.argument("source", metavar="FILE|TARIFF_ID")
@click.option("--at", "at_us", callback=_instant, metavar="TIME", help="Only what holds at this instant (RFC 3339).")
def show_command(source: str, at_us: int | None) -> None:
    """Show a tariff: charges, taxes, validity, and a week as a picture.

    From a file (- for standard input), or by its id from the topic of tariffs, where the newest document of a name
    holds. With --at: the rates at an instant, of the highest version that is valid then.

    \b
    Example:
      meterstream tariff show tariffs.json
      meterstream tariff show tou --at 2025-03-03T16:00:00Z
    """  # noqa: D301 - click reads the \b
    tariffs = _from_file(source) if source == _STDIN or Path(source).is_file() else asyncio.run(_from_topic(source))
    if at_us is None:
        for tariff in tariffs:
            _print(tariff)
        return
    shown = False
    for tariff_id in dict.fromkeys(tariff.tariff_id for tariff in tariffs):
        versions = [tariff for tariff in tariffs if tariff.tariff_id == tariff_id and _valid(tariff, at_us)]
        if not versions:
            click.echo(f"Error: {tariff_id}: no version is valid at {format_instant(at_us)}", err=True)
            continue
        shown = True
        for line in _at(max(versions, key=lambda tariff: tariff.version), at_us):
            click.echo(line)
    if not shown:
        raise SystemExit(EXIT_FAILED)


def _from_file(path: str) -> list[Tariff]:
    """Return the tariffs of a file. Raises `DocumentError` with every problem, and `InputError` if there are none."""
    found, problems, _ = _documents([path])
    if problems:
        raise DocumentError(problems)
    tariffs = [document for _, document in found if isinstance(document, Tariff)]
    if not tariffs:
        message = f"{path}: no tariff among its documents"
        raise InputError(message)
    return sorted(tariffs, key=lambda tariff: (tariff.tariff_id, tariff.version))


async def _from_topic(tariff_id: str) -> list[Tariff]:
    """Return the versions of a tariff that the topic holds.

    Raises `InputError` if there are none, and `DocumentError` if the newest document of a key is at fault.
    """
    from app.cli.consume import read_to_end  # noqa: PLC0415 - files need no Kafka
    from app.settings import load_settings  # noqa: PLC0415 - files need no settings
    from app.streams.topics import topic_names  # noqa: PLC0415 - files need no Kafka

    settings = load_settings()
    topic = topic_names(settings).tariffs
    newest: dict[bytes, bytes] = {}
    async for record in read_to_end(settings, topic):
        newest[record.key or b""] = record.value
    documents: dict[bytes, Tariff] = {}
    for key, value in newest.items():
        if value and _names(value, tariff_id):
            try:
                documents[key] = parse_tariff(value)
            except DocumentError as error:
                where = f"{topic}: {key.decode(errors='replace')}"
                raise DocumentError([f"{where}: {problem}" for problem in error.problems]) from None
    # A message under another key is none that a worker takes.
    tariffs = [tariff for key, tariff in documents.items() if key.decode() in {tariff_id, version_key(tariff)}]
    if not tariffs:
        message = f"{tariff_id!r} is neither a file nor a tariff in {topic} at {settings.bootstrap_servers}"
        raise InputError(message)
    return sorted(tariffs, key=lambda tariff: tariff.version)


def _names(value: bytes, tariff_id: str) -> bool:
    """Tell whether a message is a document of this tariff; what is no JSON object is none."""
    try:
        document = json.loads(value)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("tariff_id") == tariff_id


def _valid(tariff: Tariff, at_us: int) -> bool:
    begun = tariff.valid_from_us is None or tariff.valid_from_us <= at_us
    return begun and (tariff.valid_to_us is None or at_us < tariff.valid_to_us)


def _at(tariff: Tariff, at_us: int) -> Iterator[str]:
    """Yield what holds at an instant, a line for each charge."""
    from app.cli.tariff_picture import rates_text, series_text, tier_period_text  # noqa: PLC0415 - loads rich

    yield f"{tariff.tariff_id}  version {tariff.version}  {tariff.direction}  at {format_instant(at_us)}"
    segment = Timeline(tariff).segment(at_us)
    until = "" if segment.end_us >= END_US else f", at least until {format_instant(segment.end_us)}"
    held = {rate.charge_id: rate for rate in segment.charges}
    on = calendar_for(tariff.timezone).local_date(at_us)
    for charge in tariff.charges:
        if isinstance(charge, FixedCharge):
            if charge.due_on(on):
                yield f"  {charge.charge_id}  {charge.amount:f} {tariff.currency} a {charge.per}"
            continue
        if isinstance(charge, SessionCharge):
            yield _session_at(tariff, charge, at_us)
        if not isinstance(charge, EnergyCharge):
            continue
        rate = held.get(charge.charge_id)
        if rate is not None and isinstance(rate.rate, SeriesRate):
            yield f"  {charge.charge_id}  follows the series {series_text(rate.rate, tariff.currency)}"
        elif rate is None or rate.band is None:
            yield f"  {charge.charge_id}  no rate{until}"
        else:
            band = next(band for band in charge.bands if band.name == rate.band)
            text = rates_text(band.tiers, tariff.currency, tier_period_text(tariff))
            yield f"  {charge.charge_id}  {band.name}  {text}{until}"


def _session_at(tariff: Tariff, charge: SessionCharge, at_us: int) -> str:
    """Return what a session that begins, or an hour of one, costs at an instant."""
    from app.cli.tariff_picture import session_text  # noqa: PLC0415 - loads rich

    number = BandTimes(tariff, charge.bands).at(at_us)
    if number is None:
        return f"  {charge.charge_id}  no rate"
    band = charge.bands[number]
    return f"  {charge.charge_id}  {band.name}  {session_text(charge, band, tariff.currency)}"
