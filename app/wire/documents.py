"""Documents: what location, tariff and series files have in common. Reading, checking, and naming every problem.

A document is checked whole: `DocumentError.problems` lists everything that is wrong with it, each with its path, its
value and what was expected. Unknown fields are problems, because a misspelt field must not bill silently; so are
fields that stand twice.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError, ValidationInfo

from app.domain.calendar import timezones
from app.domain.instants import format_instant, parse_instant_us
from app.domain.locations import Location
from app.domain.money import parse_decimal
from app.domain.tariffs import MINUTES_PER_DAY, SeriesDay, Tariff
from app.wire.document_json import Place, decode

DocumentKind = Literal["location", "tariff", "series"]

MAX_ID_LENGTH: Final = 200
_MAX_SHOWN: Final = 80
_LEAP_YEAR: Final = 2024

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MONTH_DAY: Final = re.compile(r"(\d{2})-(\d{2})", re.ASCII)
_CLOCK: Final = re.compile(r"(\d{2}):(\d{2})", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_FIELD_NAME: Final = re.compile(r"\w[\w-]{0,79}", re.ASCII)
_DECIMAL: Final = re.compile(r"Decimal\('([^']*)'\)")
_CLOSE: Final = 0.7
"""How alike two field names are of which one may be meant by the other."""

_MAX_FOUND: Final = 10

_Any = TypeVar("_Any")

_KIND_OF_ID: Final[dict[str, DocumentKind]] = {
    "location_id": "location",
    "tariff_id": "tariff",
    "series_id": "series",
}
_GROUPS: Final = frozenset({"locations", "tariffs", "series"})


class DocumentError(ValueError):
    """A document that cannot be used. `problems` holds one sentence for each thing that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the problems, and join them for whoever only prints the error."""
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class Problems(ValueError):  # noqa: N818 - several errors, raised together by a model's own check
    """What is wrong between fields: (path in the model, sentence) of each."""

    def __init__(self, found: Sequence[tuple[str, str]]) -> None:
        """Keep the problems."""
        super().__init__("; ".join(sentence for _, sentence in found))
        self.found = list(found)


class Document(BaseModel):
    """The base of every document's model, and of the objects in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# --- Values ----------------------------------------------------------------------------------------------------------


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text (expected {expected})")  # noqa: TRY004 - pydantic's protocol
    return value


def _read_decimal(value: object) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is a JSON number; rates are decimal strings (expected such as '0.2450')")  # noqa: TRY004
    return parse_decimal(_text(value, "a decimal string such as '0.2450'"))


def _read_instant(value: object) -> int:
    return parse_instant_us(_text(value, "a timestamp such as '2025-03-01T00:00:00Z'"))


def _read_date(value: object) -> date:
    text = _text(value, "a date such as '2025-12-25'")
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"{shown(text)} is not a date (YYYY-MM-DD)")


def _read_month_day(value: object) -> tuple[int, int]:
    text = _text(value, "a day of the year such as '06-01'")
    match = _MONTH_DAY.fullmatch(text)
    try:
        if match:
            found = date(_LEAP_YEAR, int(match[1]), int(match[2]))
            return found.month, found.day
    except ValueError:
        pass
    raise ValueError(f"{shown(text)} is not a day of the year (MM-DD)")


def _read_clock(value: object) -> int:
    text = _text(value, "a time such as '16:00'")
    match = _CLOCK.fullmatch(text)
    if match and int(match[2]) < 60:  # noqa: PLR2004 - minutes of an hour
        minute = int(match[1]) * 60 + int(match[2])
        if minute <= MINUTES_PER_DAY:
            return minute
    raise ValueError(f"{shown(text)} is not a time (HH:MM, 00:00 to 24:00)")


def read_id(value: object) -> str:
    """Return an identifier. Raises ValueError where it is none."""
    text = _text(value, "an identifier")
    if not text or len(text) > MAX_ID_LENGTH or text != text.strip() or not text.isprintable():
        expected = f"1 to {MAX_ID_LENGTH} printable characters, no space around them"
        raise ValueError(f"{shown(text)} is not an identifier (expected {expected})")
    return text


def read_location_id(value: object) -> str:
    """Return an identifier that can be part of an interval_id. Raises ValueError where it is none."""
    text = read_id(value)
    if "|" in text:
        raise ValueError(f"{shown(text)} contains '|', which separates the parts of an interval_id (expected none)")
    return text


def _read_currency(value: object) -> str:
    text = _text(value, "a currency such as 'GBP'")
    if not _CURRENCY.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a currency (expected three capital letters, such as 'GBP')")
    return text


def is_timezone(text: str) -> bool:
    """Tell whether there is a zone of that name."""
    return text in timezones()


def _read_timezone(value: object) -> str:
    text = _text(value, "a time zone such as 'Europe/London'")
    if not is_timezone(text):
        raise ValueError(f"{shown(text)} is not a time zone (expected a name such as 'Europe/London')")
    return text


