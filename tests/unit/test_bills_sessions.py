"""Session charges: what a session is, by which band and tariff it is due, how time is rounded up, and on which bill."""

from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from app.domain.bills import Bill, make_bill
from app.domain.instants import format_instant
from app.domain.sessions import SessionPart, sessions_of
from app.wire.location import parse_location
from tests.golden_bills.making import Json, bill_of, energy, location, parsed, priced, read, record, tariff

MARCH_3 = ("2025-03-03", "2025-03-04")
DATES = (date(2025, 3, 3), date(2025, 3, 4))
DAY: Json = {"name": "day", "when": [{"start": "07:00", "end": "22:00"}], "amount": "1.20"}
NIGHT: Json = {"name": "night", "when": [], "amount": "0.60"}

Shown = tuple[str, str | None, Fraction, str]


def charge(*bands: Json, per: str = "hour", charge_id: str = "time", **fields: Any) -> Json:
    return {"charge_id": charge_id, "kind": "session", "per": per, "bands": list(bands or (DAY, NIGHT))} | fields


def steps(band: Json, step_seconds: int) -> Json:
    return band | {"step_seconds": step_seconds}


FEE = charge(per="session", charge_id="fee")


def told(start: str, end: str, session_id: str | None = "s", kwh: float = 1, **fields: Any) -> Json:
    """Return a record of a session on 3 March, or on a day that is given."""
    start, end = (text if "T" in text else f"2025-03-03T{text}" for text in (start, end))
    return record(f"{start}:00Z", f"{end}:00Z", kwh, session_reference_id=session_id, **fields)


def bill(
    *records: Json, charges: tuple[Json, ...] = (charge(),), period: tuple[str, str] = MARCH_3, **given: Any
) -> Bill:
    return bill_of(records, location("tou"), [tariff(energy(), *charges)], period, **given)


def lines(made: Bill) -> list[Shown]:
    return [
        (line.key.charge_id, line.key.band, line.quantity, line.unit)
        for line in made.lines
        if line.key.kind == "session"
    ]


def minutes(number: float) -> Fraction:
    return Fraction(number) / 60


# --- what a session is ---


def test_a_session_is_from_its_earliest_record_to_its_latest() -> None:
    made = bill(told("10:00", "10:20"), told("10:45", "11:00"), charges=(charge(), FEE))
    assert lines(made) == [("time", "day", Fraction(1), "hour"), ("fee", "day", Fraction(1), "session")]


def test_records_over_several_intervals_are_one_session() -> None:
    assert lines(bill(told("10:10", "13:40"), charges=(FEE,))) == [("fee", "day", Fraction(1), "session")]


def test_a_session_that_two_meters_tell_is_one() -> None:
    own, device = told("10:00", "10:30"), told("10:10", "10:50", device_id="d")
    assert lines(bill(own, device, charges=(charge(), FEE))) == [
        ("time", "day", minutes(50), "hour"),
        ("fee", "day", Fraction(1), "session"),
    ]


def test_of_a_device_that_is_billed_by_itself_only_its_own_sessions_count_and_only_what_it_tells() -> None:
    records = [told("10:00", "10:30"), told("10:10", "10:40", device_id="d"), told("12:00", "13:00", "t")]
    made = bill(*records, charges=(charge(), FEE), device_id="d")
    assert lines(made) == [("time", "day", minutes(30), "hour"), ("fee", "day", Fraction(1), "session")]


def test_a_session_of_two_tariff_directions_is_one_in_each_and_each_tariff_charges_for_its_own() -> None:
    out = told("10:30", "10:40", energy_flow_direction="OUTBOUND")
    tariffs = [tariff(energy(), charge()), tariff(energy(), FEE, tariff_id="out", direction="EXPORT")]
    made = bill_of([told("10:00", "10:20"), out], location("tou", "out"), tariffs, MARCH_3)
    assert lines(made) == [("time", "day", minutes(20), "hour"), ("fee", "day", Fraction(1), "session")]
    assert [line.total > 0 for line in made.lines if line.key.kind == "session"] == [True, True]  # a cost in both


