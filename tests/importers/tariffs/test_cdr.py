"""The importer of Consumer Data Right plans: the plan as a whole, zones, models, controlled loads, and all other parts."""

from typing import Any

import pytest

from app.importers.tariffs.cdr import import_cdr
from app.importers.tariffs.common import ImportOptions
from app.wire.documents import DocumentError
from tests.importers.tariffs.cdr_plans import (
    ALL,
    FLAT,
    OPTIONS,
    PERIOD,
    bands,
    charges,
    feed_in,
    plan,
    rate,
    refused,
    run,
    single,
    window,
)

# --- The plan --------------------------------------------------------------------------------------------------------


def test_a_plan_is_read_with_and_without_its_envelope() -> None:
    whole = plan(FLAT)
    assert import_cdr(whole, OPTIONS) == import_cdr(whole["data"], OPTIONS)


def test_the_id_is_the_plans_unless_another_is_named() -> None:
    assert run(FLAT).tariffs[0]["tariff_id"] == "P1"
    assert run(FLAT, options=ImportOptions(tariff_id="mine")).tariffs[0]["tariff_id"] == "mine"


def test_a_direction_asks_for_the_documents_of_that_direction_only() -> None:
    solar, discount = [feed_in({"unitPrice": "0.05"})], [{"displayName": "D", "type": "GUARANTEED"}]
    for direction, ids in (("IMPORT", ["P1"]), ("EXPORT", ["P1-feed-in"])):
        found = run(FLAT, options=ImportOptions(direction=direction), solarFeedInTariff=solar, discounts=discount)
        assert [document["tariff_id"] for document in found.tariffs] == ids
        assert len(found.refused) == (direction == "IMPORT")


@pytest.mark.parametrize(
    ("document", "options", "problem"),
    [
        ([], OPTIONS, "document: [] is not an object"),
        ({"data": {"planId": "P1", "fuelType": "GAS"}}, OPTIONS, "electricityContract: null is not an object"),
        (plan(FLAT, model="FREE"), OPTIONS, "electricityContract.pricingModel: 'FREE' is not one of"),
        (plan(tariffPeriod=None), OPTIONS, "electricityContract.tariffPeriod: null is not a list"),
        (plan(FLAT), ImportOptions(currency="EUR"), "currency: 'EUR' (plans are in AUD)"),
        (plan(FLAT), ImportOptions(direction="LOCAL"), "direction: 'LOCAL' is not one of 'IMPORT', 'EXPORT'"),
        (plan(FLAT, timeZone="MARS"), OPTIONS, "electricityContract.timeZone: 'MARS' is not one of 'LOCAL', 'AEST'"),
        (plan(FLAT, timeZone="LOCAL"), OPTIONS, "expected the option timezone, such as 'Australia/Sydney'"),
        (plan(FLAT, timeZone="LOCAL"), ImportOptions(timezone="Sydney"), "timezone: 'Sydney' is not a time zone"),
    ],
)
def test_what_is_no_plan_or_lacks_an_option_is_an_error(document: Any, options: ImportOptions, problem: str) -> None:
    with pytest.raises(DocumentError) as error:
        import_cdr(document, options)
    assert problem in str(error.value)


def test_all_that_is_wrong_with_a_plan_is_named_at_once() -> None:
    document = {"electricityContract": {"pricingModel": 1, "tariffPeriod": {}}}
    with pytest.raises(DocumentError) as error:
        import_cdr(document, ImportOptions(currency="EUR"))
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "electricityContract.pricingModel",
        "electricityContract.tariffPeriod",
        "planId",
        "currency",
    ]


def test_fields_that_the_standard_does_not_have_are_refused_as_they_may_change_the_price() -> None:
    period = single({"unitPrice": "0.30", "surge": "2"}, surcharge="0.01")
    found = refused(period, carbonCharge="0.02")
    assert {"electricityContract.carbonCharge", f"{PERIOD}.surcharge"} <= found.keys()
    assert f"{PERIOD}.singleRate.rates[0].surge" in found


def test_lists_that_are_none_are_refused() -> None:
    found = refused(FLAT, fees="none", controlledLoad=7)
    assert found["electricityContract.fees"] == "'none' is not a list (expected a list of objects)"
    assert "electricityContract.controlledLoad" in found


def test_a_plan_without_rates_of_energy_is_refused() -> None:
    assert refused() == {"electricityContract.tariffPeriod": "no rates of energy"}


# --- Time zones ------------------------------------------------------------------------------------------------------


def zone(distributors: list[str], option: str | None = None, **geography: Any) -> str:
    contract = {"timeZone": "LOCAL", "geography": {"distributors": distributors} | geography}
    return str(run(FLAT, options=ImportOptions(timezone=option), **contract).tariffs[0]["timezone"])


