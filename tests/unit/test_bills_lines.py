"""Lines: taxes, and the one rounding."""

from decimal import Decimal
from fractions import Fraction
from typing import get_args

import pytest

from app.domain.bill_lines import Entry, Line, LineKey, add, round_line, round_to_integer, settle, totals
from app.domain.records import MeterId
from app.domain.tariffs import Direction, Rounding, RoundingMode, Tariff, Tax

MODES: dict[RoundingMode, tuple[int, ...]] = {
    # of:          2.5  -2.5  3.5  2.4  -2.4  2.6  -2.6
    "HALF_UP": (3, -3, 4, 2, -2, 3, -3),
    "HALF_DOWN": (2, -2, 3, 2, -2, 3, -3),
    "HALF_EVEN": (2, -2, 4, 2, -2, 3, -3),
    "UP": (3, -3, 4, 3, -3, 3, -3),
    "DOWN": (2, -2, 3, 2, -2, 2, -2),
    "CEILING": (3, -2, 4, 3, -2, 3, -2),
    "FLOOR": (2, -3, 3, 2, -3, 2, -3),
}


def tariff(
    *taxes: Tax, include: bool = False, rounding: Rounding | None = None, direction: Direction = "IMPORT"
) -> Tariff:
    return Tariff(
        "t", 1, direction, "GBP", "Europe/London", (),
        taxes=taxes, prices_include_tax=include, rounding=rounding or Rounding(),
    )  # fmt: skip


def line(amount: str, under: Tariff, charge_id: str = "standing") -> Line:
    key = LineKey("fixed", under.direction, None, "t", 1, charge_id)
    return settle(key, Entry("day", Fraction(1), {0: Fraction(amount)}), under)


@pytest.mark.parametrize("mode", get_args(RoundingMode))
def test_modes_are_those_of_the_decimal_module(mode: RoundingMode) -> None:
    numbers = ("2.5", "-2.5", "3.5", "2.4", "-2.4", "2.6", "-2.6")
    assert tuple(round_to_integer(Fraction(number), mode) for number in numbers) == MODES[mode]
    for number in (*numbers, "0.5", "-0.5", "7", "-7", "0"):
        assert round_to_integer(Fraction(number), mode) == int(Decimal(number).to_integral_value(f"ROUND_{mode}"))


def test_a_quantum_need_not_be_a_power_of_ten() -> None:
    assert round_line(Fraction("1.13"), Rounding(Decimal("0.05"), "HALF_UP")) == Decimal("1.15")
    assert round_line(Fraction("-1.13"), Rounding(Decimal("0.05"), "DOWN")) == Decimal("-1.1")
    assert round_line(Fraction(12), Rounding(Decimal(5), "HALF_EVEN")) == Decimal(10)


def test_an_amount_without_end_is_rounded_from_what_it_is() -> None:
    assert round_line(Fraction(1, 3), Rounding()) == Decimal("0.33")
    assert round_line(Fraction(5, 1000) - Fraction(1, 3 * 10**30), Rounding()) == 0


def test_where_tax_comes_on_top_net_and_each_tax_are_rounded() -> None:
    found = line("1.235", tariff(Tax("VAT", Decimal("0.05")), Tax("levy", Decimal("0.1"))))
    assert (found.net, found.total) == (Decimal("1.24"), Decimal("1.42"))
    assert [tax.amount for tax in found.taxes] == [Decimal("0.06"), Decimal("0.12")]
    assert found.unrounded == Fraction("1.42025")


def test_a_tax_is_of_the_exact_net_amount_not_of_the_rounded_one() -> None:
    found = line("0.104", tariff(Tax("VAT", Decimal("0.05"))))
    assert (found.net, found.tax) == (Decimal("0.1"), Decimal("0.01"))  # 5 % of 0.104 is 0.0052; of 0.10, half a penny
    down = line("0.104", tariff(Tax("VAT", Decimal("0.05")), rounding=Rounding(Decimal("0.01"), "HALF_DOWN")))
    assert (down.net, down.tax) == (Decimal("0.1"), Decimal("0.01"))


def test_where_prices_include_tax_the_total_is_rounded_and_net_is_what_is_left() -> None:
    found = line("1.235", tariff(Tax("VAT", Decimal("0.05")), Tax("levy", Decimal("0.1")), include=True))
    # 1.235 / 1.15 = 1.0739...; 5 % of it 0.0537, 10 % of it 0.1074
    assert (found.total, found.net) == (Decimal("1.24"), Decimal("1.08"))
    assert [tax.amount for tax in found.taxes] == [Decimal("0.05"), Decimal("0.11")]
    assert found.unrounded == Fraction("1.235")


def test_a_credit_is_rounded_as_a_charge_is() -> None:
    under = tariff(Tax("VAT", Decimal("0.05")), direction="EXPORT")
    assert (line("-1.235", under).net, line("-1.235", under).tax) == (Decimal("-1.24"), Decimal("-0.06"))


def test_a_charge_bears_the_taxes_that_name_it() -> None:
    under = tariff(Tax("VAT", Decimal("0.05")), Tax("levy", Decimal("0.1"), frozenset({"energy"})))
    assert [tax.name for tax in line("1", under).taxes] == ["VAT"]
    assert [tax.name for tax in line("1", under, "energy").taxes] == ["VAT", "levy"]


def test_the_mean_of_a_series_is_what_a_customer_earns_where_energy_is_credited() -> None:
    meter = MeterId("l", "", "OUTBOUND", "EXPORT")
    key = LineKey("energy", "EXPORT", meter, "t", 1, "market")
    found = settle(key, Entry("kWh", Fraction(4), {0: Fraction("-0.6")}), tariff(direction="EXPORT"))
    assert (found.rate, found.rate_is_mean) == (Fraction("0.15"), True)
    assert settle(key, Entry("kWh", Fraction(0), {0: Fraction(0)}), tariff(direction="EXPORT")).rate is None


def test_totals_are_by_currency_and_taxes_by_name_and_rate() -> None:
    pounds = tariff(Tax("VAT", Decimal("0.05")))
    reduced = tariff(Tax("VAT", Decimal("0.2")))
    euros = Tariff("t", 1, "IMPORT", "EUR", "Europe/Paris", ())
    found = totals([line("1", pounds), line("2", pounds), line("3", reduced), line("4", euros)])
    assert [(each.currency, each.net, each.tax, each.total) for each in found] == [
        ("EUR", Decimal(4), Decimal(0), Decimal(4)),
        ("GBP", Decimal(6), Decimal("0.75"), Decimal("6.75")),
    ]
    assert [(tax.rate, tax.amount) for tax in found[1].taxes] == [
        (Decimal("0.05"), Decimal("0.15")),
        (Decimal("0.2"), Decimal("0.6")),
    ]


def test_sums_do_not_depend_on_a_precision() -> None:
    assert add([Decimal(10**40), Decimal("1e-10"), -Decimal(10**40)]) == Decimal("1e-10")