def test_what_names_no_session_is_none() -> None:
    assert lines(bill(told("10:00", "11:00", None), charges=(charge(), FEE))) == []


def test_a_corrected_record_tells_what_it_says_now() -> None:
    assert lines(bill(told("10:00", "10:30"), told("10:00", "10:30", None))) == []


def test_a_session_of_no_duration_has_a_fee_and_no_time() -> None:
    at_once = told("10:00", "10:00", kwh=0)
    assert lines(bill(at_once, charges=(charge(), FEE))) == [("fee", "day", Fraction(1), "session")]


def test_only_time_with_energy_is_charging() -> None:
    records = [told("10:00", "10:20"), told("10:20", "10:50", kwh=0), told("10:50", "11:00")]
    assert lines(bill(*records, charges=(charge(counted="charging"),))) == [("time", "day", minutes(30), "hour")]


def test_charging_that_two_meters_tell_counts_once() -> None:
    parts = [SessionPart("s", "IMPORT", device, start, end, True) for device, start, end in (("", 0, 9), ("d", 5, 12))]
    (session,) = sessions_of([*parts, SessionPart("s", "IMPORT", "", 20, 30, False)])
    assert (session.start_us, session.end_us, session.charging) == (0, 30, ((0, 12),))


# --- bands and tariffs ---


def test_a_fee_is_due_by_the_band_in_which_the_session_starts() -> None:
    assert lines(bill(told("06:59", "12:00"), told("21:59", "23:00", "t"), charges=(FEE,))) == [
        ("fee", "day", Fraction(1), "session"),
        ("fee", "night", Fraction(1), "session"),
    ]


def test_time_is_cut_where_bands_change_and_free_where_there_is_none() -> None:
    made = bill(told("06:30", "22:45"), charges=(charge(DAY),))
    assert lines(made) == [("time", "day", Fraction(15), "hour")]


def test_an_hour_that_spring_skips_is_none_and_one_that_autumn_repeats_is_two() -> None:
    early = charge({"name": "early", "when": [{"start": "00:00", "end": "03:00"}], "amount": "1"})
    spring, autumn = ("2025-03-30", "2025-03-31"), ("2025-10-26", "2025-10-27")
    for period, start, hours in ((spring, "2025-03-30T00:00", 2), (autumn, "2025-10-25T23:00", 4)):
        made = bill(told(start, f"{period[0]}T05:00"), charges=(early,), period=period)
        assert lines(made) == [("time", "early", Fraction(hours), "hour")]


def test_each_instant_has_the_tariff_that_is_linked_and_valid_then() -> None:
    versions = [
        tariff(energy(), charge(NIGHT), FEE),
        tariff(energy(), charge(NIGHT | {"amount": "2"}), FEE, version=2, valid_from="2025-03-03T10:20:00Z"),
        tariff(energy(), charge(NIGHT | {"amount": "3"}), FEE, tariff_id="new"),
    ]
    change = "2025-03-03T10:50:00Z"
    links = [
        {"direction": "IMPORT", "tariff_id": "tou", "valid_to": change},
        {"direction": "IMPORT", "tariff_id": "new", "valid_from": change},
    ]
    place = location() | {"tariffs": links}
    made = bill_of([told("10:00", "11:30")], place, versions, MARCH_3)
    found = {(line.key.tariff_id, line.key.tariff_version, line.quantity) for line in made.lines if not line.key.meter}
    assert found == {
        ("tou", 1, minutes(20)),
        ("tou", 1, Fraction(1)),
        ("tou", 2, minutes(30)),
        ("new", 1, minutes(40)),
    }


def test_without_a_link_nothing_is_due() -> None:
    place = location() | {
        "tariffs": [{"direction": "IMPORT", "tariff_id": "tou", "valid_from": "2025-03-03T10:30:00Z"}]
    }
    made = bill_of([told("10:00", "11:00")], place, [tariff(energy(), charge(), FEE)], MARCH_3)
    assert lines(made) == [("time", "day", minutes(30), "hour")]


