"""A slow price: the definition written down once more, for tests to hold the engine against. It shares no code with it.

It works on plain JSON documents, with `Fraction` for every amount and the standard library's zones, and knows no
timeline: it walks through an interval in small steps, asks at each what the clock on the wall shows, and tries every
window. A step ends with each half hour, and at every minute within half an hour at which any document has a boundary:
in the years and zones that the tests use, offsets are whole half hours and change at them, so nothing else can be
between two steps.

What it takes for granted: documents are valid, records are valid and do not overlap (so their order does not matter),
and no local midnight is missing or stands twice.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from tests.oracles.wall_clock import (
    HALF_HOUR,
    MINUTE,
    UWH_PER_KWH,
    WEEKDAYS,
    Document,
    cells,
    energy_uwh,
    instant,
    micros,
    midnight,
    minutes_of,
    month_day,
    text_of,
    zone,
)

# Tier periods


def anchored(months: int, anchor_day: int) -> date:
    """Return the anchor day of a month that is counted from year 0, or the month's last day where it has none."""
    year, month = divmod(months, 12)
    next_first = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    last = (next_first - timedelta(days=1)).day
    return date(year, month + 1, min(anchor_day, last))


def tier_period(tariff: Document, on: date) -> tuple[date, date]:
    """Return the first local date of the tier period that a local date lies in, and of the next one."""
    kind = tariff.get("tier_period", "P1M")
    if kind == "P1D":
        return on, on + timedelta(days=1)
    if kind == "P1Y":
        return date(on.year, 1, 1), date(on.year + 1, 1, 1)
    billing = (tariff.get("billing_period") or {}) if kind == "BILLING" else {}
    months, day = billing.get("months", 1), billing.get("anchor_day", 1)
    first_month = billing.get("anchor_month", 1) - 1
    starts = [
        anchored(at, day) for at in range(first_month + 12 * (on.year - 2), first_month + 12 * (on.year + 3), months)
    ]
    number = max(n for n, start in enumerate(starts) if start <= on)
    return starts[number], starts[number + 1]


# Tariffs by the clock on the wall


class Window(NamedTuple):
    """One `when`: a season of (month, day) pairs, day names, and minutes since midnight."""

    first: tuple[int, int]
    last: tuple[int, int]
    days: frozenset[str]
    start: int
    end: int

    @classmethod
    def of(cls, when: Document) -> "Window":
        days = frozenset(when.get("days", (*WEEKDAYS, "HOL")))
        first, last = month_day(when.get("from", "01-01")), month_day(when.get("to", "12-31"))
        return cls(first, last, days, minutes_of(when.get("start", "00:00")), minutes_of(when.get("end", "24:00")))

    def starts_on(self, on: date, holidays: Iterable[str]) -> bool:
        name = "HOL" if on.isoformat() in holidays else WEEKDAYS[on.weekday()]
        at = (on.month, on.day)
        in_season = self.first <= at <= self.last if self.first <= self.last else at >= self.first or at <= self.last
        return in_season and name in self.days

    def holds(self, local: datetime, holidays: Iterable[str]) -> bool:
        today, minute = local.date(), local.hour * 60 + local.minute
        if self.end > self.start:
            return self.start <= minute < self.end and self.starts_on(today, holidays)
        if minute >= self.start:
            return self.starts_on(today, holidays)
        return minute < self.end and self.starts_on(today - timedelta(days=1), holidays)


class Asked(NamedTuple):
    """What one charge asks at a moment: tiers (bound in µWh or None, rate), and the counter that they look at."""

    charge: str
    band: str | None
    tiers: tuple[tuple[int | None, Fraction], ...] | None
    counts: str | None


