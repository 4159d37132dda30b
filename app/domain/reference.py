"""What is known of locations, tariffs and series: one book, and what must be priced again when a page of it changes."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal
from weakref import WeakValueDictionary

import msgspec

from app.domain.calendar import US_PER_DAY, grid_for
from app.domain.instants import InstantError, parse_instant_us
from app.domain.locations import Location, TariffLink, overlapping_links
from app.domain.pricing import Carbon, PricePlan, Span
from app.domain.rates import AmountMemory
from app.domain.series import SeriesTable
from app.domain.tariff_pricer import TariffPricer
from app.domain.tariffs import Direction, SeriesDay, Tariff
from app.domain.tiers import Counter, TierPeriod
from app.domain.timeline import BEGINNING_US, END_US

_DIRECTIONS: Final[tuple[Direction, ...]] = ("IMPORT", "EXPORT", "LOCAL")

_NO_COUNTERS: Final[frozenset[Counter]] = frozenset()

_Stretch = tuple[int, int]
"""[start_us, end_us), with BEGINNING_US and END_US for the ends of time."""

_PlanKey = tuple[Direction, tuple[TariffLink, ...], str | None]


class Affected(msgspec.Struct, frozen=True, gc=False):
    """The intervals that a change concerns: those of `location_ids` that overlap [start_us, end_us) (None: no end).

    `grid_changed` tells that an existing location's zone or interval length changed: its intervals themselves are
    other ones.
    """

    location_ids: frozenset[str] = frozenset()
    start_us: int | None = None
    end_us: int | None = None
    grid_changed: bool = False


NOTHING: Final = Affected()


class ReferenceBook:
    """Locations, tariffs and series in memory. Nothing here is thread-safe, and nothing waits.

    A plan is good until the next change: ask for it again rather than keep it.
    """

    __slots__ = (
        "_bounds", "_carbons", "_counters", "_days", "_keys_of_series", "_keys_of_tariff", "_locations",
        "_locations_of_carbon", "_locations_of_tariff", "_memory", "_pricers", "_shared_plans", "_tables",
        "_versions", "plans", "tariff_generation",
    )  # fmt: skip

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._locations: dict[str, Location] = {}
        self._pricers: dict[str, TariffPricer] = {}
        self._days: dict[str, SeriesDay] = {}
        self._tables: dict[str, SeriesTable] = {}
        self._carbons: dict[str, Carbon] = {}
        self._locations_of_tariff: dict[str, set[str]] = {}
        self._locations_of_carbon: dict[str, set[str]] = {}
        self._keys_of_series: dict[str, set[str]] = {}
        self._keys_of_tariff: dict[str, set[str]] = {}
        self._versions: dict[str, tuple[TariffPricer, ...]] = {}
        self._counters: dict[str, frozenset[Counter]] = {}
        self._bounds: dict[tuple[str, Counter, int], list[int]] = {}
        self.tariff_generation = 0
        """Grows with every change of a tariff: what was counted towards tiers may count otherwise."""
        self.plans: dict[tuple[str, str], PricePlan] = {}
        """Those that have been asked for of known locations, by location and direction."""
        self._shared_plans: WeakValueDictionary[_PlanKey, PricePlan] = WeakValueDictionary()
        self._memory = AmountMemory()

    def location(self, location_id: str) -> Location | None:
        """Return a location, or None where there is none."""
        return self._locations.get(location_id)

    def tariff(self, tariff_id: str) -> Tariff | None:
        """Return the newest version of a tariff, or None where there is none."""
        versions = self._versions.get(tariff_id)
        return versions[-1].tariff if versions else None

    def versions(self, tariff_id: str) -> tuple[Tariff, ...]:
        """Return all versions of a tariff that are known, the newest last."""
        return tuple(pricer.tariff for pricer in self._versions.get(tariff_id, ()))

    def has_one_version(self, tariff_id: str) -> bool:
        """Tell whether a single version of a tariff is known."""
        return len(self._versions.get(tariff_id, ())) == 1

    def counters(self, tariff_id: str) -> frozenset[Counter]:
        """Return what counts towards the tiers of a tariff; none where nothing is graduated."""
        return self._counters.get(tariff_id, _NO_COUNTERS)

    def longest_tier_days(self) -> int:
        """Return how many days the longest tier period of all graduated tariffs has at most; 0 where none is graduated."""
        tariffs = (pricer.tariff for pricer in self._pricers.values())
        return max((_tier_days(tariff) for tariff in tariffs if self.counters(tariff.tariff_id)), default=0)

    def tier_periods(self, tariff_id: str, at_us: int) -> set[TierPeriod]:
        """Return the tier periods around an instant: one, unless versions of a tariff have different ones."""
        return {pricer.periods.around(at_us) for pricer in self._versions.get(tariff_id, ())}

    def bounds_uwh(self, tariff_id: str, counter: Counter, period: TierPeriod) -> list[int]:
        """Return every bound that a counter can meet in a tier period, in order."""
        key = (tariff_id, counter, period.days)
        known = self._bounds.get(key)
        if known is None:
            pricers = self._versions.get(tariff_id, ())
            known = self._bounds[key] = sorted(set().union(*(p.bounds_uwh(counter, period.days) for p in pricers)))
        return known

    def plan(self, location_id: str, direction: Direction) -> PricePlan:
        """Return how a location's energy of one direction is priced; an unknown location has none. Hot."""
        plan = self.plans.get((location_id, direction))
        return plan if plan is not None else self._build_plan(location_id, direction)

    def put_location(self, location: Location) -> Affected:
        """Take a location in place of the one of its id.

        Raises:
            ValueError: two of its links overlap.
            UnknownTimezoneError: there is no such zone.

        """
        old = self._locations.get(location.location_id)
        if old == location:
            return NOTHING
        problems = overlapping_links(location.links)
        if problems:
            raise ValueError("; ".join(f"tariffs[{position}]: {sentence}" for position, sentence in problems))
        grid_for(location.timezone, location.interval_minutes)  # raises where there is no such zone
        self._locations[location.location_id] = location
        self._reindex(location.location_id, old, location)
        return _location_change(location.location_id, old, location)

    def remove_location(self, location_id: str) -> Affected:
        """Forget a location."""
        old = self._locations.pop(location_id, None)
        if old is None:
            return NOTHING
        self._reindex(location_id, old, None)
        return _location_change(location_id, old, None)

    def put_tariff(self, tariff: Tariff, key: str | None = None) -> Affected:
        """Take a tariff in place of the one of its key: its id, unless several versions are to stand side by side.

        Where several are valid, the highest version prices.

        Raises:
            ValueError: it asks for what cannot be priced; the one before it stays.

        """
        name = key or tariff.tariff_id
        replaced = self._pricers.get(name)
        old = None if replaced is None else replaced.tariff
        if old == tariff:
            return NOTHING
        for series_id in tariff.series_ids:
            self._tables.setdefault(series_id, SeriesTable())
        pricer = TariffPricer(tariff, self._tables, self._memory)
        self._pricers[name] = pricer
        self._keys_of_tariff.setdefault(tariff.tariff_id, set()).add(name)
        return self._tariff_changed(name, old, tariff)

    def remove_tariff(self, key: str) -> Affected:
        """Forget a tariff, by its key: what it priced is pending again, or priced by another version."""
        removed = self._pricers.pop(key, None)
        if removed is None:
            return NOTHING
        return self._tariff_changed(key, removed.tariff, None)

    def put_series(self, day: SeriesDay) -> Affected:
        """Take the points of one series and UTC date in place of those known."""
        old = self._days.get(day.key)
        if old == day:
            return NOTHING
        self._days[day.key] = day
        self._tables.setdefault(day.series_id, SeriesTable()).put(day)
        return self._series_changed(day.series_id, _changed_points(old, day))

    def remove_series_day(self, key: str) -> Affected:
        """Forget the points of one series and UTC date, by the key of their document."""
        old = self._days.pop(key, None)
        if old is None:
            return NOTHING
        self._tables[old.series_id].remove(old)
        return self._series_changed(old.series_id, _changed_points(old, None))

    def affected_by(self, kind: Literal["location", "tariff", "series"], key: str) -> Affected:
        """Return what a document concerns, whatever it said before: for one that changed while nobody was watching."""
        if kind == "location":
            return Affected(frozenset({key}))
        if kind == "tariff":
            # A key is an id, or an id and a version; which of them, only a document could tell.
            return _affected(link for tariff_id in (key, key.rpartition("/")[0]) for link in self._linked(tariff_id))
        series_id, _, date = key.rpartition("/")
        try:
            start_us = parse_instant_us(f"{date}T00:00:00Z")
        except InstantError:
            return NOTHING
        reached = set(self._locations_of_carbon.get(series_id, ()))
        for name in self._keys_of_series.get(series_id, ()):
            reached.update(location_id for location_id, _ in self._linked(self._pricers[name].tariff.tariff_id))
        return _affected((location_id, (start_us, start_us + US_PER_DAY)) for location_id in reached)

    def _build_plan(self, location_id: str, direction: Direction) -> PricePlan:
        location = self._locations.get(location_id)
        links = () if location is None else location.links
        carbon_id = None if location is None or direction != "IMPORT" else location.carbon_series_id
        key = (direction, links, carbon_id)
        plan = self._shared_plans.get(key)
        if plan is None:
            spans = list(self._spans(direction, [link for link in links if link.direction == direction]))
            plan = self._shared_plans[key] = PricePlan(direction, spans, self._carbon(carbon_id))
        if location is not None:
            self.plans[location_id, direction] = plan
        return plan

    def _spans(self, direction: Direction, links: Iterable[TariffLink]) -> Iterator[Span]:
        """Tile all of time with links; between them local energy is free, and a tariff is missing for the rest."""
        at = BEGINNING_US
        for link in sorted(links, key=lambda link: _stretch(link)[0]):
            start, end = _stretch(link)
            if at < start:
                yield Span(at, start, None, free=direction == "LOCAL")
            yield from self._versions_in((start, end), link.tariff_id, direction)
            at = end
        if at < END_US:
            yield Span(at, END_US, None, free=direction == "LOCAL")

    def _versions_in(self, stretch: _Stretch, tariff_id: str, direction: Direction) -> Iterator[Span]:
        """Tile the stretch of a link with the versions that price in it: the highest that is valid, or none."""
        known = [(_validity(p.tariff), p) for p in self._versions.get(tariff_id, ()) if p.tariff.direction == direction]
        inside = [(overlap, pricer) for valid, pricer in known if (overlap := _overlap(stretch, valid)) is not None]
        marks = sorted({*stretch, *(at for overlap, _ in inside for at in overlap)})
        start, held = stretch[0], None
        for number, (at, until) in enumerate(pairwise(marks)):
            found = [pricer for overlap, pricer in inside if overlap[0] <= at and until <= overlap[1]]
            pricer = found[-1] if found else None
            if number and pricer is not held:
                yield Span(start, at, held)
                start = at
            held = pricer
        yield Span(start, stretch[1], held)

    def _carbon(self, series_id: str | None) -> Carbon | None:
        if series_id is None:
            return None
        carbon = self._carbons.get(series_id)
        if carbon is None:
            carbon = self._carbons[series_id] = Carbon(self._tables.setdefault(series_id, SeriesTable()))
        return carbon

    def _reindex(self, location_id: str, old: Location | None, new: Location | None) -> None:
        """Keep the ways back from tariffs and series to a location, and drop its plans."""
        if old is not None:
            for link in old.links:
                self._locations_of_tariff.get(link.tariff_id, set()).discard(location_id)
            if old.carbon_series_id is not None:
                self._locations_of_carbon.get(old.carbon_series_id, set()).discard(location_id)
        if new is not None:
            for link in new.links:
                self._locations_of_tariff.setdefault(link.tariff_id, set()).add(location_id)
            if new.carbon_series_id is not None:
                self._locations_of_carbon.setdefault(new.carbon_series_id, set()).add(location_id)
        if old is not None:
            self._drop_plans(location_id)  # one that is not known has none

    def _drop_plans(self, location_id: str) -> None:
        for direction in _DIRECTIONS:
            self.plans.pop((location_id, direction), None)

    def _tariff_changed(self, key: str, old: Tariff | None, new: Tariff | None) -> Affected:
        for series_id in () if old is None else old.series_ids:
            self._keys_of_series.get(series_id, set()).discard(key)
        for series_id in () if new is None else new.series_ids:
            self._keys_of_series.setdefault(series_id, set()).add(key)
        for tariff_id in {tariff.tariff_id for tariff in (old, new) if tariff is not None}:
            self._index_versions(tariff_id)
            for location_id in self._locations_of_tariff.get(tariff_id, ()):
                self._drop_plans(location_id)
        validities = [(tariff.tariff_id, _validity(tariff)) for tariff in (old, new) if tariff is not None]
        return _affected(
            (location_id, overlap)
            for tariff_id, validity in validities
            for location_id, stretch in self._linked(tariff_id)
            if (overlap := _overlap(stretch, validity)) is not None
        )

    def _index_versions(self, tariff_id: str) -> None:
        """Put the versions of a tariff in order, and what counts towards their tiers."""
        named = sorted(
            (self._pricers[name].tariff.version, name)
            for name in self._keys_of_tariff.get(tariff_id, ())
            if name in self._pricers and self._pricers[name].tariff.tariff_id == tariff_id
        )
        versions = self._versions[tariff_id] = tuple(self._pricers[name] for _, name in named)
        for pricer in versions:
            pricer.stand_beside(versions)
        counters = frozenset[Counter]().union(*(pricer.counters for pricer in versions))
        if counters:
            self._counters[tariff_id] = counters
        else:
            self._counters.pop(tariff_id, None)
        self._bounds.clear()
        self._shared_plans.clear()
        self.tariff_generation += 1

    def _series_changed(self, series_id: str, changed: _Stretch) -> Affected:
        """Forget what was looked up in a series, and find the locations that its points over `changed` reach."""
        tariffs = [self._pricers[key] for key in self._keys_of_series.get(series_id, ())]
        for pricer in tariffs:
            pricer.forget()
        if series_id in self._carbons:
            self._carbons[series_id].forget()
        reached = set(self._locations_of_carbon.get(series_id, ()))
        for pricer in tariffs:
            valid = _overlap(changed, _validity(pricer.tariff))
            if valid is not None:
                linked = self._linked(pricer.tariff.tariff_id)
                reached.update(location_id for location_id, stretch in linked if _overlap(stretch, valid))
        return _affected((location_id, changed) for location_id in reached)

    def _linked(self, tariff_id: str) -> Iterator[tuple[str, _Stretch]]:
        """Yield (location_id, stretch) of every link to a tariff."""
        for location_id in self._locations_of_tariff.get(tariff_id, ()):
            for link in self._locations[location_id].links:
                if link.tariff_id == tariff_id:
                    yield location_id, _stretch(link)