# --- steps ---


def test_time_is_rounded_up_to_whole_steps_and_whole_steps_are_not() -> None:
    in_steps = charge(steps(DAY, 900))
    assert lines(bill(told("10:00", "10:31"), charges=(in_steps,))) == [("time", "day", minutes(45), "hour")]
    assert lines(bill(told("10:00", "10:30"), charges=(in_steps,))) == [("time", "day", minutes(30), "hour")]


def test_a_step_is_a_second_if_nothing_is_said() -> None:
    short = told("10:00", "10:00") | {"end_time": "2025-03-03T10:00:01.250000Z"}
    assert lines(bill(short)) == [("time", "day", Fraction(2, 3600), "hour")]


def test_time_under_several_bands_is_rounded_up_once_by_the_last_ones_step() -> None:
    made = bill(told("21:55", "22:05"), charges=(charge(steps(DAY, 1800), steps(NIGHT, 900)),))
    assert lines(made) == [("time", "day", minutes(5), "hour"), ("time", "night", minutes(10), "hour")]


def test_time_is_rounded_up_before_time_that_is_free_and_counted_anew_after_it() -> None:
    morning = {"name": "morning", "when": [{"start": "07:00", "end": "09:00"}], "amount": "1", "step_seconds": 900}
    evening = {"name": "evening", "when": [{"start": "18:00", "end": "21:00"}], "amount": "2", "step_seconds": 600}
    made = bill(told("08:50", "18:01"), charges=(charge(morning, evening),))
    assert lines(made) == [("time", "morning", minutes(15), "hour"), ("time", "evening", minutes(10), "hour")]


def test_a_pause_in_charging_does_not_round_up() -> None:
    records = [told("10:00", "10:10"), told("10:10", "12:00", kwh=0), told("12:00", "12:10")]
    made = bill(*records, charges=(charge(steps(DAY, 900), counted="charging"),))
    assert lines(made) == [("time", "day", minutes(30), "hour")]


def test_a_charge_of_the_tariff_that_follows_counts_on_if_it_has_the_same_id() -> None:
    def made(charge_id: str) -> list[Shown]:
        versions = [
            tariff(energy(), charge(steps(NIGHT, 900))),
            tariff(
                energy(), charge(steps(NIGHT, 900), charge_id=charge_id), version=2, valid_from="2025-03-03T10:10:00Z"
            ),
        ]
        return lines(bill_of([told("10:00", "10:20")], location("tou"), versions, MARCH_3))

    assert made("time") == [("time", "night", minutes(10), "hour"), ("time", "night", minutes(20), "hour")]
    assert made("other") == [("time", "night", minutes(15), "hour"), ("other", "night", minutes(15), "hour")]


# --- bills ---


def test_a_fee_is_on_the_bill_in_which_the_session_starts_and_what_is_rounded_up_on_that_in_which_it_ends() -> None:
    over_midnight = told("23:40", "2025-03-04T00:25")
    charges = (charge(steps(NIGHT, 3600)), FEE)
    assert lines(bill(over_midnight, charges=charges)) == [
        ("time", "night", minutes(20), "hour"),
        ("fee", "night", Fraction(1), "session"),
    ]
    next_day = ("2025-03-04", "2025-03-05")
    assert lines(bill(over_midnight, charges=charges, period=next_day)) == [("time", "night", minutes(40), "hour")]


def test_a_session_that_ends_with_the_bill_is_rounded_up_on_it() -> None:
    made = bill(told("23:50", "2025-03-04T00:00"), charges=(charge(steps(NIGHT, 1800)),))
    assert lines(made) == [("time", "night", minutes(30), "hour")]


def test_sessions_count_for_a_minimum_and_are_in_the_totals_of_their_days() -> None:
    least: Json = {"charge_id": "least", "kind": "minimum", "per": "day", "amount": "2"}
    made = bill(told("10:00", "11:00", kwh=1), charges=(charge(), least))
    # 0.30 for energy and 1.20 for an hour of the 2.00
    assert [str(line.net) for line in made.lines] == ["0.3", "1.2", "0.5"]
    assert made.days[0].costs["GBP"] == {
        "energy": Fraction("0.3"),
        "session": Fraction("1.2"),
        "minimum": Fraction("0.5"),
    }


