"""What the pages show is what the program reads and writes: every example comes from `docs/example`."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pytest

from app.domain.instants import parse_instant_us
from app.domain.locations import Location
from app.domain.reference import ReferenceBook
from app.domain.tariffs import SeriesDay, Tariff
from app.streams.pipeline import Context, Pipeline
from app.streams.sources import Log, OfflineMessage
from app.streams.tables import MemoryStore, Tables
from app.wire.documents import iter_documents
from app.wire.record import read_message
from app.wire.reference import ReferenceDocument, parse_document

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "docs" / "example"
SUBMITTED_MS: Final = parse_instant_us("2026-11-22T04:10:18.185Z") // 1000
"""When the records of the example were submitted, when the pages were written."""

Json = dict[str, Any]


class Outputs:
    """Gathers what a pipeline puts out."""

    def __init__(self) -> None:
        self.of: dict[str, list[tuple[bytes | None, bytes]]] = {}

    def emit(self, output: str, key: bytes | None, value: bytes, **_: Any) -> None:
        self.of.setdefault(output, []).append((key, value))

    def emit_all(self, output: str, entries: list[Any]) -> None:
        self.of.setdefault(output, []).extend(entries)


def reference(name: str) -> list[ReferenceDocument]:
    return [parse_document(raw) for _, raw in iter_documents(EXAMPLE / name)]


@lru_cache(maxsize=1)
def outputs() -> dict[str, list[Json]]:
    """Run the records of the example through the pipeline, as if they had come from Kafka."""
    book, sink = ReferenceBook(), Outputs()
    for document in (*reference("tariffs.json"), *reference("series.json"), *reference("locations.json")):
        match document:
            case Tariff():
                book.put_tariff(document)
            case SeriesDay():
                book.put_series(document)
            case Location():
                book.put_location(document)
    pipeline = Pipeline(Context(0, 1, "meter.records"), Tables(MemoryStore()), book, sink)
    lines = (EXAMPLE / "records.jsonl").read_bytes().splitlines()
    messages = [OfflineMessage(offset, SUBMITTED_MS, None, line) for offset, line in enumerate(lines)]
    pipeline.take_records(Log("meter.records", 0), messages)
    pipeline.settle(0.0)
    intervals = [OfflineMessage(0, 0, key, value) for key, value in sink.of["intervals"]]
    pipeline.take_intervals(Log("meter.intervals", 0), intervals)
    return {name: [json.loads(value) for _, value in found] for name, found in sink.of.items()}


@pytest.mark.parametrize("kind", ["interval", "priced", "rejected"])
def test_what_the_pages_show_is_what_the_program_publishes(documents: Any, kind: str) -> None:
    shown = [json.loads(block) for block in documents.blocks(kind)]
    published = outputs()["intervals" if kind == "interval" else kind]
    assert shown
    for example in shown:
        assert example in published
        same = next(one for one in published if one == example)
        assert list(example) == list(same)  # in the order in which it is published


@pytest.mark.parametrize("kind", ["record", "batch"])
def test_the_records_of_the_pages_are_read(documents: Any, kind: str) -> None:
    blocks = documents.blocks(kind)
    assert blocks
    for block in blocks:
        for _, record in read_message(block.encode()):
            assert record.__class__.__name__ == "MeterRecord", record


@pytest.mark.parametrize(
    ("kind", "file"), [("location", "locations.json"), ("tariff", "tariffs.json"), ("series", "series.json")]
)
def test_the_documents_of_the_pages_are_those_of_the_example(documents: Any, kind: str, file: str) -> None:
    blocks = documents.blocks(kind)
    assert blocks
    for block in blocks:
        assert parse_document(block) in reference(file)
