"""Demand charges and feed-in tariffs of Consumer Data Right plans."""

from typing import Any

import pytest

from app.importers.tariffs.common import ImportOptions
from tests.importers.tariffs.cdr_plans import (
    ALL,
    FLAT,
    PERIOD,
    WEEK,
    WEEKEND,
    bands,
    charges,
    demand,
    earning,
    feed_in,
    rate,
    refused,
    run,
    time_of_use,
    varying,
    window,
)

# --- Demand ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured", "charged", "fields"),
    [("DAY", "DAY", ("day", "day")), ("MONTH", "DAY", ("month", "day")), ("MONTH", "MONTH", ("month", "month"))],
)
def test_demand_is_measured_and_charged_by_the_day_or_month(
    measured: str, charged: str, fields: tuple[str, str]
) -> None:
    found = run(FLAT | {"demandCharges": [demand(measurementPeriod=measured, chargePeriod=charged)]})
    assert found.refused == []
    assert charges(found)["demand"] == {
        "charge_id": "demand",
        "kind": "demand",
        "measured_over": fields[0],
        "per": fields[1],
        "bands": [
            {
                "name": "demand",
                "when": [{"days": WEEK, "start": "15:00", "end": "21:00"}],
                "tiers": [{"up_to_kw": None, "rate": "0.4"}],
            }
        ],
    }


def test_the_end_of_a_demand_window_is_inclusive_where_it_is_the_minute_before_a_round_time() -> None:
    found = run(FLAT | {"demandCharges": [demand(startTime="15:00", endTime="20:59")]})
    assert charges(found)["demand"]["bands"][0]["when"] == [{"days": WEEK, "start": "15:00", "end": "21:00"}]


@pytest.mark.parametrize(
    ("more", "field", "reason"),
    [
        ({"measurementPeriod": "TARIFF_PERIOD"}, ".measurementPeriod", "no demand charge of ours"),
        ({"chargePeriod": "MONTH"}, ".measurementPeriod", "'DAY' with chargePeriod 'MONTH'"),
        ({"minDemand": "5"}, ".minDemand", "does not say whether less is billed as so much"),
        ({"maxDemand": "10"}, ".maxDemand", "does not say whether more is billed as so much"),
        ({"days": None}, ".days", "the plan does not say on which days"),
        ({"measureUnit": "KVA"}, ".measureUnit", "demand is priced by kW here"),
        ({"endTime": "20:57"}, ".endTime", "20:57 is neither a round time nor the minute before one"),
        ({"startTime": "21:00", "endTime": "07:00"}, ".endTime", "21:00 to 07:00 runs past midnight"),
        ({"amount": "?"}, ".amount", "'?' is not a number"),
        ({"ratchet": "12"}, ".ratchet", "a field that the standard does not have"),
        ({"description": "Maximum of the last 12 months"}, ".description", "contradicts measurementPeriod 'DAY'"),
    ],
)
def test_demand_that_cannot_be_expressed_is_refused_and_the_rest_is_taken(
    more: dict[str, Any], field: str, reason: str
) -> None:
    found = run(FLAT | {"demandCharges": [demand(**more)]})
    assert [part.path for part in found.refused] == [f"{PERIOD}.demandCharges[0]{field}"]
    assert reason in found.refused[0].reason
    assert list(charges(found)) == ["energy"]


def test_demand_of_a_month_in_a_season_of_parts_of_months_is_refused() -> None:
    halves = [FLAT | {"endDate": "06-15", "demandCharges": [demand(measurementPeriod="MONTH")]}]
    found = refused(*halves, FLAT | {"startDate": "06-16"})
    assert "parts of months" in found[f"{PERIOD}.demandCharges[0].measurementPeriod"]


def test_demand_charges_at_the_same_time_are_refused_and_at_others_are_not() -> None:
    both = run(FLAT | {"demandCharges": [demand(), demand(startTime="20:00", endTime="23:00")]})
    assert [part.path for part in both.refused] == [f"{PERIOD}.demandCharges[{number}]" for number in (0, 1)]
    apart = run(FLAT | {"demandCharges": [demand(), demand(startTime="21:00", endTime="23:00")]})
    assert list(charges(apart)) == ["energy", "demand", "demand-2"]


def test_demand_by_another_clock_than_the_rates_is_refused() -> None:
    period = {"displayName": "D", "startDate": "01-01", "endDate": "12-31", "rateBlockUType": "demandCharges"}
    found = run(
        FLAT, period | {"timeZone": "LOCAL", "demandCharges": [demand()]}, geography={"distributors": ["Ausgrid"]}
    )
    assert found.refused[0].reason == "by the clock of Australia/Sydney, and the rates by that of Australia/Brisbane"
    assert list(charges(found)) == ["energy"]


def test_demand_that_knows_holidays_beside_rates_by_time_that_do_not_is_refused() -> None:
    charge = demand(days=[*WEEK, "PUBLIC_HOLIDAYS"])
    plain = (rate("PEAK", "0.5", window(WEEK, "00:00", "00:00")), rate("X", "0.2", window(WEEKEND, "00:00", "00:00")))
    found = refused(time_of_use(*plain, demandCharges=[charge]))
    assert "PUBLIC_HOLIDAYS" in found[f"{PERIOD}.demandCharges[0].days"]
    beside_flat = run(FLAT | {"demandCharges": [charge]}, options=ImportOptions(holidays=("2025-12-25",)))
    assert charges(beside_flat)["demand"]["bands"][0]["when"][0]["days"] == [*WEEK, "HOL"]


# --- Feed-in ---------------------------------------------------------------------------------------------------------


