"""What nobody should send, among what is right: refused with its bytes and counted, and the worker and its prices do not care."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest

from tests.checker import Expected, require
from tests.faults.fuzz import HOSTILE, fuzzed, good_record, good_site, hostile_document, large_batches
from tests.faults.scale import Counts, scaled
from tests.harness import DECIDED, Stream
from tests.making import flat_tariff, location, record, series_day, series_tariff

pytestmark = pytest.mark.broker

MESSAGES: Final = scaled(3000, 100_000)
LOCATIONS: Final = 10
SEED: Final = 11
GOOD_AT_ONCE: Final = 10
DOCUMENTS: Final = scaled(150, 3000)


def test_fuzzed_messages_are_refused_with_their_bytes_and_good_ones_are_priced(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=3, emit_every_s=1, max_record_bytes=4_194_304, fetch_max_bytes=4_194_304)
    stream.load(flat_tariff("flat"), location(HOSTILE), *map(good_site, range(LOCATIONS)))
    worker = stream.worker()
    number = 0
    # Hostile messages stand where location `fuzz` lives: the order in which they were published is the order that counts.
    partition = stream.partition_of(HOSTILE)
    for key, messages in fuzzed(SEED, MESSAGES):
        # The client takes no message that has neither key nor value.
        taken = (b"" if each is None and key is None else each for each in messages)
        stream.publish(*taken, key=key, partition=partition)
        stream.publish(*(good_record(number + more, LOCATIONS) for more in range(GOOD_AT_ONCE)))
        number += GOOD_AT_ONCE
    for batch in large_batches(random.Random(SEED)):  # noqa: S311 - chance, not secrets
        stream.publish(batch, key=HOSTILE, partition=partition)

    stream.verify(timeout_s=240)
    # Good ones by themselves: the reference must not need to know of hostile ones to say what they cost.
    goods = [value for value in stream.published if value is not None and b'"good_' in value]
    assert len(goods) == number
    expected = Expected.of_log(goods, stream.documents.values())
    newest = {key: body + b"}" for key, body in stream.newest_priced().items() if key.startswith("good_")}
    require(expected.priced_problems(newest), "good prices against the reference")
    assert worker.exit_code is None
    for fault in ("record_failed", "interval_failed", "partition_failed"):
        assert worker.logged(fault) == []
    totals = stream.totals()
    codes = Counter(each["error"] for each in stream.rejected())
    assert "internal_error" not in codes
    assert totals["rejected"] == codes.total() == len(stream.rejected())
    assert totals["input"] == sum(totals[name] for name in DECIDED)
    good = {key for key in stream.newest_priced() if key.startswith("good_")}
    assert len(good) >= number // 2
    assert worker.terminate() == 0
    counts.note(
        "fuzzed messages among good ones",
        fuzzed_messages=MESSAGES,
        good_records=number,
        **{name: totals[name] for name in ("input", *DECIDED)},
        kinds_of_refusal=len(codes),
        crashes=0,
        internal_errors=codes["internal_error"],
    )


def test_documents_that_are_none_are_refused_and_the_ones_before_stay_in_force(
    kafka: str, streams: Callable[..., Stream], counts: Counts
) -> None:
    stream = streams(kafka, partitions=1, emit_every_s=1)
    goods = [
        (stream.names.tariffs, "market", series_tariff("market", "AGILE")),
        (stream.names.locations, "home", location("home", "market")),
        (stream.names.series, "AGILE/2025-03-01", series_day("AGILE", 0, ["0.1"] * 48)),
    ]
    stream.load(*(good for _, _, good in goods))
    worker = stream.worker()
    chance = random.Random(SEED)  # noqa: S311 - chance, not secrets
    sent = 0
    for _ in range(DOCUMENTS // len(goods)):
        for topic, key, good in goods:
            stream.load_raw(topic, key, hostile_document(chance, good))
            sent += 1
    stream.wait(lambda: len(worker.logged("document_refused")) >= sent, f"{sent} documents refused", timeout_s=120)
    stream.publish(*(record("home", 30 * number, 30, 1.0) for number in range(48)))
    stream.verify()
    assert {each["status"] for each in stream.priced("home")} == {"priced"}
    # The reader goes on: what is right afterwards is in force.
    stream.load(series_day("AGILE", 0, ["0.2"] * 48))
    stream.verify()
    refused = worker.logged("document_refused")
    assert len(refused) == sent
    assert all(each["problems"] for each in refused)
    assert worker.logged("reference_failed") == []
    assert worker.terminate() == 0
    counts.note("fuzzed tariffs, locations and series", documents=sent, refused=len(refused), crashes=0)
