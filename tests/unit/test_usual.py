"""Compiled code that takes usual records and publishes usual intervals does what Python does, and leaves the rest to it.

A story is told twice, and everything that a transaction leaves behind is compared after each.
"""

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Final, TypeVar, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.energy import energy_uwh
from app.domain.records import ErrorCode, MeterRecord, Reading, Rejected, Units
from app.domain.reference import ReferenceBook
from app.domain.rules import Window
from app.streams.pipeline import Pipeline
from app.streams.retention import NO_LIMITS, AgeLimits
from app.streams.validate import Meter, Place, reading_of
from app.wire.location import parse_location
from tests.making import Json
from tests.twofold import (
    BASES_US,
    CHANGES,
    FIELDS,
    LINKED,
    MINUTE_US,
    MORE,
    MWST,
    TIMES,
    VAT,
    WRITTEN,
    Again,
    Odd,
    Run,
    Story,
    Transaction,
    alike,
    book_at,
    energy,
    flat,
    link,
    located,
    refusals,
    told,
    z,
)
from tests.unit.test_compiled import pytestmark as pytestmark  # noqa: PLC0414 - skipped where that one is

T = TypeVar("T")


def one_of(choices: Sequence[T]) -> st.SearchStrategy[T]:
    """Choose by number: what is chosen from would be too long to be told."""
    return st.integers(0, len(choices) - 1).map(choices.__getitem__)


a_value = st.one_of(
    st.sampled_from([0, 0.0, 1, 0.1, 7.3, 250, 999_999.999999, 0.123456789, 1234.5678901234567, 5e-7, 1.5e-6, 2.5e-9]),
    st.floats(0, 3_000),
    st.integers(0, 10**7).map(lambda wh: wh / 1000),
    st.builds(lambda uwh, scale: (uwh + 0.5) / scale, st.integers(0, 10**7), st.sampled_from([10**6, 10**9, 250_000])),
)
runs = st.builds(
    Run,
    st.sampled_from([*("taxed", "bands", "charges", "inclusive", "below") * 4, *LINKED]),
    st.sampled_from([*range(0, 330, 30), *range(0, 330, 30), *range(15, 330, 60), 10, 1440, 2880, 5760, 144_000]),
    st.sampled_from([30, 30, 30, 15, 15, 5, 60]),
    st.lists(a_value, min_size=1, max_size=4).map(tuple),
    st.sampled_from(["KWH", "WH", "W", "KW"]),
    st.sampled_from([{}, {}, {"record_reference_id": "r"}, {"session_reference_id": "s 1"}, {"confidence": 0.75}]),
    st.integers(1, 4),
    st.sampled_from([("a", "b", "c"), ("d", None, "e"), (None,), ("b",)]),
    st.sampled_from([False, False, False, True]),
)
odd_runs = runs.map(lambda run: run._replace(times=min(run.times, 2), meters=run.meters[:2]))
kinds: Final[dict[str, Sequence[Any]]] = {"fields": FIELDS, "times": TIMES, "written": WRITTEN, "more": MORE}
things = st.one_of(*(one_of([{name: odd} for odd in found]) for name, found in kinds.items()))
odds = st.builds(lambda run, one, other: Odd(run, **(one | other)), odd_runs, things, st.just({}) | things)
lines = st.one_of(runs, runs, runs, runs, odds, st.builds(Again, st.integers(1, 30), st.integers(1, 12), st.booleans()))
slices = st.tuples(st.sampled_from([False, False, False, True]), st.lists(lines, min_size=1, max_size=5).map(tuple))
transactions = st.builds(
    Transaction,
    st.lists(slices, min_size=1, max_size=3).map(tuple),
    st.sampled_from([1.0, 1.0, 12.0]),
    st.lists(st.sampled_from(list(CHANGES)), max_size=1).map(tuple),
    st.frozensets(st.sampled_from(["price later", "read back", "price again", "look after", "restart"]), max_size=2),
)
stories = st.builds(
    Story,
    st.lists(transactions, min_size=1, max_size=4).map(tuple),
    st.sampled_from(BASES_US),
    st.sampled_from([0.0, 10.0]),
    st.sampled_from([NO_LIMITS, NO_LIMITS, AgeLimits(1, None), AgeLimits(None, 60.0), AgeLimits(2, 0.0)]),
    st.sampled_from([1000, 1000, 3]),
    st.sampled_from([True, True, True, False]),
)


