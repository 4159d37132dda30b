"""Usage and supply charges of a Consumer Data Right plan: tariff periods (seasons) as bands of an energy charge.

The tariff periods of one `type` together hold each day of the year once; types (network, retail service, ...) are
charges that add up. A controlled load is read in the same way, for the whole year.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final, NamedTuple

from app.importers.tariffs.cdr_fields import (
    Season,
    cover_whole_year,
    objects,
    read_number,
    refuse_unknown,
    to_leap_day,
    year_problem,
)
from app.importers.tariffs.cdr_rates import Blocks, read_blocks
from app.importers.tariffs.cdr_windows import (
    WHOLE_DAY,
    Slot,
    Window,
    names_holidays,
    read_window,
    tile,
    when_documents,
)
from app.importers.tariffs.common import Part, rate_text
from app.wire.documents import shown

_SINGLE_FIELDS: Final = frozenset({"displayName", "description", "generalUnitPrice", "period", "rates"})
_TIME_OF_USE_FIELDS: Final = frozenset({"displayName", "description", "period", "rates", "timeOfUse", "type"})
_SUPPLY: Final = "dailySupplyCharge"
_SUPPLY_BEFORE: Final = "dailySupplyCharges"
"""The name of the field before version 3 of the end point."""

_LOAD_FIELDS: Final = frozenset({_SUPPLY, _SUPPLY_BEFORE})


class Entry(NamedTuple):
    """A rate in a season: it becomes a band, or a part of one."""

    name: str
    blocks: Blocks
    season: Season
    slots: tuple[Slot, ...]


class Rates(NamedTuple):
    """The rates of a season, and whether they treat public holidays in their own way, or as no other day."""

    entries: tuple[Entry, ...]
    season: Season
    names_holidays: bool
    by_time: bool


class Supply(NamedTuple):
    """An amount by the day, in a season."""

    path: str
    amount: Decimal
    season: Season


def read_rates(
    item: Mapping[str, Any],
    path: str,
    season: Season,
    refused: list[Part],
    *,
    of_load: bool = False,
) -> Rates | None:
    """Return the rates of a tariff period or of a controlled load; None, and refusals, where they cannot be had."""
    before = len(refused)
    if item.get("rateBlockUType") == "singleRate":
        rates = _read_single(item, path, season, refused, of_load=of_load)
    else:
        rates = _read_time_of_use(item, path, season, refused, of_load=of_load)
    return rates if len(refused) == before else None


def _read_single(
    item: Mapping[str, Any],
    path: str,
    season: Season,
    refused: list[Part],
    *,
    of_load: bool,
) -> Rates | None:
    at = f"{path}.singleRate"
    single = item.get("singleRate")
    if not isinstance(single, Mapping):
        refused.append(Part(at, f"{shown(single)} is not an object"))
        return None
    refuse_unknown(single, _SINGLE_FIELDS | (_LOAD_FIELDS if of_load else frozenset()), f"{at}.", refused)
    if item.get("timeOfUseRates"):
        refused.append(Part(f"{path}.timeOfUseRates", "stands beside the singleRate that rateBlockUType names"))
    blocks = read_blocks(single, at, refused, default_period="P1Y" if of_load else None, beyond=None)
    if blocks is None:
        return None
    entry = Entry("anytime", blocks, season, (WHOLE_DAY,))
    return Rates((entry,), season, names_holidays=False, by_time=False)


def _read_time_of_use(
    item: Mapping[str, Any], path: str, season: Season, refused: list[Part], *, of_load: bool
) -> Rates | None:
    before = len(refused)
    found: list[tuple[str, Blocks, list[Window]]] = []
    for at, rate in objects(item, "timeOfUseRates", f"{path}.", refused):
        refuse_unknown(rate, _TIME_OF_USE_FIELDS | (_LOAD_FIELDS if of_load else frozenset()), f"{at}.", refused)
        blocks = read_blocks(rate, at, refused, default_period="P1Y", beyond=None)
        windows = [
            read_window(window, window_at, refused, days_needed=not of_load)
            for window_at, window in objects(rate, "timeOfUse", f"{at}.", refused)
        ]
        if blocks is not None:
            found.append((band_name(rate), blocks, [window for window in windows if window is not None]))
    if item.get("singleRate"):
        refused.append(Part(f"{path}.singleRate", "stands beside the timeOfUseRates that rateBlockUType names"))
    if not found and len(refused) == before:
        refused.append(Part(f"{path}.timeOfUseRates", "no rate (expected at least one)"))
    if len(refused) > before:
        return None
    bands = [windows for _, _, windows in found]
    tiled = tile(bands)
    if isinstance(tiled, str):
        refused.append(Part(f"{path}.timeOfUseRates", tiled))
        return None
    entries = tuple(Entry(name, blocks, season, slots) for (name, blocks, _), slots in zip(found, tiled, strict=True))
    return Rates(entries, season, names_holidays=names_holidays(bands), by_time=True)


def band_name(rate: Mapping[str, Any]) -> str:
    """Return the name of a band for a time of use rate: its `type` as words, or what it is displayed as."""
    kind = rate.get("type")
    return kind.lower().replace("_", "-") if isinstance(kind, str) and kind else "anytime"


# --- Ours ------------------------------------------------------------------------------------------------------------


def energy_charge(charge_id: str, entries: Sequence[Entry], *, with_holidays: bool) -> dict[str, Any]:
    """Return the energy charge of our documents; a rate that several seasons share is one band."""
    bands: dict[tuple[str, Any], list[Entry]] = {}
    for number, entry in enumerate(entries):
        # Tiers of different seasons count apart, so only rates without any are put together.
        key = (entry.name, entry.blocks.tiers if len(entry.blocks.tiers) == 1 else number)
        bands.setdefault(key, []).append(entry)
    names = _names(list(bands.values()))
    documents = []
    for name, of_band in zip(names, bands.values(), strict=True):
        pieces = [(entry.season, slot) for entry in of_band for slot in entry.slots]
        when = when_documents(pieces, with_holidays=with_holidays)
        if when == [{"start": "00:00", "end": "24:00"}]:
            when = []
        documents.append({"name": name, "when": when, "tiers": of_band[0].blocks.documents()})
    return {"charge_id": charge_id, "kind": "energy", "tier_scope": "band", "bands": documents}


def _names(bands: list[list[Entry]]) -> list[str]:
    """Return a name for each band: that of its rates, with their seasons and a number where others have it too."""
    plain = Counter(entries[0].name for entries in bands)
    names: list[str] = []
    for entries in bands:
        name = entries[0].name
        seasons = list(dict.fromkeys(entry.season for entry in entries))
        if plain[name] > 1 and not cover_whole_year(seasons):
            name = f"{name} ({', '.join(str(season) for season in seasons)})"
        number, unique = 2, name
        while unique in names:
            number, unique = number + 1, f"{name} {number}"
        names.append(unique)
    return names


def stepped(entries: Iterable[Entry]) -> list[Blocks]:
    """Return the blocks of rates."""
    return [entry.blocks for entry in entries]


# --- Seasons and supply ----------------------------------------------------------------------------------------------


def whole_year(found: Sequence[Rates], path: str, refused: list[Part]) -> list[Entry] | None:
    """Return the rates of seasons that hold each day of the year once; None, and a refusal, where they do not."""
    seasons = to_leap_day([rates.season for rates in found])
    problem = year_problem(seasons)
    if problem is not None:
        refused.append(Part(path, problem))
        return None
    return list(
        chain.from_iterable(
            [entry._replace(season=season) for entry in rates.entries]
            for rates, season in zip(found, seasons, strict=True)
        )
    )


def read_supply(item: Mapping[str, Any], path: str, season: Season, refused: list[Part]) -> Supply | None:
    """Return the daily supply charge of an object; None where there is none, or only one that is refused."""
    if item.get("dailySupplyChargeType") == "BAND" or item.get("bandedDailySupplyCharges"):
        reason = "a supply charge by the day that depends on the volume of a year"
        refused.append(Part(f"{path}.bandedDailySupplyCharges", reason))
        return None
    name = _SUPPLY_BEFORE if item.get(_SUPPLY) is None else _SUPPLY
    if item.get(name) is None:
        return None
    amount = read_number(item[name], f"{path}.{name}", refused)
    return Supply(f"{path}.{name}", amount, season) if amount else None


def supply_charges(found: Sequence[Supply], refused: list[Part]) -> list[dict[str, Any]]:
    """Return the fixed charges of our documents: one for the whole year, or one for each season."""
    seasons = to_leap_day([one.season for one in found])
    supplies = [one._replace(season=season) for one, season in zip(found, seasons, strict=True)]
    taken: list[Supply] = []
    for one in supplies:
        others = [other.path for other in taken if other.season.days & one.season.days]
        if others:
            refused.append(
                Part(one.path, f"on the same days as {others[0]}; the plan does not say whether they add up")
            )
        else:
            taken.append(one)
    if taken and len({one.amount for one in taken}) == 1 and cover_whole_year([one.season for one in taken]):
        return [_fixed("supply", taken[0].amount)]
    ids = ["supply", *(f"supply-{number}" for number in range(2, len(taken) + 1))]
    return [_fixed(charge_id, one.amount) | one.season.document() for charge_id, one in zip(ids, taken, strict=False)]


def _fixed(charge_id: str, amount: Decimal) -> dict[str, Any]:
    return {"charge_id": charge_id, "kind": "fixed", "per": "day", "amount": rate_text(amount)}
