"""What holds for all tariffs, energies and cuts."""

from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.domain.calendar import timezones
from app.domain.instants import parse_instant_us
from app.domain.locations import Location, TariffLink
from app.domain.pricing import PricePlan, Span, split
from app.domain.rates import AmountMemory, IntervalPrice
from app.domain.tariff_pricer import TariffPricer
from app.domain.tariffs import (
    DAY_NAMES,
    Band,
    Charge,
    Direction,
    EnergyCharge,
    FixedCharge,
    Rounding,
    SeriesDay,
    SeriesPoint,
    SeriesRate,
    Tariff,
    Tax,
    Tier,
    When,
)
from app.domain.timeline import BEGINNING_US, END_US, holes
from app.wire.reference import parse_document, to_document

# A tariff's months are compiled anew in each example: fewer of them, and no deadline on a machine that is busy.
compiled = settings(max_examples=40, deadline=None)

MINUTE_US = 60_000_000
START_US = parse_instant_us("2025-01-01T00:00:00Z")
YEAR_MINUTES = 365 * 1440
WIDE = Context(prec=300, rounding=ROUND_HALF_EVEN)

rates = st.decimals(-2, 2, places=5)
energies = st.integers(0, 10**13)
taxes = st.lists(st.builds(Tax, st.just("tax"), st.decimals(0, 1, places=3)), max_size=2).map(tuple)
minutes = st.integers(0, 1440)
month_days = st.dates(date(2024, 1, 1), date(2024, 12, 31)).map(lambda on: (on.month, on.day))
windows = st.builds(
    When, month_days, month_days, st.frozensets(st.sampled_from(DAY_NAMES), min_size=1), minutes, minutes
)
names = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8)
directions: st.SearchStrategy[Direction] = st.sampled_from(["IMPORT", "EXPORT", "LOCAL"])


def bands_of(given_rates: list[Decimal], given_windows: list[tuple[When, ...]]) -> tuple[Band, ...]:
    """Name bands by their place; the last one takes what is left."""
    found = [
        Band(f"band {number}", when, (Tier(None, rate),))
        for number, (rate, when) in enumerate(zip(given_rates[1:], given_windows, strict=False))
    ]
    return (*found, Band("rest", (), (Tier(None, given_rates[0]),)))


