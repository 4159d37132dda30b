"""What holds for all charging sessions, bands, steps and cuts of a bill."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bill_lines import Ledger
from app.domain.bill_sessions import post_sessions
from app.domain.calendar import calendar_for
from app.domain.locations import Location, TariffLink
from app.domain.sessions import SessionPart, sessions_of
from app.domain.tariffs import DAY_NAMES, Counted, SessionBand, SessionCharge, Tariff, When

# A tariff's months are compiled anew in each example: fewer of them, and no deadline on a machine that is busy.
compiled = settings(max_examples=40, deadline=None)

MINUTE_US = 60_000_000
ZONE = "Europe/London"
FIRST = date(2025, 3, 28)
DAYS = 6  # with a change of the clock among them
EDGES_US = [calendar_for(ZONE).day_start_us(FIRST + timedelta(days=day)) for day in range(DAYS + 1)]
START_US, END_US = EDGES_US[0], EDGES_US[-1]

minutes = st.integers(0, 1440)
windows = st.builds(
    When,
    st.just((1, 1)),
    st.just((12, 31)),
    st.frozensets(st.sampled_from(DAY_NAMES), min_size=1),
    minutes,
    minutes,
)
bands = st.lists(
    st.builds(
        SessionBand,
        st.just("band"),
        st.lists(windows, min_size=1, max_size=2).map(tuple),
        st.decimals(-2, 2, places=3),
        st.sampled_from([1, 7, 60, 900, 86_400]),
    ),
    min_size=1,
    max_size=3,
).map(lambda found: tuple(SessionBand(f"b{n}", b.when, b.amount, b.step_seconds) for n, b in enumerate(found)))
charges = st.builds(
    SessionCharge,
    st.just("charge"),
    st.sampled_from(["session", "hour"]),
    bands,
    st.sampled_from(["connected", "charging"]),
)
parts = st.lists(
    st.builds(
        lambda name, device, start, length, charging: SessionPart(
            name, "IMPORT", device, START_US + start, START_US + start + length, charging
        ),
        st.sampled_from("abc"),
        st.sampled_from(["", "d"]),
        st.integers(-1440 * MINUTE_US, (DAYS + 1) * 1440 * MINUTE_US),
        st.integers(0, 600 * MINUTE_US),
        st.booleans(),
    ),
    max_size=6,
)
instants = st.integers(START_US, END_US)


def due(charge: SessionCharge, told: list[SessionPart], changes: list[int], bill: tuple[int, int]) -> Fraction:
    """Return what sessions are due in a bill, on versions of one tariff that change at some instants."""
    marks = [None, *sorted(set(changes)), None]
    versions = [
        Tariff("t", number, "IMPORT", "GBP", ZONE, (charge,), valid_from_us=start, valid_to_us=end)
        for number, (start, end) in enumerate(pairwise(marks), start=1)
    ]
    place = Location("loc", ZONE, links=(TariffLink("IMPORT", "t"),))
    ledger: Ledger = {}
    post_sessions(ledger, place, {"t": versions}, sessions_of(told), bill)
    return sum((entry.amount for entry in ledger.values()), start=Fraction(0))


@compiled
@given(charges, parts, st.lists(instants, max_size=2), st.sets(st.sampled_from(EDGES_US)))
def test_bills_of_adjoining_periods_add_up_to_the_bill_of_the_whole(
    charge: SessionCharge, told: list[SessionPart], changes: list[int], cuts: set[int]
) -> None:
    edges = sorted({START_US, END_US, *cuts})
    whole = due(charge, told, changes, (START_US, END_US))
    assert sum(due(charge, told, changes, pair) for pair in pairwise(edges)) == whole


@compiled
@given(charges, parts, instants)
def test_a_version_that_says_the_same_changes_nothing(
    charge: SessionCharge, told: list[SessionPart], change: int
) -> None:
    everything = (START_US - 90 * 1440 * MINUTE_US, END_US + 90 * 1440 * MINUTE_US)
    assert due(charge, told, [change], everything) == due(charge, told, [], everything)


@compiled
@given(parts, st.sampled_from([1, 7, 60, 900, 86_400]), st.sampled_from(["connected", "charging"]))
def test_under_one_band_time_is_the_least_number_of_whole_steps_that_holds_it(
    told: list[SessionPart], step_seconds: int, counted: Counted
) -> None:
    band = SessionBand("all", (), Decimal(3600), step_seconds)
    charge = SessionCharge("charge", "hour", (band,), counted)
    everything = (START_US - 90 * 1440 * MINUTE_US, END_US + 90 * 1440 * MINUTE_US)
    step_us = step_seconds * 1_000_000
    expected = 0
    for session in sessions_of(told):
        time_us = sum(end_us - start_us for start_us, end_us in session.stretches(charge.counted))
        expected += -(-time_us // step_us) * step_seconds
    assert due(charge, told, [], everything) == expected


@compiled
@given(charges, parts, st.randoms())
def test_neither_the_order_of_records_nor_their_repetition_matters(
    charge: SessionCharge, told: list[SessionPart], random: Random
) -> None:
    again = [*told, *told]
    random.shuffle(again)
    bill = (START_US, END_US)
    assert due(charge, again, [], bill) == due(charge, told, [], bill)
