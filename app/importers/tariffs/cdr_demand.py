"""Demand charges of a Consumer Data Right plan.

`amount` is dollars per kW and `chargePeriod`, for the greatest demand within a `measurementPeriod` (schema
EnergyPlanTariffPeriodV2). The plan does not say over how many minutes demand is averaged; ours are the 30 minutes of
Australian network tariffs, the default of our documents. `measureUnit` is KWH by default, and is published as such: it
is read as kW.

Refused is what the standard leaves open: `minDemand` and `maxDemand` (they may bound what is billed, or which demand the
charge is for), several charges at the same time (they may add up, or be for different customers), days that are not
said; and what ours cannot say, such as demand of a whole tariff period.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.domain.tariffs import HOLIDAY
from app.importers.tariffs.cdr_fields import Season, objects, read_number, refuse_unknown
from app.importers.tariffs.cdr_windows import EVERY_DAY, Slot, cut, overlap_of, read_window, when_documents
from app.importers.tariffs.common import Part, rate_text
from app.wire.documents import shown

_FIELDS: Final = frozenset({
    "amount", "chargePeriod", "days", "description", "displayName", "endTime", "maxDemand", "measureUnit",
    "measurementPeriod", "minDemand", "startTime",
})  # fmt: skip
_PERIODS: Final = {
    ("DAY", "DAY"): {"measured_over": "day", "per": "day"},
    ("MONTH", "DAY"): {"measured_over": "month", "per": "day"},
    ("MONTH", "MONTH"): {"measured_over": "month", "per": "month"},
}
"""What ours have for a `measurementPeriod` and a `chargePeriod`."""

_LONGER_MEMORY: Final = re.compile(r"\b(?:12|twelve)[ -]months?\b", re.IGNORECASE)
_UNITS: Final = frozenset({None, "KW", "KWH"})


class Demand(NamedTuple):
    """A demand charge that can be expressed."""

    path: str
    description: str
    season: Season
    slots: tuple[Slot, ...]
    periods: dict[str, str]
    rate: str

    @property
    def names_holidays(self) -> bool:
        """Tell whether it treats public holidays otherwise than other days."""
        return any(HOLIDAY in slot.days and slot.days != EVERY_DAY for slot in self.slots)

    def document(self, charge_id: str, *, with_holidays: bool) -> dict[str, Any]:
        """Return the charge of our documents."""
        when = when_documents([(self.season, slot) for slot in self.slots], with_holidays=with_holidays)
        band = {"name": "demand", "when": when, "tiers": [{"up_to_kw": None, "rate": self.rate}]}
        return {"charge_id": charge_id, "kind": "demand", **self.periods, "bands": [band]}


def read_demand(item: Mapping[str, Any], path: str, season: Season, refused: list[Part]) -> list[Demand]:
    """Return the demand charges of a tariff period that can be expressed."""
    found = []
    for at, charge in objects(item, "demandCharges", f"{path}.", refused):
        one = _read_one(charge, at, season, refused)
        if one is not None:
            found.append(one)
    return found


def _read_one(charge: Mapping[str, Any], path: str, season: Season, refused: list[Part]) -> Demand | None:
    before = len(refused)
    refuse_unknown(charge, _FIELDS, f"{path}.", refused)
    rate = read_number(charge.get("amount"), f"{path}.amount", refused)
    unit = charge.get("measureUnit")
    if unit not in _UNITS:
        refused.append(Part(f"{path}.measureUnit", f"{shown(unit)}: demand is priced by kW here"))
    _check_bounds(charge, path, refused)
    periods = _read_periods(charge, path, season, refused)
    window = read_window(
        {name: charge[name] for name in ("days", "startTime", "endTime") if name in charge}, path, refused
    )
    if window is None or periods is None or rate is None or len(refused) > before:
        return None
    slots = cut([[window]])
    if isinstance(slots, str):
        refused.append(Part(f"{path}.endTime", slots))
        return None
    return Demand(path, str(charge.get("description", "")), season, slots[0], periods, rate_text(rate))


def _check_bounds(charge: Mapping[str, Any], path: str, refused: list[Part]) -> None:
    minimum = charge.get("minDemand")
    if minimum is not None and read_number(minimum, f"{path}.minDemand", refused):
        reason = "the standard does not say whether less is billed as so much, or is not billed at all"
        refused.append(Part(f"{path}.minDemand", f"{shown(minimum)} kW: {reason}"))
    maximum = charge.get("maxDemand")
    if maximum is not None:
        reason = "the standard does not say whether more is billed as so much, or by another charge"
        refused.append(Part(f"{path}.maxDemand", f"{shown(maximum)} kW: {reason}"))


def _read_periods(charge: Mapping[str, Any], path: str, season: Season, refused: list[Part]) -> dict[str, str] | None:
    measured, charged = charge.get("measurementPeriod"), charge.get("chargePeriod")
    periods = _PERIODS.get((str(measured), str(charged)))
    if periods is None:
        named = f"{shown(measured)} with chargePeriod {shown(charged)}"
        expected = "expected DAY by DAY, MONTH by DAY or MONTH by MONTH"
        refused.append(Part(f"{path}.measurementPeriod", f"{named}: no demand charge of ours ({expected})"))
    elif periods["measured_over"] == "month" and not season.has_whole_months:
        reason = f"demand of a month in a tariff period of parts of months ({season})"
        refused.append(Part(f"{path}.measurementPeriod", reason))
    description = charge.get("description")
    if isinstance(description, str) and _LONGER_MEMORY.search(description):
        reason = f"{shown(description)} contradicts measurementPeriod {shown(measured)}"
        refused.append(Part(f"{path}.description", reason))
    return periods


def without_overlaps(found: Sequence[Demand], refused: list[Part]) -> list[Demand]:
    """Return the charges that hold at no time at which another does; the others are refused."""
    at_fault: dict[int, str] = {}
    for number, one in enumerate(found):
        for other_number, other in enumerate(found[:number]):
            overlap = overlap_of([other.slots, one.slots]) if one.season.days & other.season.days else None
            if overlap is not None:
                reason = "the plan does not say whether they add up"
                texts = f"{shown(other.description)} and {shown(one.description)}"
                at_fault.setdefault(number, f"holds at {overlap[0]} as {other.path} does; {reason} ({texts})")
                at_fault.setdefault(other_number, f"holds at {overlap[0]} as {one.path} does; {reason} ({texts})")
    refused.extend(Part(found[number].path, reason) for number, reason in sorted(at_fault.items()))
    return [one for number, one in enumerate(found) if number not in at_fault]
