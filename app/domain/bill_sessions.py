"""Session charges on a bill: what each charging session is due, by the tariff that holds at each of its instants.

All of a session is looked at, also what lies before and after the bill, and what falls into the bill is posted: so
bills that join add up to the bill of the whole. Time is billed in steps. As OCPI has it, time under several bands is
rounded up once, by the step of the band that was last, and what is added has that band's amount; that happens where a
session ends, and where a time begins that no band prices.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple

from app.domain.band_times import BandTimes
from app.domain.bill_coverage import FLOW_OF, Problem, merged
from app.domain.bill_lines import Entry, Ledger, LineKey
from app.domain.bill_records import DIRECTIONS, TariffKey
from app.domain.calendar import LocalCalendar, calendar_for, date_of_day
from app.domain.instants import US_PER_HOUR, US_PER_SECOND
from app.domain.locations import Location
from app.domain.records import MeterId
from app.domain.sessions import Session, Stretch
from app.domain.tariffs import Direction, SessionBand, SessionCharge, Tariff
from app.domain.timeline import BEGINNING_US, END_US

Tariffs = Mapping[str, Sequence[Tariff]]
"""All versions of each tariff, by its id."""


class Held(NamedTuple):
    """A location is on a version of a tariff during [start_us, end_us)."""

    start_us: int
    end_us: int
    tariff: Tariff


class _Price(NamedTuple):
    """What prices a moment of a session."""

    tariff: Tariff
    charge: SessionCharge
    band: SessionBand


class _Piece(NamedTuple):
    """A stretch of time of a session under one price; None: nothing is due for it."""

    start_us: int
    end_us: int
    price: _Price | None


class _Due(NamedTuple):
    """Sessions or µs that are due at an instant, at a price."""

    at_us: int
    quantity: int
    price: _Price


_NOTHING: Final = _Piece(END_US, END_US, None)


def held(location: Location, tariffs: Tariffs, direction: Direction) -> list[Held]:
    """Return what a location is on, in order of time: of each linked tariff the highest version that is valid."""
    found = []
    for link in location.links:
        if link.direction != direction:
            continue
        versions = [one for one in tariffs.get(link.tariff_id, ()) if one.direction == direction]
        linked = _bounds(link.valid_from_us, link.valid_to_us)
        marks = {*linked}
        for tariff in versions:
            marks |= {at_us for at_us in _bounds(tariff.valid_from_us, tariff.valid_to_us) if _in(at_us, linked)}
        for start_us, end_us in pairwise(sorted(marks)):
            valid = [one for one in versions if _in(start_us, _bounds(one.valid_from_us, one.valid_to_us))]
            if valid:
                found.append(Held(start_us, end_us, max(valid, key=lambda tariff: tariff.version)))
    return sorted(found, key=lambda one: one.start_us)


def _bounds(from_us: int | None, to_us: int | None) -> Stretch:
    return BEGINNING_US if from_us is None else from_us, END_US if to_us is None else to_us


def _in(at_us: int, stretch: Stretch) -> bool:
    return stretch[0] <= at_us < stretch[1]


def session_charges(tariff: Tariff) -> list[SessionCharge]:
    """Return the charges of a tariff that are for sessions."""
    return [charge for charge in tariff.charges if isinstance(charge, SessionCharge)]


def asked_for(location: Location, tariffs: Tariffs, bill: Stretch) -> list[tuple[Direction, Stretch]]:
    """Return when in a bill a tariff with session charges holds, by direction: sessions must then be known."""
    return [
        (direction, (max(one.start_us, bill[0]), min(one.end_us, bill[1])))
        for direction in DIRECTIONS
        for one in held(location, tariffs, direction)
        if one.start_us < bill[1] and bill[0] < one.end_us and session_charges(one.tariff)
    ]


def unknown_sessions(location: Location, tariffs: Tariffs, bill: Stretch, device_id: str | None) -> list[Problem]:
    """Name the times at which sessions are charged for, of a bill for which they are not known."""
    singles = [
        Problem(
            "unbilled",
            "sessions_unknown",
            MeterId(location.location_id, device_id or "", FLOW_OF[direction], direction),
            *stretch,
            0,
        )
        for direction, stretch in asked_for(location, tariffs, bill)
    ]
    return [
        problem
        for direction in DIRECTIONS
        for problem in merged([one for one in singles if one.meter.tariff_direction == direction])
    ]


def post_sessions(
    ledger: Ledger, location: Location, tariffs: Tariffs, sessions: Iterable[Session], bill: Stretch
) -> None:
    """Post what sessions are due within a bill."""
    calendar = calendar_for(location.timezone)
    prices = _Prices(location, tariffs)
    for session in sessions:
        for due in (*prices.started(session), *_hours(prices, session, calendar)):
            if not _in(due.at_us, bill):
                continue
            tariff, charge, band = due.price
            key = LineKey(
                "session",
                session.direction,
                None,
                tariff.tariff_id,
                tariff.version,
                charge.charge_id,
                band.name,
                rate=band.amount,
            )
            quantity = Fraction(due.quantity, US_PER_HOUR if charge.per == "hour" else 1)
            entry = ledger.setdefault(key, Entry(charge.per))
            entry.post(calendar.day_number(due.at_us), quantity, quantity * Fraction(band.amount))


class _Prices:
    """Finds what prices the start of a session, and each stretch of its time."""

    __slots__ = ("_held", "_times")

    def __init__(self, location: Location, tariffs: Tariffs) -> None:
        """Take what the location is on."""
        self._held = {direction: held(location, tariffs, direction) for direction in DIRECTIONS}
        self._times: dict[tuple[TariffKey, str], BandTimes] = {}

    def started(self, session: Session) -> Iterator[_Due]:
        """Yield what is due for the session as a whole: at its start."""
        for one in self._held[session.direction]:
            if not _in(session.start_us, (one.start_us, one.end_us)):
                continue
            for charge in session_charges(one.tariff):
                number = self._bands(one.tariff, charge).at(session.start_us) if charge.per == "session" else None
                if number is not None:
                    yield _Due(session.start_us, 1, _Price(one.tariff, charge, charge.bands[number]))

    def by_the_hour(self, session: Session) -> Iterator[list[_Piece]]:
        """Yield the counted time of the session in order, under what prices it, for each charge by its charge_id.

        A charge goes on where a tariff that follows has one of the same charge_id.
        """
        stretch = session.start_us, session.end_us
        on = [one for one in self._held[session.direction] if one.start_us < stretch[1] and stretch[0] < one.end_us]
        charges = (charge for one in on for charge in session_charges(one.tariff) if charge.per == "hour")
        for charge_id in dict.fromkeys(charge.charge_id for charge in charges):
            yield list(self._pieces(session, on, charge_id))

    def _pieces(self, session: Session, on: Sequence[Held], charge_id: str) -> Iterator[_Piece]:
        until_us = session.start_us
        for one in on:
            if one.start_us > until_us:
                yield _NOTHING
            until_us = one.end_us
            mine = (charge for charge in session_charges(one.tariff) if charge.charge_id == charge_id)
            charge = next((charge for charge in mine if charge.per == "hour"), None)
            if charge is None:
                yield _NOTHING
                continue
            times = self._bands(one.tariff, charge)
            for start_us, end_us in session.stretches(charge.counted):
                inside = max(start_us, one.start_us), min(end_us, one.end_us)
                for from_us, to_us, number in times.pieces(*inside):
                    price = None if number is None else _Price(one.tariff, charge, charge.bands[number])
                    yield _Piece(from_us, to_us, price)

    def _bands(self, tariff: Tariff, charge: SessionCharge) -> BandTimes:
        key = (tariff.tariff_id, tariff.version), charge.charge_id
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = BandTimes(tariff, charge.bands)
        return times


def _hours(prices: _Prices, session: Session, calendar: LocalCalendar) -> Iterator[_Due]:
    """Yield the time of a session that is due, cut at local midnights, and what rounding up to whole steps adds."""
    for pieces in prices.by_the_hour(session):
        for piece in pieces:
            yield from _by_day(piece, calendar)
        yield from _rounded_up(pieces)


def _by_day(piece: _Piece, calendar: LocalCalendar) -> Iterator[_Due]:
    at_us, end_us, price = piece
    while price is not None and at_us < end_us:
        until_us = min(end_us, calendar.day_start_us(date_of_day(calendar.day_number(at_us) + 1)))
        yield _Due(at_us, until_us - at_us, price)
        at_us = until_us


def _rounded_up(pieces: Iterable[_Piece]) -> Iterator[_Due]:
    """Yield what is lacking to whole steps of the last band, where priced time ends: at its last instant."""
    total_us, last_us, price = 0, 0, None
    for piece in (*pieces, _NOTHING):
        if piece.price is not None:
            total_us, last_us, price = total_us + piece.end_us - piece.start_us, piece.end_us - 1, piece.price
        elif price is not None:
            lacking_us = -total_us % (price.band.step_seconds * US_PER_SECOND)
            if lacking_us:
                yield _Due(last_us, lacking_us, price)
            total_us, price = 0, None
