"""Windows that earlier bands hide."""

from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from app.domain.overlaps import overlaps
from app.domain.tariffs import (
    DAY_NAMES,
    Band,
    DemandBand,
    DemandCharge,
    DemandTier,
    EnergyCharge,
    FixedCharge,
    SessionBand,
    SessionCharge,
    Tariff,
    Tier,
    When,
)

WORKDAYS = ("MON", "TUE", "WED", "THU", "FRI")
DAY = 24 * 60


class W(NamedTuple):
    """A window as a test writes it."""

    start: int = 0
    end: int = DAY
    days: tuple[str, ...] = DAY_NAMES
    first: tuple[int, int] = (1, 1)
    last: tuple[int, int] = (12, 31)

    def when(self) -> When:
        days: Any = frozenset(self.days)
        return When(self.first, self.last, days, self.start, self.end)


def tariff(*bands: tuple[str, list[W]], holidays: tuple[date, ...] = ()) -> Tariff:
    tiers = (Tier(None, Decimal(1)),)
    made = tuple(Band(name, tuple(window.when() for window in windows), tiers) for name, windows in bands)
    charges = (FixedCharge("standing", "day", Decimal(1)), EnergyCharge("energy", made))
    return Tariff("t", 1, "IMPORT", "GBP", "Europe/London", charges, holidays=frozenset(holidays))


@pytest.mark.parametrize(
    "bands",
    [
        (("all", []),),
        (("peak", [W(16 * 60, 19 * 60, WORKDAYS)]), ("rest", [])),
        (("day", [W(6 * 60, 22 * 60)]), ("night", [W(22 * 60, 6 * 60)])),
        (("summer", [W(first=(4, 1), last=(9, 30))]), ("winter", [W(first=(10, 1), last=(3, 31))])),
        (("twice", [W(0, 600), W(300, 900)]), ("rest", [])),
        (("day", [W(0, DAY)]), ("rest", [])),
    ],
)
def test_windows_that_meet_do_not_overlap(bands: tuple[tuple[str, list[W]], ...]) -> None:
    assert overlaps(tariff(*bands)) == []


def test_a_window_partly_behind_another_is_named_with_its_first_moment_and_the_band_before_it() -> None:
    found = overlaps(tariff(("peak", [W(16 * 60, 19 * 60, WORKDAYS)]), ("day", [W(0, 60), W(18 * 60, 20 * 60)])))
    assert found == [
        "charges[1].bands[1].when[1]: hidden in part by the band 'peak' before it, first on MON 18:00 in season 01-01"
    ]


def test_a_window_wholly_behind_another_never_holds() -> None:
    found = overlaps(tariff(("work", [W(days=WORKDAYS)]), ("tuesday", [W(9 * 60, 10 * 60, ("TUE",))]), ("rest", [])))
    assert found == [
        "charges[1].bands[1].when[0]: never holds, the band 'work' before it does, first on TUE 09:00 in season 01-01"
    ]


def test_whatever_stands_behind_a_band_without_windows_never_holds() -> None:
    found = overlaps(tariff(("rest", []), ("peak", [W(16 * 60, 19 * 60)]), ("more rest", [])))
    assert [problem.split(",")[0] for problem in found] == [
        "charges[1].bands[1].when[0]: never holds",
        "charges[1].bands[2]: never holds",
    ]


def test_several_bands_together_may_hide_a_window_wholly() -> None:
    found = overlaps(tariff(("am", [W(0, 720)]), ("pm", [W(720, DAY)]), ("noon", [W(660, 780)]), ("rest", [])))
    assert found == [
        "charges[1].bands[2].when[0]: never holds, the band 'am' before it does, first on MON 11:00 in season 01-01"
    ]


def test_seasons_that_share_only_the_leap_day_overlap() -> None:
    found = overlaps(tariff(("winter", [W(first=(11, 1), last=(2, 29))]), ("rest", [W(first=(2, 29), last=(10, 31))])))
    assert found == [
        "charges[1].bands[1].when[0]: hidden in part by the band 'winter' before it, first on MON 00:00 in season 02-29"
    ]


def test_a_night_that_began_the_day_before_is_met() -> None:
    found = overlaps(tariff(("friday night", [W(22 * 60, 6 * 60, ("FRI",))]), ("saturday", [W(days=("SAT",))])))
    assert found == [
        (
            "charges[1].bands[1].when[0]: hidden in part by the band 'friday night' before it, "
            "first on SAT 00:00 in season 01-01"
        )
    ]


def test_holidays_overlap_only_where_the_tariff_has_them() -> None:
    bands = ("christmas", [W(first=(12, 25), last=(12, 25), days=("HOL",))]), ("holiday", [W(days=("HOL",))])
    assert overlaps(tariff(*bands)) == []
    assert overlaps(tariff(*bands, holidays=(date(2025, 5, 1),))) == []
    assert overlaps(tariff(*bands, holidays=(date(2025, 5, 1), date(2025, 12, 25)))) == [
        (
            "charges[1].bands[1].when[0]: hidden in part by the band 'christmas' before it, "
            "first on HOL 00:00 in season 12-25"
        )
    ]


def test_bands_of_a_demand_charge_are_looked_at_too() -> None:
    tiers = (DemandTier(None, Decimal(1)),)
    bands = DemandBand("all", (), tiers), DemandBand("peak", (W(960, 1140).when(),), tiers)
    found = overlaps(Tariff("t", 1, "IMPORT", "GBP", "UTC", (DemandCharge("demand", bands),)))
    assert found == [
        "charges[0].bands[1].when[0]: never holds, the band 'all' before it does, first on MON 16:00 in season 01-01"
    ]


def test_bands_of_sessions_are_looked_at_too() -> None:
    bands = (SessionBand("all", (), Decimal(1)), SessionBand("night", (W(0, 360).when(),), Decimal(2)))
    found = overlaps(Tariff("t", 1, "IMPORT", "GBP", "UTC", (SessionCharge("time", "hour", bands),)))
    assert [problem.partition(":")[0] for problem in found] == ["charges[0].bands[1].when[0]"]
