"""Rates of Consumer Data Right plans: windows, holidays, blocks, seasons and supply."""

from decimal import Decimal
from typing import Any

import pytest

from app.domain.tariffs import EnergyCharge
from app.importers.tariffs.common import ImportOptions
from app.wire.documents import DocumentError
from app.wire.tariff import parse_tariff
from tests.importers.tariffs.cdr_plans import (
    ALL,
    FLAT,
    PERIOD,
    WEEK,
    WEEKEND,
    bands,
    charges,
    rate,
    refused,
    run,
    single,
    time_of_use,
    window,
)

# --- Windows ---------------------------------------------------------------------------------------------------------


def test_an_end_before_the_next_start_is_an_inclusive_minute() -> None:
    found = run(
        time_of_use(rate("PEAK", "0.5", window(ALL, "15:00", "20:59")), rate("X", "0.2", window(ALL, "21:00", "14:59")))
    )
    assert bands(found)["peak"]["when"] == [{"start": "15:00", "end": "21:00"}]
    assert bands(found)["x"]["when"] == [{"start": "21:00", "end": "24:00"}, {"start": "00:00", "end": "15:00"}]


def test_an_end_at_the_next_start_is_exclusive() -> None:
    found = run(
        time_of_use(
            rate("PEAK", "0.5", window(WEEK, "07:00", "23:00")),
            rate("OFF_PEAK", "0.2", window(WEEK, "23:00", "07:00"), window(WEEKEND, "00:00", "00:00")),
        )
    )
    assert bands(found)["peak"]["when"] == [{"days": WEEK, "start": "07:00", "end": "23:00"}]
    # Both parts of 23:00 to 07:00 are on weekdays: on Saturday the weekend's window holds from midnight.
    assert bands(found)["off-peak"]["when"] == [
        {"days": WEEK, "start": "23:00", "end": "24:00"},
        {"days": WEEK, "start": "00:00", "end": "07:00"},
        {"days": WEEKEND, "start": "00:00", "end": "24:00"},
    ]


def test_a_part_after_midnight_belongs_to_the_next_day_where_only_that_tiles_the_week() -> None:
    found = run(
        time_of_use(
            rate("PEAK", "0.5", window(WEEK, "07:00", "22:00")),
            rate("OFF_PEAK", "0.2", window(WEEK, "22:00", "07:00")),
            rate("SHOULDER", "0.3", window(["SAT"], "07:00", "00:00"), window(["SUN"], "00:00", "00:00")),
            rate("SHOULDER1", "0.1", window(["MON"], "00:00", "07:00")),
        )
    )
    assert bands(found)["off-peak"]["when"] == [
        {"days": WEEK, "start": "22:00", "end": "24:00"},
        {"days": ["TUE", "WED", "THU", "FRI", "SAT"], "start": "00:00", "end": "07:00"},
    ]


def test_windows_that_tile_the_week_by_no_reading_are_refused_with_the_first_fault_of_each() -> None:
    found = run(
        time_of_use(rate("PEAK", "0.5", window(ALL, "15:00", "20:59")), rate("X", "0.2", window(ALL, "21:30", "14:59")))
    )
    assert found.tariffs == []
    (part,) = found.refused
    assert part.path == f"{PERIOD}.timeOfUseRates"
    assert "no rate at MON 21:00 (ends read as inclusive minutes" in part.reason
    assert "no rate at MON 14:59 (ends read as exclusive" in part.reason


def test_an_evening_without_a_rate_is_refused() -> None:
    found = refused(time_of_use(rate("PEAK", "0.5", window(ALL, "00:00", "22:00"))))
    assert "no rate at MON 22:00 (ends read as exclusive" in found[f"{PERIOD}.timeOfUseRates"]


def test_overlapping_windows_are_refused_with_the_day_and_time() -> None:
    found = refused(
        time_of_use(
            rate("PEAK", "0.5", window(WEEK, "15:00", "20:59"), window(WEEKEND, "15:00", "20:59")),
            rate("OFF_PEAK", "0.2", window(ALL, "21:00", "14:59"), window(["SAT"], "18:00", "18:59")),
        )
    )
    assert "two rates at SAT 18:00 (ends read as inclusive minutes" in found[f"{PERIOD}.timeOfUseRates"]


