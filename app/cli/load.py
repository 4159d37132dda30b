"""``meterstream load``: locations, tariffs and series into their topics."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from app.cli.access import require_access
from app.cli.documents import Loaded, read_documents
from app.cli.errors import EXIT_FAILED
from app.domain.tariffs import Tariff
from app.settings import Settings, load_settings
from app.streams.publish import Publisher
from app.streams.rights import Need
from app.streams.security import security_options
from app.streams.topics import topic_names
from app.wire.documents import document_key, version_key
from app.wire.reference import ReferenceDocument, to_document


@click.command("load")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE...")
@click.option("--check", is_flag=True, help="Only check the files, and send nothing.")
@click.option(
    "--keep-versions", is_flag=True, help="Put each tariff beside other versions of it, instead of in their place."
)
def load_command(files: tuple[Path, ...], check: bool, keep_versions: bool) -> None:  # noqa: FBT001 - click names them
    """Load locations, tariffs and series into their topics.

    A file is JSON (one document, or an array of them) or JSON Lines; what a document is, it tells by its location_id,
    tariff_id or series_id. All files are checked first: when anything is wrong, everything that is wrong is printed and
    nothing is sent. A document replaces the one of the same name, and what was priced by it is priced again.

    A tariff's versions stand side by side, each for its own validity, where a file holds several of them or with
    --keep-versions: their keys are then tariff_id/version, and the highest version that is valid at an instant prices.

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
    failures = asyncio.run(_send(settings, loaded, keep_versions=keep_versions))
    for failure in failures:
        click.echo(f"Error: {failure}", err=True)
    if failures:
        raise SystemExit(EXIT_FAILED)
    _report("loaded", loaded)


def _report(verb: str, loaded: Loaded) -> None:
    """Print the counts."""
    for name, documents in loaded._asdict().items():
        click.echo(f"{verb} {len(documents)} {name}")


async def _send(settings: Settings, loaded: Loaded, *, keep_versions: bool) -> list[str]:
    """Publish the documents; return a sentence for each that the broker did not take."""
    names = topic_names(settings)
    versions = Counter(tariff.tariff_id for tariff in loaded.tariffs)

    def key_of(document: ReferenceDocument) -> str:
        if isinstance(document, Tariff) and (keep_versions or versions[document.tariff_id] > 1):
            return version_key(document)
        return document_key(document)

    # Prices before tariffs before locations: a location finds its tariffs there, and is priced once.
    stages: tuple[tuple[str, Sequence[ReferenceDocument]], ...] = (
        (names.series, loaded.series),
        (names.tariffs, loaded.tariffs),
        (names.locations, loaded.locations),
    )
    failures = []
    await require_access(settings, needs=[Need("Topic", topic, "Write") for topic, _ in stages])
    security = security_options(settings)
    publisher = Publisher(
        settings.bootstrap_servers, linger_ms=settings.linger_ms, compression=settings.compression, security=security
    )
    async with publisher:
        for topic, documents in stages:
            deliveries = [
                (document, await publisher.send(topic, key_of(document).encode(), _encode(document)))
                for document in documents
            ]
            await publisher.flush()
            failures += [
                f"{topic}: {key_of(document)!r} was refused by the broker: {delivery.exception()}"
                for document, delivery in deliveries
                if delivery.exception() is not None
            ]
    return failures


def _encode(document: ReferenceDocument) -> bytes:
    """Write a document as it is published."""
    return msgspec.json.encode(to_document(document))
