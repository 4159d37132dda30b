"""How fast intervals are priced, by the engine alone: no Kafka, no decoding, one core. Prints intervals a second.

Run it with `python -m benchmarks.engine`. Each scenario prices a day's half-hours for many locations, in the order in
which a stream brings them: all locations of one half-hour, then the next. Energies of whole Wh repeat, as those of
real meters do; the "distinct" scenarios never repeat one, which is the worst case. Two tiers are priced with a counter
for each meter, and once more with the ledger of a partition, which keeps pages of what was priced.
"""

import random
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Final

from app.domain.calendar import US_PER_DAY, grid_for
from app.domain.instants import US_PER_MINUTE, parse_instant_us
from app.domain.locations import Location, TariffLink
from app.domain.reference import ReferenceBook
from app.domain.tariffs import (
    Band,
    EnergyCharge,
    SeriesDay,
    SeriesPoint,
    SeriesRate,
    Tariff,
    Tax,
    Tier,
    When,
)
from app.domain.tiers import Counter, TierPeriod
from app.domain.timeline import Timeline
from app.streams.ledger import TierLedger
from app.streams.tables import MemoryStore, Tables

LOCATIONS: Final = 4000
ROUNDS: Final = 3
DAY_US: Final = parse_instant_us("2025-06-03T00:00:00Z")
HALF_HOUR_US: Final = 30 * US_PER_MINUTE


def _band(name: str, rate: str, *when: When) -> Band:
    return Band(name, when, (Tier(None, Decimal(rate)),))


def _three_bands(tariff_id: str, *taxes: Tax) -> Tariff:
    bands = (
        _band("peak", "0.3042", When(start_minute=16 * 60, end_minute=19 * 60)),
        _band("night", "0.0975", When(start_minute=23 * 60 + 30, end_minute=5 * 60 + 30)),
        _band("day", "0.2204"),
    )
    return Tariff(tariff_id, 1, "IMPORT", "GBP", "Europe/London", (EnergyCharge("energy", bands),), taxes=taxes)


def _two_tiers(tariff_id: str) -> Tariff:
    tiers = (Tier(Decimal(20), Decimal("0.2204")), Tier(None, Decimal("0.3042")))
    charge = EnergyCharge("energy", (Band("all-day", (), tiers),))
    return Tariff(tariff_id, 1, "IMPORT", "GBP", "Europe/London", (charge,))


class _Running:
    """What one meter has counted so far in the only tier period there is."""

    __slots__ = ("energy_uwh",)

    def __init__(self) -> None:
        self.energy_uwh = 0

    def before_uwh(self, tariff_id: str, period: TierPeriod, counter: Counter, start_us: int) -> int:  # noqa: ARG002
        return self.energy_uwh


def _market(tariff_id: str) -> Tariff:
    charge = EnergyCharge("market", series=SeriesRate("AGILE", cap=Decimal(1)))
    return Tariff(tariff_id, 1, "IMPORT", "GBP", "Europe/London", (charge,), taxes=(Tax("VAT", Decimal("0.05")),))


def _book() -> ReferenceBook:
    book = ReferenceBook()
    book.put_tariff(_three_bands("tou"))
    book.put_tariff(_three_bands("tou-taxed", Tax("VAT", Decimal("0.05"))))
    book.put_tariff(_two_tiers("tiers"))
    book.put_tariff(_market("market"))
    points = tuple(
        SeriesPoint(start, start + HALF_HOUR_US, Decimal(number) / 1000)
        for number, start in enumerate(range(DAY_US, DAY_US + US_PER_DAY, HALF_HOUR_US))
    )
    book.put_series(SeriesDay("AGILE", "price", "GBP/kWh", points))
    for tariff_id in ("tou", "tou-taxed", "tiers", "market"):
        for number in range(LOCATIONS):
            link = TariffLink("IMPORT", tariff_id, DAY_US - number * US_PER_DAY)
            book.put_location(Location(f"{tariff_id}-{number}", "Europe/London", links=(link,)))
    return book