def test_windows_that_tile_the_week_in_two_ways_are_refused() -> None:
    found = refused(
        time_of_use(
            rate("PEAK", "0.5", window(["MON", "WED"], "12:00", "12:00")),
            rate("OFF_PEAK", "0.2", window(["TUE", "THU", "FRI", "SAT", "SUN"], "12:00", "12:00")),
        )
    )
    assert "tile the week in more than one way" in found[f"{PERIOD}.timeOfUseRates"]


@pytest.mark.parametrize(
    ("broken", "path", "reason"),
    [
        (window(["MON", "BUSINESS_DAYS"], "07:00", "23:00"), "days[1]", "'BUSINESS_DAYS' is not a day"),
        (window([], "07:00", "23:00"), "days", "the plan does not say on which days"),
        (window(ALL, "7 am", "23:00"), "startTime", "'7 am' is not a local time (expected HH:MM)"),
        (window(ALL, "07:00", "23:00+10:00"), "endTime", "'23:00+10:00' is not a local time"),
        (window(ALL, "07:00", "24:30"), "endTime", "'24:30' is not a local time"),
    ],
)
def test_a_window_at_fault_is_refused_by_its_path(broken: dict[str, Any], path: str, reason: str) -> None:
    found = refused(time_of_use(rate("PEAK", "0.5", broken)))
    assert reason in found[f"{PERIOD}.timeOfUseRates[0].timeOfUse[0].{path}"]


# --- Holidays --------------------------------------------------------------------------------------------------------


HOLIDAY_RATES = (
    rate("PEAK", "0.5", window(WEEK, "00:00", "00:00")),
    rate("OFF_PEAK", "0.2", window([*WEEKEND, "PUBLIC_HOLIDAYS"], "00:00", "00:00")),
)


def test_public_holidays_are_the_option_where_the_plan_prices_them() -> None:
    found = run(time_of_use(*HOLIDAY_RATES), options=ImportOptions(holidays=("2025-12-25",)))
    assert found.tariffs[0]["holidays"] == ["2025-12-25"]
    assert bands(found)["off-peak"]["when"][0]["days"] == ["SAT", "SUN", "HOL"]


def test_public_holidays_without_the_option_are_an_error() -> None:
    with pytest.raises(DocumentError, match="holidays: missing; the plan has prices for PUBLIC_HOLIDAYS"):
        run(time_of_use(*HOLIDAY_RATES))
    with pytest.raises(DocumentError, match=r"holidays: .*25 December"):
        run(time_of_use(*HOLIDAY_RATES), options=ImportOptions(holidays=("25 December",)))


def test_holidays_are_weekdays_to_a_plan_and_to_a_season_that_does_not_name_them() -> None:
    options = ImportOptions(holidays=("2025-04-25", "2025-12-25"))
    plain = (rate("PEAK", "0.5", window(WEEK, "00:00", "00:00")), rate("X", "0.2", window(WEEKEND, "00:00", "00:00")))
    assert run(time_of_use(*plain), options=options).tariffs[0]["holidays"] == []
    seasons = [
        time_of_use(*plain, startDate="04-01", endDate="09-30"),
        time_of_use(*HOLIDAY_RATES, startDate="10-01", endDate="03-31"),
    ]
    assert run(*seasons, options=options).tariffs[0]["holidays"] == ["2025-12-25"]


def test_all_seven_days_leave_holidays_to_the_rate_that_names_them() -> None:
    rates = [
        rate("PEAK", "0.5", window(ALL, "00:00", "00:00")),
        rate("OFF_PEAK", "0.2", window(["PUBLIC_HOLIDAYS"], "00:00", "00:00")),
    ]
    found = run(time_of_use(*rates), options=ImportOptions(holidays=("2025-12-25",)))
    assert bands(found)["peak"]["when"] == [{"days": ALL, "start": "00:00", "end": "24:00"}]
    assert bands(found)["off-peak"]["when"] == [{"days": ["HOL"], "start": "00:00", "end": "24:00"}]


def test_a_holiday_without_a_rate_is_a_gap() -> None:
    rates = [
        rate("PEAK", "0.5", window(WEEK, "07:00", "23:00")),
        rate("OFF_PEAK", "0.2", window(WEEK, "23:00", "07:00"), window(WEEKEND, "00:00", "00:00")),
        rate("SHOULDER", "0.1", window(["PUBLIC_HOLIDAYS"], "08:00", "00:00")),
    ]
    assert "no rate at HOL 00:00" in refused(time_of_use(*rates))[f"{PERIOD}.timeOfUseRates"]