def test_feed_in_windows_may_leave_most_of_the_week_without_credit() -> None:
    found = run(FLAT, solarFeedInTariff=[varying(earning("PEAK", "0.15", window(WEEK, "16:00", "20:59")))])
    assert found.refused == []
    assert bands(found, 1)["peak"]["when"] == [{"days": WEEK, "start": "16:00", "end": "21:00"}]
    assert (found.tariffs[1]["direction"], found.tariffs[1]["taxes"]) == ("EXPORT", [])


def test_feed_in_earns_nothing_beyond_its_last_volume() -> None:
    found = run(FLAT, solarFeedInTariff=[feed_in({"volume": 5, "unitPrice": "0.08"}, period="P1D")])
    assert bands(found, 1)["anytime"]["tiers"] == [{"up_to_kwh": "5", "rate": "0.08"}, {"up_to_kwh": None, "rate": "0"}]
    assert found.tariffs[1]["tier_period"] == "P1D"


def test_elements_of_one_payer_and_scheme_are_bands_of_one_charge() -> None:
    parts = [
        varying(earning("PEAK", "0.15", window(ALL, "16:00", "21:00"))),
        varying(earning("OFF_PEAK", "0.02", window(ALL, "10:00", "16:00"))),
    ]
    found = run(FLAT, solarFeedInTariff=parts)
    assert list(bands(found, 1)) == ["peak", "off-peak"]


def test_elements_that_hold_at_the_same_time_are_refused_with_the_day_and_time() -> None:
    parts = [
        varying(earning("PEAK", "0.15", window(ALL, "16:00", "20:59"))),
        varying(earning("OFF_PEAK", "0.02", window(ALL, "10:00", "15:59"))),
        varying(earning("SHOULDER", "0.06", window(ALL, "15:00", "15:59"))),
    ]
    found = run(FLAT, solarFeedInTariff=parts)
    assert [document["tariff_id"] for document in found.tariffs] == ["P1"]
    reasons = [part.reason for part in found.refused]
    assert reasons[0].startswith("belongs to the same feed-in tariff as")
    assert reasons[1].startswith("holds at MON 15:00 as electricityContract.solarFeedInTariff[2]")
    assert reasons[2].startswith("holds at MON 15:00 as electricityContract.solarFeedInTariff[1]")


def test_a_governments_feed_in_is_paid_beside_the_retailers() -> None:
    government = feed_in({"unitPrice": "0.44"}, payerType="GOVERNMENT", scheme="PREMIUM")
    found = run(FLAT, solarFeedInTariff=[feed_in({"unitPrice": "0.05"}), government])
    assert list(charges(found, 1)) == ["feed-in", "feed-in-government"]


def test_several_schemes_of_one_payer_are_alternatives_with_a_document_each() -> None:
    elements = [feed_in({"unitPrice": "0.05"}), feed_in({"unitPrice": "0.60"}, scheme="PREMIUM")]
    found = run(FLAT, solarFeedInTariff=elements)
    assert [document["tariff_id"] for document in found.tariffs] == ["P1", "P1-feed-in", "P1-feed-in-2"]


def test_feed_in_holds_for_its_dates_and_elements_of_other_dates_are_refused() -> None:
    dated = feed_in({"unitPrice": "0.05"}, startDate="2025-06-01", endDate="2030-12-31")
    assert run(FLAT, solarFeedInTariff=[dated]).tariffs[1]["valid_from"] == "2025-05-31T14:00:00Z"
    found = refused(FLAT, solarFeedInTariff=[dated, feed_in({"unitPrice": "0.01"})])
    assert list(found) == ["electricityContract.solarFeedInTariff[0]", "electricityContract.solarFeedInTariff[1]"]
    government = feed_in({"unitPrice": "0.44"}, payerType="GOVERNMENT")
    assert "electricityContract.solarFeedInTariff[1]" in refused(FLAT, solarFeedInTariff=[dated, government])


@pytest.mark.parametrize(
    ("element", "path"),
    [
        (feed_in({"unitPrice": "0.05"}, payerType="FRIEND"), ".payerType"),
        (feed_in({"unitPrice": "0.05"}, tariffUType="spot"), ".tariffUType"),
        (feed_in({"unitPrice": "0.05"}, singleTariff=7), ".singleTariff"),
        (feed_in({"unitPrice": "0.05"}, startDate="soon"), ".startDate"),
        (varying(), ".timeVaryingTariffs"),
        (varying(earning("PEAK", "0.05")), ".timeVaryingTariffs[0].timeVariations"),
        (varying(earning("PEAK", "?", window(ALL, "00:00", "00:00"))), ".timeVaryingTariffs[0].rates[0].unitPrice"),
    ],
)
def test_feed_in_at_fault_is_refused_by_its_path(element: dict[str, Any], path: str) -> None:
    found = run(FLAT, solarFeedInTariff=[element])
    assert [document["tariff_id"] for document in found.tariffs] == ["P1"]
    assert [part.path for part in found.refused] == [f"electricityContract.solarFeedInTariff[0]{path}"]


def test_the_other_parts_of_a_feed_in_tariff_at_fault_are_refused_with_it() -> None:
    elements = [varying(earning("PEAK", "0.15", window(ALL, "16:00", "20:59"))), feed_in({"unitPrice": "?"})]
    found = refused(FLAT, solarFeedInTariff=elements)
    assert "of which a part is refused" in found["electricityContract.solarFeedInTariff[0]"]


def test_feed_in_windows_of_which_it_is_unclear_when_they_end_are_refused() -> None:
    unclear = varying(earning("PEAK", "0.15", window(ALL, "16:00", "20:57")))
    assert (
        "neither a round time" in refused(FLAT, solarFeedInTariff=[unclear])["electricityContract.solarFeedInTariff[0]"]
    )
