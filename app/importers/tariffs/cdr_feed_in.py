"""Feed-in tariffs of a Consumer Data Right plan: documents of direction EXPORT, without GST.

`solarFeedInTariff` is a list, and the standard does not say how its elements go together. In what is published they are
most often the parts of one tariff (peak, shoulder and off-peak apart), sometimes its steps ("first 5 kWh", "thereafter",
which their volumes do not say), sometimes schemes of which a customer has one. So:

- elements of one payer and one scheme are one energy charge; where two of them hold at one time, all are refused;
- a scheme of the government is paid beside that of the retailer: both are charges of one document;
- several schemes of one payer are alternatives: a document each.

Outside all windows nothing is earned, and nothing beyond the last volume.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain, product
from typing import Any, Final, NamedTuple

from app.domain.tariffs import MINUTES_PER_DAY
from app.importers.tariffs.cdr_energy import Entry, band_name, energy_charge
from app.importers.tariffs.cdr_fields import WHOLE_YEAR, objects, read_validity, refuse_unknown
from app.importers.tariffs.cdr_rates import Blocks, read_blocks
from app.importers.tariffs.cdr_windows import (
    EVERY_DAY,
    Window,
    cut,
    names_holidays,
    overlap_of,
    read_window,
)
from app.importers.tariffs.common import Part
from app.wire.documents import shown

_FIELDS: Final = frozenset({
    "description", "displayName", "endDate", "payerType", "scheme", "singleTariff", "startDate", "tariffUType",
    "timeVaryingTariffs",
})  # fmt: skip
_SINGLE_FIELDS: Final = frozenset({"period", "rates", "displayName", "description"})
_VARYING_FIELDS: Final = frozenset({"displayName", "description", "period", "rates", "timeVariations", "type"})
_CHARGE_IDS: Final = {"RETAILER": "feed-in", "GOVERNMENT": "feed-in-government"}
_NOTHING: Final = Decimal(0)
_ALL_DAY: Final = Window(EVERY_DAY, 0, MINUTES_PER_DAY)


class _Rate(NamedTuple):
    """A rate of a feed-in tariff with its windows."""

    path: str
    description: str
    name: str
    blocks: Blocks
    windows: tuple[Window, ...]


class _Element(NamedTuple):
    """One element of the list."""

    path: str
    payer: str
    scheme: str
    validity: dict[str, str]
    rates: tuple[_Rate, ...]


class FeedIn(NamedTuple):
    """What becomes one document: its charges and validity, the blocks in it, and whether it prices holidays apart."""

    charges: tuple[dict[str, Any], ...]
    validity: dict[str, str]
    blocks: tuple[Blocks, ...]
    path: str
    names_holidays: bool


def read_feed_ins(contract: Mapping[str, Any], timezone: str, refused: list[Part]) -> list[FeedIn]:
    """Return the feed-in tariffs of a contract that can be expressed."""
    groups: dict[str, dict[str, list[_Element]]] = {payer: {} for payer in _CHARGE_IDS}
    incomplete: set[tuple[str, str]] = set()
    for path, item in objects(contract, "solarFeedInTariff", "electricityContract.", refused):
        before = len(refused)
        payer, scheme = str(item.get("payerType")), str(item.get("scheme"))
        element = _read_element(item, path, timezone, refused)
        if len(refused) > before or element is None:
            incomplete.add((payer, scheme))
        else:
            groups[payer].setdefault(scheme, []).append(element)
    charges = {payer: _charges_of(payer, schemes, incomplete, refused) for payer, schemes in groups.items()}
    nobody: list[FeedIn | None] = [None]
    pairs = product(charges["RETAILER"] or nobody, charges["GOVERNMENT"] or nobody)
    found = []
    for retailer, government in pairs:
        parts = [part for part in (retailer, government) if part is not None]
        if len(parts) > 1 and parts[0].validity != parts[1].validity:
            refused.append(Part(parts[1].path, f"other dates than {parts[0].path}, which is paid beside it"))
            parts = parts[:1]
        if parts:
            found.append(_together(parts))
    return found


def _together(parts: Sequence[FeedIn]) -> FeedIn:
    return FeedIn(
        tuple(chain.from_iterable(part.charges for part in parts)),
        parts[0].validity,
        tuple(chain.from_iterable(part.blocks for part in parts)),
        parts[0].path,
        any(part.names_holidays for part in parts),
    )


def _read_element(item: Mapping[str, Any], path: str, timezone: str, refused: list[Part]) -> _Element | None:
    refuse_unknown(item, _FIELDS, f"{path}.", refused)
    payer = item.get("payerType")
    if payer not in _CHARGE_IDS:
        refused.append(Part(f"{path}.payerType", f"{shown(payer)} is not one of {', '.join(_CHARGE_IDS)}"))
    validity = read_validity(item, timezone, path, refused)
    match item.get("tariffUType"):
        case "singleTariff":
            rates = _read_single(item, path, refused)
        case "timeVaryingTariffs":
            rates = _read_varying(item, path, refused)
        case other:
            refused.append(Part(f"{path}.tariffUType", f"{shown(other)} is not singleTariff or timeVaryingTariffs"))
            return None
    return None if validity is None else _Element(path, str(payer), str(item.get("scheme")), validity, tuple(rates))


def _read_single(item: Mapping[str, Any], path: str, refused: list[Part]) -> list[_Rate]:
    at = f"{path}.singleTariff"
    single = item.get("singleTariff")
    if not isinstance(single, Mapping):
        refused.append(Part(at, f"{shown(single)} is not an object"))
        return []
    refuse_unknown(single, _SINGLE_FIELDS, f"{at}.", refused)
    blocks = read_blocks(single, at, refused, default_period="P1Y", beyond=_NOTHING)
    return [_Rate(path, _text(item), "anytime", blocks, (_ALL_DAY,))] if blocks is not None else []


def _read_varying(item: Mapping[str, Any], path: str, refused: list[Part]) -> list[_Rate]:
    found = []
    before = len(refused)
    for at, rate in objects(item, "timeVaryingTariffs", f"{path}.", refused):
        refuse_unknown(rate, _VARYING_FIELDS, f"{at}.", refused)
        blocks = read_blocks(rate, at, refused, default_period="P1Y", beyond=_NOTHING)
        windows = [
            read_window(window, window_at, refused)
            for window_at, window in objects(rate, "timeVariations", f"{at}.", refused)
        ]
        if not windows:
            refused.append(Part(f"{at}.timeVariations", "no window (expected at least one)"))
        if blocks is not None and None not in windows:
            read = tuple(window for window in windows if window is not None)
            found.append(_Rate(at, _text(item), band_name(rate), blocks, read))
    if not found and len(refused) == before:
        refused.append(Part(f"{path}.timeVaryingTariffs", "no rate (expected at least one)"))
    return found


def _text(item: Mapping[str, Any]) -> str:
    return str(item.get("description") or item.get("displayName") or "")


def _charges_of(
    payer: str, schemes: Mapping[str, list[_Element]], incomplete: set[tuple[str, str]], refused: list[Part]
) -> list[FeedIn]:
    found = []
    for scheme, elements in schemes.items():
        if (payer, scheme) in incomplete:
            reason = f"belongs to the feed-in tariff {scheme} of the {payer}, of which a part is refused"
            refused.extend(Part(element.path, reason) for element in elements)
            continue
        one = _feed_in(_CHARGE_IDS[payer], elements, refused)
        if one is not None:
            found.append(one)
    return found


def _feed_in(charge_id: str, elements: Sequence[_Element], refused: list[Part]) -> FeedIn | None:
    if any(element.validity != elements[0].validity for element in elements):
        reason = "the feed-in tariffs of one payer and scheme have different dates"
        refused.extend(Part(element.path, reason) for element in elements)
        return None
    rates = list(chain.from_iterable(element.rates for element in elements))
    bands = [rate.windows for rate in rates]
    slots = cut(bands)
    if isinstance(slots, str):
        refused.append(Part(elements[0].path, slots))
        return None
    overlap = overlap_of(slots)
    if overlap is not None:
        _refuse_overlap(rates, overlap, elements, refused)
        return None
    with_holidays = names_holidays(bands)
    entries = [Entry(rate.name, rate.blocks, WHOLE_YEAR, of_rate) for rate, of_rate in zip(rates, slots, strict=True)]
    charge = energy_charge(charge_id, entries, with_holidays=with_holidays)
    blocks = tuple(rate.blocks for rate in rates)
    return FeedIn((charge,), elements[0].validity, blocks, elements[0].path, with_holidays)


def _refuse_overlap(
    rates: Sequence[_Rate], overlap: tuple[str, int, int], elements: Sequence[_Element], refused: list[Part]
) -> None:
    at, one_number, other_number = overlap
    one, other = rates[one_number], rates[other_number]
    reason = "the plan does not say whether they add up, follow each other or exclude each other"
    texts = f"{shown(one.description)} and {shown(other.description)}"
    for element in elements:
        of_element = {rate.path for rate in element.rates}
        if one.path in of_element:
            refused.append(Part(one.path, f"holds at {at} as {other.path} does; {reason} ({texts})"))
        elif other.path in of_element:
            refused.append(Part(other.path, f"holds at {at} as {one.path} does; {reason} ({texts})"))
        else:
            refused.append(Part(element.path, f"belongs to the same feed-in tariff as {one.path}, which is refused"))