@settings(max_examples=250, deadline=None)
@given(stories, st.sampled_from([(True,), (True,), (True, False)]))
def test_a_story_ends_alike_however_it_is_told(story: Story, turns: tuple[bool, ...]) -> None:
    alike(story, turns)


@pytest.mark.parametrize("limits", [NO_LIMITS, AgeLimits(5, 3600.0)])
@pytest.mark.parametrize("together", [False, True])
def test_whatever_is_odd_is_decided_alike_among_usual_records(limits: AgeLimits, *, together: bool) -> None:
    """Each oddity once, between usual records of a meter that it may touch, so that all reasons are there."""
    oddities: list[Json] = [{name: odd} for name, every in kinds.items() for odd in every]
    found: list[Transaction] = []
    for number, oddity in enumerate([*oddities, {"fields": {"value": 1000}}]):
        name, by = [*LINKED, "quarter"][number % 15], 15 + number % 2 * 15
        usual = Run(name, 120 * number, by, (0.1,), times=2)
        odd = Odd(usual._replace(minute=usual.minute + 2 * by, times=1), **oddity)
        lines = (usual._replace(times=4, meters=("first",)), usual, odd, usual._replace(minute=usual.minute + 3 * by))
        found.append(Transaction(((False, (*lines, Again(3, 2, number % 3 == 0))), (True, (odd,)))))
    if together:
        found = [Transaction(tuple(each for one in found for each in one.slices))]
    late = Transaction(
        ((False, (Run("taxed", 30 * 1440, 30, (1.0,)), Run("taxed", 0, 30, (1.0,), times=2, meters=("new",)))),)
    )
    seen = {refused.error for refused in refusals(alike(Story((*found, late), limits=limits)))}
    without = {"internal_error"} if limits.retention_days else {"internal_error", "too_old", "in_the_future"}
    assert seen == set(get_args(ErrorCode)) - without


@pytest.mark.parametrize("emit_every_s", [0.0, 10.0])
def test_one_odd_record_among_a_thousand_is_refused_at_its_own_place(emit_every_s: float) -> None:
    usual = Run("taxed", 0, 30, (0.5, 1.25, 0.1), times=84, meters=("a", "b"))
    lines = (usual, Odd(usual._replace(values=(-1,), times=1, meters=("b",))), usual._replace(minute=252 * 30))
    found = alike(Story((Transaction(((False, lines),)),), emit_every_s=emit_every_s))
    assert [(refused.error, refused.offset) for refused in refusals(found)] == [("negative_value", 504)]
    assert found[1]["metrics"] == {"input": 1009, "accepted": 1008, "rejected": 1, "intervals": 1008, "priced": 1008}


def test_what_is_usual_is_left_to_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("app.streams._usual") is None:
        pytest.skip("it was not built")
    names = ("taxed", "bands", "charges", "inclusive", "below")
    runs = tuple(Run(name, 0, 30, (0.5, 0.123456789), times=6, meters=("a", "b", "c")) for name in names)
    story, book = Story((Transaction(((False, runs),)),)), book_at(BASES_US[0])
    told(story, (True,), book)
    by_python: Counter[str] = Counter()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            by_python[name] += 1
            return real(*given)

        return call

    for name in ("_decide", "_publish"):
        monkeypatch.setattr(Pipeline, name, counted(name, getattr(Pipeline, name)))
    found = told(story, (True,), book)[1]
    assert found["metrics"]["accepted"] == found["metrics"]["priced"] == len(runs) * 3 * 12
    assert by_python == {"_publish": 3}  # in which a band begins


