"""The check of what workers made of records: one place for the simulation and for the tests on a real broker.

Right is what a slow reference says that shares no code with the product (`tests.oracles`): every interval's energy,
coverage, confidence, revision and records, and every cost, tax, component and tier, to the last digit.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, TypeVar

from tests.oracles.comparing import compare
from tests.oracles.reference import Priced, Reference
from tests.oracles.table import Cell, Place, Table
from tests.oracles.wall_clock import Document, text_of

V = TypeVar("V")

DECIDED: Final = ("accepted", "rejected", "superseded", "duplicate")
_SHOWN: Final = 5
_HALF_A_MILLIONTH: Final = Fraction(1, 2 * 10**6) + Fraction(1, 10**12)
"""Confidence is rounded to six decimals, in binary."""


class Expected:
    """What the reference makes of a table of intervals: the interval and its price by interval id."""

    def __init__(
        self, table: Table, tariffs: list[Document], series: Iterable[Document] = (), recut: Collection[str] = ()
    ) -> None:
        """Price every interval of the table with the documents as they are in the end.

        `recut` names locations whose interval length was changed on the way. What depends on when that was heard of is not
        compared there: revisions, and which intervals there are that have no records.
        """
        self._recut: Final = recut
        reference = Reference(list(table.locations.values()), tariffs, series)
        self.table: Final = table
        self.cells: Final = {interval_id: cell for interval_id, _, cell in table.by_id()}
        self.prices: Final = reference.price_intervals(table.parts())

    @classmethod
    def of_log(cls, messages: Iterable[bytes | None], documents: Iterable[Document]) -> "Expected":
        """Return what messages lead to that are taken in the order of one log."""
        of_kind: dict[str, list[Document]] = {"points": [], "charges": [], "location": []}
        for document in documents:
            of_kind[next((kind for kind in ("points", "charges") if kind in document), "location")].append(document)
        table = Table(of_kind["location"])
        for offset, message in enumerate(messages):
            table.take_message(message, Place("meter.records", 0, offset, 0, offset))
        return cls(table, of_kind["charges"], of_kind["points"])

    # Intervals

    def intervals_problems(self, newest: Mapping[str, bytes]) -> Iterator[str]:
        """Yield a sentence for everything that is wrong with the last published form of each interval."""
        expected, found = self._settled(self.cells), self._settled(newest)
        yield from _missing("interval", expected, found)
        yield from self._emptied_problems(newest.items() - found.items())
        for interval_id in expected.keys() & found.keys():
            cell, said = self.cells[interval_id], _read(newest[interval_id])
            for sentence in [*self._head_problems(interval_id, said), *_records_problems(said, cell)]:
                yield f"interval {interval_id}: {sentence}"

    # Prices

    def priced_problems(self, newest: Mapping[str, bytes]) -> Iterator[str]:
        """Yield a sentence for everything that is wrong with the priced record of the highest sequence of each interval."""
        expected, found = self._settled(self.prices), self._settled(newest)
        yield from _missing("priced record", expected, found)
        yield from self._emptied_problems(newest.items() - found.items())
        for interval_id in expected.keys() & found.keys():
            said, exact = _read(newest[interval_id]), self.prices[interval_id]
            for sentence in [*self._head_problems(interval_id, said), *_price_problems(said, exact)]:
                yield f"priced {interval_id}: {sentence}"

    def _settled(self, by_id: Mapping[str, V]) -> dict[str, V]:
        """Leave out the intervals of which it cannot be said whether they are there: without records, on a grid that changed."""
        return {
            interval_id: value
            for interval_id, value in by_id.items()
            if interval_id.split("|")[0] not in self._recut
            or (interval_id in self.cells and self.cells[interval_id].records)
        }

    def _emptied_problems(self, emptied: Iterable[tuple[str, bytes]]) -> Iterator[str]:
        for interval_id, value in emptied:
            said = _read(value)
            if said["energy_wh"] or said["covered_seconds"]:
                yield f"{interval_id} has {said['energy_wh']} Wh, and no record is in it"

    def _head_problems(self, interval_id: str, said: Document) -> Iterator[str]:
        """Compare what an interval and its priced record begin with."""
        expected, confidence = _head(self.cells[interval_id])
        is_recut = interval_id.partition("|")[0] in self._recut
        for name, value in expected.items():
            if said[name] != value and not (is_recut and name == "revision"):
                yield f"{name} is {said[name]}, the reference has {value}"
        if abs(Fraction(said["confidence"]) - confidence) > _HALF_A_MILLIONTH:
            yield f"confidence is {said['confidence']}, the reference has {float(confidence)}"

    # Accounts

    def counts_problems(self, counts: Mapping[str, int]) -> Iterator[str]:
        """Yield a sentence where not every record is accounted for once, in the right way."""
        if counts.get("input", 0) != sum(counts.get(name, 0) for name in DECIDED):
            yield f"the counts do not add up: {dict(counts)}"
        for name in ("input", *DECIDED):
            if counts.get(name, 0) != self.table.counts[name]:
                yield f"{counts.get(name, 0)} records are counted as {name}, the reference has {self.table.counts[name]}"

    def refusals_problems(self, rejected: Iterable[bytes], *, with_places: bool = True) -> Iterator[str]:
        """Yield a sentence where other records were refused than should be, or for other reasons."""
        found = Counter(_refusal(_read(value), with_places=with_places) for value in rejected)
        expected: Counter[tuple[Any, ...]] = Counter(
            (each.error, *(each.place[:4] if with_places else ())) for each in self.table.refused
        )
        for wrong, name in ((found - expected, "refused too much"), (expected - found, "not refused")):
            if wrong:
                yield f"{name}: {list(wrong.items())[:_SHOWN]}"


def _refusal(refused: Document, *, with_places: bool) -> tuple[Any, ...]:
    places = ("topic", "partition", "offset", "record_num") if with_places else ()
    return tuple(refused[name] for name in ("error", *places))


def _read(value: bytes) -> Document:
    read: Document = json.loads(value, parse_float=Decimal)
    return read


def _missing(what: str, expected: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        yield f"{len(missing)} of {what} missing, such as {missing[:_SHOWN]}"
    if more:
        yield f"{len(more)} of {what} should not be there, such as {more[:_SHOWN]}"


@lru_cache(maxsize=1 << 12)
def _head(cell: Cell) -> tuple[Document, Fraction]:
    """Return what an interval says, and its confidence; asked for the interval and for its price."""
    covered = cell.covered()
    said = {
        "end_time": text_of(cell.end),
        "energy_wh": Fraction(cell.energy_uwh(), 10**6),
        "covered_seconds": Fraction(covered, 10**6),
        "complete": covered == cell.end - cell.start,
        "revision": cell.revision,
    }
    return said, cell.confidence()


def _records_problems(said: Document, cell: Cell) -> Iterator[str]:
    found = [
        (
            one["record_reference_id"],
            one["session_reference_id"],
            one["start_time"],
            one["end_time"],
            Fraction(one["energy_wh"]) * 10**6,
        )
        for one in said["records"]
    ]
    expected = [
        (kept.reference, kept.session, text_of(part.start), text_of(part.end), Fraction(part.energy_uwh))
        for kept, part in zip(cell.in_order(), cell.parts(), strict=True)
    ]
    if found != expected:
        yield f"records are {found}, the reference has {expected}"


def _price_problems(said: Document, exact: Priced) -> Iterator[str]:
    yield from compare(said, exact)
    if exact.status == "pending" and said["components"]:
        yield f"a pending price has components {said['components']}"


def sequences_problems(published: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Yield a sentence where an interval's sequences, in the order of their commits, are not 1, 2, 3 …"""
    last: Counter[str] = Counter()
    for interval_id, sequence in published:
        if sequence != last[interval_id] + 1:
            yield f"{interval_id}: sequence {sequence} after {last[interval_id]}"
        last[interval_id] = sequence


def require(problems: Iterable[str], what: str) -> None:
    """Fail with the first of many problems.

    Raises:
        AssertionError: there is one.

    """
    found = list(problems)
    shown = "".join(f"\n  {sentence}" for sentence in found[:_SHOWN])
    assert not found, f"{what}: {len(found)} problems{shown}"
