"""Messages and documents that nobody should send: made from good ones and from chance, the same for the same seed."""

import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.making import Json, location, record

HOSTILE: Final = "fuzz"
"""The location that hostile records name: what of them is accepted must not change the price of good ones."""

_NUMBERS: Final = (
    *("1e400", "-1e400", "1e-400", "-0", "-0.0", "0.1e1", "NaN", "Infinity", "-Infinity", "1" * 400, "9" * 5000),
    *(
        "1e308",
        "5e-324",
        "9007199254740993",
        "18446744073709551616",
        "-1",
        "1e15",
        "1000000000000001",
        "00",
        "1.",
        "+1",
    ),
)
_TIMES: Final = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"),
    *("2016-12-31T23:59:60Z", "2025-03-01T00:00:00", "2025-03-01T00:00:00+24:00", "2025-03-01T00:00:00-23:59"),
    *(
        "2025-03-01T00:00:00+05:45",
        "2025-03-01T24:00:00Z",
        "2025-02-29T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:01Z",
    ),
    *(
        "2025-03-01T00:00:00.0000001Z",
        "2025-03-01T00:00:00.000000000000Z",
        "2025-03-01",
        "",
        "\u0662025-03-01T00:00:00Z",
    ),
)
_TEXTS: Final = (
    "",
    " ",
    "a|b",
    "\0",
    "\u2028",
    "\U0001f600",
    "x" * 200,
    "x" * 201,
    "é" * 5000,
    "../../etc",
    "null",
    "\x7f",
)
_VALUES: Final[tuple[Any, ...]] = (None, True, False, [], {}, [[]], {"a": {"b": []}}, 0, -1, 1.5, "1", "", 10**30)
_LONG: Final = 300_000
_DEEP: Final = 20_000


def hostile_message(chance: random.Random) -> bytes | None:
    """Return one message that is wrong, or odd, or right by chance."""
    return chance.choice(_MESSAGES)(chance)


def hostile_key(chance: random.Random) -> bytes | None:
    """Return a key of any kind."""
    return chance.choice((None, b"", HOSTILE.encode(), b"\xff\xfe", b"|||", b"\0", b"k" * 1000, chance.randbytes(8)))


def hostile_document(chance: random.Random, good: Json) -> bytes:
    """Return what a document must not be: none of these can be used, whatever else is in them."""
    raw = json.dumps(good).encode()
    bad: dict[str, Any] = {
        chance.choice(list(good)): chance.choice(({}, [], True, -1, "\0", [[]])),
        "no_such_field": chance.choice(_VALUES),
    }
    return chance.choice(
        (
            raw[: chance.randrange(len(raw) - 1)],
            b"\xff" + raw,
            raw + raw,
            b"[" + raw + b"]",
            b"[" * _DEEP + raw,
            raw[:-1] + b"," + raw[1:],
            chance.randbytes(chance.randrange(1, 300)),
            json.dumps(good | bad).encode(),
            b"null",
            b"{}",
        )
    )


def _odd_time(chance: random.Random) -> str:
    return chance.choice(_TIMES)


def _hostile(chance: random.Random) -> Json:
    """Return a record of the hostile location, good but for what is then done to it."""
    return record(HOSTILE, 15 * chance.randrange(1000), 15, chance.randrange(1000) / 1000)


def _good(chance: random.Random) -> bytes:
    return json.dumps(_hostile(chance)).encode()


def _replaced(chance: random.Random) -> bytes:
    """Put a value of another kind into one or two fields."""
    one = _hostile(chance)
    for _ in range(chance.randint(1, 2)):
        names = [*one, "confidence", "device_id", "record_reference_id", "session_reference_id", "tariff_direction"]
        one[chance.choice(names)] = chance.choice((*_VALUES, *_TEXTS))
    return json.dumps(one, ensure_ascii=chance.random() < 0.5).encode()


def _numbered(chance: random.Random) -> bytes:
    """Put a number that JSON writers should not write where a number belongs."""
    field = chance.choice(("value", "confidence"))
    one = json.dumps(_hostile(chance) | {field: "#"})
    return one.replace('"#"', chance.choice(_NUMBERS)).encode()


def _timed(chance: random.Random) -> bytes:
    field = chance.choice(("start_time", "end_time"))
    return json.dumps(_hostile(chance) | {field: _odd_time(chance)}, ensure_ascii=False).encode()


def _from_year_to_year(chance: random.Random) -> bytes:
    return json.dumps(_hostile(chance) | {"start_time": _odd_time(chance), "end_time": _odd_time(chance)}).encode()


def _missing(chance: random.Random) -> bytes:
    one = _hostile(chance)
    for name in chance.sample(list(one), chance.randint(1, len(one))):
        del one[name]
    return json.dumps(one).encode()


def _extended(chance: random.Random) -> bytes:
    """Add fields that nobody knows; a record with them is as good as without."""
    extra = {"".join(chance.choices(string.ascii_letters, k=8)): chance.choice(_VALUES) for _ in range(5)}
    return json.dumps(_hostile(chance) | extra).encode()