def test_aest_has_no_daylight_saving_and_is_what_a_plan_has_that_says_nothing() -> None:
    assert run(FLAT).tariffs[0]["timezone"] == "Australia/Brisbane"
    assert run(FLAT, timeZone=None).tariffs[0]["timezone"] == "Australia/Brisbane"


def test_local_time_is_that_of_the_distributors_where_all_have_one() -> None:
    assert zone(["Ausgrid", "Endeavour"]) == "Australia/Sydney"
    assert zone(["SA Power Networks"]) == "Australia/Adelaide"
    assert zone(["Ausgrid", "Energex"], option="Australia/Hobart") == "Australia/Hobart"
    assert zone(["Somebody New"], option="Australia/Hobart") == "Australia/Hobart"
    assert zone([], option="Australia/Hobart") == "Australia/Hobart"


def test_essential_energy_is_in_sydneys_time_but_for_broken_hill() -> None:
    assert zone(["Essential Energy"], includedPostcodes=["2340", "2350"]) == "Australia/Sydney"
    assert zone(["Essential Energy"], "Australia/Broken_Hill", includedPostcodes=["2880"]) == "Australia/Broken_Hill"
    assert zone(["Essential Energy"], "Australia/Broken_Hill") == "Australia/Broken_Hill"


def test_rates_by_the_clocks_of_two_zones_are_refused() -> None:
    halves = [
        single({"unitPrice": "0.30"}, endDate="06-30"),
        single({"unitPrice": "0.40"}, startDate="07-01", timeZone="LOCAL"),
    ]
    found = run(*halves, geography={"distributors": ["Ausgrid"]})
    assert found.tariffs == []
    assert found.refused[0].reason == "rates by the clocks of Australia/Brisbane and Australia/Sydney"


# --- Models ----------------------------------------------------------------------------------------------------------


def test_flexible_rates_are_taken_as_stated_and_that_they_vary_is_named() -> None:
    found = run(FLAT, model="FLEXIBLE")
    assert len(found.tariffs) == 1
    assert [part.path for part in found.refused] == ["electricityContract.pricingModel"]


def test_a_controlled_load_that_the_model_has_and_the_plan_does_not_is_refused() -> None:
    assert "electricityContract.controlledLoad" in refused(FLAT, model="SINGLE_RATE_CONT_LOAD")


def test_a_quota_is_a_fixed_charge_with_free_energy_up_to_it_and_a_rate_without_gst_beyond() -> None:
    included = {"unitPrice": "50", "volume": 150, "measureUnit": "MONTH"}
    found = run(single(included, period="P1M", generalUnitPrice="0.33"), model="QUOTA")
    assert charges(found)["quota"] == {"charge_id": "quota", "kind": "fixed", "per": "month", "amount": "50"}
    assert bands(found)["anytime"]["tiers"] == [{"up_to_kwh": "150", "rate": "0"}, {"up_to_kwh": None, "rate": "0.3"}]


@pytest.mark.parametrize(
    ("included", "general", "path"),
    [
        ({"unitPrice": "50", "volume": 150}, "0.33", "rates[0].measureUnit"),
        ({"unitPrice": "50", "volume": 150, "measureUnit": "DAYS"}, "0.33", "rates[0].measureUnit"),
        ({"unitPrice": "50", "volume": 0, "measureUnit": "MONTH"}, "0.33", "rates[0].volume"),
        ({"unitPrice": "50", "volume": 150, "measureUnit": "MONTH"}, "0.35", "generalUnitPrice"),
        ({"unitPrice": "50", "volume": 150, "measureUnit": "MONTH"}, None, "generalUnitPrice"),
    ],
)
def test_a_quota_that_is_not_said_is_refused(included: dict[str, Any], general: str | None, path: str) -> None:
    found = run(single(included, period="P1M", generalUnitPrice=general), model="QUOTA")
    assert found.tariffs == []
    assert [part.path for part in found.refused] == [f"{PERIOD}.singleRate.{path}"]


def test_a_quota_plan_without_a_single_rate_or_with_several_is_refused() -> None:
    rates = [{"unitPrice": "50", "volume": 150, "measureUnit": "MONTH"}] * 2
    several = refused(single(*rates, period="P1M", generalUnitPrice="0.33"), model="QUOTA")
    assert several[f"{PERIOD}.singleRate.rates"] == "2 rates in a QUOTA plan (expected one)"
    assert f"{PERIOD}.singleRate" in refused(FLAT | {"singleRate": None}, model="QUOTA")


def test_the_price_of_a_quotas_excess_is_left_out_of_other_plans() -> None:
    found = run(single({"unitPrice": "0.3"}, generalUnitPrice="0.33"))
    assert found.refused == []
    assert [part.path for part in found.left_out] == [f"{PERIOD}.singleRate.generalUnitPrice"]


