"""``meterstream load``: locations, tariffs and series into their topics."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from app.cli.documents import Loaded, read_documents
from app.cli.errors import EXIT_FAILED
from app.settings import Settings, load_settings
from app.streams.publish import Publisher
from app.streams.topics import topic_names
from app.wire.documents import document_key
from app.wire.reference import ReferenceDocument, to_document


@click.command("load")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE...")
@click.option("--check", is_flag=True, help="Only check the files, and send nothing.")
def load_command(files: tuple[Path, ...], check: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Load locations, tariffs and series into their topics.

    A file is JSON (one document, or an array of them) or JSON Lines; what a document is, it tells by its location_id,
    tariff_id or series_id. All files are checked first: when anything is wrong, everything that is wrong is printed and
    nothing is sent. A document replaces the one of the same name, and what was priced by it is priced again.

    \b
    Example:
      meterstream load locations.json tariffs.json prices.jsonl
      meterstream load --check tariffs.json
    """  # noqa: D301 - click reads the \b
    settings = load_settings()
    loaded = read_documents(files)
    if check:
        _report("valid", loaded)
        return
    failures = asyncio.run(_send(settings, loaded))
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    if failures:
        raise SystemExit(EXIT_FAILED)
    _report("loaded", loaded)


def _report(verb: str, loaded: Loaded) -> None:
    """Print the counts."""
    for name, documents in loaded._asdict().items():
        click.echo(f"{verb} {len(documents)} {name}")


async def _send(settings: Settings, loaded: Loaded) -> list[str]:
    """Publish the documents; return a sentence for each that the broker did not take."""
    names = topic_names(settings)
    # Prices before tariffs before locations: a location finds its tariffs there, and is priced once.
    stages: tuple[tuple[str, Sequence[ReferenceDocument]], ...] = (
        (names.series, loaded.series),
        (names.tariffs, loaded.tariffs),
        (names.locations, loaded.locations),
    )
    failures = []
    async with Publisher(settings.bootstrap_servers, linger_ms=settings.linger_ms) as publisher:
        for topic, documents in stages:
            deliveries = [
                (document, await publisher.send(topic, document_key(document).encode(), _encode(document)))
                for document in documents
            ]
            await publisher.flush()
            failures += [
                f"{topic}: {document_key(document)!r} was refused by the broker: {delivery.exception()}"
                for document, delivery in deliveries
                if delivery.exception() is not None
            ]
    return failures


def _encode(document: ReferenceDocument) -> bytes:
    """Write a document as it is published."""
    return msgspec.json.encode(to_document(document))