def test_a_part_after_midnight_is_not_taken_to_the_day_after_a_holiday_which_has_no_name() -> None:
    rates = [
        rate("PEAK", "0.5", window(WEEK, "07:00", "22:00")),
        rate("OFF_PEAK", "0.2", window([*WEEK, "PUBLIC_HOLIDAYS"], "22:00", "07:00")),
        rate("SHOULDER", "0.3", window(["SAT"], "07:00", "00:00"), window(["SUN"], "00:00", "00:00")),
        rate("SHOULDER1", "0.1", window(["MON"], "00:00", "07:00"), window(["PUBLIC_HOLIDAYS"], "07:00", "22:00")),
    ]
    found = refused(time_of_use(*rates))
    assert "no reading of the windows tiles the week" in found[f"{PERIOD}.timeOfUseRates"]


# --- Blocks ----------------------------------------------------------------------------------------------------------


STEPS = ({"volume": 10, "unitPrice": "0.30"}, {"volume": "5.5", "unitPrice": "0.32"}, {"unitPrice": "0.35"})


def test_volumes_are_widths_and_become_cumulative_bounds() -> None:
    found = run(single(*STEPS, period="P1D"))
    assert found.tariffs[0]["tier_period"] == "P1D"
    assert bands(found)["anytime"]["tiers"] == [
        {"up_to_kwh": "10", "rate": "0.3"},
        {"up_to_kwh": "15.5", "rate": "0.32"},
        {"up_to_kwh": None, "rate": "0.35"},
    ]


def test_blocks_count_for_their_own_time_of_use_rate() -> None:
    rates = (
        rate("PEAK", "0", window(ALL, "15:00", "20:59"), rates=[*STEPS], period="P1D"),
        rate("OFF_PEAK", "0.2", window(ALL, "21:00", "14:59"), period="P1M"),
    )
    found = run(time_of_use(*rates))
    assert charges(found)["energy"]["tier_scope"] == "band"
    assert found.tariffs[0]["tier_period"] == "P1D"


@pytest.mark.parametrize(
    ("period", "fields"),
    [
        ("P1D", {"tier_period": "P1D"}),
        ("P1M", {"tier_period": "P1M"}),
        ("P1Y", {"tier_period": "P1Y"}),
        ("P12M", {"tier_period": "P1Y"}),
        ("P3M", {"tier_period": "BILLING", "billing_period": {"months": 3}}),
    ],
)
def test_blocks_count_in_the_period_of_the_plan_and_its_unknown_beginning_is_named(
    period: str, fields: dict[str, Any]
) -> None:
    found = run(single(*STEPS, period=period))
    assert {name: found.tariffs[0][name] for name in fields} == fields
    named = [part.path for part in found.left_out if "blocks count by the calendar" in part.reason]
    assert named == ([] if period == "P1D" else [f"{PERIOD}.singleRate.period"])


@pytest.mark.parametrize("period", ["P1W", "P5M", None])
def test_blocks_in_another_period_are_refused(period: str | None) -> None:
    found = run(single(*STEPS, period=period))
    assert found.tariffs == []
    assert [part.path for part in found.refused] == [f"{PERIOD}.singleRate.period"]


def test_blocks_in_two_periods_are_refused_and_both_named() -> None:
    rates = (
        rate("PEAK", "0", window(ALL, "15:00", "20:59"), rates=[*STEPS], period="P1D"),
        rate("OFF_PEAK", "0", window(ALL, "21:00", "14:59"), rates=[*STEPS]),
    )
    found = run(time_of_use(*rates))
    assert found.tariffs == []
    (part,) = found.refused
    assert part.path == f"{PERIOD}.timeOfUseRates[1].period"
    assert part.reason.startswith(f"P1Y beside P1D at {PERIOD}.timeOfUseRates[0].period")


def test_neighbouring_blocks_of_one_price_are_one_and_need_no_period() -> None:
    found = run(single({"volume": 11, "unitPrice": "0.3"}, {"unitPrice": "0.30"}, period="P1W"))
    assert bands(found)["anytime"]["tiers"] == [{"up_to_kwh": None, "rate": "0.3"}]
    assert "tier_period" not in found.tariffs[0]


