"""What ``send`` and ``price`` share: files of readings, and the options that say how to read them."""

import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, get_args

import click

from app.cli.arriving import arriving_lines
from app.importers.csv_readings import CsvOptions, Granularity, read_csv
from app.importers.detect import Format, detect_format
from app.importers.jsonl import read_jsonl
from app.importers.nem12 import read_nem12
from app.importers.rows import Direction, FileError, Locations, Row, read_map

STDIN: Final = Path("-")


class ReadingOptions(NamedTuple):
    """How files are read; the same for all files of a command."""

    format: Format | None
    by_point: dict[str, str] | None
    everywhere: str | None
    csv: CsvOptions

    def format_of(self, path: Path) -> Format:
        """Return the format of a file. Raises `FileError`."""
        if path == STDIN:
            if self.format in {None, "jsonl"}:
                return "jsonl"
            message = f"standard input can only be JSON Lines; give the {self.format} as a file"
            raise FileError(message)
        return self.format or detect_format(path)


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options, and hand them to the command as one: ``reading``."""

    @wraps(command)
    def gather(**given: Any) -> None:
        map_file: Path | None = given.pop("map_file")
        everywhere: str | None = given.pop("everywhere")
        if map_file and everywhere:
            message = "--map and --location exclude each other"
            raise click.UsageError(message)
        reading = ReadingOptions(
            given.pop("format_"),
            read_map(map_file) if map_file else None,
            everywhere,
            CsvOptions(given.pop("direction"), given.pop("timezone"), given.pop("granularity")),
        )
        command(reading=reading, **given)

    wrapped: Callable[..., None] = gather
    for option in (
        click.option(
            "--direction", type=click.Choice(get_args(Direction)), default="import", help="CSV: of all readings."
        ),
        click.option(
            "--granularity",
            type=click.Choice(get_args(Granularity)),
            help="CSV: minutes, or month, if not to be inferred.",
        ),
        click.option(
            "--timezone", metavar="ZONE", help="CSV: of times without an offset, and of months (Europe/Berlin)."
        ),
        click.option("--location", "everywhere", help="CSV, NEM12: the location of every reading."),
        click.option(
            "--map",
            "map_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="CSV, NEM12: JSON object or CSV lines, metering point to location. Without it they are the same.",
        ),
        click.option("--format", "format_", type=click.Choice(get_args(Format)), help="If the file does not tell."),
    ):
        wrapped = option(wrapped)
    return wrapped


def read_rows(path: Path, reading: ReadingOptions) -> Iterator[Row]:
    """Yield the rows of a file. Raises `FileError`."""
    kind = reading.format_of(path)
    locations = Locations(reading.by_point, reading.everywhere)
    if kind == "csv":
        yield from read_csv(path, reading.csv, locations)
    elif kind == "nem12":
        yield from read_nem12(path, locations)
    elif path == STDIN:
        yield from read_jsonl(sys.stdin.buffer)
    else:
        with open_lines(path) as file:
            yield from read_jsonl(file)


async def read_arriving() -> AsyncGenerator[list[Row], None]:
    """Yield the rows of standard input as they come, those that came together in one list.

    They are JSON Lines. Waiting for more holds nothing up, and ends when the task is cancelled, unlike a read that blocks.
    """
    before = 0
    async for lines in arriving_lines(sys.stdin.fileno()):
        # Only line 1 of the whole input may begin with a byte order mark: others get a blank line before them.
        if before:
            yield [row._replace(number=row.number + before - 1) for row in read_jsonl([b"", *lines])]
        else:
            yield list(read_jsonl(lines))
        before += len(lines)


def open_lines(path: Path) -> BinaryIO:
    """Open a file of lines. Raises `FileError`."""
    try:
        return path.open("rb")
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise FileError(message) from None
