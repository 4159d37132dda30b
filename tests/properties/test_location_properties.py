"""A location document is read the same the short way and the long way."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.wire import location as wire
from app.wire.documents import DocumentError
from app.wire.location import parse_location

ids = st.one_of(
    st.sampled_from(["loc_1", "a b", "é"]), st.sampled_from(["", " x", "a|b", "x" * 201, "\n"]), st.text(max_size=5)
)
instants = st.sampled_from(["2025-01-01T00:00:00Z", "2026-01-01T00:00:00+01:00", "2025-01-01T00:00:00", "soon"])
powers = st.sampled_from(["100", "7.4", "0", "-1", "1e3", "0.0000000001", "0.000000001", ""])
anything = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 60), st.floats(allow_nan=False), st.just([]), st.just({})
)


def nearly_always(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = anything) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, usual, other)


LINK = {
    "direction": nearly_always(st.sampled_from(["IMPORT", "EXPORT", "LOCAL"]), st.sampled_from(["import", None])),
    "tariff_id": nearly_always(ids),
    "valid_from": nearly_always(st.one_of(st.none(), instants)),
    "valid_to": nearly_always(st.one_of(st.none(), instants)),
    "until": instants,
}
LOCATION = {
    "location_id": nearly_always(ids),
    "timezone": nearly_always(st.sampled_from(["Europe/London", "UTC"]), st.sampled_from(["Mars", "", 1])),
    "interval_minutes": nearly_always(st.sampled_from([5, 30, 60]), st.sampled_from([7, 30.0, "30", True, 10**30])),
    "customer_id": nearly_always(st.one_of(st.none(), ids)),
    "max_power_kw": nearly_always(st.one_of(st.none(), powers)),
    "carbon_series_id": nearly_always(st.one_of(st.none(), ids)),
    "zone": ids,
}


def object_text(fields: dict[str, st.SearchStrategy[str]], needed: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Return the text of an object that nearly always has what it needs, and may say a thing twice."""
    field = st.sampled_from(sorted(fields)).flatmap(lambda name: st.tuples(st.just(name), fields[name]))
    required = st.tuples(*(st.tuples(st.just(name), fields[name]) for name in needed))
    pairs = st.tuples(nearly_always(required, st.just(())), st.lists(field, max_size=3)).map(
        lambda both: [*both[0], *both[1]]
    )
    colons = st.sampled_from([":", ":", ": ", " :", "\n:\t"])
    return st.tuples(pairs, colons).map(
        lambda given: "{" + ",".join(f"{json.dumps(name)}{given[1]}{text}" for name, text in given[0]) + "}"
    )


def texts(fields: dict[str, Any]) -> dict[str, st.SearchStrategy[str]]:
    """Return strategies of JSON texts: some with characters escaped that need not be."""
    return {
        name: st.tuples(values, st.booleans()).map(lambda given: json.dumps(given[0], ensure_ascii=given[1]))
        for name, values in fields.items()
    }


links = st.lists(object_text(texts(LINK), ("direction", "tariff_id")), max_size=3).map(
    lambda all_of: f"[{','.join(all_of)}]"
)
documents = object_text(
    texts(LOCATION) | {"tariffs": nearly_always(links, st.just("null"))}, ("location_id", "timezone")
)


def said(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except DocumentError as error:
        return error.problems


@given(documents)
@example('{"location_id":"a","timezone":"UTC","location_id":"b"}')
@example('{"location_id":"a","timezone":"UTC","interval_minutes":30,"interval_minutes":15}')
@example('{"location_id":"a","timezone":"UTC","tariffs":[],"tariffs" :[]}')
@example('{"location_id":"a","timezone":"UTC","customer_id":null,"customer_id":"b"}')
@example('{"location_id":"\\"a","timezone":"UTC"}')
@example('{"location_id":"a","timezone":"UTC","tariffs":[{"direction":"IMPORT","tariff_id":"t","tariff_id":"u"}]}')
@example('\ufeff{"location_id":"a","timezone":"UTC"}')
@example("[" * 100_000)
def test_a_document_says_the_same_both_ways(document: str) -> None:
    # What is given as text is always read the long way.
    assert said(lambda: parse_location(document.encode())) == said(
        lambda: parse_location(document.removeprefix("\ufeff"))
    )


def test_a_usual_document_is_read_the_short_way() -> None:
    document = {
        "location_id": "loc_1",
        "timezone": "Europe/London",
        "interval_minutes": 15,
        "customer_id": "cus_1",
        "max_power_kw": "7.4",
        "tariffs": [
            {"direction": "IMPORT", "tariff_id": "tou", "valid_from": "2025-01-01T00:00:00Z", "valid_to": None},
            {"direction": "EXPORT", "tariff_id": "back"},
        ],
        "carbon_series_id": "grid",
    }
    raw = json.dumps(document).encode()
    short = wire._usual_location(raw)
    assert short is not None
    assert short == parse_location(raw.decode())
    assert short.links[0] is wire._usual_location(raw).links[0]  # type: ignore[union-attr]


USUAL: dict[str, Any] = {"location_id": "loc_1", "timezone": "Europe/London"}
ALWAYS = {"direction": "IMPORT", "tariff_id": "tou"}
AT = "2025-01-01T00:00:00Z"
MANY = [
    ALWAYS | {"valid_from": f"{year}-01-01T00:00:00Z", "valid_to": f"{year}-02-01T00:00:00Z"}
    for year in range(1000, 2001)
]
"""More links than a location may have, one after the other."""


@pytest.mark.parametrize(
    "changes",
    [
        *({"location_id": wrong} for wrong in ("", " x", "a|b", "x" * 201, "\n", None, 1)),
        *({"timezone": wrong} for wrong in ("Mars", "", None)),
        *({"interval_minutes": wrong} for wrong in (0, 7, 61, 30.0, "30", True, None, 10**30)),
        *({name: wrong} for name in ("customer_id", "carbon_series_id") for wrong in ("", " x", "x" * 201, 1)),
        *({"max_power_kw": wrong} for wrong in ("0", "-1", "1e3", "0.0000000001", "", 100)),
        *({"tariffs": wrong} for wrong in (None, {}, [None], [[]], [ALWAYS, ALWAYS], MANY)),
        *({"tariffs": [ALWAYS | {"tariff_id": wrong}]} for wrong in ("", " x", None)),
        *({"tariffs": [ALWAYS | {"direction": wrong}]} for wrong in ("import", "", None)),
        *(
            {"tariffs": [ALWAYS | {name: wrong}]}
            for name in ("valid_from", "valid_to")
            for wrong in ("soon", "", AT[:-1], 1)
        ),
        {"tariffs": [ALWAYS | {"valid_from": AT, "valid_to": AT}]},
        {"tariffs": [ALWAYS | {"valid_to": AT, "valid_from": "2026-01-01T00:00:00Z"}]},
        {"tariffs": [ALWAYS | {"until": AT}]},
        {"zone": "UTC"},
    ],
)
def test_one_thing_that_is_wrong_is_enough(changes: dict[str, Any]) -> None:
    raw = json.dumps(USUAL | changes).encode()
    assert wire._usual_location(raw) is None
    with pytest.raises(DocumentError):
        parse_location(raw)
