"""What is too old or in the future is refused by the log's own time, and old intervals are deleted for good."""

import json
import random
from typing import Any

import pytest

from app.domain.calendar import US_PER_DAY
from app.domain.instants import format_instant
from app.domain.rules import LATEST_US
from app.streams.retention import AgeLimits, Retention
from app.streams.sources import OfflineMessage
from app.wire.record import decode_record
from tests.simulation import SimulatedPartition, book_of, flat_tariff, message

DAY_S = 86_400
DAYS = AgeLimits(retention_days=3)
TIERED = flat_tariff(
    charges=[
        {
            "charge_id": "energy",
            "kind": "energy",
            "bands": [
                {
                    "name": "all",
                    "when": [],
                    "tiers": [{"up_to_kwh": "5", "rate": "0.1"}, {"up_to_kwh": None, "rate": "0.3"}],
                }
            ],
        }
    ],
    tier_period="P1M",
)


def record(start_s: int, minutes: int = 30, value: float = 1.0, location_id: str = "loc_1") -> bytes:
    return json.dumps(
        {
            "location_id": location_id,
            "units": "KWH",
            "value": value,
            "start_time": format_instant(start_s * 1_000_000),
            "end_time": format_instant((start_s + 60 * minutes) * 1_000_000),
        }
    ).encode()


def submitted(*records: tuple[float, bytes]) -> list[OfflineMessage]:
    """Return messages; each is submitted at a time in seconds."""
    return [message(raw, offset, timestamp_ms=round(at_s * 1000)) for offset, (at_s, raw) in enumerate(records)]


def partition(
    log: list[OfflineMessage], limits: AgeLimits = DAYS, tariff: dict[str, Any] | None = None
) -> SimulatedPartition:
    book = book_of({"location_id": "loc_1"}, {"location_id": "loc_2"}, tariffs=[tariff or flat_tariff()])
    return SimulatedPartition(log, book, limits=limits)


def errors(simulated: SimulatedPartition) -> list[str]:
    return [json.loads(value)["error"] for value in simulated.rejected]