class Tariff:
    """A tariff document, asked at single instants."""

    def __init__(self, document: Document, series: dict[str, list[tuple[int, int, str, Fraction]]]) -> None:
        self.document = document
        self.holidays = frozenset(document.get("holidays", ()))
        self.charges = [charge for charge in document["charges"] if charge["kind"] == "energy"]
        self.windows = {
            (charge["charge_id"], band["name"]): [Window.of(when) for when in band.get("when", ())]
            for charge in self.charges
            for band in charge.get("bands") or ()
        }
        self.series = series
        self.valid_from = micros(document["valid_from"]) if document.get("valid_from") else None
        self.valid_to = micros(document["valid_to"]) if document.get("valid_to") else None
        self._seen: dict[int, tuple[tuple[date, date], list[Asked]]] = {}
        self._periods: dict[date, tuple[date, date]] = {}
        self._tiers: dict[tuple[str, str, int], tuple[tuple[int | None, Fraction], ...]] = {}
        self._taxes = {
            charge["charge_id"]: sum(
                (
                    Fraction(tax["rate"])
                    for tax in document.get("taxes", ())
                    if tax.get("charges") is None or charge["charge_id"] in tax["charges"]
                ),
                start=Fraction(0),
            )
            for charge in self.charges
        }

    def valid_at(self, at: int) -> bool:
        return (self.valid_from is None or self.valid_from <= at) and (self.valid_to is None or at < self.valid_to)

    def at(self, at: int) -> tuple[tuple[date, date], list[Asked]]:
        """Return the tier period around an instant, and what each charge asks. Tiers None: there is no price."""
        if at not in self._seen:
            local = instant(at).astimezone(zone(self.document["timezone"]))
            period = self._periods.get(local.date()) or tier_period(self.document, local.date())
            self._periods[local.date()] = period
            days = (period[1] - period[0]).days
            asked = [found for charge in self.charges if (found := self._ask(charge, local, at, days)) is not None]
            self._seen[at] = period, asked
        return self._seen[at]

    def _ask(self, charge: Document, local: datetime, at: int, days: int) -> Asked | None:
        if charge.get("series"):
            rate = self._series_rate(charge["series"], at)
            return Asked(charge["charge_id"], None, None if rate is None else ((None, rate),), None)
        for band in charge["bands"]:
            windows = self.windows[charge["charge_id"], band["name"]]
            if not windows or any(window.holds(local, self.holidays) for window in windows):
                key = charge["charge_id"], band["name"], days
                if key not in self._tiers:
                    tiers = tuple((bound_uwh(tier, days), Fraction(tier["rate"])) for tier in band["tiers"])
                    self._tiers[key] = tiers
                counts = band["name"] if charge.get("tier_scope") == "band" else None
                return Asked(charge["charge_id"], band["name"], self._tiers[key], counts)
        return None

    def _series_rate(self, rule: Document, at: int) -> Fraction | None:
        points = self.series.get(rule["series_id"], [])
        index = bisect_right(points, at, key=lambda point: point[0]) - 1
        if index < 0 or at >= points[index][1] or points[index][2] != f"{self.document['currency']}/kWh":
            return None
        rate = points[index][3] * Fraction(rule.get("multiplier", "1")) + Fraction(rule.get("adder", "0"))
        if rule.get("cap") is not None:
            rate = min(rate, Fraction(rule["cap"]))
        if rule.get("floor") is not None:
            rate = max(rate, Fraction(rule["floor"]))
        return rate

    def amounts(self, charge: str, amount: Fraction) -> tuple[Fraction, Fraction]:
        """Return (with tax, without tax) of an amount in the document's own terms."""
        factor = 1 + self._taxes[charge]
        if self.document.get("prices_include_tax"):
            return amount, amount / factor
        return amount * factor, amount


def bound_uwh(tier: Document, days: int) -> int | None:
    """Return a tier's bound, which is a whole number of µWh; None: it has none."""
    daily, whole = tier.get("up_to_kwh_per_day"), tier.get("up_to_kwh")
    if daily is None and whole is None:
        return None
    bound = Fraction(str(whole if daily is None else daily)) * (1 if daily is None else days) * UWH_PER_KWH
    assert bound.denominator == 1
    return int(bound)


def in_tiers(
    tiers: Iterable[tuple[int | None, Fraction]], before_uwh: int, energy_uwh: int
) -> Iterator[tuple[int, Fraction, int]]:
    """Yield (tier from 1, rate, energy in it) for energy that comes on top of what was counted before.

    A bound belongs to the tier below it. No energy at all lies in the tier in which the counter stands.
    """
    low_uwh = -1
    for number, (bound, rate) in enumerate(tiers, start=1):
        high_uwh = before_uwh + energy_uwh if bound is None else bound
        share_uwh = min(before_uwh + energy_uwh, high_uwh) - max(before_uwh, low_uwh)
        if share_uwh > 0 or (energy_uwh == 0 and low_uwh < before_uwh <= high_uwh):
            yield number, rate, share_uwh
        low_uwh = high_uwh


# Meters


class Meter(NamedTuple):
    """What is measured by itself."""

    location: str
    device: str | None
    flow: str
    direction: str


