"""A month of a household with a roof, as NEM12; and what it must come to, by arithmetic of its own straight from the text.

Nothing here uses the product. Times of NEM12 are UTC+10 all year, and so is Brisbane, so a local time is ten hours ahead of UTC.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

Json = dict[str, object]

ROOT: Final = Path(__file__).resolve().parent.parent.parent
REAL_FILE: Final = "nem12_solar_2023-03.csv"
READINGS_A_DAY: Final = 288
INTERVALS: Final = 31 * 48
NMI: Final = "NMI1234567"
DIRECTIONS: Final = {"E1": "INBOUND|IMPORT", "B1": "OUTBOUND|EXPORT"}
_FROM_UTC: Final = timedelta(hours=10)


class Month(NamedTuple):
    """A file of one month, and its totals in kWh where they are known from elsewhere."""

    name: str
    text: str
    totals_kwh: dict[str, Fraction] | None

    def values(self, channel: str, on: date) -> list[str]:
        """Return a day's readings as they stand in the text."""
        suffix = ""
        for line in self.text.splitlines():
            cells = line.split(",")
            if cells[0] == "200":
                suffix = cells[4]
            elif cells[0] == "300" and suffix == channel and cells[1] == f"{on:%Y%m%d}":
                return cells[2 : 2 + READINGS_A_DAY]
        raise LookupError(channel, on)

    def readings(self) -> Iterator["Reading"]:
        """Yield every reading of the file."""
        for channel in DIRECTIONS:
            for day in range(1, 32):
                midnight = datetime(2023, 3, day)  # noqa: DTZ001 - a local time
                for number, text in enumerate(self.values(channel, midnight.date())):
                    yield Reading(channel, midnight + number * timedelta(minutes=5), Fraction(text))

    def corrected(self, on: date, numbers: tuple[int, ...], more: str) -> tuple["Month", str]:
        """Return the month with some readings of an import day changed, and the file in which that day is reported again."""
        values = self.values("E1", on)
        changed = [str(Decimal(text) + Decimal(more)) if n in numbers else text for n, text in enumerate(values)]
        before, after = (f"300,{on:%Y%m%d},{','.join(each)}," for each in (values, changed))
        assert self.text.count(before) == 1
        again = [_HEADER, _details("E1"), f"{after}A,,,20230501120000,", "900"]
        return self._replace(text=self.text.replace(before, after)), "\n".join(again) + "\n"


class Reading(NamedTuple):
    """Energy in kWh of five minutes that begin at a local time."""

    channel: str
    start: datetime
    kwh: Fraction


class Expected(NamedTuple):
    """What an interval must come to; amounts from the customer's side, energy by band."""

    kwh: Fraction
    cost: Fraction
    cost_excluding_tax: Fraction
    kwh_by_band: dict[str, Fraction]


_HEADER: Final = "100,NEM12,202304120954,WBAYM,"


def _details(channel: str) -> str:
    return f"200,{NMI},B1E1,{channel},{channel},{channel},SERNO1234,kWh,5,"


def made_up() -> Month:
    """Return a month with the shape of a real one: export by day, import in the evening, from none to some kW, to the Wh."""
    lines = [_HEADER]
    for channel, peak in (("B1", 144), ("E1", 230)):
        lines.append(_details(channel))
        for day in range(1, 32):
            watt_hours = [
                max(0, 400 - 5 * abs(number - peak)) * ((7919 * day + 104729 * number) % 101) // 100
                + (channel == "E1") * ((31 * day + 17 * number) % 23)
                for number in range(READINGS_A_DAY)
            ]
            values = ",".join(f"{each / 1000:.3f}".lstrip("0") if each else "0" for each in watt_hours)
            lines.append(f"300,202303{day:02d},{values},A,,,20230401000000,")
    return Month("made-up", "\n".join([*lines, "900"]) + "\n", None)


def months() -> list[Month]:
    """Return the made-up month, and the real one where it is at hand."""
    given = os.environ.get("SHARED_DATA")
    path = (Path(given) if given else ROOT.parent / "shared" / "data") / REAL_FILE
    if not path.exists():
        return [made_up()]
    totals = {"E1": Fraction("270.738"), "B1": Fraction("589.172")}
    return [made_up(), Month("real", path.read_text(encoding="ascii"), totals)]


# The tariffs, once as documents and once as arithmetic.