def test_a_volume_of_zero_is_no_bound() -> None:
    found = run(single({"volume": "0.00", "unitPrice": "0.3"}))
    assert bands(found)["anytime"]["tiers"] == [{"up_to_kwh": None, "rate": "0.3"}]


@pytest.mark.parametrize(
    ("rates", "path", "reason"),
    [
        ([], "", "no rate (expected at least one)"),
        ([{"volume": 5, "unitPrice": "0.3"}], "", "the last rate ends at 5 kWh (expected one for what is beyond)"),
        ([{"unitPrice": "0.3"}, {"unitPrice": "0.4"}], "[1]", "follows a rate without a volume"),
        ([{"volume": -5, "unitPrice": "0.3"}, {"unitPrice": "0.4"}], "[0].volume", "-5 is negative"),
        ([{"unitPrice": "30c"}], "[0].unitPrice", "'30c' is not a number (expected such as '0.2450')"),
        ([{"unitPrice": 0.3}], "[0].unitPrice", "0.3 is not a number"),
        ([{"unitPrice": "0.3", "measureUnit": "KVA"}], "[0].measureUnit", "'KVA': prices of energy are by KWH here"),
        ([7], "[0]", "7 is not an object"),
    ],
)
def test_rates_at_fault_are_refused_by_their_path(rates: list[Any], path: str, reason: str) -> None:
    found = run(single(*rates, period="P1D"))
    assert found.tariffs == []
    assert found.refused[0].path == f"{PERIOD}.singleRate.rates{path}"
    assert reason in found.refused[0].reason


def test_a_number_with_a_point_keeps_its_digits() -> None:
    found = run(single({"volume": Decimal("10.9589"), "unitPrice": Decimal("0.30")}, STEPS[2], period="P1D"))
    assert bands(found)["anytime"]["tiers"][0] == {"up_to_kwh": "10.9589", "rate": "0.3"}


# --- Seasons and supply ----------------------------------------------------------------------------------------------


def test_a_rate_that_seasons_share_is_one_band_and_others_are_named_by_their_season() -> None:
    peak, off_peak = window(ALL, "15:00", "20:59"), window(ALL, "21:00", "14:59")
    found = run(
        time_of_use(rate("PEAK", "0.5", peak), rate("OFF_PEAK", "0.2", off_peak), endDate="06-30"),
        time_of_use(rate("PEAK", "0.6", peak), rate("OFF_PEAK", "0.2", off_peak), startDate="07-01"),
    )
    assert list(bands(found)) == ["peak (01-01 to 06-30)", "off-peak", "peak (07-01 to 12-31)"]
    assert bands(found)["off-peak"]["when"] == [{"start": "21:00", "end": "24:00"}, {"start": "00:00", "end": "15:00"}]
    assert bands(found)["peak (07-01 to 12-31)"]["when"] == [
        {"from": "07-01", "to": "12-31", "start": "15:00", "end": "21:00"}
    ]


def test_a_season_that_ends_on_28_february_ends_with_the_month() -> None:
    found = run(
        single({"unitPrice": "0.3"}, startDate="12-01", endDate="02-28", dailySupplyCharge="1"),
        single({"unitPrice": "0.4"}, startDate="03-01", endDate="11-30", dailySupplyCharge="2"),
    )
    assert [charge.get("to") for charge in found.tariffs[0]["charges"]] == [None, "02-29", "11-30"]


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("07-02", "no tariff period holds 07-01"),
        ("06-30", "2 tariff periods hold 06-30: 01-01 to 06-30, 06-30 to 12-31"),
    ],
)
def test_seasons_that_do_not_hold_each_day_once_are_refused(start: str, reason: str) -> None:
    found = run(single({"unitPrice": "0.3"}, endDate="06-30"), single({"unitPrice": "0.4"}, startDate=start))
    assert found.tariffs == []
    assert [(part.path, part.reason.startswith(reason)) for part in found.refused] == [
        ("electricityContract.tariffPeriod", True)
    ]


