"""JSON as documents are written in it: numbers keep their digits, and fields that stand twice are found.

`json` by itself takes the last of two fields of one name, and turns 1e999 into infinity: both would bill silently.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

Place = tuple[int | str, ...]
"""Where something stands in a document: names of fields, and positions in lists."""

_MAX_INTEGER_LENGTH: Final = 40
"""Longer ones are no integer of any document; Python itself refuses to read them from 4,300 digits on."""


class JsonNumber(float):
    """A number that documents never hold (with a point, an exponent, NaN), shown as it is written."""

    __slots__ = ("_text",)
    _text: str

    def __new__(cls, text: str) -> Self:
        """Read the number."""
        made = super().__new__(cls, text)
        made._text = text
        return made

    def __repr__(self) -> str:
        """Return it as it stands in the document."""
        return self._text


def decode(text: str, read_number: Callable[[str], Any] = JsonNumber) -> tuple[Any, list[Place]]:
    """Return a JSON value, and the places of the fields that stand more than once in one object.

    `read_number` takes all numbers other than integers: those with a point or an exponent, NaN, and infinities.

    Raises:
        json.JSONDecodeError: it is no JSON. RecursionError: it is nested too deeply. What `read_number` raises.

    """
    repeated: dict[int, list[str]] = {}

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            repeated[id(found)] = [name for name, count in counts.items() if count > 1]
        return found

    def read_integer(digits: str) -> Any:
        return int(digits) if len(digits) <= _MAX_INTEGER_LENGTH else read_number(digits)

    decoder = json.JSONDecoder(
        object_pairs_hook=read_object, parse_float=read_number, parse_int=read_integer, parse_constant=read_number
    )
    value = decoder.decode(text)
    return value, list(_places(value, repeated)) if repeated else []


def _places(value: Any, repeated: Mapping[int, list[str]]) -> Iterator[Place]:
    """Yield the places of repeated fields, in the order of the document; the objects are known by their `id`."""
    left: list[tuple[Place, Any]] = [((), value)]
    while left:
        place, found = left.pop()
        if isinstance(found, dict):
            yield from ((*place, name) for name in repeated.get(id(found), ()))
            inner = [((*place, name), field) for name, field in found.items()]
        elif isinstance(found, list):
            inner = [((*place, position), element) for position, element in enumerate(found)]
        else:
            continue
        left += reversed(inner)