def _check_integer(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{shown(value)} is not an integer (expected a whole number, such as 1)")  # noqa: TRY004 - pydantic's protocol
    return value


def check_some(values: tuple[_Any, ...]) -> tuple[_Any, ...]:
    """Refuse an empty list."""
    if not values:
        raise ValueError("empty (expected at least one)")
    return values


def check_after(end_us: int | None, start_name: str, info: ValidationInfo) -> None:
    """Refuse an end that is not after its start, the field `start_name` of the same object."""
    start_us = info.data.get(start_name)
    if end_us is not None and start_us is not None and end_us <= start_us:
        raise ValueError(f"{format_instant(end_us)!r} is not after {start_name} ({format_instant(start_us)!r})")


Rate = Annotated[Decimal, PlainValidator(_read_decimal)]
Instant = Annotated[int, PlainValidator(_read_instant)]
DateText = Annotated[date, PlainValidator(_read_date)]
MonthDay = Annotated[tuple[int, int], PlainValidator(_read_month_day)]
Clock = Annotated[int, PlainValidator(_read_clock)]
Identifier = Annotated[str, PlainValidator(read_id)]
LocationId = Annotated[str, PlainValidator(read_location_id)]
Currency = Annotated[str, PlainValidator(_read_currency)]
Timezone = Annotated[str, PlainValidator(_read_timezone)]
Integer = Annotated[int, BeforeValidator(_check_integer)]


# --- One document ----------------------------------------------------------------------------------------------------

_Model = TypeVar("_Model", bound=Document)


def check(model: type[_Model], raw: bytes | str | Mapping[str, Any], field_names: Sequence[str]) -> _Model:
    """Read a document and check it against its model; `field_names` are the fields of all its objects, for suggestions.

    Raises:
        DocumentError: with every problem found.

    """
    loaded = load_object(raw)
    try:
        return model.model_validate(loaded)
    except ValidationError as error:
        problems = _sentences(error, field_names)
        unknown = [item["loc"] for item in error.errors() if item["type"] == "extra_forbidden"]
    if unknown:
        # What fields say together is looked at only where each is in order: unknown ones must not hide that.
        try:
            model.model_validate(_without(loaded, unknown))
        except ValidationError as error:
            problems += [problem for problem in _sentences(error, field_names) if problem not in problems]
    raise DocumentError(problems)


def _without(document: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    """Return a copy of a document without some of its fields."""
    copied = deepcopy(dict(document))
    for *outer, name in places:
        found: Any = copied
        for step in outer:
            found = found[step]
        found.pop(name, None)
    return copied


def field_names(*models: type[BaseModel]) -> tuple[str, ...]:
    """Return the names by which documents call the fields of some models."""
    return tuple(field.alias or name for model in models for name, field in model.model_fields.items())


def load_object(raw: bytes | str | Mapping[str, Any]) -> dict[str, Any]:
    """Return a document's JSON object.

    Raises:
        DocumentError: it is not UTF-8, not JSON, or no object; or a field stands twice.

    """
    problems: list[str] = []
    loaded: Any = dict(raw) if isinstance(raw, Mapping) else _load_json(_decoded(raw), problems)
    if problems:
        raise DocumentError(problems)
    if not isinstance(loaded, dict):
        raise DocumentError([f"{shown(loaded)} is not a document (expected a JSON object)"])
    return loaded


def _decoded(raw: bytes | str) -> str:
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError([f"byte {error.start} is not UTF-8 (expected JSON in UTF-8)"]) from None


def _load_json(text: str, problems: list[str], *, is_line: bool = False) -> Any:
    """Return a JSON value; fields that stand twice go to `problems`. Raises `DocumentError` for what is no JSON."""
    try:
        loaded, repeated = decode(text)
    except json.JSONDecodeError as error:
        line = "" if is_line else f"line {error.lineno}, "
        raise DocumentError([f"not JSON: {error.msg} at {line}column {error.colno}"]) from None
    except RecursionError:
        raise DocumentError(["not a document: nested too deeply"]) from None
    problems += [f"{path_text(place)}: stands more than once in one object (expected once)" for place in repeated]
    return loaded


def shown(value: object) -> str:
    """Return a value as a problem quotes it: short, and as JSON names it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = _DECIMAL.sub(r"\1", repr(value))
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _sentences(error: ValidationError, names: Sequence[str]) -> list[str]:
    """Turn pydantic's findings into our sentences."""
    sentences = []
    for item in error.errors(include_url=False):
        path = path_text(item["loc"])
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, Problems):
            sentences += [_join(_path_join(path, inner), sentence) for inner, sentence in cause.found]
        else:
            sentences.append(_join(path, _sentence(item["type"], item["input"], item, cause, names)))
    return sentences


def _sentence(kind: str, value: object, item: Mapping[str, Any], cause: object, names: Sequence[str]) -> str:
    if cause is not None:
        return str(cause)
    if kind == "missing":
        return "missing (this field is required)"
    if kind == "extra_forbidden":
        close = get_close_matches(str(item["loc"][-1])[:MAX_ID_LENGTH], names, 1, _CLOSE)
        hint = f"did you mean {close[0]!r}?" if close else "expected only the fields that the format knows"
        return f"unknown field, with the value {shown(value)} ({hint})"
    if kind == "literal_error":
        return f"{shown(value)} is not one of {item['ctx']['expected']}"
    if kind == "too_long" and isinstance(value, list):
        return f"{len(value)} of them (expected at most {item['ctx']['max_length']})"
    expected = {
        "tuple_type": "a list",
        "bool_type": "true or false",
        "string_type": "a text",
        "model_type": "an object",
        "model_attributes_type": "an object",
        "too_short": f"at least {item.get('ctx', {}).get('min_length')} of them",
        "too_long": f"at most {item.get('ctx', {}).get('max_length')} of them",
    }.get(kind, item["msg"])
    return f"{shown(value)} is not what belongs here (expected {expected})"


def path_text(place: Sequence[int | str]) -> str:
    """Return a place as a path such as "charges[0].bands[1]"; names that are no plain ones are quoted."""
    steps = (
        f".{step}" if isinstance(step, str) and _FIELD_NAME.fullmatch(step) else f"[{shown(step)}]" for step in place
    )
    return "".join(steps).removeprefix(".")


def _path_join(outer: str, inner: str) -> str:
    return f"{outer}.{inner}" if outer and inner and not inner.startswith("[") else outer + inner


def _join(path: str, sentence: str) -> str:
    return f"{path}: {sentence}" if path else sentence


# --- Many documents --------------------------------------------------------------------------------------------------


def document_kind(document: Mapping[str, Any]) -> DocumentKind:
    """Tell what a document is, by the identifier that it carries.

    Raises:
        DocumentError: it carries none, or more than one.

    """
    kinds = [kind for name, kind in _KIND_OF_ID.items() if name in document]
    if len(kinds) != 1:
        names = sorted(map(str, document))
        found = ", ".join(name if _FIELD_NAME.fullmatch(name) else shown(name) for name in names[:_MAX_FOUND])
        found = found + ", …" * (len(names) > _MAX_FOUND) or "nothing"
        raise DocumentError([f"not a document: expected one of location_id, tariff_id and series_id, found {found}"])
    return kinds[0]


def document_key(document: Location | Tariff | SeriesDay) -> str:
    """Return the key under which a document is published: the newest one of a key holds."""
    match document:
        case Location():
            return document.location_id
        case Tariff():
            return document.tariff_id
        case SeriesDay():
            return document.key


def version_key(tariff: Tariff) -> str:
    """Return the key under which one version of a tariff stands beside others."""
    return f"{tariff.tariff_id}/{tariff.version}"


def iter_documents(source: Path | str | bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (position, object) of every document in a file (a path) or in its content (bytes).

    The content is one JSON object, an array of them, an object of such arrays under "locations", "tariffs" and
    "series", or JSONL: one object a line, empty lines apart. Positions read "document", "[2]", "tariffs[0]" or "line
    3".

    Raises:
        DocumentError: the content is none of these; every line or element at fault is named, and nothing is yielded
        before. OSError: the file cannot be read.

    """
    raw = source if isinstance(source, bytes) else Path(source).read_bytes()
    found, problems = read_documents(raw)
    if problems:
        raise DocumentError(problems)
    yield from found


def read_documents(raw: bytes) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return the documents of a file's content as `iter_documents` does, and all that is wrong with the others.

    Raises:
        DocumentError: there is nothing to be had from it: it is no text, or no JSON.

    """
    text = _decoded(raw)
    if not text.strip():
        raise DocumentError(["empty (expected a JSON document, an array of them, or one a line)"])
    found: list[tuple[str, dict[str, Any]]] = []
    problems: list[str] = []
    values = _from_lines(text, problems) if _is_jsonl(text) else _from_json(_load_json(text, problems), problems)
    for position, value in values:
        if isinstance(value, dict):
            found.append((position, value))
        else:
            problems.append(f"{position}: {shown(value)} is not a document (expected a JSON object)")
    return found, problems


def _is_jsonl(text: str) -> bool:
    """Tell JSONL: a first line that is an object by itself, or later lines that begin one as the first line does.

    The latter holds for JSONL whose first line is at fault, so that its other lines are still read.
    """
    first, _, rest = text.strip().partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(_load_json(first, []), dict)
    except DocumentError:
        return first.startswith("{") and any(line.startswith("{") for line in rest.split("\n"))


def _from_lines(text: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        of_line: list[str] = []
        try:
            yield f"line {number}", _load_json(line, of_line, is_line=True)
        except DocumentError as error:
            of_line += error.problems
        problems += [f"line {number}: {problem}" for problem in of_line]


def _from_json(loaded: Any, problems: list[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(loaded, list):
        yield from ((f"[{number}]", value) for number, value in enumerate(loaded))
    elif isinstance(loaded, dict) and loaded and loaded.keys() <= _GROUPS:
        for name, values in loaded.items():
            if isinstance(values, list):
                yield from ((f"{name}[{number}]", value) for number, value in enumerate(values))
            else:
                problems.append(f"{name}: {shown(values)} is not a list of documents")
    else:
        yield "document", loaded