# --- Controlled load -------------------------------------------------------------------------------------------------


def load(**more: Any) -> dict[str, Any]:
    of_rate = {"displayName": "CL", "dailySupplyCharge": "0.05", "rates": [{"unitPrice": "0.16"}]}
    return {"displayName": "CL", "rateBlockUType": "singleRate", "singleRate": of_rate} | more


def test_each_controlled_load_is_a_document_with_its_own_supply_and_dates() -> None:
    found = run(FLAT, controlledLoad=[load(), load(startDate="2025-01-01", endDate="2025-12-31")])
    assert [document["tariff_id"] for document in found.tariffs] == [
        "P1",
        "P1-controlled-load",
        "P1-controlled-load-2",
    ]
    assert charges(found, 1)["supply"]["amount"] == "0.05"
    assert (found.tariffs[2]["valid_from"], found.tariffs[2]["valid_to"]) == (
        "2024-12-31T14:00:00Z",
        "2025-12-31T14:00:00Z",
    )


def test_a_controlled_load_at_fault_is_refused_and_the_others_are_taken() -> None:
    partial = load(rateBlockUType="timeOfUseRates", timeOfUseRates=[rate("X", "0.1", window(ALL, "22:00", "07:00"))])
    words = load(
        rateBlockUType="timeOfUseRates", timeOfUseRates=[rate("X", "0.1", {"additionalInfo": "When the grid allows"})]
    )
    del partial["singleRate"], words["singleRate"]
    broken = [partial, words, load(rateBlockUType="?"), load(endDate="2025-02-30"), load(singleRate=None)]
    found = run(FLAT, controlledLoad=[*broken, load()])
    assert [document["tariff_id"] for document in found.tariffs] == ["P1", "P1-controlled-load-6"]
    at = "electricityContract.controlledLoad"
    assert {part.path: part.reason for part in found.refused}.keys() == {
        f"{at}[0].timeOfUseRates",
        f"{at}[1].timeOfUseRates[0].timeOfUse[0].additionalInfo",
        f"{at}[2].rateBlockUType",
        f"{at}[3].endDate",
        f"{at}[4].singleRate",
    }


# --- Other parts -----------------------------------------------------------------------------------------------------


def test_what_every_customer_pays_or_is_let_off_is_refused() -> None:
    found = refused(
        FLAT,
        discounts=[
            {"displayName": "D", "type": "GUARANTEED", "methodUType": "percentOfUse", "percentOfUse": {"rate": "0.1"}},
            {"displayName": "E", "type": "OTHER", "methodUType": "fixedAmount", "fixedAmount": {"amount": "10"}},
        ],
        fees=[
            {"type": "MEMBERSHIP", "term": "MONTHLY", "amount": "19.99"},
            {"type": "OTHER", "term": "PERCENT_OF_BILL", "rate": "0.01"},
        ],
        meteringCharges=[{"displayName": "M", "minimumValue": "0.10", "period": "P1D"}],
    )
    at = "electricityContract"
    assert found.keys() == {
        f"{at}.discounts[0]",
        f"{at}.discounts[1]",
        f"{at}.fees[0]",
        f"{at}.fees[1]",
        "meteringCharges[0]",
    }
    assert "percentOfUse of '0.1'" in found[f"{at}.discounts[0]"]


def test_what_a_customer_chooses_causes_or_must_ask_for_is_left_out_by_name() -> None:
    found = run(
        FLAT,
        discounts=[{"displayName": "Pay on time", "type": "CONDITIONAL", "methodUType": "percentOfBill"}],
        fees=[{"type": "LATE_PAYMENT", "term": "FIXED", "amount": "15"}, {"type": "MEMBERSHIP", "amount": "0.00"}],
        meteringCharges=[{"displayName": "M", "minimumValue": "0.10"}],
        greenPowerCharges=[{"displayName": "G"}],
        incentives=[{"displayName": "I"}],
        eligibility=[],
        terms="T",
    )
    assert found.refused == []
    at = "electricityContract"
    assert {part.path for part in found.left_out} == {
        f"{at}.discounts[0]",
        f"{at}.fees[0]",
        f"{at}.fees[1]",
        "meteringCharges[0]",
        f"{at}.greenPowerCharges[0]",
        f"{at}.incentives[0]",
        f"{at}.eligibility",
        f"{at}.terms",
    }


def test_a_document_that_our_own_check_refuses_is_refused_with_its_problems() -> None:
    steps = [{"volume": 1, "unitPrice": f"0.{number}"} for number in range(10, 40)]
    found = run(single(*steps, {"unitPrice": "1"}, period="P1D"))
    assert found.tariffs == []
    assert "charges[0].bands[0].tiers" in found.refused[0].reason
    assert found.refused[0].path == "electricityContract.tariffPeriod"
