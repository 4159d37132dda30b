"""A month of a solar household: a NEM12 file, `meterstream send`, a real broker, a worker, and a sum right to the last digit."""

import json
import re
import time
from collections import Counter, defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.commands import Commands
from tests.e2e.conftest import EMIT_EVERY_S, MONTHS
from tests.e2e.months import DIRECTIONS, INTERVALS, READINGS_A_DAY, Expected, Month, expected
from tests.harness import DECIDED, Stream

pytestmark = pytest.mark.broker

READINGS = 2 * 31 * READINGS_A_DAY
SENT = f"submitted {READINGS} records in 179 messages\naccepted  {READINGS} by the broker\nfailed    0\n"
CUT_OUT = re.compile(rb',"submitted_at":"[^"]*","sequence":\d+')

Contents = list[tuple[str, int, bytes, bytes]]


def newest(stream: Stream, location_id: str) -> dict[str, bytes]:
    """Return the priced record with the highest sequence of every interval of a location."""
    found: dict[str, tuple[int, bytes]] = {}
    for _, _, key, value in contents(stream, location_id, stream.names.priced):
        interval_id, sequence = key.decode(), int(value[value.rindex(b":") + 1 : -1])
        if sequence > found.get(interval_id, (0, b""))[0]:
            found[interval_id] = (sequence, value)
    return {interval_id: value for interval_id, (_, value) in found.items()}


def contents(stream: Stream, location_id: str, *topics: str) -> Contents:
    """Return everything committed about a location on the output topics so far."""
    prefix, names = f"{location_id}|".encode(), stream.names
    chosen = topics or (names.intervals, names.priced)
    return [
        (topic, each.offset, each.key, each.value)
        for topic in chosen
        for each in stream.seen(topic)
        if each.key.startswith(prefix)
    ]


def settled_contents(stream: Stream, location_id: str) -> Contents:
    """Return the same once nothing more can come, and as a reader finds it who begins now."""
    time.sleep(2 * EMIT_EVERY_S)  # what was held back is published by then
    stream.read_again()
    return contents(stream, location_id)


def exact(value: bytes) -> dict[str, Any]:
    """Decode JSON without making floats of its numbers."""
    decoded: dict[str, Any] = json.loads(value, parse_float=Decimal)
    return decoded


def send_month(commands: Commands, stream: Stream, month: Month, location_id: str, path: Path) -> None:
    """Send a month to a location, and wait until all of it is priced."""
    path.write_text(month.text)
    assert commands.succeed("send", "--location", location_id, path) == SENT
    stream.wait(lambda: _complete(newest(stream, location_id)) == 2 * INTERVALS, f"a month of {location_id} priced")
    time.sleep(EMIT_EVERY_S)  # the totals are on another topic, and may be read a moment later


def _complete(found: dict[str, bytes]) -> int:
    return sum(b',"complete":true,' in value for value in found.values())