def test_a_tariff_period_at_fault_is_refused_by_its_path_and_leaves_no_document() -> None:
    broken = {"rateBlockUType": "dynamic", "type": "FEE", "startDate": "1 July", "endDate": "02-30"}
    found = run(FLAT, FLAT | broken)
    assert found.tariffs == []
    assert [part.path.rpartition(".")[2] for part in found.refused] == [
        "startDate",
        "endDate",
        "rateBlockUType",
        "type",
    ]


def test_charges_of_different_types_add_up() -> None:
    network = single({"unitPrice": "0.1"}, type="NETWORK", dailySupplyCharge="0.5")
    found = run(FLAT | {"dailySupplyCharge": "1"}, network)
    assert list(charges(found)) == ["energy", "energy-network", "supply", "supply-network"]


def test_supply_of_one_amount_is_one_charge_and_of_none_is_no_charge() -> None:
    halves = [FLAT | {"endDate": "06-30"}, FLAT | {"startDate": "07-01"}]
    same = run(*(half | {"dailySupplyCharge": "1.10"} for half in halves))
    assert charges(same)["supply"] == {"charge_id": "supply", "kind": "fixed", "per": "day", "amount": "1.1"}
    assert list(charges(run(*(half | {"dailySupplyCharge": "0.00"} for half in halves)))) == ["energy"]


def test_supply_that_cannot_be_expressed_is_refused() -> None:
    banded = FLAT | {"dailySupplyChargeType": "BAND", "bandedDailySupplyCharges": [{"volume": 20000, "unitPrice": "1"}]}
    assert f"{PERIOD}.bandedDailySupplyCharges" in refused(banded)
    again = {"rateBlockUType": "demandCharges", "displayName": "D", "startDate": "01-01", "endDate": "12-31"}
    found = refused(FLAT | {"dailySupplyCharge": "1"}, again | {"dailySupplyCharge": "2", "demandCharges": []})
    assert "does not say whether they add up" in found["electricityContract.tariffPeriod[1].dailySupplyCharge"]


def test_the_tiers_of_two_seasons_count_apart() -> None:
    halves = [single(*STEPS, period="P1D", endDate="06-30"), single(*STEPS, period="P1D", startDate="07-01")]
    tariff = parse_tariff(run(*halves).tariffs[0])
    (energy,) = [charge for charge in tariff.charges if isinstance(charge, EnergyCharge)]
    assert [band.name for band in energy.bands] == ["anytime (01-01 to 06-30)", "anytime (07-01 to 12-31)"]


def test_bands_of_one_name_in_one_season_are_numbered() -> None:
    found = run(
        time_of_use(
            rate("SHOULDER", "0.5", window(ALL, "00:00", "11:59")),
            rate("SHOULDER", "0.2", window(ALL, "12:00", "23:59")),
        )
    )
    assert list(bands(found)) == ["shoulder", "shoulder 2"]


def test_rates_beside_those_that_rate_block_type_names_are_refused() -> None:
    rates = [rate("PEAK", "0.5", window(ALL, "00:00", "00:00"))]
    assert f"{PERIOD}.timeOfUseRates" in refused(FLAT | {"timeOfUseRates": rates})
    assert f"{PERIOD}.singleRate" in refused(time_of_use(*rates, singleRate=FLAT["singleRate"]))
    beside_demand = refused(FLAT, FLAT | {"rateBlockUType": "demandCharges"})
    assert beside_demand.keys() == {"electricityContract.tariffPeriod[1].singleRate"}
    assert refused(time_of_use()) == {f"{PERIOD}.timeOfUseRates": "no rate (expected at least one)"}


def test_an_end_of_the_day_may_be_written_as_0000_as_2400_or_as_its_last_minute() -> None:
    for end in ("00:00", "24:00", "23:59", "23:59:59"):
        found = run(
            time_of_use(rate("PEAK", "0.5", window(ALL, "12:00", end)), rate("X", "0.2", window(ALL, "00:00", "11:59")))
        )
        assert bands(found)["peak"]["when"] == [{"start": "12:00", "end": "24:00"}]


def test_windows_of_one_rate_may_overlap() -> None:
    windows = [window(ALL, "00:00", "15:00"), window(WEEK, "10:00", "12:00"), window(ALL, "15:00", "00:00")]
    assert run(time_of_use(rate("PEAK", "0.5", *windows))).refused == []
