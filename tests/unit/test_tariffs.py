"""Windows and days of tariffs, and the keys of series."""

from datetime import date
from decimal import Decimal

import pytest

from app.domain.tariffs import EnergyCharge, FixedCharge, SeriesDay, SeriesPoint, SeriesRate, Tariff, When


@pytest.mark.parametrize(
    ("first", "last", "on", "expected"),
    [
        ((6, 1), (9, 30), date(2025, 6, 1), True),
        ((6, 1), (9, 30), date(2025, 9, 30), True),
        ((6, 1), (9, 30), date(2025, 10, 1), False),
        ((11, 1), (2, 28), date(2025, 1, 15), True),
        ((11, 1), (2, 28), date(2024, 2, 29), False),
        ((11, 1), (2, 28), date(2025, 10, 31), False),
    ],
)
def test_a_season_holds_both_of_its_dates_and_may_wrap_over_new_year(
    first: tuple[int, int], last: tuple[int, int], on: date, *, expected: bool
) -> None:
    assert When(first, last).matches_day(on, "MON") is expected


def test_a_holiday_is_no_weekday() -> None:
    tariff = Tariff("t", 1, "IMPORT", "GBP", "UTC", (), holidays=frozenset({date(2025, 12, 25)}))
    assert tariff.day_name(date(2025, 12, 25)) == "HOL"
    assert tariff.day_name(date(2025, 12, 26)) == "FRI"
    assert not When(days=frozenset({"THU"})).matches_day(date(2025, 12, 25), "HOL")


def test_a_tariff_names_the_series_that_it_follows() -> None:
    charges = (EnergyCharge("a", series=SeriesRate("S")), FixedCharge("b", "day", Decimal(1)))
    assert Tariff("t", 1, "IMPORT", "GBP", "UTC", charges).series_ids == {"S"}


def test_a_series_document_is_keyed_by_series_and_utc_date() -> None:
    start = 1_748_736_000_000_000  # 2025-06-01T00:00:00Z
    assert SeriesDay("S", "price", "GBP/kWh", (SeriesPoint(start, start + 1, Decimal(1)),)).key == "S/2025-06-01"