@pytest.fixture(scope="module")
def home(
    commands: Commands, product: Stream, month: Month, solar_documents: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A location whose month has been sent and priced, and the file."""
    assert solar_documents.is_dir()
    path = tmp_path_factory.mktemp("home") / "month.csv"
    send_month(commands, product, month, f"home-{month.name}", path)
    return f"home-{month.name}", path


def require(found: dict[str, bytes], wanted: dict[str, Expected]) -> None:
    """Require of every interval exactly the energy and the money that arithmetic says."""
    assert found.keys() == wanted.keys()
    for interval_id, value in found.items():
        record, want = exact(value), wanted[interval_id]
        assert (record["complete"], record["covered_seconds"]) == (True, 1800)
        assert (record["status"], record["currency"]) == ("priced", "AUD")
        got = (Fraction(record["energy_wh"]), Fraction(record["cost"]), Fraction(record["cost_excluding_tax"]))
        assert got == (1000 * want.kwh, want.cost, want.cost_excluding_tax), interval_id
        assert Fraction(record["tax"]) == want.cost - want.cost_excluding_tax
        by_band: dict[str, Fraction] = defaultdict(Fraction)
        for part in record["components"]:
            by_band[part["band"]] += Fraction(part["energy_wh"]) / 1000
        assert dict(by_band) == want.kwh_by_band, interval_id
        assert sum(Fraction(part["cost"]) for part in record["components"]) == want.cost


def test_every_interval_of_the_month_is_priced_to_the_last_digit(
    product: Stream, month: Month, home: tuple[str, Path]
) -> None:
    location_id, _ = home
    found, wanted = newest(product, location_id), expected(month, location_id)
    require(found, wanted)
    records = [exact(value) for value in found.values()]
    for channel, direction in DIRECTIONS.items():
        mine = [each for each in records if f"|{direction}|" in each["interval_id"]]
        assert len(mine) == INTERVALS
        kwh = sum(Fraction(each["energy_wh"]) for each in mine) / 1000
        assert kwh == sum(reading.kwh for reading in month.readings() if reading.channel == channel)
        assert month.totals_kwh is None or kwh == month.totals_kwh[channel]
    total = sum(Fraction(each["cost"]) for each in records)
    assert total == sum(want.cost for want in wanted.values())


def test_the_month_has_what_makes_it_hard(month: Month) -> None:
    wanted = expected(month, "home")
    bands = Counter(band for want in wanted.values() for band in want.kwh_by_band)
    assert set(bands) == {"peak", "shoulder", "off-peak", "evening", "midday", "rest"}
    cut = [want for want in wanted.values() if len([kwh for kwh in want.kwh_by_band.values() if kwh]) > 1]
    assert len(cut) > 30, "intervals with a boundary of the tariff inside"
    assert min(want.cost for want in wanted.values()) < 0 < max(want.cost for want in wanted.values())
    assert any(want.cost > 0 for key, want in wanted.items() if "|EXPORT|" in key), "export at a negative price costs"
    assert any(want.kwh == 0 for want in wanted.values())


def test_pricing_without_kafka_says_the_same_byte_for_byte(
    commands: Commands, product: Stream, home: tuple[str, Path], solar_documents: Path
) -> None:
    location_id, path = home
    documents = ["--locations", solar_documents / "locations.json", "--tariffs", solar_documents / "tariffs.jsonl"]
    done = commands.run("price", path, "--location", location_id, *documents, "--strict")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{READINGS} input, {READINGS} accepted, ")
    offline = [CUT_OUT.sub(b"", line) for line in done.stdout.encode().splitlines()]
    streamed = [CUT_OUT.sub(b"", value) for _, value in sorted(newest(product, location_id).items())]
    assert all(line.endswith(b"]}") for line in offline), "both fields are cut out"
    assert offline == streamed


def test_the_same_file_again_publishes_nothing(commands: Commands, product: Stream, home: tuple[str, Path]) -> None:
    location_id, path = home
    before, totals = contents(product, location_id), product.totals()
    assert commands.succeed("send", "--location", location_id, path) == SENT
    product.wait(lambda: product.totals()["input"] == totals["input"] + READINGS, "every record decided again")
    assert settled_contents(product, location_id) == before
    now = product.totals()
    changed = {name: now[name] - totals[name] for name in ("input", *DECIDED, "intervals", "priced")}
    assert changed == dict.fromkeys(changed, 0) | {"input": READINGS, "duplicate": READINGS}
    assert now["input"] == sum(now[name] for name in DECIDED)


@pytest.fixture(scope="module")
def corrected(
    commands: Commands, product: Stream, solar_documents: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Month, Path]:
    """A month that has been sent to the location `corrected` and priced: the real one where it is at hand; and a folder."""
    assert solar_documents.is_dir()
    folder = tmp_path_factory.mktemp("corrected")
    send_month(commands, product, MONTHS[-1], "corrected", folder / "month.csv")
    return MONTHS[-1], folder


class Correction(NamedTuple):
    """A day of March on which three import readings, by their numbers, are corrected: what that touches."""

    day: int
    numbers: tuple[int, ...]
    starts: tuple[str, ...]
    revision: int


@pytest.mark.parametrize(
    "correction",
    [
        # 10:00, 16:10 (where the peak begins) and 23:55 local time
        Correction(9, (120, 194, 287), ("09T00:00", "09T06:00", "09T13:30"), 2),
        Correction(20, (121, 122, 125), ("20T00:00",), 4),
    ],
    ids=["three-intervals", "one-interval"],
)
def test_a_corrected_day_changes_exactly_the_intervals_of_its_three_corrected_readings(
    commands: Commands, product: Stream, corrected: tuple[Month, Path], correction: Correction
) -> None:
    (month, folder), location_id = corrected, "corrected"
    after, day = month.corrected(date(2023, 3, correction.day), correction.numbers, "0.017")
    (folder / "day.csv").write_text(day)
    wanted = {f"{location_id}||INBOUND|IMPORT|2023-03-{start}:00Z" for start in correction.starts}
    before, was, totals = contents(product, location_id), newest(product, location_id), product.totals()
    said = commands.succeed("send", "--location", location_id, folder / "day.csv")
    assert said.splitlines() == [
        "submitted 288 records in 3 messages",
        "accepted  288 by the broker",
        "failed    0",
    ]
    product.wait(lambda: product.totals()["input"] == totals["input"] + READINGS_A_DAY, "the day decided again")
    known = set(before)
    news = [each for each in settled_contents(product, location_id) if each not in known]
    assert sorted(key.decode() for _, _, key, _ in news) == sorted([*wanted, *wanted]), "on either topic once"
    now = newest(product, location_id)
    for interval_id in wanted:
        old, new = exact(was[interval_id]), exact(now[interval_id])
        assert (old["revision"], new["revision"]) == (1, correction.revision)
        assert new["sequence"] == old["sequence"] + 1
    want = expected(after, location_id)
    require({key: now[key] for key in wanted}, {key: want[key] for key in wanted})
    assert {key for key in now if now[key] != was[key]} == wanted
    counted = product.totals()
    assert counted["accepted"] - totals["accepted"] == 3
    assert counted["duplicate"] - totals["duplicate"] == READINGS_A_DAY - 3