def days(count: int, step_s: int = DAY_S // 4) -> list[tuple[float, bytes]]:
    return [(at_s + 1800.0, record(at_s)) for at_s in range(0, count * DAY_S, step_s)]


def test_an_interval_older_than_what_is_kept_is_deleted_everywhere() -> None:
    simulated = partition(submitted(*days(10)))
    simulated.finish()
    oldest = format_instant((9 - 3) * US_PER_DAY)
    kept = [interval_id.rsplit("|", 1)[1] for interval_id in simulated.states()]
    assert kept
    assert min(kept) == oldest
    assert simulated.final_bodies().keys() == {interval_id.encode() for interval_id in simulated.states()}
    assert {key for key, value in simulated.intervals if value is None} == {
        key for key, value in simulated.priced if value is None
    }
    assert simulated.counts["deleted"] == 6 * 4
    assert [key[1:].decode() for key, _ in simulated.store.items(b"p", b"q")] == sorted(simulated.states())
    simulated.lose_the_store()
    assert [interval_id.rsplit("|", 1)[1] for interval_id in simulated.states()] == kept


def test_without_retention_nothing_is_too_old_and_nothing_is_deleted() -> None:
    simulated = partition(submitted(*days(10), (10 * DAY_S, record(900, 5))), AgeLimits())
    simulated.finish()
    assert len(simulated.states()) == 40
    assert errors(simulated) == ["overlaps_existing_period"]


def test_a_record_of_a_deleted_interval_never_brings_it_back() -> None:
    log = submitted(*days(10), (9.9 * DAY_S, record(0, value=7)), (9.9 * DAY_S, record(0)), (0, record(DAY_S)))
    simulated = partition(log)
    simulated.take(40, 0)
    simulated.commit()
    simulated.finish()
    assert errors(simulated) == ["too_old"] * 3
    sequences = [sequence for found in simulated.published_bodies().values() for sequence, _ in found]
    assert set(sequences) == {1}


@pytest.mark.parametrize(("start_s", "refused"), [(-1800, True), (-900, True), (0, False)])
def test_a_period_that_begins_before_the_cutoff_is_too_old(start_s: int, refused: bool) -> None:  # noqa: FBT001 - a table
    cutoff_s = 6 * DAY_S
    simulated = partition(submitted((9 * DAY_S + 1800, record(9 * DAY_S)), (9.5 * DAY_S, record(cutoff_s + start_s))))
    simulated.finish()
    assert errors(simulated) == ["too_old"] * refused


def test_neither_a_broker_s_clock_nor_a_period_far_ahead_moves_the_cutoff_alone() -> None:
    year_s = 366 * DAY_S
    simulated = partition(
        submitted(
            (DAY_S, record(0)),
            (year_s, record(1800)),  # the broker's clock jumped ahead
            (DAY_S + 1, record(year_s)),  # a forecast, or a wrong clock at the device
            (DAY_S + 2, record(3600)),
        )
    )
    simulated.finish()
    assert errors(simulated) == []
    assert simulated.closed[0] == 0
    assert len(simulated.states()) == 4


def test_what_is_closed_stays_closed_after_a_crash_and_under_other_settings() -> None:
    simulated = partition(submitted(*days(10), (10 * DAY_S, record(3 * DAY_S)), (10 * DAY_S, record(3 * DAY_S))))
    simulated.take(40, 0)
    simulated.commit()
    simulated.open()
    simulated.limits = AgeLimits(retention_days=30)
    simulated.open()
    simulated.take(1, 0)
    simulated.commit()
    simulated.limits = AgeLimits()
    simulated.open()
    simulated.finish()
    assert errors(simulated) == ["too_old"] * 2


@pytest.mark.parametrize("seed", range(20))
def test_however_the_log_is_cut_and_crashes_the_same_is_refused_and_deleted(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - chance, not secrets
    log = []
    for quarter in range(200):
        at_s = quarter * DAY_S // 12
        start_s = at_s - choose.choice([0, 0, 0, DAY_S, 3 * DAY_S, 5 * DAY_S])
        start_s = max(start_s // 1800 * 1800, 0)
        log.append(
            (at_s + 1800.0, record(start_s, value=choose.randrange(9), location_id=f"loc_{choose.choice('12')}"))
        )
    whole, cut = partition(submitted(*log), tariff=TIERED), partition(submitted(*log), tariff=TIERED)
    whole.finish()
    while cut.records_to < len(log):
        cut.take(choose.randrange(1, 20), choose.randrange(20))
        cut.pipeline.sweep(choose.randrange(4))
        if choose.random() < 0.3:
            cut.open()
        elif choose.random() < 0.1:
            cut.lose_the_store()
        else:
            cut.commit()
    cut.finish()
    assert cut.rejected == whole.rejected
    assert "too_old" in errors(whole)
    assert cut.closed[0] == whole.closed[0] > 0
    open_ids = {key for key in whole.states() if key.rsplit("|", 1)[1] >= format_instant(whole.closed[0])}
    assert open_ids == {key for key in cut.states() if key.rsplit("|", 1)[1] >= format_instant(cut.closed[0])}
    bodies = cut.final_bodies()
    assert all(bodies[key.encode()] == whole.final_bodies()[key.encode()] for key in open_ids)
    for found in cut.published_bodies().values():
        assert [sequence for sequence, _ in found] == list(range(1, len(found) + 1))


def test_what_is_on_its_way_to_pricing_is_deleted_once_it_is_priced_and_after_a_crash_too() -> None:
    simulated = partition(submitted(*days(10)))
    simulated.take(40, 0)
    simulated.commit()
    for _ in range(50):
        simulated.pipeline.sweep(5)
    simulated.commit()
    assert not simulated.pipeline.retention.is_sweeping
    assert simulated.counts["deleted"] == 0, "all are on their way"
    assert simulated.closed[1] == 0, "a crash would look for them again"
    simulated.open()
    assert simulated.pipeline.retention.is_sweeping
    simulated.pipeline.sweep(100)
    simulated.take(0, 40)
    simulated.commit()
    assert simulated.counts["deleted"] == 24
    assert simulated.closed[1] == simulated.closed[0]
    assert len(simulated.states()) == len(simulated.final_bodies()) == 16
    assert len(list(simulated.store.items(b"p", b"q"))) == 16


def test_a_sweep_that_follows_another_at_once_deletes_nothing_twice() -> None:
    simulated = partition(submitted(*days(10)))
    simulated.take(24, 0)
    simulated.commit()
    simulated.take(0, 24)
    simulated.commit()
    simulated.pipeline.sweep(1)
    simulated.take(16, 0)  # the cutoff grows while the sweep is on its way
    simulated.pipeline.sweep(100)
    simulated.commit()
    simulated.finish()
    tombstones = [key for key, value in simulated.intervals if value is None]
    assert len(tombstones) == len(set(tombstones)) == simulated.counts["deleted"] == 24


def test_what_came_in_the_transaction_of_its_sweep_is_deleted_too() -> None:
    """A partition that takes a backlog of days at once: the store knows none of its meters when the sweep goes through."""
    simulated = partition(submitted(*days(10)))
    simulated.take(40, 0)
    while simulated.pipeline.retention.is_sweeping:
        simulated.pipeline.sweep(7)
    simulated.commit()
    simulated.finish()
    assert min(interval_id.rsplit("|", 1)[1] for interval_id in simulated.states()) == format_instant(6 * US_PER_DAY)
    assert simulated.counts["deleted"] == 6 * 4


def test_prices_that_an_open_tier_period_counts_from_are_kept() -> None:
    simulated = partition(submitted(*days(30)), tariff=TIERED)
    without = partition(submitted(*days(30)), AgeLimits(), TIERED)
    simulated.finish()
    without.finish()
    assert simulated.final_bodies() == without.final_bodies()
    assert simulated.counts["deleted"] == 0
    simulated.log = submitted(*days(120))
    without.log = simulated.log
    simulated.finish()
    without.finish()
    bodies = without.final_bodies()
    assert simulated.counts["deleted"] > 0
    assert all(bodies[key] == body for key, body in simulated.final_bodies().items())


def test_a_changed_tariff_leaves_the_prices_of_closed_intervals() -> None:
    simulated = partition(submitted(*days(30)), tariff=TIERED)  # tiers keep what is closed for a while
    simulated.finish()
    before = simulated.final_bodies()
    dearer = json.loads(json.dumps(TIERED).replace('"0.1"', '"0.2"').replace('"0.3"', '"0.4"'))
    simulated.book.put_tariff(book_of(tariffs=[dearer | {"version": 2}]).tariff("flat"))  # type: ignore[arg-type]
    simulated.pipeline.forget_locations(["loc_1"])
    simulated.reprice("loc_1")
    simulated.commit()
    simulated.finish()
    closed_at = format_instant(simulated.closed[0]).encode()
    after = simulated.final_bodies()
    changed = {key.rsplit(b"|", 1)[1] for key in before if after[key] != before[key]}
    assert changed == {at for key in before if (at := key.rsplit(b"|", 1)[1]) >= closed_at}


def test_a_month_is_kept_until_all_of_it_is_old() -> None:
    february_s = 31 * DAY_S - 3600  # London kept an hour ahead of UTC in the winter of 1970
    log = [(59.0 * DAY_S, record(february_s, 28 * 24 * 60, 100))]
    log += [(at_s + 1800.0, record(at_s)) for at_s in range(59 * DAY_S, 63 * DAY_S, DAY_S)]
    month_id = f"loc_1||INBOUND|IMPORT|{format_instant(february_s * 1_000_000)}"
    early, simulated = partition(submitted(*log[:4])), partition(submitted(*log))
    early.finish()
    simulated.finish()
    assert early.closed[0] > february_s * 1_000_000
    assert month_id in early.states()
    assert month_id not in simulated.states()
    assert len(simulated.states()) == 4


def test_an_instant_beyond_all_calendars_does_not_stop_the_cutoff() -> None:
    retention = Retention(DAYS, lambda: 0)
    assert retention.note(2**62, 2**62)
    assert retention.closed_us == LATEST_US // US_PER_DAY * US_PER_DAY - 3 * US_PER_DAY


def test_a_record_ends_at_most_a_tolerance_after_its_submission() -> None:
    limits = AgeLimits(future_tolerance_s=60)
    log = submitted((1740, record(0)), (3539.999, record(1800)), (0, record(3600)), (1e9, record(5400)))
    simulated = partition(log, limits)
    simulated.finish()
    assert errors(simulated) == ["in_the_future", "in_the_future"]
    sentence = json.loads(simulated.rejected[0])["message"]
    expected = "end_time: 1970-01-01T01:00:00Z is in the future (expected 1970-01-01T00:59:59.999Z or earlier, by the"
    assert sentence == f"{expected} record's submission)"
    assert len(simulated.states()) == 2


def test_times_that_no_calendar_has_neither_stop_a_partition_nor_lose_a_record() -> None:
    assert decode_record(record(0)) is not None
    wild = [-1, -(2**63), 2**63 - 1, 10**15]
    log = [message(record(1800 * at), at, timestamp_ms=at_ms) for at, at_ms in enumerate(wild)]
    log += [message(b"{", at, timestamp_ms=at_ms) for at, at_ms in enumerate(wild, len(log))]
    simulated = partition(log, AgeLimits())
    simulated.finish()
    assert len(simulated.final_bodies()) == len(wild)
    assert errors(simulated) == ["malformed_json"] * len(wild)