bands = st.builds(
    bands_of,
    st.lists(rates, min_size=1, max_size=4),
    st.lists(st.lists(windows, min_size=1, max_size=2).map(tuple), max_size=3),
)
zones = st.sampled_from(["Europe/London", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kolkata"])


@st.composite
def tariffs(draw: st.DrawFn, direction: Direction = "IMPORT") -> Tariff:
    charges = tuple(EnergyCharge(f"charge {n}", draw(bands)) for n in range(draw(st.integers(1, 2))))
    holidays = draw(st.frozensets(st.dates(date(2025, 1, 1), date(2025, 12, 31)), max_size=3))
    return Tariff(
        "t", 1, direction, "GBP", draw(zones), charges,
        prices_include_tax=draw(st.booleans()), taxes=draw(taxes), holidays=holidays,
    )  # fmt: skip


def plan_of(tariff: Tariff) -> PricePlan:
    pricer = TariffPricer(tariff, {}, AmountMemory())
    return PricePlan(tariff.direction, [Span(BEGINNING_US, END_US, pricer)], None)


def exact(found: IntervalPrice) -> Fraction:
    return sum((Fraction(component.cost) for component in found.components), start=Fraction(0))


def segments_of(found: IntervalPrice) -> int:
    return len({component.start_us for component in found.components})


def rounded(amount: Fraction) -> Decimal:
    return WIDE.divide(Decimal(amount.numerator), Decimal(amount.denominator)).quantize(
        Decimal(10) ** -12, context=WIDE
    )


@st.composite
def intervals(draw: st.DrawFn, longest_minutes: int = 60) -> tuple[int, int]:
    start = START_US + draw(st.integers(0, YEAR_MINUTES)) * MINUTE_US
    return start, start + draw(st.integers(1, longest_minutes)) * MINUTE_US


@st.composite
def parts_of(draw: st.DrawFn, start_us: int, end_us: int) -> list[tuple[int, int, int]]:
    """Cut an interval anywhere; leave some of it uncovered."""
    cuts = sorted({start_us, end_us, *draw(st.lists(st.integers(start_us, end_us), max_size=4))})
    pieces = list(pairwise(cuts))
    kept = draw(st.lists(st.sampled_from(pieces), min_size=1, unique=True))
    return [(a, b, draw(energies)) for a, b in sorted(kept)]


@compiled
@given(st.data(), tariffs(), intervals())
def test_without_tiers_the_cost_of_two_energies_is_the_sum_of_their_costs(
    data: st.DataObject, tariff: Tariff, interval: tuple[int, int]
) -> None:
    one, other = data.draw(energies), data.draw(energies)
    plan, (start, end) = plan_of(tariff), interval
    together = plan.price(start, end, one + other, (), "INBOUND")
    assume(segments_of(together) == 1)
    assert exact(together) == sum(exact(plan.price(start, end, uwh, (), "INBOUND")) for uwh in (one, other))


@compiled
@given(st.data(), tariffs(), intervals())
def test_two_parts_cost_together_what_they_cost_apart(
    data: st.DataObject, tariff: Tariff, interval: tuple[int, int]
) -> None:
    start, end = interval
    parts = data.draw(parts_of(start, end))
    plan = plan_of(tariff)
    apart = sum(exact(plan.price(start, end, part[2], [part], "INBOUND")) for part in parts)
    together = plan.price(start, end, sum(part[2] for part in parts), parts, "INBOUND")
    assert exact(together) == apart


@compiled
@given(st.data(), tariffs(), intervals())
def test_inside_one_segment_it_does_not_matter_how_records_are_cut(
    data: st.DataObject, tariff: Tariff, interval: tuple[int, int]
) -> None:
    start, end = interval
    parts = data.draw(parts_of(start, end))
    total = sum(part[2] for part in parts)
    plan = plan_of(tariff)
    whole = plan.price(start, end, total, (), "INBOUND")
    assume(segments_of(whole) == 1)
    assert plan.price(start, end, total, parts, "INBOUND") == whole


@compiled
@given(tariffs(), intervals(24 * 60), energies)
def test_components_sum_to_the_cost_which_is_rounded_once(
    tariff: Tariff, interval: tuple[int, int], energy_uwh: int
) -> None:
    found = plan_of(tariff).price(*interval, energy_uwh, (), "INBOUND")
    assert found.cost is not None
    assert found.cost_excluding_tax is not None
    assert found.tax is not None
    assert Decimal(found.cost) == rounded(exact(found))
    assert Fraction(found.cost) == Fraction(found.cost_excluding_tax) + Fraction(found.tax)
    if all(-component_exponent(component.cost) <= 12 for component in found.components):
        assert sum(Fraction(component.cost) for component in found.components) == Fraction(found.cost)


def component_exponent(text: str) -> int:
    exponent = Decimal(text).as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


@compiled
@given(tariffs(), intervals(24 * 60), energies)
def test_a_component_is_its_energy_times_its_rate_and_taxes(
    tariff: Tariff, interval: tuple[int, int], energy_uwh: int
) -> None:
    with_tax = 1 + sum((Fraction(tax.rate) for tax in tariff.taxes), start=Fraction(0))
    for component in plan_of(tariff).price(*interval, energy_uwh, (), "INBOUND").components:
        plain = Fraction(component.energy_uwh, 10**9) * Fraction(component.rate)
        assert Fraction(component.cost) == (plain if tariff.prices_include_tax else plain * with_tax)
        net = plain / with_tax if tariff.prices_include_tax else plain
        assert abs(Fraction(component.cost_excluding_tax) - net) <= Fraction(1, 2 * 10**12)


@compiled
@given(tariffs(), intervals(24 * 60), energies)
def test_every_text_is_canonical(tariff: Tariff, interval: tuple[int, int], energy_uwh: int) -> None:
    found = plan_of(tariff).price(*interval, energy_uwh, (), "INBOUND")
    texts = [found.cost, found.cost_excluding_tax, found.tax]
    texts += [text for c in found.components for text in (c.rate, c.cost, c.cost_excluding_tax)]
    for text in texts:
        assert text is not None
        assert text == "0" or f"{Decimal(text):f}" == text
        assert "." not in text or not text.endswith(("0", "."))
        assert text != "-0"


@given(st.data(), intervals(24 * 60))
def test_cutting_at_boundaries_conserves_energy(data: st.DataObject, interval: tuple[int, int]) -> None:
    start, end = interval
    parts = data.draw(parts_of(start, end))
    boundaries = sorted({start, *data.draw(st.lists(st.integers(start, end - 1), max_size=8))})
    total = sum(part[2] for part in parts)
    pieces = split(start, end, total, parts, boundaries)
    assert sum(piece or 0 for piece in pieces) == total
    assert all(piece is None or piece >= 0 for piece in pieces)


@compiled
@given(tariffs(), intervals(24 * 60), energies)
def test_components_of_one_charge_hold_all_the_energy_and_tile_the_interval(
    tariff: Tariff, interval: tuple[int, int], energy_uwh: int
) -> None:
    found = plan_of(tariff).price(*interval, energy_uwh, (), "INBOUND")
    for charge in tariff.charges:
        components = [component for component in found.components if component.charge_id == charge.charge_id]
        assert sum(component.energy_uwh for component in components) == energy_uwh
        bounds = sorted((component.start_us, component.end_us) for component in components)
        assert [bounds[0][0], bounds[-1][1]] == list(interval)
        assert all(before[1] == after[0] for before, after in pairwise(bounds))


@compiled
@given(st.data(), tariffs(), st.lists(intervals(24 * 60), min_size=1, max_size=4), energies)
def test_what_was_priced_before_changes_no_price(
    data: st.DataObject, tariff: Tariff, history: list[tuple[int, int]], energy_uwh: int
) -> None:
    used = plan_of(tariff)
    for interval in history:
        used.price(*interval, data.draw(energies), (), "INBOUND")
    for interval in history:
        fresh = plan_of(tariff).price(*interval, energy_uwh, (), "INBOUND")
        assert used.price(*interval, energy_uwh, (), "INBOUND") == fresh


@compiled
@given(tariffs(), intervals(24 * 60), energies)
def test_export_is_import_with_the_sign_turned(tariff: Tariff, interval: tuple[int, int], energy_uwh: int) -> None:
    paid = plan_of(tariff).price(*interval, energy_uwh, (), "INBOUND")
    earned = plan_of(replace(tariff, direction="EXPORT")).price(*interval, energy_uwh, (), "OUTBOUND")
    assert exact(earned) == -exact(paid)
    assert [Fraction(earned.cost or 0), Fraction(earned.tax or 0)] == [
        -Fraction(paid.cost or 0),
        -Fraction(paid.tax or 0),
    ]


# --- Documents -------------------------------------------------------------------------------------------------------

decimals = st.decimals(-(10**6), 10**6, places=6)
above_zero = st.decimals("0.000001", 10**6, places=6)
instants = st.integers(parse_instant_us("1971-01-01T00:00:00Z"), parse_instant_us("2199-01-01T00:00:00Z"))
spans = st.tuples(st.none() | instants, st.none() | instants).map(
    lambda pair: pair if None in pair or pair[0] < pair[1] else (pair[0], None)
)
series_rates = st.builds(
    SeriesRate,
    names,
    decimals,
    decimals,
    st.none() | st.decimals(1, 9, places=3),
    st.none() | st.decimals(-9, 0, places=3),
)


@st.composite
def documents_of_tariffs(draw: st.DrawFn) -> Tariff:
    charges: list[Charge] = []
    for number in range(draw(st.integers(1, 3))):
        charge: Any = draw(
            st.builds(EnergyCharge, st.just(f"c{number}"), bands, st.none(), st.sampled_from(["charge", "band"]))
            | st.builds(EnergyCharge, st.just(f"c{number}"), st.just(()), series_rates)
            | st.builds(FixedCharge, st.just(f"c{number}"), st.sampled_from(["day", "month"]), decimals)
        )
        charges.append(charge)
    valid = draw(spans)
    return Tariff(
        draw(names), draw(st.integers(1, 99)), draw(directions), "EUR", draw(zones), tuple(charges), *valid,
        draw(st.booleans()), draw(taxes), draw(st.frozensets(st.dates(), max_size=3)),
        draw(st.sampled_from(["P1D", "P1M", "P1Y"])),
        draw(st.builds(Rounding, above_zero, st.sampled_from(["HALF_UP", "HALF_EVEN", "DOWN"]))),
    )  # fmt: skip


@compiled
@given(documents_of_tariffs())
def test_a_tariff_reads_back_as_it_was_written(tariff: Tariff) -> None:
    assert holes(tariff) == []
    assert parse_document(to_document(tariff)) == tariff


@given(
    st.builds(
        Location,
        names,
        st.sampled_from(sorted(timezones())),
        st.sampled_from([5, 10, 15, 30, 60]),
        st.none() | names,
        st.none() | st.integers(1, 10**18),
        spans.map(lambda span: (TariffLink("IMPORT", "t", *span), TariffLink("EXPORT", "u", *span))),
        st.none() | names,
    )
)
def test_a_location_reads_back_as_it_was_written(location: Location) -> None:
    assert parse_document(to_document(location)) == location


@given(names, st.integers(0, 80_000), st.lists(st.tuples(st.integers(1, 1440), decimals), min_size=1, max_size=20))
def test_a_series_reads_back_as_it_was_written(
    series_id: str, day: int, given_points: list[tuple[int, Decimal]]
) -> None:
    at, points = day * 86_400_000_000, []
    for length, value in given_points:
        end = at + length * MINUTE_US
        if end <= (day + 1) * 86_400_000_000:
            points.append(SeriesPoint(at, end, value))
            at = end
    known = SeriesDay(series_id, "price", "GBP/kWh", tuple(points))
    assert parse_document(to_document(known)) == known
