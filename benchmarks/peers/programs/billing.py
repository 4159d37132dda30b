"""What every Python peer does with a record: read it, hold it to the rules, keep it in its interval, price that, write it.

Plain Python and orjson, tuned as one tunes such code: instants, intervals and rates are remembered, numbers are integers.
The peers differ in who reads, who keeps the state and who writes; this is the same for all of them.

State of an interval is a list that JSON can hold: [times published, [[start_s, end_s, energy_uwh, confidence, offset], ...]].
"""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import orjson

INTERVAL_S: Final = 1800
_MINUTES_A_DAY: Final = 24 * 60
_DAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_UWH: Final = {"WH": 1_000_000, "KWH": 1_000_000_000}
_WATTS: Final = {"W": 1, "KW": 1000}
_FLOWS: Final = {"INBOUND": "IMPORT", "OUTBOUND": "EXPORT"}
_TARIFF_DIRECTIONS: Final = ("IMPORT", "EXPORT", "LOCAL")
_REQUIRED: Final = ("location_id", "units", "value", "start_time", "end_time")
_MONEY_DECIMALS: Final = 12
_UWH_PER_WH: Final = 1_000_000
_KWH_DECIMALS: Final = 9
_TOLERANCE: Final = 1.000_001
_HOUR_S: Final = 3600

State = list[Any]


class RefusedError(ValueError):
    """A record breaks a rule: the code of the rule, and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        """Keep both."""
        super().__init__(message)
        self.code: Final = code


class Place(NamedTuple):
    """Where a message stood, for those who ask about a refusal."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Reading(NamedTuple):
    """A record that keeps the rules."""

    location_id: str
    device_id: str
    flow: str
    direction: str
    interval_s: int
    start_s: int
    end_s: int
    energy_uwh: int
    confidence: float

    @property
    def interval_id(self) -> str:
        """The id of its interval, by which state is kept and output is keyed."""
        start = instant_text(self.interval_s)
        return f"{self.location_id}|{self.device_id}|{self.flow}|{self.direction}|{start}"


class _Rate(NamedTuple):
    band: str
    rate: str
    price: int
    net: int
    places: int


