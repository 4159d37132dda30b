"""The rules that a record must keep: each is a function, its name is its reason, and it returns a sentence when it is broken.

They are tried in the order of `RULES`; the first that is broken gives the reason of the refusal.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from app.domain.energy import ENERGY_LIMIT_UWH, energy_uwh
from app.domain.instants import US_PER_HOUR, format_instant
from app.domain.records import MeterRecord, Rejected

LONGEST_SPLIT_US: Final = 25 * US_PER_HOUR
EARLIEST_US: Final = 0
LATEST_US: Final = 7_258_118_400 * 1_000_000
"""2200-01-01T00:00:00Z: later instants are typing errors, not readings."""

ID_LIMIT: Final = 200


class Window(NamedTuple):
    """Which periods are taken: none that begins before `oldest_us`, or ends later than `ahead_us` after its submission."""

    oldest_us: int
    ahead_us: int


class Claim(NamedTuple):
    """A record whose types are right and whose location is known: what the rules look at.

    `power_limit_w` is the location's plausible power, or None; `is_month` tells whether the period is exactly one local
    calendar month; `oldest_us` is the start of what is still kept, or None; `newest_us` is the latest end that is taken, or
    None.
    """

    record: MeterRecord
    start_us: int
    end_us: int
    power_limit_w: float | None
    is_month: bool
    oldest_us: int | None
    newest_us: int | None = None


def end_before_start(claim: Claim) -> str | None:
    """A period must not run backwards."""
    if claim.end_us < claim.start_us:
        record = claim.record
        return f"end_time must not be before start_time (start_time {record.start_time}, end_time {record.end_time})"
    return None


def negative_value(claim: Claim) -> str | None:
    """Directions carry the sign; a value does not."""
    value = claim.record.value
    return f"value: {value!r} is negative (expected a number of at least 0)" if value < 0 else None


def zero_duration(claim: Claim) -> str | None:
    """Energy needs time; power over no time is no energy, and that is allowed."""
    record = claim.record
    if claim.end_us == claim.start_us and record.value != 0 and record.units in ("WH", "KWH"):
        return (
            f"value: {record.value!r} {record.units} in a period of no duration (start_time and end_time are both "
            f"{record.start_time})"
        )
    return None


def period_too_long(claim: Claim) -> str | None:
    """Longer than a day with a clock change, a period can only be a local calendar month."""
    duration_us = claim.end_us - claim.start_us
    if duration_us > LONGEST_SPLIT_US and not claim.is_month:
        hours = duration_us / US_PER_HOUR
        return (
            f"the period {claim.record.start_time} to {claim.record.end_time} is {hours:g} hours long (expected at most 25 "
            "hours, or exactly one calendar month in the location's time zone)"
        )
    return None


def invalid_value(claim: Claim) -> str | None:
    """Confidence is a share, and energy must be representable to the µWh."""
    record = claim.record
    for field in ("record_reference_id", "session_reference_id"):
        reference = getattr(record, field)
        if reference is not None and (problem := text_problem(field, reference)) is not None:
            return problem
    confidence = record.confidence
    if confidence is not None and not 0 < confidence <= 1:
        return f"confidence: {confidence!r} is out of range (expected more than 0 and at most 1)"
    if record.value > ENERGY_LIMIT_UWH:
        return f"value: {record.value!r} is too large (expected at most {ENERGY_LIMIT_UWH:g})"
    if energy_uwh(record.value, record.units, claim.end_us - claim.start_us) > ENERGY_LIMIT_UWH:
        return f"value: {record.value!r} {record.units} is more energy than one record may hold (1 GWh)"
    return None


def implausible_power(claim: Claim) -> str | None:
    """No more than the location can draw or feed in, on average over the period."""
    limit_w = claim.power_limit_w
    if limit_w is None:
        return None
    record = claim.record
    duration_us = claim.end_us - claim.start_us
    if record.units in ("W", "KW"):
        power_w = record.value * (1000 if record.units == "KW" else 1)
    elif duration_us:
        energy_wh = record.value * (1000 if record.units == "KWH" else 1)
        power_w = energy_wh * US_PER_HOUR / duration_us
    else:
        return None
    # A tolerance of a millionth, so that binary rounding never refuses a value at the limit.
    if power_w > limit_w * 1.000_001:
        return (
            f"value: {record.value!r} {record.units} means {power_w / 1000:g} kW on average (expected at most "
            f"{limit_w / 1000:g} kW, the location's max_power_kw)"
        )
    return None


def too_old(claim: Claim) -> str | None:
    """What is older than the retention of intervals can no longer be compared with what was there.

    A period that begins before the cutoff would reach into intervals that are closed.
    """
    if claim.oldest_us is not None and claim.start_us < claim.oldest_us:
        oldest = format_instant(claim.oldest_us)
        return f"start_time: {claim.record.start_time} is too old (expected {oldest} or later, from when intervals are kept)"
    return None


def in_the_future(claim: Claim) -> str | None:
    """Where forecasts are not expected, a period that ends after its submission comes from a wrong clock."""
    if claim.newest_us is not None and claim.end_us > claim.newest_us:
        newest = format_instant(claim.newest_us)
        return f"end_time: {claim.record.end_time} is in the future (expected {newest} or earlier, by the record's submission)"
    return None


Rule = Callable[[Claim], str | None]
RULES: Final[tuple[Rule, ...]] = (
    end_before_start,
    negative_value,
    zero_duration,
    invalid_value,
    period_too_long,
    implausible_power,
    too_old,
    in_the_future,
)


def first_broken(claim: Claim) -> Rejected | None:
    """Return the refusal by the first rule that the claim breaks, or None when it keeps all."""
    for rule in RULES:
        message = rule(claim)
        if message is not None:
            return Rejected(rule.__name__, message)  # type: ignore[arg-type]
    return None


def id_problem(field: str, text: str) -> str | None:
    """Return what is wrong with an identifier: ids are joined by "|" into interval ids, so they cannot contain it."""
    if not text:
        return f"{field}: the text is empty (expected an identifier)"
    if "|" in text[:ID_LIMIT]:
        return f"{field}: {text[:ID_LIMIT]!r} contains '|' (expected an identifier without it)"
    return text_problem(field, text)


def text_problem(field: str, text: str) -> str | None:
    """Return what is wrong with a text that is published again with every change: it must be short, and of one line."""
    if len(text) > ID_LIMIT:
        return f"{field}: the text is {len(text)} characters long (expected at most {ID_LIMIT})"
    if not text.isprintable():
        return f"{field}: {text!r} contains a control character (expected printable text)"
    return None


def instant_problem(field: str, at_us: int, text: str) -> str | None:
    """Return what is wrong with an instant outside the years that are supported."""
    if EARLIEST_US <= at_us <= LATEST_US:
        return None
    return f"{field}: {text!r} is out of range (expected the years 1970 to 2199)"