def _location_change(location_id: str, old: Location | None, new: Location | None) -> Affected:
    """Compare what prices depend on: links by time, the carbon series, the grid."""
    if old is None or new is None:  # as for each of them when a worker reads all that there are
        only = new if old is None else old
        ends = None if only is None else _ALWAYS if only.carbon_series_id is not None else _ends_of(only.links)
        return NOTHING if ends is None else Affected(frozenset((location_id,)), *ends)
    grid_changed = (old.timezone, old.interval_minutes) != (new.timezone, new.interval_minutes)
    if grid_changed or old.carbon_series_id != new.carbon_series_id:
        return Affected(frozenset((location_id,)), None, None, grid_changed)
    stretches = [stretch for direction in _DIRECTIONS for stretch in _changed_links(direction, old.links, new.links)]
    if not stretches:
        return NOTHING
    start, end = min([stretch[0] for stretch in stretches]), max([stretch[1] for stretch in stretches])
    return Affected(frozenset((location_id,)), *_unbounded(start, end))


_ALWAYS: Final = (None, None)


@lru_cache(maxsize=4096)
def _ends_of(links: tuple[TariffLink, ...]) -> tuple[int | None, int | None] | None:
    """Return from when to when there are links, None for an end that there is not; None: there are none. Many share theirs."""
    stretches = [stretch for link in links if (stretch := _stretch(link))[0] < stretch[1]]
    if not stretches:
        return None
    return _unbounded(min(stretch[0] for stretch in stretches), max(stretch[1] for stretch in stretches))