@lru_cache(maxsize=1 << 16)
def instant_text(at_s: int) -> str:
    """Return an instant as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _millis_text(at_ms: int) -> str:
    return f"{instant_text(at_ms // 1000)[:-1]}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=1 << 16)
def _instant_s(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise RefusedError("invalid_value", f"{text} cannot be read: {error}") from None
    if at.tzinfo is None:
        raise RefusedError("naive_timestamp", f"{text} has no offset")
    return int(at.timestamp())


def read_record(raw: bytes) -> dict[str, Any]:
    """Return the fields of a record. Raises `RefusedError` where the bytes are no JSON object."""
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RefusedError("malformed_json", f"the record is not JSON: {error}") from None
    if type(fields) is not dict:
        raise RefusedError("malformed_json", "the record is no JSON object")
    return fields


def _kind(fields: dict[str, Any]) -> tuple[str, str, float]:
    """Return flow, tariff direction and confidence. Raises `RefusedError` for values that cannot be read."""
    units, value = fields["units"], fields["value"]
    flow = fields.get("energy_flow_direction") or "INBOUND"
    if (units not in _UWH and units not in _WATTS) or flow not in _FLOWS or not isinstance(value, (int, float)):
        raise RefusedError("invalid_value", f"{units} {flow} {value} cannot be read")
    direction = fields.get("tariff_direction") or _FLOWS[flow]
    confidence = fields.get("confidence") or 1
    if direction not in _TARIFF_DIRECTIONS or not 0 < confidence <= 1:
        raise RefusedError("invalid_value", f"{direction} {confidence} is not expected")
    return flow, direction, confidence


def _wrong_period(duration_s: int) -> RefusedError:
    """Return what is wrong with a period that does not lie in one interval."""
    if duration_s < 0:
        return RefusedError("end_before_start", "end_time must not be before start_time")
    if duration_s == 0:
        return RefusedError("zero_duration", "the period has no duration")
    return RefusedError("period_too_long", "the period is not in one interval")


class Billing:
    """The tariff and the locations of the job, and what is done with records by them."""

    def __init__(self, documents: Path) -> None:
        """Read the documents."""
        given = json.loads(documents.read_bytes())
        tariff = given["tariff"]
        self._limits_w: Final = {one["location_id"]: float(one["max_power_kw"]) * 1000 for one in given["locations"]}
        self._zone: Final = ZoneInfo(tariff["timezone"])
        self._bands: Final = tariff["charges"][0]["bands"]
        self._tax: Final = sum((Decimal(tax["rate"]) for tax in tariff["taxes"]), Decimal(0))
        self._currency: Final = tariff["currency"]
        self._tariff_id: Final = tariff["tariff_id"]
        self._version: Final = tariff["version"]
        self._rate_at: Final = lru_cache(maxsize=1 << 16)(self._find_rate)

    def check(self, fields: dict[str, Any]) -> Reading:
        """Hold a record to the rules. Raises `RefusedError` with the first that it breaks."""
        for name in _REQUIRED:
            if fields.get(name) is None:
                raise RefusedError("missing_field", f"{name}: the field is missing")
        location_id, units, value = fields["location_id"], fields["units"], fields["value"]
        flow, direction, confidence = _kind(fields)
        start_s, end_s = _instant_s(fields["start_time"]), _instant_s(fields["end_time"])
        limit_w = self._limits_w.get(location_id)
        if limit_w is None:
            raise RefusedError("unknown_location", f"{location_id} is not known")
        duration_s = end_s - start_s
        interval_s = start_s - start_s % INTERVAL_S
        if value < 0:
            raise RefusedError("negative_value", f"value: {value} is negative")
        if duration_s <= 0 or end_s > interval_s + INTERVAL_S:
            raise _wrong_period(duration_s)
        scale = _UWH.get(units)
        uwh = round(value * scale if scale else value * _WATTS[units] * duration_s * _UWH_PER_WH / _HOUR_S)
        if uwh * _HOUR_S > limit_w * _TOLERANCE * duration_s * _UWH_PER_WH:
            raise RefusedError("implausible_power", f"{value} {units} is more than {limit_w / 1000} kW")
        device_id = fields.get("device_id") or ""
        return Reading(location_id, device_id, flow, direction, interval_s, start_s, end_s, uwh, confidence)

    def read(self, raw: bytes) -> Reading:
        """Read a record and hold it to the rules. Raises `RefusedError`."""
        return self.check(read_record(raw))

    def price(self, reading: Reading, state: State, submitted_ms: int) -> bytes:
        """Return the priced record of a complete interval, in the public format."""
        times, kept = state
        uwh = sum(one[2] for one in kept)
        confidence = kept[0][3]
        if any(one[3] != confidence for one in kept):
            confidence = sum(one[2] * one[3] for one in kept) / uwh if uwh else 1
        rate = self._rate_at(reading.interval_s)
        cost, net = _money(uwh * rate.price, rate.places), _money(uwh * rate.net, rate.places)
        start, end = instant_text(reading.interval_s), instant_text(reading.interval_s + INTERVAL_S)
        energy = uwh // _UWH_PER_WH if uwh % _UWH_PER_WH == 0 else uwh / _UWH_PER_WH
        cost_text, net_text = _text(cost), _text(net)
        component = {
            "charge_id": "energy",
            "band": rate.band,
            "tier": 1,
            "start_time": start,
            "end_time": end,
            "energy_wh": energy,
            "rate": rate.rate,
            "cost": cost_text,
            "cost_excluding_tax": net_text,
        }
        return orjson.dumps(
            {
                "interval_id": reading.interval_id,
                "location_id": reading.location_id,
                "device_id": reading.device_id or None,
                "energy_flow_direction": reading.flow,
                "tariff_direction": reading.direction,
                "start_time": start,
                "end_time": end,
                "energy_wh": energy,
                "covered_seconds": INTERVAL_S,
                "complete": True,
                "confidence": confidence,
                "revision": times,
                "status": "priced",
                "reason": None,
                "currency": self._currency,
                "cost": cost_text,
                "cost_excluding_tax": net_text,
                "tax": _text(cost - net),
                "carbon_g": None,
                "tariff_id": self._tariff_id,
                "tariff_version": self._version,
                "components": [component],
                "submitted_at": _millis_text(submitted_ms),
                "sequence": times,
            }
        )

    def _find_rate(self, at_s: int) -> _Rate:
        """Return the rate of the interval that begins at an instant: the first band that matches."""
        local = datetime.fromtimestamp(at_s, self._zone)
        minute = local.hour * 60 + local.minute
        for band in self._bands:
            if any(_matches(when, local, minute) for when in band["when"] or [{}]):
                text = band["tiers"][0]["rate"]
                net = Decimal(text)
                gross = net * (1 + self._tax)
                places = max(0, -int(gross.as_tuple().exponent), -int(net.as_tuple().exponent))
                return _Rate(
                    band["name"], text, int(gross.scaleb(places)), int(net.scaleb(places)), places + _KWH_DECIMALS
                )
        raise LookupError(f"no band at {local}")


def _matches(when: dict[str, Any], local: datetime, minute: int) -> bool:
    """Tell whether a band's `when` matches; one that wraps past midnight belongs to the day it started on."""
    start, end = _minute(when.get("start", "00:00")), _minute(when.get("end", "24:00"))
    if end <= start:
        if minute < end:
            local -= timedelta(days=1)
            minute += _MINUTES_A_DAY
        end += _MINUTES_A_DAY
    return start <= minute < end and _DAYS[local.weekday()] in when.get("days", _DAYS)


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _money(units: int, places: int) -> int:
    """Return an amount in units of 10**-12, rounded half even."""
    if places <= _MONEY_DECIMALS:
        factor: int = 10 ** (_MONEY_DECIMALS - places)
        return units * factor
    divisor: int = 10 ** (places - _MONEY_DECIMALS)
    quotient, rest = divmod(units, divisor)
    return quotient + int(2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))


