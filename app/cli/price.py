"""``meterstream price``: the same pipeline without Kafka."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click

from app.cli.documents import read_documents
from app.cli.errors import EXIT_FAILED, InputError
from app.cli.readings import STDIN, ReadingOptions, open_lines, read_rows, reading_options
from app.compose import price_offline

_FAILURES_SHOWN: Final = 20
_BOM: Final = b"\xef\xbb\xbf"


class _Source:
    """The records of a file, and what is wrong with rows that are none."""

    def __init__(self, path: Path, reading: ReadingOptions) -> None:
        self._path = path
        self._reading = reading
        self.skipped = 0
        self.problems: list[str] = []

    def records(self) -> Iterator[bytes]:
        """Yield the messages. JSON Lines are passed on as they are: the pipeline sees whether they are records."""
        if self._reading.format_of(self._path) == "jsonl":
            if self._path == STDIN:
                yield from _lines(sys.stdin.buffer)
                return
            with open_lines(self._path) as file:
                yield from _lines(file)
            return
        for row in read_rows(self._path, self._reading):
            if row.skipped is not None:
                self.skipped += 1
            elif row.problem is not None:
                self.problems.append(f"{self._path}:{row.number}: {row.problem}")
            else:
                yield row.value


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines that are not blank."""
    return (line for line in (raw.removeprefix(_BOM).strip() for raw in file) if line)


_FILES: Final = click.Path(dir_okay=False, path_type=Path)


@click.command("price")
@click.argument("records", type=click.Path(dir_okay=False, path_type=Path), metavar="RECORDS")
@reading_options
@click.option("--locations", multiple=True, type=_FILES, metavar="FILE", help="Locations (JSON, JSONL).")
@click.option("--tariffs", multiple=True, type=_FILES, metavar="FILE", help="Tariffs (JSON, JSONL).")
@click.option("--series", multiple=True, type=_FILES, metavar="FILE", help="Series (JSON, JSONL).")
@click.option(
    "--rejected", "rejected_file", type=click.File("wb"), help="Write what is rejected, and why, here (JSONL)."
)
@click.option("--strict", is_flag=True, help="Exit code 1 when anything was rejected or could not be read.")
def price_command(  # noqa: PLR0917 - click passes them by name
    records: Path,
    reading: ReadingOptions,
    locations: tuple[Path, ...],
    tariffs: tuple[Path, ...],
    series: tuple[Path, ...],
    rejected_file: BinaryIO | None,
    strict: bool,  # noqa: FBT001 - click passes it by name
) -> None:
    """Price a file of records without Kafka: the same rules, priced JSON Lines on stdout, sorted by interval_id.

    RECORDS is JSON Lines (- for standard input), CSV or NEM12, as for `meterstream send`. A summary goes to
    stderr. --locations, --tariffs and --series may be given several times, and a file may hold documents of all
    three kinds, whichever of them names it. Where a tariff is missing, intervals are pending, as with a worker.

    \b
    Example:
      meterstream price records.jsonl --locations locations.json --tariffs tariffs.json > priced.jsonl
      meterstream price nem12.csv --location loc_1 --locations l.json --tariffs t.json --rejected bad.jsonl
      meterstream price records.jsonl --locations everything.json
    """  # noqa: D301 - click reads the \b
    source = _Source(records, reading)
    documents = read_documents(dict.fromkeys((*locations, *tariffs, *series)))
    if not documents.locations:
        raise InputError("no location among the documents (expected at least one, such as in a file of --locations)")
    result = price_offline(source.records(), *documents)
    _write(sys.stdout.buffer, result.priced)
    rejected = list(result.rejected)
    if rejected_file is not None:
        _write(rejected_file, rejected)
    for problem in source.problems[:_FAILURES_SHOWN]:
        click.echo(f"  {problem}", err=True)
    counts = dict(result.counts) | {"unreadable": len(source.problems), "skipped": source.skipped}
    click.echo(", ".join(f"{count} {name}" for name, count in counts.items()), err=True)
    if strict and (rejected or source.problems):
        raise SystemExit(EXIT_FAILED)


def _write(file: BinaryIO, lines: Iterable[bytes]) -> None:
    """Write JSON Lines."""
    file.writelines(line + b"\n" for line in lines)
    file.flush()