def _twice(chance: random.Random) -> bytes:
    """Say a field twice."""
    raw = _good(chance)
    return (
        raw[:-1]
        + b',"'
        + chance.choice((b"value", b"location_id", b"units"))
        + b'":'
        + chance.choice((b"1}", b'"KWH"}', b'"fuzz"}', b"null}"))
    )


def _mutated(chance: random.Random) -> bytes:
    """Change, drop, double or insert some bytes."""
    raw = bytearray(_good(chance))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(raw))
        match chance.randrange(4):
            case 0:
                raw[at] = chance.randrange(256)
            case 1:
                del raw[at : at + chance.randint(1, 9)]
            case 2:
                raw[at:at] = raw[max(0, at - chance.randint(1, 20)) : at]
            case _:
                raw[at:at] = chance.randbytes(chance.randint(1, 4))
        if not raw:
            break
    return _harmless(bytes(raw))


def _truncated(chance: random.Random) -> bytes:
    raw = _good(chance)
    return raw[: chance.randrange(len(raw))]


def _random(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(0, 400))


def _escaped(chance: random.Random) -> bytes:
    """Name half of a surrogate pair, NUL, or bytes that are no UTF-8."""
    odd = chance.choice(
        (rb"\ud800", rb"\udc00\ud800", rb"\u0000", b"\xc3\x28", b"\xff", b"\xed\xa0\x80", b"\0", rb"\x")
    )
    name = chance.choice(("location_id", "record_reference_id", "device_id", "start_time", "units"))
    return json.dumps(_hostile(chance) | {name: "#odd#"}).encode().replace(b"#odd#", odd)


def _deep(chance: random.Random) -> bytes:
    opening, closing = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    depth = chance.choice((50, 499, 500, 501, 700, 950, 2000, _DEEP))
    nested = opening * depth + b"1" + closing * depth
    return nested if chance.random() < 0.5 else _good(chance)[:-1] + b',"more":' + nested + b"}"


def _long(chance: random.Random) -> bytes:
    name = chance.choice(("location_id", "device_id", "record_reference_id", "units", "start_time", "unknown"))
    size = chance.choice((1000, 10_000, _LONG)) if chance.random() < 0.2 else 1000
    return json.dumps(_hostile(chance) | {name: chance.choice("x\0é") * size}).encode()


def _scalar(chance: random.Random) -> bytes | None:
    return chance.choice(
        (None, b"", b" ", b"null", b"true", b'"text"', b"[]", b"{}", b"\xef\xbb\xbf{}", b"[null]", b"\0", b"1")
    )


def _batch(chance: random.Random) -> bytes:
    """Put good and hostile records together, and batches into batches."""
    parts = []
    for _ in range(chance.randint(2, 8)):
        piece = chance.choice((_good, _replaced, _timed, _missing, _extended, _numbered))(chance)
        parts.append(b"[" + piece + b"]" if chance.random() < 0.1 else piece)
    spaces = chance.choice((b"", b" ", b"\n\t", b"\xc2\xa0" if chance.random() < 0.1 else b""))
    return spaces + b"[" + (b"," + spaces).join(parts) + b"]" + spaces


_MESSAGES: Final[tuple[Callable[[random.Random], bytes | None], ...]] = (
    *(_replaced, _replaced, _numbered, _timed, _from_year_to_year, _missing, _extended, _twice, _mutated, _mutated),
    *(_truncated, _random, _escaped, _long, _scalar, _batch),
)

_AT_ONCE: Final = 50


def _harmless(raw: bytes) -> bytes:
    """Keep a mutation from naming one of the good locations: their prices must not depend on chance."""
    return raw.replace(b"good_", b"evil_")


def large_batches(chance: random.Random) -> Iterator[list[Any]]:
    """Yield a batch of as many records as are allowed with bad ones among them, and two of more."""
    full: list[Any] = [_hostile(chance) for _ in range(10_000)]
    for at in chance.sample(range(10_000), 500):
        full[at] = chance.choice((None, 1, [], {}, full[at] | {"value": -1}, full[at] | {"units": 7}))
    yield full
    yield [{}] * 10_001
    yield [full[0]] * 10_001


def fuzzed(seed: int, count: int) -> Iterator[tuple[bytes | None, list[bytes | None]]]:
    """Yield so many messages, some at once with the key that they have."""
    chance = random.Random(seed)  # noqa: S311 - chance, not secrets
    for first in range(0, count, _AT_ONCE):
        size = min(_AT_ONCE, count - first)
        yield hostile_key(chance), [_deep(chance), *(hostile_message(chance) for _ in range(size - 1))]


def good_site(number: int) -> Json:
    """Return a location whose records are all good."""
    return location(f"good_{number}", max_power_kw="100")


def good_record(number: int, locations: int) -> Json:
    """Return one of the good records, in the order of time."""
    quarter, at = divmod(number, locations)
    return record(f"good_{at}", 15 * quarter, 15, (number * 37 % 1000) / 1000, record_reference_id=f"MET{number}")
