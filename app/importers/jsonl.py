"""JSON Lines: a meter record, or an array of them, a line. Passed on byte for byte; the worker validates."""

from collections.abc import Iterable, Iterator

import msgspec

from app.importers.rows import Row


class _Keyed(msgspec.Struct):
    """As much of a record as its message's key needs."""

    location_id: str


_RECORD = msgspec.json.Decoder(_Keyed)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_BOM = b"\xef\xbb\xbf"


def read_jsonl(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield a row for each line that is not blank."""
    for number, line in enumerate(lines, start=1):
        value = line.strip() if number > 1 else line.removeprefix(_BOM).strip()
        if not value:
            continue
        try:
            yield (
                _array(number, value)
                if value[:1] == b"["
                else Row(number, _named(_RECORD.decode(value).location_id), value)
            )
        except (msgspec.DecodeError, ValueError) as error:
            yield Row(number, problem=_explain(error))


def _array(number: int, value: bytes) -> Row:
    """Key an array by its first record. Raises `ValueError`."""
    records = _ARRAY.decode(value)
    if not records:
        message = "the array is empty"
        raise ValueError(message)
    return Row(number, _named(_RECORD.decode(records[0]).location_id), value, records=len(records))


def _named(location_id: str) -> str:
    """Require a name. Raises `ValueError`."""
    if not location_id:
        message = "location_id is empty"
        raise ValueError(message)
    return location_id


def _explain(error: Exception) -> str:
    """Say what is wrong with a line, in the words of who wrote it."""
    text = str(error)
    if "missing required field" in text:
        return "location_id is missing"
    if isinstance(error, msgspec.ValidationError):
        return f"expected a record (a JSON object with a text location_id) or an array of records: {text}"
    return f"not a JSON line: {text}" if isinstance(error, msgspec.DecodeError) else text
