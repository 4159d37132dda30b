"""The importer of Octopus Energy's rates, against slow readings of the same JSON that share no code with it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.domain.tariffs import EnergyCharge, FixedCharge, Tariff
from app.domain.timeline import Timeline
from app.importers.tariffs.common import Imported, ImportOptions, read_json
from app.importers.tariffs.octopus import import_octopus
from app.wire.documents import DocumentError
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff

DATA = Path(__file__).parent / "data" / "octopus"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NONE = ImportOptions()
FAR = datetime(2200, 1, 1, tzinfo=UTC)
CODE = "E-1R-TEST-25-01-01-C"


def load(name: str) -> Any:
    return read_json((DATA / name).read_bytes())


def rate(exc_vat: str | None, inc_vat: str | None, start: str | None, end: str | None, **fields: Any) -> dict[str, Any]:
    return {
        "value_exc_vat": None if exc_vat is None else Decimal(exc_vat),
        "value_inc_vat": None if inc_vat is None else Decimal(inc_vat),
        "valid_from": start,
        "valid_to": end,
        **fields,
    }


def wrapped(*rates: Any, **fields: Any) -> dict[str, Any]:
    return {"tariff_code": CODE, "standard_unit_rates": list(rates), **fields}


def instants(first: datetime, end: datetime, minutes: int) -> list[datetime]:
    steps = (end - first) // timedelta(minutes=minutes)
    return [first + timedelta(minutes=minutes * step) for step in range(steps)]


def end_of(item: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(item["valid_to"]) if item["valid_to"] else FAR


def published(lists: Any, at: datetime, method: str = "DIRECT_DEBIT") -> Decimal | None:
    """Read a value without VAT off the JSON: every rate is looked at, one must hold."""
    pages = lists if isinstance(lists, list) else [lists]
    found = [
        item["value_exc_vat"]
        for page in pages
        for item in page["results"]
        if item["payment_method"] in (None, method) and datetime.fromisoformat(item["valid_from"]) <= at < end_of(item)
    ]
    assert len(found) <= 1
    return found[0] if found else None


class Ours:
    """What the imported documents say of an instant."""

    def __init__(self, result: Imported) -> None:
        self.tariffs = [parse_tariff(document) for document in result.tariffs]
        self.timelines = [Timeline(tariff) for tariff in self.tariffs]
        self.points = [
            (point.start_us, point.end_us, point.value)
            for document in result.series
            for point in parse_series(document).points
        ]

    def version(self, at: datetime) -> tuple[Tariff, Timeline] | None:
        at_us = (at - EPOCH) // timedelta(microseconds=1)
        found = [
            (tariff, timeline)
            for tariff, timeline in zip(self.tariffs, self.timelines, strict=True)
            if (tariff.valid_from_us is None or tariff.valid_from_us <= at_us)
            and (tariff.valid_to_us is None or at_us < tariff.valid_to_us)
        ]
        assert len(found) <= 1, "versions of a tariff overlap"
        return found[0] if found else None

    def pence(self, at: datetime) -> Decimal | None:
        version = self.version(at)
        if version is None:
            return None
        at_us = (at - EPOCH) // timedelta(microseconds=1)
        [charge] = version[1].segment(at_us).charges
        if isinstance(charge.rate, Decimal):
            return charge.rate * 100
        found = [value * 100 for start_us, end_us, value in self.points if start_us <= at_us < end_us]
        assert len(found) <= 1
        return found[0] if found else None

    def standing_pence(self, at: datetime) -> Decimal | None:
        version = self.version(at)
        charges = version[0].charges if version else ()
        found = [charge.amount * 100 for charge in charges if isinstance(charge, FixedCharge) and charge.per == "day"]
        return found[0] if found else None


# --- Series ----------------------------------------------------------------------------------------------------------


def test_half_hourly_prices_over_a_clock_change_become_a_series_by_utc_date() -> None:
    document = load("agile.json")
    result = import_octopus(document, NONE)
    assert result.refused == []
    assert result.left_out == []
    ours = Ours(result)
    for at in instants(datetime(2025, 3, 28, 20, tzinfo=UTC), datetime(2025, 4, 1, 4, tzinfo=UTC), 10):
        assert ours.pence(at) == published(document["standard_unit_rates"], at)
        assert ours.standing_pence(at) == published(document["standing_charges"], at)
    assert [series["points"][0]["start_time"] for series in result.series] == [
        "2025-03-29T00:00:00Z",
        "2025-03-30T00:00:00Z",
        "2025-03-31T00:00:00Z",
    ]
    assert {series["series_id"] for series in result.series} == {"E-1R-AGILE-24-10-01-C"}
    assert any(point["value"].startswith("-") for series in result.series for point in series["points"])


def test_a_changed_standing_charge_makes_a_version_that_follows_the_same_series() -> None:
    first, second = import_octopus(load("agile.json"), NONE).tariffs
    assert (first["version"], first["valid_from"], first["valid_to"]) == (
        1,
        "2024-10-01T23:00:00Z",
        "2025-03-30T23:00:00Z",
    )
    assert (second["version"], second["valid_from"], second["valid_to"]) == (2, "2025-03-30T23:00:00Z", None)
    assert first["charges"][0] == second["charges"][0]
    assert first["charges"][1] == {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.4557"}
    assert second["charges"][1]["amount"] == "0.479"
    assert first["taxes"] == [{"name": "VAT", "rate": "0.05"}]
    assert not first["prices_include_tax"]


def test_prices_of_local_days_are_cut_at_the_utc_date() -> None:
    summer = [
        rate("20.1", "21.105", f"2025-06-{day:02d}T23:00:00Z", f"2025-06-{day + 1:02d}T23:00:00Z") for day in (1, 2)
    ]
    result = import_octopus(wrapped(*summer), NONE)
    assert [[tuple(point.values()) for point in series["points"]] for series in result.series] == [
        [("2025-06-01T23:00:00Z", "2025-06-02T00:00:00Z", "0.201")],
        [
            ("2025-06-02T00:00:00Z", "2025-06-02T23:00:00Z", "0.201"),
            ("2025-06-02T23:00:00Z", "2025-06-03T00:00:00Z", "0.201"),
        ],
        [("2025-06-03T00:00:00Z", "2025-06-03T23:00:00Z", "0.201")],
    ]


def test_a_bare_page_of_half_hours_can_only_be_unit_rates() -> None:
    halves = [
        rate("10", "10.5", "2025-06-01T00:00:00Z", "2025-06-01T00:30:00Z"),
        rate("11", "11.55", "2025-06-01T00:30:00Z", "2025-06-01T01:00:00Z"),
    ]
    for document in (halves, {"results": halves}, [{"results": halves[:1]}, {"results": halves[1:]}]):
        result = import_octopus(document, NONE._replace(tariff_id="agile"))
        [tariff] = result.tariffs
        assert (tariff["valid_from"], tariff["valid_to"]) == (None, None)
        assert tariff["charges"] == [{"charge_id": "energy", "kind": "energy", "series": {"series_id": "agile"}}]
        assert [point["value"] for point in result.series[0]["points"]] == ["0.1", "0.11"]
        assert [str(part) for part in result.left_out] == ["standing_charges: not in the file: the tariff has none"]


def test_a_gap_between_prices_is_named_and_left_to_wait_for_its_price() -> None:
    result = import_octopus(
        wrapped(
            rate("10", "10.5", "2025-06-01T00:00:00Z", "2025-06-01T00:30:00Z"),
            rate("11", "11.55", "2025-06-01T01:00:00Z", "2025-06-01T01:30:00Z"),
        ),
        NONE,
    )
    assert str(result.left_out[1]) == (
        "standard_unit_rates[1]: no rate from 2025-06-01T00:30:00Z to 2025-06-01T01:00:00Z: "
        "intervals there wait for a price"
    )
    assert Ours(result).pence(datetime(2025, 6, 1, 0, 45, tzinfo=UTC)) is None
    assert result.refused == []


def test_prices_before_the_first_standing_charge_are_kept_and_its_absence_is_refused() -> None:
    document = wrapped(
        rate("10", "10.5", "2025-06-01T00:00:00Z", "2025-06-01T12:00:00Z"),
        rate("11", "11.55", "2025-06-01T12:00:00Z", "2025-06-02T00:00:00Z"),
        standing_charges=[rate("40", "42", "2025-06-01T12:00:00Z", "2025-07-01T00:00:00Z")],
    )
    result = import_octopus(document, NONE)
    assert [str(part) for part in result.refused] == [
        "standing_charges: no standing charge from the beginning to 2025-06-01T12:00:00Z: the tariff has none there"
    ]
    ours = Ours(result)
    assert ours.pence(datetime(2025, 6, 1, 11, tzinfo=UTC)) == 10
    assert ours.standing_pence(datetime(2025, 6, 1, 13, tzinfo=UTC)) == 40
    assert [(tariff["valid_from"], tariff["valid_to"]) for tariff in result.tariffs] == [
        (None, "2025-06-01T12:00:00Z"),
        ("2025-06-01T12:00:00Z", "2025-07-01T00:00:00Z"),
    ]


# --- Versions --------------------------------------------------------------------------------------------------------


def test_rates_that_hold_for_long_become_versions_with_their_validity() -> None:
    document = load("variable.json")
    result = import_octopus(document, NONE)
    ours = Ours(result)
    for at in instants(datetime(2023, 6, 29, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC), 180):
        pence = published(document["standard_unit_rates"], at)
        assert ours.pence(at) == pence
        assert ours.standing_pence(at) == (published(document["standing_charges"], at) if pence else None)
    assert result.series == []
    assert result.refused == []
    assert [(tariff["version"], tariff["valid_from"], tariff["valid_to"]) for tariff in result.tariffs] == [
        (1, "2023-06-30T23:00:00Z", "2023-12-01T00:00:00Z"),
        (2, "2024-01-01T00:00:00Z", "2024-03-31T23:00:00Z"),
        (3, "2024-03-31T23:00:00Z", None),
    ]
    assert {tariff["tariff_id"] for tariff in result.tariffs} == {"E-1R-VAR-22-11-01-N"}


def test_what_is_not_taken_of_a_variable_tariff_is_named() -> None:
    assert [str(part) for part in import_octopus(load("variable.json"), NONE).left_out] == [
        "standard_unit_rates: rates of the payment_method NON_DIRECT_DEBIT: those of DIRECT_DEBIT are taken",
        "standing_charges: rates of the payment_method NON_DIRECT_DEBIT: those of DIRECT_DEBIT are taken",
        (
            "standard_unit_rates.results[2]: no rate from 2023-12-01T00:00:00Z to 2024-01-01T00:00:00Z: "
            "intervals there wait for a price"
        ),
    ]


def test_another_way_of_payment_can_be_chosen() -> None:
    document = load("variable.json") | {"payment_method": "NON_DIRECT_DEBIT"}
    ours = Ours(import_octopus(document, NONE))
    for at in instants(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC), 360):
        assert ours.pence(at) == published(document["standard_unit_rates"], at, "NON_DIRECT_DEBIT")


def test_ways_of_payment_that_cost_the_same_are_one() -> None:
    both = [rate("20", "21", "2024-01-01T00:00:00Z", None, payment_method=name) for name in ("DIRECT_DEBIT", "CASH")]
    result = import_octopus(wrapped(*both), NONE)
    assert len(result.tariffs) == 1
    assert [part.path for part in result.left_out] == ["standing_charges"]


def test_neighbours_that_say_the_same_are_one_version() -> None:
    result = import_octopus(
        wrapped(
            rate("20", "21", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"),
            rate("20", "21", "2024-02-01T00:00:00Z", None),
        ),
        NONE,
    )
    assert [(tariff["valid_from"], tariff["valid_to"]) for tariff in result.tariffs] == [("2024-01-01T00:00:00Z", None)]


def test_equal_rates_on_both_sides_of_a_gap_are_two_versions() -> None:
    result = import_octopus(
        wrapped(
            rate("20", "21", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"),
            rate("20", "21", "2024-03-01T00:00:00Z", None),
        ),
        NONE,
    )
    assert Ours(result).pence(datetime(2024, 2, 15, tzinfo=UTC)) is None
    assert [tariff["version"] for tariff in result.tariffs] == [1, 2]


def test_two_registers_need_the_hours_of_the_night_and_price_by_the_local_clock() -> None:
    document = load("two_registers.json")
    ours = Ours(import_octopus(document, NONE))
    for at in instants(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 3, tzinfo=UTC), 10):
        clock = at.astimezone(ZoneInfo("Europe/London")).strftime("%H:%M")
        kind = "night_unit_rates" if "00:30" <= clock < "07:30" else "day_unit_rates"
        assert ours.pence(at) == published(document[kind], at)
        assert ours.standing_pence(at) == Decimal("45.57")
    assert len(ours.tariffs) == 3
    del document["night_hours"]
    with pytest.raises(DocumentError, match="night_hours: null: the rates do not say when it is night"):
        import_octopus(document, NONE)


def test_many_half_hours_with_one_that_has_no_end_become_a_series_without_it() -> None:
    halves = [
        rate("10", "10.5", at.isoformat(), (at + timedelta(minutes=30)).isoformat())
        for at in instants(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 13, tzinfo=UTC), 30)
    ]
    result = import_octopus(wrapped(*halves, rate("9", "9.45", "2025-01-13T00:00:00Z", None)), NONE)
    assert [str(part) for part in result.refused] == [
        "standard_unit_rates[576]: a rate without a beginning or an end among those of a series"
    ]
    assert len(result.series) == 12


# --- Money -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "taxes", "with_tax", "rates"),
    [
        ([("24.03", "25.2315")], "0.05", False, ["0.2403"]),
        ([("13.4286", "14.1"), ("-2.8571", "-3.0")], "0.05", False, ["0.134286", "-0.028571"]),
        ([("20", "24"), ("15.5", "18.6")], "0.2", False, ["0.2", "0.155"]),
        ([("20", "20"), ("15.5", "15.5")], None, False, ["0.2", "0.155"]),
        ([("20", "23"), ("15.5", "16")], None, True, ["0.23", "0.16"]),
        ([("0.1", "0.1")], None, False, ["0.001"]),
        ([(None, "23")], None, True, ["0.23"]),
        ([("0.1234567890123456", "0.12962962846296288")], "0.05", False, ["0.001234567890123456"]),
    ],
)
def test_vat_is_a_tax_where_one_rate_of_it_explains_all_values(
    pairs: list[tuple[str, str]], taxes: str | None, *, with_tax: bool, rates: list[str]
) -> None:
    days = [
        rate(*pair, f"2025-0{month}-01T00:00:00Z", f"2025-0{month + 1}-01T00:00:00Z")
        for month, pair in enumerate(pairs, start=1)
    ]
    result = import_octopus(wrapped(*days), NONE)
    assert [tariff["charges"][0]["bands"][0]["tiers"][0]["rate"] for tariff in result.tariffs] == rates
    for tariff in result.tariffs:
        assert tariff["prices_include_tax"] is with_tax
        assert tariff["taxes"] == ([] if taxes is None else [{"name": "VAT", "rate": taxes}])
    assert ("value_exc_vat" in [part.path for part in result.left_out]) is with_tax


def test_a_value_without_vat_alone_does_not_say_enough() -> None:
    result = import_octopus(wrapped(rate("20", None, "2025-01-01T00:00:00Z", None)), NONE)
    assert [part.path for part in result.refused] == ["value_inc_vat"]


def test_export_earns_the_value_without_vat_and_has_no_standing_charge() -> None:
    document = load("outgoing_page.json")
    with pytest.raises(DocumentError, match="direction: missing"):
        import_octopus(document, NONE)
    result = import_octopus(document, NONE._replace(direction="EXPORT"))
    assert (result.refused, result.left_out) == ([], [])
    ours = Ours(result)
    for at in instants(datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), 360):
        assert ours.pence(at) == published(document, at)
    assert all(isinstance(charge, EnergyCharge) for tariff in ours.tariffs for charge in tariff.charges)
    assert {(tariff.tariff_id, tariff.direction) for tariff in ours.tariffs} == {
        ("E-1R-OUTGOING-VAR-24-10-26-C", "EXPORT")
    }


def test_vat_on_export_is_left_out_and_a_standing_charge_refused() -> None:
    document = wrapped(
        rate("10", "10.5", None, None),
        standing_charges=[rate("0", "0", None, "2025-01-01T00:00:00Z"), rate("4", "4.2", "2025-01-01T00:00:00Z", None)],
    )
    result = import_octopus(document, NONE._replace(direction="EXPORT"))
    assert [part.path for part in result.left_out] == ["value_inc_vat"]
    assert [str(part) for part in result.refused] == ["standing_charges[1]: a standing charge on export"]
    [tariff] = result.tariffs
    assert (tariff["valid_from"], tariff["taxes"]) == (None, [])
    assert tariff["charges"][0]["bands"][0]["tiers"] == [{"up_to_kwh": None, "rate": "0.1"}]


# --- What is refused -------------------------------------------------------------------------------------------------


def test_rates_that_overlap_are_both_refused() -> None:
    result = import_octopus(
        wrapped(
            rate("10", "10.5", "2025-01-01T00:00:00Z", "2025-03-01T00:00:00Z"),
            rate("11", "11.55", "2025-02-01T00:00:00Z", "2025-04-01T00:00:00Z"),
            rate("12", "12.6", "2025-04-01T00:00:00Z", None),
            rate("12", "12.6", "2025-04-01T00:00:00Z", None),
        ),
        NONE,
    )
    assert [str(part) for part in result.refused] == [
        "standard_unit_rates[1]: overlaps standard_unit_rates[0]: which of the two holds is not said, and neither is taken"
    ]
    assert [tariff["valid_from"] for tariff in result.tariffs] == ["2025-04-01T00:00:00Z"]


def test_unknown_fields_and_missing_pages_are_refused_by_their_path() -> None:
    page = {"count": 3, "next": "…", "results": [rate("10", "10.5", None, None, tier=2)], "currency": "EUR"}
    result = import_octopus({"tariff-code": "x", "tariff_code": CODE, "standard-unit-rates": page, "discount": 1}, NONE)
    assert [part.path for part in result.refused] == [
        "discount",
        "standard-unit-rates.currency",
        "standard-unit-rates.results[0].tier",
        "standard-unit-rates.count",
    ]


@pytest.mark.parametrize(
    ("document", "options", "problem"),
    [
        ("rates", NONE, "document: 'rates' is not a page of rates"),
        ({}, NONE, "document: {} holds no rates"),
        ([], NONE._replace(tariff_id="t"), "results: empty"),
        ([rate("1", "1.05", None, None)], NONE, "document: a page does not say what its values are"),
        ([rate("1", "1.05", None, None)], NONE, "tariff_id: missing"),
        (wrapped(rate("1", "1.05", None, None), tariff_code="G-1R-VAR-22-11-01-A"), NONE, "tariff_code: 'G-1R"),
        (wrapped(rate("1", "1.05", None, None), tariff_code="E-1R-FLUX-EXPORT-23-02-14-A"), NONE, "direction: missing"),
        (wrapped(rate("1", "1.05", None, None)), NONE._replace(currency="EUR"), "currency: 'EUR'"),
        (wrapped(rate("1", "1.05", None, None)), NONE._replace(direction="LOCAL"), "direction: 'LOCAL'"),
        (wrapped(rate("1", "1.05", None, None)), NONE._replace(timezone="BST"), "timezone: 'BST'"),
        (wrapped(rate("1", "1.05", None, None), day_unit_rates=[]), NONE, "standard_unit_rates: beside day"),
        ({"tariff_code": CODE, "standing_charges": []}, NONE, "standing_charges: no tariff without its unit rates"),
        (wrapped(rate("1", "1.05", None, None, payment_method="CASH")), NONE, "standard_unit_rates: no rate of the"),
        (wrapped(rate(None, None, None, None)), NONE, "standard_unit_rates[0].value_inc_vat: missing"),
        (wrapped(rate("1", "1.05", "2025-01-01", None)), NONE, "standard_unit_rates[0].valid_from: '2025-01-01'"),
        (
            wrapped(rate("1", "1.05", "2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z")),
            NONE,
            "standard_unit_rates[0].valid_to: '2025-01-01T00:00:00Z' is not after valid_from",
        ),
        (wrapped(rate("1", "1.05", None, None) | {"value_exc_vat": "1"}), NONE, "standard_unit_rates[0].value_exc_vat"),
        (wrapped(3), NONE, "standard_unit_rates[0]: 3 is not a rate"),
    ],
)
def test_a_document_or_option_that_is_of_no_use_is_an_error(
    document: Any, options: ImportOptions, problem: str
) -> None:
    with pytest.raises(DocumentError) as caught:
        import_octopus(document, options)
    assert any(found.startswith(problem) for found in caught.value.problems), caught.value.problems


def test_a_page_of_standing_charges_alone_is_never_taken_for_prices_of_energy() -> None:
    link = f"https://api.octopus.energy/v1/products/T/electricity-tariffs/{CODE}/standing-charges/?page=2"
    page = {"count": 1, "next": link, "previous": None, "results": [rate("40", "42", None, None)]}
    with pytest.raises(DocumentError, match="standing_charges: no tariff without its unit rates"):
        import_octopus(page, NONE)
    gas = page | {"next": link.replace("electricity", "gas").replace("standing-charges", "standard-unit-rates")}
    with pytest.raises(DocumentError, match="tariff for gas"):
        import_octopus(gas, NONE)