def _energies(*, distinct: bool) -> list[int]:
    source = random.Random(1)  # noqa: S311 - a benchmark's data
    if distinct:
        return source.sample(range(1000, 3_000_000_000, 1000), LOCATIONS * 48)
    return [source.randrange(3000) * 1_000_000 for _ in range(LOCATIONS * 48)]


def _price_day(book: ReferenceBook, tariff_id: str, energies: list[int]) -> int:
    """Price one day of all locations on a tariff, as the stream's agent does: grid, plan, price."""
    location_ids = [f"{tariff_id}-{number}" for number in range(LOCATIONS)]
    grid = grid_for("Europe/London", 30)
    place = 0
    for at_us in range(DAY_US, DAY_US + US_PER_DAY, HALF_HOUR_US):
        for location_id in location_ids:
            start_us, end_us = grid.bounds(at_us)
            book.plan(location_id, "IMPORT").price(start_us, end_us, energies[place], (), "INBOUND")
            place += 1
    return place


def _price_day_of_tiers(book: ReferenceBook, energies: list[int]) -> None:
    """Price one day of all locations on two tiers, counting what each has used."""
    meters = [(f"tiers-{number}", _Running()) for number in range(LOCATIONS)]
    grid = grid_for("Europe/London", 30)
    place = 0
    for at_us in range(DAY_US, DAY_US + US_PER_DAY, HALF_HOUR_US):
        for location_id, counts in meters:
            start_us, end_us = grid.bounds(at_us)
            book.plan(location_id, "IMPORT").price(start_us, end_us, energies[place], (), "INBOUND", counts)
            counts.energy_uwh += energies[place]
            place += 1


def _price_day_by_ledger(book: ReferenceBook, energies: list[int]) -> None:
    """Price one day of all locations on two tiers, with a partition's ledger."""
    ledger = TierLedger(Tables(MemoryStore()).priced, book)
    meters = [(f"tiers-{number}", f"tiers-{number}||INBOUND|IMPORT|") for number in range(LOCATIONS)]
    grid = grid_for("Europe/London", 30)
    place = 0
    for at_us in range(DAY_US, DAY_US + US_PER_DAY, HALF_HOUR_US):
        for location_id, prefix in meters:
            start_us, end_us = grid.bounds(at_us)
            plan, counts = book.plan(location_id, "IMPORT"), ledger.meter(prefix)
            price = plan.price(start_us, end_us, energies[place], (), "INBOUND", counts)
            ledger.put(counts, start_us, end_us, None, price)
            place += 1


def _print_rate(name: str, kind: str, seconds: float) -> None:
    rate = LOCATIONS * 48 / seconds
    sys.stdout.write(f"{name:14} {kind:14} {rate:10,.0f} intervals/s  {1e6 / rate:6.2f} µs each\n")


def _best_seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Print a line for each scenario."""
    book = _book()
    for distinct in (False, True):
        energies = _energies(distinct=distinct)
        for tariff_id in ("tou", "tou-taxed", "market"):
            seconds = _best_seconds(partial(_price_day, book, tariff_id, energies))
            _print_rate(tariff_id, "distinct mWh" if distinct else "whole Wh", seconds)
    energies = _energies(distinct=False)
    _print_rate("two tiers", "whole Wh", _best_seconds(partial(_price_day_of_tiers, book, energies)))
    _print_rate("with a ledger", "whole Wh", _best_seconds(partial(_price_day_by_ledger, book, energies)))
    tariff = _three_bands("year")
    year_us = parse_instant_us("2025-01-01T00:00:00Z"), parse_instant_us("2026-01-01T00:00:00Z")
    seconds = _best_seconds(lambda: list(Timeline(tariff).segments(*year_us)))
    sys.stdout.write(f"compile one year of three bands: {seconds * 1000:.1f} ms\n")


if __name__ == "__main__":
    main()