def _changed_links(
    direction: Direction, old: tuple[TariffLink, ...], new: tuple[TariffLink, ...]
) -> Iterator[_Stretch]:
    """Yield the stretches over which another tariff is linked than before."""
    marks = {BEGINNING_US, END_US}.union(*(_stretch(link) for link in (*old, *new)))
    for stretch in pairwise(sorted(marks)):
        before, after = (
            {link.tariff_id for link in links if link.direction == direction and _overlap(_stretch(link), stretch)}
            for links in (old, new)
        )
        if before != after:
            yield stretch


def _changed_points(old: SeriesDay | None, new: SeriesDay | None) -> _Stretch:
    """Return the stretch over which two versions of a day differ."""
    before, after = (frozenset() if day is None else frozenset(day.points) for day in (old, new))
    changed = before ^ after
    if old is not None and new is not None and (old.kind, old.unit) != (new.kind, new.unit):
        changed = before | after
    return min(point.start_us for point in changed), max(point.end_us for point in changed)


def _affected(found: Iterable[tuple[str, _Stretch]]) -> Affected:
    """Gather locations and the stretch that holds all of theirs."""
    pairs = list(found)
    if not pairs:
        return NOTHING
    start = min(stretch[0] for _, stretch in pairs)
    end = max(stretch[1] for _, stretch in pairs)
    return Affected(frozenset(location_id for location_id, _ in pairs), *_unbounded(start, end))


def _unbounded(start_us: int, end_us: int) -> tuple[int | None, int | None]:
    return None if start_us == BEGINNING_US else start_us, None if end_us == END_US else end_us


def _stretch(link: TariffLink) -> _Stretch:
    return _bounded(link.valid_from_us, link.valid_to_us)


def _validity(tariff: Tariff) -> _Stretch:
    return _bounded(tariff.valid_from_us, tariff.valid_to_us)


def _bounded(start_us: int | None, end_us: int | None) -> _Stretch:
    return BEGINNING_US if start_us is None else start_us, END_US if end_us is None else end_us


def _overlap(one: _Stretch, other: _Stretch) -> _Stretch | None:
    start, end = max(one[0], other[0]), min(one[1], other[1])
    return (start, end) if start < end else None


def _tier_days(tariff: Tariff) -> int:
    """Return the most days of a tariff's tier period."""
    if tariff.tier_period == "BILLING":
        return _MONTH_DAYS * (1 if tariff.billing_period is None else tariff.billing_period.months)
    return {"P1D": 1, "P1M": _MONTH_DAYS, "P1Y": 366}[tariff.tier_period]


_MONTH_DAYS: Final = 31