def _text(money: int) -> str:
    """Return an amount as the shortest exact decimal."""
    sign, digits = "-" if money < 0 else "", f"{abs(money):013d}"
    return f"{sign}{digits[:-12]}.{digits[-12:]}".rstrip("0").rstrip(".")


def new_state() -> State:
    """Return the state of an interval of which nothing is known."""
    return [0, []]


def keep(state: State, reading: Reading, offset: int) -> bool:
    """Put a reading into its interval's state; return whether the interval has to be published.

    A reading of the same period replaces the earlier one; a copy of it, from another offset, changes nothing. The same
    offset again is a redelivery after a crash: state may be ahead of what was published, so it is published again. An
    interval is published when what changed is complete.
    """
    kept = state[1]
    new = [reading.start_s, reading.end_s, reading.energy_uwh, reading.confidence, offset]
    again = False
    for number, old in enumerate(kept):
        if old[0] == new[0] and old[1] == new[1]:
            again = old == new
            if old[:4] == new[:4] and not again:
                return False
            kept[number] = new
            break
    else:
        if any(old[0] < new[1] and new[0] < old[1] for old in kept):
            raise RefusedError("overlaps_existing_period", "the period overlaps an earlier one")
        kept.append(new)
    if sum(one[1] - one[0] for one in kept) < INTERVAL_S:
        return False
    state[0] += not again
    return True


def refusal(error: RefusedError, raw: bytes, place: Place) -> bytes:
    """Return the rejected record, in the public format."""
    return orjson.dumps(
        {
            "error": error.code,
            "message": str(error),
            "record_num": 0,
            "topic": place.topic,
            "partition": place.partition,
            "offset": place.offset,
            "timestamp": _millis_text(place.timestamp_ms),
            "raw": raw.decode(errors="replace"),
            "raw_encoding": "text",
        }
    )