HOLIDAY: Final = date(2023, 3, 15)
GST: Final = Fraction(1, 10)
IMPORT_RATES: Final = {"peak": "0.39853", "shoulder": "0.2471", "off-peak": "0.18"}
EXPORT_RATES: Final = {"evening": "0.12", "midday": "-0.0111", "rest": "0.054"}
_WORKDAYS: Final = ["MON", "TUE", "WED", "THU", "FRI"]


def band(reading: Reading) -> str:
    """Return the name of the band that a reading lies in."""
    minute = reading.start.hour * 60 + reading.start.minute
    if reading.channel == "B1":
        return "evening" if 16 * 60 <= minute < 21 * 60 else "midday" if 10 * 60 <= minute < 14 * 60 + 10 else "rest"
    if reading.start.weekday() >= 5 or reading.start.date() == HOLIDAY:
        return "off-peak"
    # The peak begins ten minutes into an interval, which has to be cut there.
    return "peak" if 16 * 60 + 10 <= minute < 20 * 60 else "shoulder" if 7 * 60 <= minute < 22 * 60 else "off-peak"


def tariffs() -> list[Json]:
    """Return an import tariff in three bands with 10 % GST on top, and a feed-in tariff by time of day without tax."""
    imports = [
        _band("peak", IMPORT_RATES, [{"days": _WORKDAYS, "start": "16:10", "end": "20:00"}]),
        _band("shoulder", IMPORT_RATES, [{"days": _WORKDAYS, "start": "07:00", "end": "22:00"}]),
        _band("off-peak", IMPORT_RATES, []),
    ]
    exports = [
        _band("evening", EXPORT_RATES, [{"start": "16:00", "end": "21:00"}]),
        _band("midday", EXPORT_RATES, [{"start": "10:00", "end": "14:10"}]),
        _band("rest", EXPORT_RATES, []),
    ]
    gst = {"name": "GST", "rate": "0.1"}
    return [
        _tariff("solar-import", "IMPORT", imports, taxes=[gst], holidays=[HOLIDAY.isoformat()]),
        _tariff("solar-export", "EXPORT", exports, taxes=[], holidays=[]),
    ]


def _band(name: str, rates: dict[str, str], when: list[Json]) -> Json:
    return {"name": name, "when": when, "tiers": [{"up_to_kwh": None, "rate": rates[name]}]}


def _tariff(tariff_id: str, direction: str, bands: list[Json], **fields: object) -> Json:
    charges = [{"charge_id": "energy", "kind": "energy", "bands": bands}]
    zone = "Australia/Brisbane"
    return {
        "tariff_id": tariff_id,
        "version": 1,
        "direction": direction,
        "currency": "AUD",
        "timezone": zone,
        "charges": charges,
    } | fields


def location(location_id: str) -> Json:
    """Return a location in Brisbane with intervals of 30 minutes."""
    links = [{"direction": direction, "tariff_id": f"solar-{direction.lower()}"} for direction in ("IMPORT", "EXPORT")]
    return {"location_id": location_id, "timezone": "Australia/Brisbane", "interval_minutes": 30, "tariffs": links}


def expected(month: Month, location_id: str) -> dict[str, Expected]:
    """Return what every interval must come to, by interval id."""
    return {f"{location_id}||{interval}": each for interval, each in _expected(month.text).items()}


@cache
def _expected(text: str) -> dict[str, Expected]:
    inside: dict[tuple[str, datetime], list[Reading]] = defaultdict(list)
    for reading in Month("", text, None).readings():
        start = reading.start.replace(minute=reading.start.minute // 30 * 30)
        inside[reading.channel, start].append(reading)
    return {
        f"{DIRECTIONS[channel]}|{start - _FROM_UTC:%Y-%m-%dT%H:%M:%SZ}": _sum(channel, readings)
        for (channel, start), readings in inside.items()
    }


def _sum(channel: str, readings: list[Reading]) -> Expected:
    by_band: dict[str, Fraction] = defaultdict(Fraction)
    for reading in readings:
        by_band[band(reading)] += reading.kwh
    rates, sign, tax = (IMPORT_RATES, 1, GST) if channel == "E1" else (EXPORT_RATES, -1, Fraction(0))
    net = sign * sum((kwh * Fraction(rates[name]) for name, kwh in by_band.items()), Fraction(0))
    return Expected(sum(by_band.values(), Fraction(0)), net * (1 + tax), net, dict(by_band))
