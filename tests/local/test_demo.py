"""The demo portfolio is the same every time, and has the variety that it promises."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.local.demo.portfolio import LOCATIONS, Meter, demo_sites
from app.local.demo.power import power_kw
from app.local.demo.readings import LiveReadings, Message, backfill, live_from_us, telemetry_period_us
from app.local.demo.series import series_documents
from app.local.demo.tariffs import demo_tariffs
from app.wire.reference import parse_document

SEED = 7
NOW_US = int(datetime(2026, 6, 17, 12, 34, 56, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE_US = 60_000_000
SITES = demo_sites(SEED)
METERS = [meter for site in SITES for meter in site.meters]


def _live(minutes: int, *, step_us: int, rate_per_s: float = 40) -> list[Message]:
    live = LiveReadings(SEED, METERS, NOW_US, rate_per_s)
    return [m for at_us in range(NOW_US, NOW_US + minutes * MINUTE_US + 1, step_us) for m in live.due(at_us)]


def _records(messages: list[Message]) -> list[dict[str, Any]]:
    found = []
    for message in messages:
        try:
            loaded = json.loads(message.value)
        except ValueError:
            continue
        found += loaded if isinstance(loaded, list) else [loaded]
    return found


def test_the_same_seed_gives_the_same_demo() -> None:
    assert demo_sites(SEED) == SITES
    assert demo_sites(SEED + 1) != SITES
    assert list(backfill(SEED, METERS, NOW_US)) == list(backfill(SEED, METERS, NOW_US))
    assert _live(3, step_us=1_000_000) == _live(3, step_us=1_000_000)


def test_readings_do_not_depend_on_how_often_one_asks() -> None:
    assert _live(6, step_us=500_000) == _live(6, step_us=60_000_000)


def test_nothing_is_sent_before_its_time_is_over() -> None:
    live = LiveReadings(SEED, METERS, NOW_US, 40)
    for second in range(90):
        at_us = NOW_US + second * 1_000_000
        for record in _records(live.due(at_us)):
            assert datetime.fromisoformat(record["start_time"]).timestamp() <= at_us / 1e6


def test_every_document_is_valid() -> None:
    documents = [*demo_tariffs(), *(site.document for site in SITES), *series_documents(SEED, NOW_US)]
    for document in documents:
        parse_document(json.dumps(document))


def test_every_tariff_and_series_that_is_used_exists() -> None:
    tariffs = {tariff["tariff_id"]: tariff["direction"] for tariff in demo_tariffs()}
    linked = {(link["tariff_id"], link["direction"]) for site in SITES for link in site.document["tariffs"]}
    assert linked == set(tariffs.items())
    series = {document["series_id"] for document in series_documents(SEED, NOW_US)}
    assert {site.document["carbon_series_id"] for site in SITES if "carbon_series_id" in site.document} <= series


def test_the_portfolio_is_varied() -> None:
    assert len(SITES) == LOCATIONS >= 200
    assert len({site.document["timezone"] for site in SITES}) >= 3
    assert {site.document["interval_minutes"] for site in SITES} == {5, 15, 30, 60}
    profiles = Counter(meter.profile for meter in METERS)
    assert set(profiles) == {"import", "export", "local", "charger", "heat pump", "battery"}
    assert all(count >= 10 for count in profiles.values())
    assert {meter.units for meter in METERS} == {"W", "KW", "WH", "KWH"}
    assert {meter.record_minutes for meter in METERS} == {5, 15, 30}
    text = json.dumps(demo_tariffs())
    assert all(word in text for word in ("VAT", "GST", "06-01", "SAT", "series_id", '"per": "day"', "holidays"))
    exporting = {m.location_id for m in METERS if m.profile == "export"}
    paid = {s.document["location_id"] for s in SITES if any(t["direction"] == "EXPORT" for t in s.document["tariffs"])}
    assert exporting - paid, "somebody feeds in without a tariff, to show a pending record"


def test_the_backfill_is_seamless_and_completes_intervals() -> None:
    by_meter: dict[tuple[str, str | None, str, str | None], list[dict[str, Any]]] = {}
    for record in _records(list(backfill(SEED, METERS, NOW_US))):
        meter = (
            record["location_id"],
            record["device_id"],
            record["energy_flow_direction"],
            record.get("tariff_direction"),
        )
        by_meter.setdefault(meter, []).append(record)
    houses = {meter: records for meter, records in by_meter.items() if meter[1] is None}
    assert len(houses) == sum(1 for meter in METERS if meter.device_id is None)
    for records in houses.values():
        for one, next_one in pairwise(records):
            assert one["end_time"] == next_one["start_time"]
        assert datetime.fromisoformat(records[-1]["end_time"]).timestamp() * 1e6 == live_from_us(NOW_US)
        begin = datetime.fromisoformat(records[0]["start_time"])
        assert datetime.fromtimestamp(NOW_US / 1e6, UTC) - begin >= timedelta(hours=2)


def test_one_to_two_in_a_hundred_records_go_wrong_in_every_way() -> None:
    messages = _live(12, step_us=1_000_000)
    total = sum(message.records for message in messages)
    known = {site.document["location_id"] for site in SITES}
    seen: Counter[str] = Counter()
    ids: dict[tuple[str, str, str], float] = {}
    for message in messages:
        try:
            record = json.loads(message.value)
        except ValueError:
            seen["not JSON"] += 1
            continue
        identity = (record["record_reference_id"], record["start_time"], record["end_time"])
        if "value" not in record:
            seen["no value"] += 1
        elif not record["start_time"].endswith("Z"):
            seen["naive"] += 1
        elif record["value"] < 0:
            seen["negative"] += 1
        elif record["location_id"] not in known:
            seen["unknown location"] += 1
        elif record["end_time"] < record["start_time"]:
            seen["backwards"] += 1
        elif record["value"] == 4200.0:
            seen["too much"] += 1
        elif identity in ids:
            seen["repeated" if ids[identity] == record["value"] else "corrected"] += 1
        else:
            ids[identity] = record["value"]
            late_s = message.due_us / 1e6 - datetime.fromisoformat(record["end_time"]).timestamp()
            seen["misrouted"] += message.key != record["location_id"].encode()
            seen["late"] += record["confidence"] < 1 and late_s > telemetry_period_us(len(METERS), 40) / 1e6
    expected = {"not JSON", "no value", "naive", "negative", "unknown location", "backwards", "too much"}
    assert {name for name, count in seen.items() if count} == expected | {"repeated", "corrected", "late", "misrouted"}
    assert 0.01 <= sum(seen.values()) / total <= 0.025


@pytest.mark.parametrize("rate_per_s", [10, 40, 100])
def test_the_rate_is_about_what_was_asked_for(rate_per_s: float) -> None:
    found = sum(message.records for message in _live(3, step_us=1_000_000, rate_per_s=rate_per_s)) / 180
    assert 0.5 * rate_per_s <= found <= 1.3 * rate_per_s


def test_the_sun_shines_at_noon_and_not_at_night() -> None:
    panels = [meter for meter in METERS if meter.profile == "export"]
    for hour, shines in ((12, True), (1, False)):
        at = {m: int(datetime(2026, 6, 17, hour, tzinfo=ZoneInfo(m.timezone)).timestamp()) * 1_000_000 for m in panels}
        total_kw = sum(power_kw(SEED, meter, at[meter]) for meter in panels)
        assert (total_kw > len(panels)) if shines else (total_kw == 0)


def test_power_is_never_negative_and_always_plausible() -> None:
    def limits(meter: Meter) -> bool:
        return all(0 <= power_kw(SEED, meter, NOW_US + hour * 3_600_000_000) < 30 for hour in range(24))

    assert all(limits(meter) for meter in METERS)