class Part(NamedTuple):
    """What one record gives to one interval."""

    start: int
    end: int
    energy_uwh: int

    def upto(self, at: int) -> int:
        """Return the energy up to an instant: at constant power, rounded down to whole µWh."""
        if at <= self.start:
            return 0
        return self.energy_uwh if at >= self.end else self.energy_uwh * (at - self.start) // (self.end - self.start)

    def between(self, start: int, end: int) -> int | None:
        """Return the energy in [start, end); None where the part has no time there."""
        if self.start == self.end:
            return self.energy_uwh if start <= self.start < end else None
        if self.end <= start or end <= self.start:
            return None
        return self.upto(end) - self.upto(start)


@dataclass
class Line:
    """What one charge asked in one band and tier at one rate, within an interval."""

    energy_uwh: int = 0
    cost: Fraction = Fraction(0)
    net: Fraction = Fraction(0)


@dataclass
class Priced:
    """An interval and its price, exact; `lines` by (tariff_id, version, charge_id, band, tier, rate)."""

    meter: Meter
    start: int
    end: int
    parts: list[Part]
    status: str = "priced"
    reason: str | None = None
    currency: str | None = None
    tariff: tuple[str, int] | None = None
    lines: dict[tuple[str, int, str, str | None, int | None, Fraction], Line] = field(
        default_factory=lambda: defaultdict(Line)
    )

    @property
    def interval_id(self) -> str:
        meter = self.meter
        return f"{meter.location}|{meter.device or ''}|{meter.flow}|{meter.direction}|{text_of(self.start)}"

    @property
    def energy_uwh(self) -> int:
        return sum(part.energy_uwh for part in self.parts)

    @property
    def cost(self) -> Fraction:
        return sum((line.cost for line in self.lines.values()), start=Fraction(0))

    @property
    def net(self) -> Fraction:
        return sum((line.net for line in self.lines.values()), start=Fraction(0))


class _Piece(NamedTuple):
    """A step of an interval that a record touches, with its tariff; None: there is none."""

    at: int
    energy_uwh: int
    tariff: Tariff | None