def test_taxes_fall_on_session_charges_as_on_others() -> None:
    vat = [{"name": "VAT", "rate": "0.21", "charges": ["fee"]}]
    made = bill_of([told("10:00", "11:00")], location("tou"), [tariff(energy(), charge(), FEE, taxes=vat)], MARCH_3)
    assert [(line.key.charge_id, str(line.tax)) for line in made.lines if not line.key.meter] == [
        ("time", "0"),
        ("fee", "0.25"),
    ]


def test_bills_that_join_add_up_to_the_bill_of_the_whole() -> None:
    charges = (charge(steps(DAY, 1260), steps(NIGHT, 2400)), FEE, charge(DAY, charge_id="busy", counted="charging"))
    tariffs = [
        tariff(energy(), *charges),
        tariff(energy(), *charges, version=2, valid_from="2025-03-31T03:33:00Z"),
    ]
    records = [
        told(f"2025-03-{day}T{hour:02d}:07", f"2025-03-{day + (hour > 16)}T{(hour + 7) % 24:02d}:21", f"{day}-{hour}")
        | {"device_id": f"d{hour}"}
        for day in range(28, 31)
        for hour in range(0, 24, 5)
    ]
    edges = ("2025-03-27", "2025-03-29", "2025-03-30", "2025-03-31", "2025-04-02")
    whole = bill_of(records, location("tou"), tariffs, (edges[0], edges[-1]))
    parts = [bill_of(records, location("tou"), tariffs, pair) for pair in pairwise(edges)]
    assert sum(part.totals[0].unrounded for part in parts) == whole.totals[0].unrounded
    assert [day for part in parts for day in part.days] == list(whole.days)


# --- sessions that are not known ---


def unknown(made: Bill) -> list[tuple[str, str | None, str, str, int]]:
    return [
        (one.kind, one.reason, format_instant(one.start_us), format_instant(one.end_us), one.intervals)
        for one in made.problems
        if one.reason == "sessions_unknown"
    ]


@pytest.mark.parametrize("device_id", [None, "d"])
def test_a_bill_to_which_sessions_are_not_known_says_when_they_are_charged_for(device_id: str | None) -> None:
    versions = [
        tariff(energy()),
        tariff(energy(), FEE, version=2, valid_from="2025-03-03T10:00:00Z"),
        tariff(energy(), charge(), version=3, valid_from="2025-03-03T12:00:00Z", valid_to="2025-03-03T18:00:00Z"),
        tariff(energy(), version=4, valid_from="2025-03-03T20:00:00Z"),
    ]
    place = location("tou")
    intervals = priced([told("00:00", "2025-03-04T00:00", device_id=device_id)], [place], versions)
    here = parse_location(place)
    made = make_bill(here, parsed(versions), intervals, DATES, device_id)
    assert unknown(made) == [("unbilled", "sessions_unknown", "2025-03-03T10:00:00Z", "2025-03-03T20:00:00Z", 0)]
    assert not made.complete
    assert lines(made) == []


def test_a_bill_without_session_charges_asks_for_no_sessions() -> None:
    place, tariffs = location("tou"), [tariff(energy())]
    intervals = priced([told("00:00", "2025-03-04T00:00")], [place], tariffs)
    made = make_bill(parse_location(place), parsed(tariffs), intervals, DATES)
    assert made.complete


def test_parts_of_records_within_intervals_come_with_their_own_times() -> None:
    place = location("tou")
    _, parts = read([told("10:10", "10:50", device_id="d")], [place], [tariff(energy())], (), "loc_1")
    assert sorted((part.device_id, format_instant(part.start_us)[11:16], part.charging) for part in parts) == [
        ("d", "10:10", True),
        ("d", "10:30", True),
    ]
