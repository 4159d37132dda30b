"""Any JSON at all is imported, refused in part, or named as no such format; nothing else happens."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.importers.tariffs.common import ImportOptions, read_json
from app.importers.tariffs.registry import FORMATS
from app.wire.documents import DocumentError
from app.wire.tariff import parse_tariff

DATA = Path(__file__).parent / "data"
OPTIONS = ImportOptions(currency="EUR", timezone="Europe/Amsterdam")
EXAMPLES = [
    (path.parent.name, path.name) for path in sorted(DATA.glob("*/*.json")) if path.parent.name in {"ocpi", "flatpeak"}
]

_PLAIN = st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=True) | st.text(max_size=8)
_JSON = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


# Kafka's clients of tests before this one may live on in a thread, and use `random` while a value is drawn.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize(("name", "file"), EXAMPLES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_imported_or_named(name: str, file: str, data: st.DataObject) -> None:
    document = read_json((DATA / name / file).read_bytes())
    path = data.draw(st.sampled_from(list(places(document))))
    with suppress(DocumentError):
        found = FORMATS[name](replaced(document, path, data.draw(_JSON)), OPTIONS)
        for tariff in found.tariffs:
            parse_tariff(tariff)