class Reference:
    """All that is known: locations, tariffs, series; and what charges have counted so far."""

    def __init__(self, locations: list[Document], tariffs: list[Document], series: Iterable[Document] = ()) -> None:
        self.locations = {location["location_id"]: location for location in locations}
        points: dict[str, list[tuple[int, int, str, Fraction]]] = defaultdict(list)
        for day in series:
            for point in day["points"]:
                span = micros(point["start_time"]), micros(point["end_time"])
                points[day["series_id"]].append((*span, day["unit"], Fraction(point["value"])))
        for found in points.values():
            found.sort()
        self.tariffs = [Tariff(document, points) for document in tariffs]
        self.marks = self._marks(points)
        self._counted: dict[tuple[Meter, str, str, str | None], tuple[list[int], list[int]]] = defaultdict(
            lambda: ([], [0])
        )

    def _marks(self, points: dict[str, list[tuple[int, int, str, Fraction]]]) -> list[int]:
        """Return where within half an hour, counted from its start, any boundary lies; and its end."""
        windows = [window for tariff in self.tariffs for known in tariff.windows.values() for window in known]
        instants = [minute * MINUTE for window in windows for minute in (window.start, window.end)]
        instants += [at for found in points.values() for point in found for at in point[:2]]
        links = [link for location in self.locations.values() for link in location.get("tariffs", ())]
        for dated in (*links, *(tariff.document for tariff in self.tariffs)):
            instants += [micros(dated[name]) for name in ("valid_from", "valid_to") if dated.get(name)]
        return [*sorted({at % HALF_HOUR for at in instants} - {0}), HALF_HOUR]

    def price(self, records: Iterable[Document]) -> dict[str, Priced]:
        """Return every interval that records touch, priced in order of time, by its id."""
        intervals: dict[tuple[Meter, int, int], list[Part]] = defaultdict(list)
        for record in records:
            meter, part = self._read(record)
            for start, end in cells(self.locations[meter.location], part.start, part.end):
                inside = Part(max(start, part.start), min(end, part.end), part.between(start, end) or 0)
                intervals[meter, start, end].append(inside)
        return self.price_intervals(intervals)

    def price_intervals(self, intervals: Mapping[tuple[Meter, int, int], list[Part]]) -> dict[str, Priced]:
        """Return intervals, priced in order of time, by their ids, from what records give to each."""
        found = {}
        for (meter, start, end), parts in sorted(intervals.items(), key=lambda item: item[0][1]):
            priced = Priced(meter, start, end, sorted(parts))
            self._price(priced)
            found[priced.interval_id] = priced
        return found

    @staticmethod
    def _read(record: Document) -> tuple[Meter, Part]:
        flow = record.get("energy_flow_direction", "INBOUND")
        direction = record.get("tariff_direction") or ("IMPORT" if flow == "INBOUND" else "EXPORT")
        start, end = micros(record["start_time"]), micros(record["end_time"])
        part = Part(start, end, energy_uwh(record["value"], record["units"], start, end))
        return Meter(record["location_id"], record.get("device_id"), flow, direction), part

    def _price(self, priced: Priced) -> None:
        pieces = list(self._pieces(priced))
        if any(piece.tariff is None and not self._is_free(priced.meter, piece.at) for piece in pieces):
            priced.status, priced.reason = "pending", "no_tariff"
            return
        tariffs = [piece.tariff for piece in pieces if piece.tariff is not None]
        if tariffs:
            first = tariffs[0].document
            priced.tariff = first["tariff_id"], first.get("version", 1)
            priced.currency = first["currency"]
        asked = [one for piece in pieces if piece.tariff is not None for one in piece.tariff.at(piece.at)[1]]
        if any(one.tiers is None for one in asked):
            priced.status, priced.reason = "pending", "no_price"
        elif len({tariff.document["currency"] for tariff in tariffs}) > 1:
            priced.status, priced.reason, priced.currency = "pending", "mixed_currency", None
        else:
            for piece in pieces:
                if piece.tariff is not None:
                    self._add(priced, piece.at, piece.energy_uwh, piece.tariff)
            by_key = {(one.document["tariff_id"], one.document.get("version", 1)): one for one in tariffs}
            earns = priced.meter.direction == "EXPORT" or (
                priced.meter.direction == "LOCAL" and priced.meter.flow == "OUTBOUND"
            )
            for (tariff_id, version, charge, _, _, rate), line in priced.lines.items():
                amount = (-line.energy_uwh if earns else line.energy_uwh) * rate / UWH_PER_KWH
                line.cost, line.net = by_key[tariff_id, version].amounts(charge, amount)

    def _pieces(self, priced: Priced) -> Iterator[_Piece]:
        at = priced.start
        while at < priced.end:
            half_hour = at - at % HALF_HOUR
            end = min(half_hour + min(mark for mark in self.marks if half_hour + mark > at), priced.end)
            energies = [uwh for part in priced.parts if (uwh := part.between(at, end)) is not None]
            if energies:
                yield _Piece(at, sum(energies), self._tariff(priced.meter, at))
            at = end

    def _link(self, meter: Meter, at: int) -> Document | None:
        links: list[Document] = self.locations[meter.location].get("tariffs", [])
        for link in links:
            since = micros(link["valid_from"]) if link.get("valid_from") else None
            until = micros(link["valid_to"]) if link.get("valid_to") else None
            if (
                link["direction"] == meter.direction
                and (since is None or since <= at)
                and (until is None or at < until)
            ):
                return link
        return None

    def _is_free(self, meter: Meter, at: int) -> bool:
        return meter.direction == "LOCAL" and self._link(meter, at) is None

    def _tariff(self, meter: Meter, at: int) -> Tariff | None:
        """Return the highest version of the linked tariff that is valid at an instant."""
        link = self._link(meter, at)
        found = [
            tariff
            for tariff in self.tariffs
            if link is not None
            and tariff.document["tariff_id"] == link["tariff_id"]
            and tariff.document["direction"] == meter.direction
            and tariff.valid_at(at)
        ]
        return max(found, key=lambda tariff: tariff.document.get("version", 1), default=None)

    def _add(self, priced: Priced, at: int, energy_uwh: int, tariff: Tariff) -> None:
        meter, document = priced.meter, tariff.document
        period, asked = tariff.at(at)
        since = midnight(document["timezone"], period[0])
        for one in asked:
            assert one.tiers is not None
            before_uwh = self._before(meter, document["tariff_id"], one, since)
            for tier, rate, share_uwh in in_tiers(one.tiers, before_uwh, energy_uwh):
                key = (document["tariff_id"], document.get("version", 1), one.charge, one.band)
                priced.lines[*key, None if one.band is None else tier, rate].energy_uwh += share_uwh
            # All energy of a charge counts, also what a version without tiers, or with a series, has priced.
            for band in {None, one.band}:
                starts, sums = self._counted[meter, document["tariff_id"], one.charge, band]
                starts.append(at)
                sums.append(sums[-1] + energy_uwh)

    def _before(self, meter: Meter, tariff_id: str, asked: Asked, since: int) -> int:
        """Return what a charge (or its band) priced since an instant."""
        starts, sums = self._counted[meter, tariff_id, asked.charge, asked.counts]
        return sums[-1] - sums[bisect_left(starts, since)]