def test_records_in_any_order_and_again_are_left_to_compiled_code_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many records of an interval, the last first; then the same once more, and half of them with other references."""
    if importlib.util.find_spec("app.streams._usual") is None:
        pytest.skip("it was not built")
    run = Run("taxed", 0, 5, (0.5, 0.25, 0.125), times=4, meters=("a", "b"), backwards=True)
    other = run._replace(fields={"record_reference_id": "other"}, times=2)
    lines = (run, Again(24, 24, True), Again(48, 24, False), other)
    story, book = Story((Transaction(((False, lines),)),)), book_at(BASES_US[0])
    told(story, (True,), book)
    decided: list[int] = []
    real = Pipeline._decide
    monkeypatch.setattr(Pipeline, "_decide", lambda *given: [decided.append(given[4].offset), real(*given)][1])
    found = told(story, (True,), book)[1]
    monkeypatch.undo()
    assert [found["metrics"][name] for name in ("input", "accepted", "duplicate")] == [84, 36, 48]
    # Whether there is an interval before the newest in memory, the store is asked; another reference is a correction.
    assert decided == [12, 13, *range(72, 84)]
    alike(story)


VARIED: Final[list[Json]] = [
    {}, {"times": lambda a, _: (z(a), z(a + 5 * MINUTE_US))}, {"times": lambda a, b: (z(a + 1), z(b))},
    {"times": lambda _, b: (z(b - 1), z(b + 5 * MINUTE_US))}, {"times": lambda _, b: (z(b), z(b + 5 * MINUTE_US))},
    *({"fields": {name: value}} for name, value in (
        ("value", 0.6), ("confidence", 0.25), ("confidence", 1), ("record_reference_id", "q"), ("record_reference_id", None),
        ("session_reference_id", "t"), ("session_reference_id", None), ("record_reference_id", "é"),
    )),
    *[{}] * 5,  # forwarded from several partitions, at the same millisecond and before
]  # fmt: skip


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_only_the_very_same_record_is_a_duplicate(*, forwarded: bool, apart: bool) -> None:
    """A record, then one that differs from it by one thing, then a third: in one transaction, or each in its own."""
    said = {"record_reference_id": "r", "session_reference_id": "s", "confidence": 0.5}
    first = [Run("taxed", 0, 15, (0.5,), fields=said, meters=(f"m{number}",)) for number in range(len(VARIED))]
    varied = [Odd(run, **varied) for run, varied in zip(first, VARIED, strict=True)]
    slices = ((False, tuple(first)), (forwarded, tuple(varied)), (False, (Again(len(VARIED), 3, False), *first)))
    transactions = [Transaction((each,)) for each in slices] if apart else [Transaction(slices)]
    for emit_every_s in (0.0, 10.0):
        found = alike(Story(tuple(transactions), emit_every_s=emit_every_s))
        assert sum(one["metrics"].get("duplicate", 0) for one in found) >= 1


def test_inside_of_a_month_that_is_one_interval_nothing_is_usual() -> None:
    """A record of a whole month makes one interval of it; finer ones of the same meter then touch that."""
    month = Odd(Run("taxed", 0, 30, (300.0,)), times=lambda *_: ("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z"))
    half_hours = Run("taxed", 0, 30, (0.5,), times=3)
    found = alike(Story((Transaction(((False, (month,)),)), Transaction(((False, (half_hours,)),))), met=True))
    assert [refused.error for refused in refusals(found)] == ["overlaps_existing_period"] * 3


def test_neighbours_in_a_chunk_have_intervals_of_their_own_lengths() -> None:
    """Records of the same period, one after the other, of 30-, 15- and 60-minute intervals."""
    lines = tuple(Run(name, 15 * at, 15, (0.5,)) for at in range(24) for name in ("taxed", "quarter", "howe", "bands"))
    found = alike(Story((Transaction(((False, lines),)),), met=True))
    ends = {(name, state.end_us - state.start_us) for name, state, _ in found[1]["intervals"]}
    assert Counter(length // MINUTE_US for _, length in ends) == {30: 24, 15: 24, 60: 6}


def test_power_over_no_time_yields_to_a_record_that_begins_with_it() -> None:
    start = Run("taxed", 30, 30, (1.0,), "W")
    lines = (Odd(start, times=lambda a, _: (z(a), z(a))), Run("taxed", 30, 15, (0.5,)))
    found = alike(Story((Transaction(((False, lines),)),), met=True))
    assert [len(state.readings) for _, state, _ in found[1]["intervals"]] == [1]


def test_a_stage_that_somebody_put_in_place_of_ours_sees_every_record() -> None:
    def validate(record: MeterRecord, meter: Meter, place: Place, window: Window | None) -> Reading | Rejected:
        if place[2] == 4:
            raise ZeroDivisionError
        return reading_of(record, meter, place, window)

    story = Story((Transaction(((False, (Run("taxed", 0, 30, (0.5,), times=9),)),)),))
    assert [refused.offset for refused in refusals(alike(story, validate=validate))] == [4]


TIES: Final = [
    *(number + half for number in range(6) for half in (0.5, 0.4999999, 0.5000001, 0.49951171875, 0.501, 0.4989)),
    *(10.0**power + 0.5 for power in range(2, 15)),
    *(2.0**power + part for power in (19, 39, 40, 49, 51) for part in (-0.5, 0, 0.5, 1.5)),
    999_999_999_999.5, 1e12, 1_000_000_000_000.5, 333_333_333.3333333, 0.1, 0.7, 5e-324, 1e-300,
]  # fmt: skip
"""Energies in µWh at which rounding is hardest, and at which floating point no longer decides it."""


@pytest.mark.parametrize("minutes", [1, 5, 15, 30])
@pytest.mark.parametrize("units", ["WH", "KWH", "W", "KW"])
def test_energy_is_rounded_alike(units: Units, minutes: int) -> None:
    scale = {"WH": 10**6, "KWH": 10**9, "W": minutes * 10**6 / 60, "KW": minutes * 10**9 / 60}[units]
    values = tuple(value for value in (uwh / scale for uwh in TIES) if value <= 1e6)
    run = Run("none", 0, minutes, values, units, meters=("a", "b"))
    found = alike(Story((Transaction(((False, (run,)),)),)))[1]["intervals"]
    expected = [energy_uwh(value, units, minutes * MINUTE_US) for value in values]
    for meter in run.meters:
        assert [one.energy_uwh for _, state, of in found if of.device_id == meter for one in state.readings] == expected


RATES: Final = [
    *("0.2450", "0", "-0.05", "0.333333333333333333", "123456789012345.123456789012345678", "0.000000000000000001"),
    *("-0.000000000000000007", "1", "0.5", "0.0000000005", "0.0000015", "100000000000000", "0.07", "-99.99"),
]
FEE: Final = {"name": "fee", "rate": "0.123456789012345678"}
TAXES: Final[list[Json]] = [
    {}, {"taxes": VAT}, {"taxes": [*VAT, FEE]},
    {"taxes": MWST, "prices_include_tax": True}, {"taxes": [FEE], "prices_include_tax": True},
]  # fmt: skip


@pytest.mark.parametrize("direction", ["IMPORT", "EXPORT"])
def test_amounts_are_written_alike(direction: str) -> None:
    """Energies of whole Wh and finer ones, at one charge and at several; what was remembered, and what was not."""
    values = (0.5, 0.5, 1, 0.001, 1e-9, 0.123456789, 7.000000001, 999.999999999, 1_000_000, 12.345, 0, 0.5)
    rates = list(product(RATES, TAXES, (False, True)))
    places = [located(f"at{number}") for number in range(len(rates))]

    def book() -> ReferenceBook:
        book = ReferenceBook()
        for number, (rate, taxes, several) in enumerate(rates):
            charges = [energy("energy", rate), energy("net", "0.1")][: 1 + several]
            book.put_tariff(flat(rate, str(number), direction=direction, charges=charges, **taxes))
            links = [link(str(number), direction)]
            book.put_location(parse_location({"location_id": places[number], "timezone": "Etc/UTC", "tariffs": links}))
        return book

    flow = {"energy_flow_direction": "INBOUND" if direction == "IMPORT" else "OUTBOUND"}
    runs = tuple(Run("none", 0, 30, values, "KWH", {"location_id": place, **flow}, 1, ("a", "b")) for place in places)
    found = alike(Story((Transaction(((False, runs),)),)), books=book)
    assert found[1]["metrics"]["priced"] == 2 * len(places) * len(values)
