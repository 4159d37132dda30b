"""What intervals cost, told through whole books: put in locations, tariffs and series; ask for a price."""

from decimal import Decimal
from typing import Any

import pytest

from app.domain.instants import parse_instant_us
from app.domain.pricing import split
from app.domain.rates import AmountMemory, IntervalPrice, Rates
from app.domain.reference import ReferenceBook
from app.domain.tariffs import Direction, Tariff
from app.domain.timeline import ChargeRate
from app.wire.location import parse_location
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff

KWH = 10**9
MINUTE_US = 60_000_000
FLAT = [{"name": "flat", "tiers": [{"rate": "0.30"}]}]
PEAK_AND_REST = [
    {"name": "peak", "when": [{"start": "16:00", "end": "19:00"}], "tiers": [{"rate": "0.40"}]},
    {"name": "rest", "tiers": [{"rate": "0.10"}]},
]


def us(text: str) -> int:
    """Return an instant of the first of June 2025, or a full one."""
    return parse_instant_us(text if "T" in text else f"2025-06-01T{text}:00Z")


def tariff(*charges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    given = {"tariff_id": "t", "direction": "IMPORT", "currency": "GBP", "timezone": "UTC"}
    return given | {"charges": [{"charge_id": f"c{n}", "kind": "energy"} | c for n, c in enumerate(charges)]} | fields


def link(
    tariff_id: str = "t", direction: str = "IMPORT", start: str | None = None, end: str | None = None
) -> dict[str, Any]:
    return {"tariff_id": tariff_id, "direction": direction, "valid_from": start, "valid_to": end}


def book(*tariffs: dict[str, Any], links: list[dict[str, Any]] | None = None, **location: Any) -> ReferenceBook:
    found = ReferenceBook()
    for document in tariffs:
        found.put_tariff(parse_tariff(document))
    default = [link(document["tariff_id"], document["direction"]) for document in tariffs]
    links = default if links is None else links
    found.put_location(parse_location({"location_id": "l", "timezone": "UTC", "tariffs": links} | location))
    return found


def price(
    known: ReferenceBook,
    start: str,
    end: str,
    energy_uwh: int,
    parts: tuple[tuple[str, str, int], ...] = (),
    *,
    direction: Direction = "IMPORT",
    flow: str = "INBOUND",
) -> IntervalPrice:
    pieces = [(us(a), us(b), uwh) for a, b, uwh in parts]
    return known.plan("l", direction).price(us(start), us(end), energy_uwh, pieces, flow)


def series(series_id: str, *points: tuple[str, str, str], kind: str = "price", unit: str = "GBP/kWh") -> dict[str, Any]:
    return {
        "series_id": series_id,
        "kind": kind,
        "unit": unit,
        "points": [
            {"start_time": f"2025-06-01T{a}:00Z", "end_time": f"2025-06-01T{b}:00Z", "value": v} for a, b, v in points
        ],
    }


def test_energy_times_rate_is_the_cost() -> None:
    found = price(book(tariff({"bands": FLAT})), "12:00", "12:30", 512 * KWH // 1000)
    assert (found.status, found.reason, found.currency) == ("priced", None, "GBP")
    assert (found.cost, found.cost_excluding_tax, found.tax) == ("0.1536", "0.1536", "0")
    assert (found.tariff_id, found.tariff_version, found.carbon_g) == ("t", 1, None)
    (component,) = found.components
    assert (component.charge_id, component.band, component.tier, component.rate) == ("c0", "flat", 1, "0.3")
    assert (component.start_us, component.end_us, component.energy_uwh) == (us("12:00"), us("12:30"), 512_000_000)
    assert (component.cost, component.cost_excluding_tax) == ("0.1536", "0.1536")


def test_taxes_add_up_and_are_put_on_prices_that_exclude_them() -> None:
    taxes = [{"name": "VAT", "rate": "0.05"}, {"name": "levy", "rate": "0.025"}]
    found = price(book(tariff({"bands": FLAT}, taxes=taxes)), "12:00", "12:30", KWH)
    assert (found.cost, found.cost_excluding_tax, found.tax) == ("0.3225", "0.3", "0.0225")
    assert found.components[0].rate == "0.3"


def test_taxes_are_taken_out_of_prices_that_include_them() -> None:
    given = tariff({"bands": FLAT}, taxes=[{"name": "VAT", "rate": "0.05"}], prices_include_tax=True)
    found = price(book(given), "12:00", "12:30", KWH)
    assert (found.cost, found.cost_excluding_tax, found.tax) == ("0.3", "0.285714285714", "0.014285714286")
    assert found.components[0].cost_excluding_tax == "0.285714285714"


def test_a_tax_that_divides_evenly_stays_exact() -> None:
    given = tariff({"bands": FLAT}, taxes=[{"name": "VAT", "rate": "0.25"}], prices_include_tax=True)
    found = price(book(given), "12:00", "12:30", 1)
    assert found.components[0].cost == "0.0000000003"
    assert found.components[0].cost_excluding_tax == "0.00000000024"
    even = tariff({"bands": FLAT}, taxes=[{"name": "VAT", "rate": "0.05"}], prices_include_tax=True)
    assert price(book(even), "12:00", "12:30", 21).components[0].cost_excluding_tax == "0.000000006"


def test_a_component_is_exact_where_the_interval_is_rounded_half_even() -> None:
    bands = [{"name": "b", "tiers": [{"rate": "0.00005"}]}]
    known = book(tariff({"bands": bands}))
    for energy_uwh, component, cost in [
        (10, "0.0000000000005", "0"),
        (30, "0.0000000000015", "0.000000000002"),
        (50, "0.0000000000025", "0.000000000002"),
        (51, "0.00000000000255", "0.000000000003"),
    ]:
        found = price(known, "12:00", "12:30", energy_uwh)
        assert (found.components[0].cost, found.cost) == (component, cost)


def test_rounding_happens_once_for_all_charges_together() -> None:
    tenth = [{"name": "b", "tiers": [{"rate": "0.00004"}]}]
    found = price(book(tariff({"bands": tenth}, {"bands": tenth})), "12:00", "12:30", 10)
    assert [component.cost for component in found.components] == ["0.0000000000004", "0.0000000000004"]
    assert found.cost == "0.000000000001"


def test_charges_add_up_and_a_fixed_charge_is_not_among_them() -> None:
    fixed = {"kind": "fixed", "per": "day", "amount": "0.55"}
    found = price(book(tariff({"bands": FLAT}, {"bands": PEAK_AND_REST}, fixed)), "17:00", "17:30", KWH)
    assert [(c.charge_id, c.band, c.cost) for c in found.components] == [("c0", "flat", "0.3"), ("c1", "peak", "0.4")]
    assert found.cost == "0.7"


def test_an_interval_over_a_boundary_is_priced_by_its_records_own_periods() -> None:
    known = book(tariff({"bands": PEAK_AND_REST}))
    parts = (("15:30", "16:00", 3 * KWH), ("16:00", "16:30", KWH))
    found = price(known, "15:30", "16:30", 4 * KWH, parts)
    assert [(c.band, c.energy_uwh, c.cost) for c in found.components] == [
        ("rest", 3 * KWH, "0.3"),
        ("peak", KWH, "0.4"),
    ]
    assert found.cost == "0.7"


def test_a_record_over_a_boundary_is_cut_at_constant_power() -> None:
    found = price(book(tariff({"bands": PEAK_AND_REST})), "15:30", "16:30", KWH, (("15:40", "16:10", KWH),))
    assert [(c.band, c.energy_uwh) for c in found.components] == [("rest", 666_666_666), ("peak", 333_333_334)]
    assert [(c.start_us, c.end_us) for c in found.components] == [
        (us("15:30"), us("16:00")),
        (us("16:00"), us("16:30")),
    ]


def test_a_segment_without_records_has_no_component() -> None:
    found = price(book(tariff({"bands": PEAK_AND_REST})), "15:30", "16:30", KWH, (("15:40", "15:50", KWH),))
    assert [c.band for c in found.components] == ["rest"]


def test_a_record_without_duration_lies_in_the_segment_of_its_instant() -> None:
    found = price(book(tariff({"bands": PEAK_AND_REST})), "15:30", "16:30", 0, (("16:00", "16:00", 0),))
    assert [(c.band, c.energy_uwh, c.cost) for c in found.components] == [("peak", 0, "0")]


def test_a_month_is_priced_as_one_interval_of_many_segments() -> None:
    start, end = us("2025-06-01T00:00:00Z"), us("2025-07-01T00:00:00Z")
    found = book(tariff({"bands": PEAK_AND_REST})).plan("l", "IMPORT").price(start, end, 720 * KWH, (), "INBOUND")
    assert found.cost == "99"  # 90 peak hours at 0.40, 630 others at 0.10, 1 kWh an hour
    assert len(found.components) == 61


def test_a_flat_month_has_one_component() -> None:
    start, end = us("2025-06-01T00:00:00Z"), us("2025-07-01T00:00:00Z")
    found = book(tariff({"bands": FLAT})).plan("l", "IMPORT").price(start, end, KWH, (), "INBOUND")
    assert [(c.start_us, c.end_us) for c in found.components] == [(start, end)]


def test_export_is_credited_and_a_negative_price_makes_it_a_cost() -> None:
    known = book(tariff({"bands": FLAT}, direction="EXPORT", tariff_id="e"))
    found = price(known, "12:00", "12:30", KWH, direction="EXPORT", flow="OUTBOUND")
    assert (found.cost, found.components[0].cost, found.components[0].rate) == ("-0.3", "-0.3", "0.3")
    assert found.components[0].energy_uwh == KWH
    negative = [{"name": "n", "tiers": [{"rate": "-0.02"}]}]
    known = book(tariff({"bands": negative}, direction="EXPORT", tariff_id="e"))
    assert price(known, "12:00", "12:30", KWH, direction="EXPORT", flow="OUTBOUND").cost == "0.02"


def test_nothing_exported_is_zero_and_never_minus_zero() -> None:
    known = book(tariff({"bands": FLAT}, direction="EXPORT", tariff_id="e", taxes=[{"name": "VAT", "rate": "0.05"}]))
    found = price(known, "12:00", "12:30", 0, direction="EXPORT", flow="OUTBOUND")
    assert (found.cost, found.cost_excluding_tax, found.tax) == ("0", "0", "0")
    assert found.components[0].cost == "0"


def test_export_without_a_band_earns_nothing_and_has_no_component() -> None:
    bands = [{"name": "noon", "when": [{"start": "11:00", "end": "14:00"}], "tiers": [{"rate": "0.05"}]}]
    known = book(tariff({"bands": bands}, direction="EXPORT", tariff_id="e"))
    found = price(known, "18:00", "18:30", KWH, direction="EXPORT", flow="OUTBOUND")
    assert (found.status, found.cost, found.components, found.tariff_id) == ("priced", "0", (), "e")


@pytest.mark.parametrize(
    "charge",
    [
        {"kind": "fixed", "per": "day", "amount": "0.50"},
        {
            "kind": "demand",
            "bands": [{"name": "evening", "when": [{"start": "17:00", "end": "20:00"}], "tiers": [{"rate": "5"}]}],
        },
    ],
    ids=lambda charge: str(charge["kind"]),
)
@pytest.mark.parametrize(("direction", "flow"), [("IMPORT", "INBOUND"), ("EXPORT", "OUTBOUND")])
def test_a_tariff_without_energy_charges_leaves_energy_free(
    charge: dict[str, Any], direction: Direction, flow: str
) -> None:
    """Found by fuzzing: such a tariff was loaded, and no location could be priced by it."""
    known = book(tariff(charge, direction=direction))
    found = price(known, "18:00", "18:30", KWH, direction=direction, flow=flow)
    assert (found.status, found.cost, found.components, found.tariff_id) == ("priced", "0", (), "t")


def test_local_energy_costs_where_it_comes_in_and_earns_where_it_goes_out() -> None:
    known = book(tariff({"bands": FLAT}, direction="LOCAL"))
    costs = [price(known, "12:00", "12:30", KWH, direction="LOCAL", flow=flow).cost for flow in ("INBOUND", "OUTBOUND")]
    assert costs == ["0.3", "-0.3"]


def test_local_energy_without_a_link_is_free() -> None:
    found = price(book(), "12:00", "12:30", KWH, direction="LOCAL")
    assert (found.status, found.cost, found.cost_excluding_tax, found.tax) == ("priced", "0", "0", "0")
    assert (found.components, found.currency, found.tariff_id, found.tariff_version) == ((), None, None, None)


def test_local_energy_with_a_link_to_an_unknown_tariff_waits_for_it() -> None:
    known = book(links=[link("later", "LOCAL")])
    assert price(known, "12:00", "12:30", KWH, direction="LOCAL").reason == "no_tariff"


@pytest.mark.parametrize(
    "links",
    [
        [],
        [link("unknown")],
        [link("t", "EXPORT")],
        [link(end="2025-06-01T12:00:00Z")],
        [link(start="2025-06-01T12:30:00Z")],
    ],
)
def test_without_a_tariff_in_force_there_is_no_cost_but_a_reason(links: list[dict[str, Any]]) -> None:
    found = price(book(tariff({"bands": FLAT}), links=links), "12:00", "12:30", KWH)
    assert (found.status, found.reason, found.cost, found.tax) == ("pending", "no_tariff", None, None)
    assert (found.currency, found.tariff_id, found.components) == (None, None, ())


def test_a_link_to_a_tariff_of_another_direction_prices_nothing() -> None:
    known = book(tariff({"bands": FLAT}), links=[link("t", "EXPORT")])
    assert price(known, "12:00", "12:30", KWH, direction="EXPORT", flow="OUTBOUND").reason == "no_tariff"


def test_outside_its_validity_a_tariff_prices_nothing() -> None:
    given = tariff({"bands": FLAT}, valid_from="2025-06-01T12:00:00Z", valid_to="2025-06-01T13:00:00Z")
    known = book(given)
    reasons = [price(known, a, b, KWH).reason for a, b in [("11:30", "12:00"), ("12:00", "13:00"), ("13:00", "13:30")]]
    assert reasons == ["no_tariff", None, "no_tariff"]


def test_a_moment_without_tariff_matters_only_where_there_is_a_record() -> None:
    known = book(tariff({"bands": FLAT}), links=[link(start="2025-06-01T12:10:00Z")])
    covered = price(known, "12:00", "12:30", KWH, (("12:00", "12:30", KWH),))
    assert (covered.status, covered.reason) == ("pending", "no_tariff")
    beside = price(known, "12:00", "12:30", KWH, (("12:10", "12:30", KWH),))
    assert (beside.status, beside.cost, beside.tariff_id) == ("priced", "0.3", "t")


def test_an_interval_over_a_change_of_tariff_is_priced_by_both_and_names_the_first() -> None:
    change = "2025-06-01T12:15:00Z"
    dear = [{"name": "dear", "tiers": [{"rate": "0.90"}]}]
    known = book(
        tariff({"bands": FLAT}, version=3),
        tariff({"bands": dear}, tariff_id="u", version=7),
        links=[link("t", end=change), link("u", start=change)],
    )
    found = price(known, "12:00", "12:30", KWH)
    assert [(c.band, c.energy_uwh, c.cost) for c in found.components] == [
        ("flat", KWH // 2, "0.15"),
        ("dear", KWH // 2, "0.45"),
    ]
    assert (found.cost, found.tariff_id, found.tariff_version) == ("0.6", "t", 3)


def test_two_currencies_in_one_interval_are_not_added() -> None:
    change = "2025-06-01T12:15:00Z"
    known = book(
        tariff({"bands": FLAT}),
        tariff({"bands": FLAT}, tariff_id="u", currency="EUR"),
        links=[link("t", end=change), link("u", start=change)],
    )
    found = price(known, "12:00", "12:30", KWH)
    assert (found.status, found.reason, found.currency, found.cost) == ("pending", "mixed_currency", None, None)
    late = price(known, "12:00", "12:30", KWH, (("12:15", "12:30", KWH),))
    assert (late.status, late.currency, late.tariff_id) == ("priced", "EUR", "u")


@pytest.mark.parametrize(
    ("value", "rate"),
    [("0.20", "0.23"), ("2.00", "1"), ("-3", "-0.5"), ("0.123456", "0.1541472")],
)
def test_a_charge_follows_its_series_within_cap_and_floor(value: str, rate: str) -> None:
    rule = {"series_id": "S", "multiplier": "1.2", "adder": "0.006", "cap": "1.00", "floor": "-0.5"}
    rule |= {"multiplier": "1.2", "adder": "-0.01"} if value == "0.20" else {}
    known = book(tariff({"series": rule}))
    known.put_series(parse_series(series("S", ("12:00", "12:30", value))))
    found = price(known, "12:00", "12:30", KWH)
    assert (found.components[0].rate, found.cost) == (rate, rate)
    assert (found.components[0].band, found.components[0].tier) == (None, None)


def test_a_missing_point_is_waited_for_and_no_neighbours_price_is_taken() -> None:
    known = book(tariff({"series": {"series_id": "S"}}))
    known.put_series(parse_series(series("S", ("11:30", "12:00", "0.1"), ("12:30", "13:00", "0.2"))))
    found = price(known, "12:00", "12:30", KWH)
    assert (found.status, found.reason, found.cost, found.tariff_id) == ("pending", "no_price", None, "t")
    assert price(known, "11:30", "12:00", KWH).cost == "0.1"
    known.put_series(parse_series(series("S", ("12:00", "12:30", "0.7"))))
    assert price(known, "12:00", "12:30", KWH).cost == "0.7"
    assert price(known, "11:30", "12:00", KWH).reason == "no_price"


def test_a_gap_inside_an_interval_matters_only_where_there_is_a_record() -> None:
    known = book(tariff({"series": {"series_id": "S"}}))
    known.put_series(parse_series(series("S", ("12:00", "12:15", "0.1"), ("12:20", "12:30", "0.2"))))
    assert price(known, "12:00", "12:30", KWH).reason == "no_price"
    parts = (("12:00", "12:15", KWH), ("12:20", "12:30", KWH))
    assert price(known, "12:00", "12:30", 2 * KWH, parts).cost == "0.3"


def test_a_series_in_another_currency_is_no_price() -> None:
    known = book(tariff({"series": {"series_id": "S"}}))
    known.put_series(parse_series(series("S", ("12:00", "12:30", "0.1"), unit="EUR/kWh")))
    assert price(known, "12:00", "12:30", KWH).reason == "no_price"


def test_points_of_equal_value_are_one_component() -> None:
    known = book(tariff({"series": {"series_id": "S"}}))
    known.put_series(
        parse_series(series("S", ("12:00", "12:10", "0.1"), ("12:10", "12:20", "0.1"), ("12:20", "12:30", "0.2")))
    )
    found = price(known, "12:00", "12:30", 3 * KWH)
    assert [(c.energy_uwh, c.rate) for c in found.components] == [(2 * KWH, "0.1"), (KWH, "0.2")]


def test_carbon_is_energy_times_intensity_of_imports_only() -> None:
    known = book(tariff({"bands": FLAT}), carbon_series_id="C")
    assert price(known, "12:00", "12:30", KWH).carbon_g is None
    known.put_series(
        parse_series(
            series("C", ("12:00", "12:30", "212.5"), ("12:30", "13:00", "100"), kind="carbon", unit="gCO2e/kWh")
        )
    )
    assert price(known, "12:00", "12:30", KWH // 2).carbon_g == "106.25"
    assert price(known, "12:00", "13:00", 2 * KWH).carbon_g == "312.5"
    assert price(known, "12:30", "13:30", 2 * KWH).carbon_g is None
    assert price(known, "12:30", "13:30", KWH, (("12:30", "13:00", KWH),)).carbon_g == "100"
    assert price(known, "12:00", "12:30", KWH, direction="LOCAL").carbon_g is None


def test_carbon_is_told_while_the_price_is_pending() -> None:
    known = book(carbon_series_id="C")
    known.put_series(parse_series(series("C", ("12:00", "12:30", "200"), kind="carbon", unit="gCO2e/kWh")))
    found = price(known, "12:00", "12:30", KWH)
    assert (found.reason, found.carbon_g) == ("no_tariff", "200")


def test_pieces_of_a_part_sum_to_it_exactly() -> None:
    starts = [0, 1, 3, 7, 9]
    assert split(0, 10, 10, [(0, 10, 10)], starts) == [1, 2, 4, 2, 1]
    assert split(0, 10, 7, [(0, 10, 7)], starts) == [0, 2, 2, 2, 1]
    assert split(0, 10, 3, [(2, 2, 0), (3, 8, 3)], starts) == [None, 0, 2, 1, None]


@pytest.mark.parametrize("parts", [[(0, 11, 7)], [(-1, 5, 7)], [(6, 5, 7)], [(0, 10, 6)]])
def test_parts_that_are_not_the_intervals_own_are_a_bug(parts: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match=r"lies outside its interval|parts sum to 6"):
        split(0, 10, 7, parts, [0, 5])


def test_remembered_amounts_are_bounded_and_forgetting_changes_no_price() -> None:
    charges = (ChargeRate("c", "b", 1, Decimal("0.3")),)
    rates = Rates(Tariff("t", 1, "IMPORT", "GBP", "UTC", ()), charges, AmountMemory(limit=3))
    first = [rates.amounts(wh * 10**6)[0] for wh in range(1, 11)]
    assert len(rates.memo) <= 3
    assert [rates.amounts(wh * 10**6)[0] for wh in range(1, 11)] == first
    assert first[9] == "0.003"
