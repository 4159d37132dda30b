"""Our prices of plain documents, and where they differ from the reference's."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from app.compose import price_offline
from app.wire.location import parse_location
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff
from tests.oracles.reference import Part, Priced, Reference
from tests.oracles.wall_clock import Document, micros

PICO = Fraction(1, 10**12)
"""An interval's amounts have at most 12 decimals."""

LineKey = tuple[str, int, str, str | None, int | None, Fraction]


def our_prices(
    records: Sequence[Document], locations: list[Document], tariffs: list[Document], series: Iterable[Document] = ()
) -> dict[str, Document]:
    """Return the engine's priced records by id. The records come to it in an order of their own."""
    shuffled = random.Random(len(records)).sample(records, len(records))  # noqa: S311 - an order, not a secret
    result = price_offline(
        [json.dumps(shuffled[at : at + 1000]).encode() for at in range(0, len(shuffled), 1000)],
        map(parse_location, locations),
        map(parse_tariff, tariffs),
        map(parse_series, series),
    )
    assert result.rejected == []
    # Numbers are read as decimals: energies are exact, and so is what is compared with them.
    priced = (json.loads(value, parse_float=Decimal) for value in result.priced)
    return {record["interval_id"]: record for record in priced}


def differences(
    records: Sequence[Document], locations: list[Document], tariffs: list[Document], series: Sequence[Document] = ()
) -> list[str]:
    """Return a sentence for everything in which the engine and the reference do not agree."""
    ours = our_prices(records, locations, tariffs, series)
    theirs = Reference(locations, tariffs, series).price(records)
    found = [f"{interval_id}: only one of the two has it" for interval_id in sorted(ours.keys() ^ theirs.keys())]
    for interval_id in sorted(ours.keys() & theirs.keys()):
        found += [f"{interval_id}: {sentence}" for sentence in compare(ours[interval_id], theirs[interval_id])]
    return found


def compare(our: Document, exact: Priced) -> Iterator[str]:
    """Yield a sentence for everything in which a priced record, its numbers read as decimals, differs from the exact price."""
    cost, net = round(exact.cost, 12), round(exact.net, 12)
    expected = {
        "energy_wh": Fraction(exact.energy_uwh, 10**6),
        "status": exact.status,
        "reason": exact.reason,
        "currency": exact.currency,
        "tariff_id": exact.tariff and exact.tariff[0],
        "tariff_version": exact.tariff and exact.tariff[1],
        "cost": cost,
        "cost_excluding_tax": net,
        "tax": cost - net,
    }
    if exact.status == "pending":
        expected |= dict.fromkeys(("cost", "cost_excluding_tax", "tax"))
    for name, value in expected.items():
        said = our[name] if value is None or isinstance(value, str) or our[name] is None else Fraction(our[name])
        if said != value:
            yield f"{name} is {our[name]}, the reference has {value}"
    if exact.status == "priced":
        yield from _compare_lines(our, exact)
        yield from _compare_times(our["components"], exact.parts)


def _compare_lines(our: Document, exact: Priced) -> Iterator[str]:
    """Compare what each charge asked in each band and tier.

    Those without energy are compared where the interval has none at all: it lies in the tier where the counter stands.
    Beside others they depend on how finely time is cut, and cost nothing.
    """
    lines: dict[LineKey, list[Any]] = defaultdict(lambda: [Fraction(0), Fraction(0), Fraction(0), 0])
    for component in our["components"]:
        tariff = component.get("tariff_id", our["tariff_id"]), component.get("tariff_version", our["tariff_version"])
        names = component["charge_id"], component["band"], component["tier"]
        sums = lines[*tariff, *names, Fraction(component["rate"])]
        amounts = component["energy_wh"] * 10**6, component["cost"], component["cost_excluding_tax"]
        for number, amount in enumerate(amounts):
            sums[number] += Fraction(amount)
        sums[3] += 1
    for key in sorted(lines.keys() | exact.lines.keys(), key=repr):
        said, cost, net, count = lines.get(key, (Fraction(0), Fraction(0), Fraction(0), 0))
        line = exact.lines.get(key)
        if line is None:
            if said != 0 or exact.energy_uwh == 0:
                yield f"{key} has {said} µWh, and is not in the reference"
        elif (said, cost) != (line.energy_uwh, line.cost):
            yield f"{key} is {said} µWh for {cost}, the reference has {line.energy_uwh} µWh for {line.cost}"
        elif abs(net - line.net) > count * PICO / 2:
            # An amount excluding tax may have no end as a decimal: each component is rounded by itself.
            yield f"{key} excluding tax is {net}, the reference has {line.net}"


def _compare_times(components: list[Document], parts: list[Part]) -> Iterator[str]:
    """Each component holds what the records gave between its two instants, which are whole µs, up to what a µs holds."""
    microsecond_uwh = sum(part.energy_uwh // max(part.end - part.start, 1) + 2 for part in parts)
    for component in components:
        start, end = micros(component["start_time"]), micros(component["end_time"])
        held = sum(part.between(start, end) or 0 for part in parts) if start < end else 0
        if abs(held - Fraction(component["energy_wh"]) * 10**6) > 2 * microsecond_uwh:
            yield f"{component['charge_id']} says {component['energy_wh']} Wh from {start} to {end}: {held} µWh are there"
