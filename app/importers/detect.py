"""Which format a file has, by its content first and its name second."""

from pathlib import Path
from typing import Final, Literal

from app.importers.rows import FileError

Format = Literal["jsonl", "csv", "nem12"]
_LOOKED_AT_BYTES: Final = 4096
_BY_SUFFIX: Final[dict[str, Format]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv"}


def detect_format(path: Path) -> Format:
    """Return the format of a file. Raises `FileError` when nothing tells it."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT_BYTES)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise FileError(message) from None
    found = _by_content(head.removeprefix(b"\xef\xbb\xbf").lstrip())
    found = found or _BY_SUFFIX.get(path.suffix.lower())
    if found is None:
        message = f"{path}: neither JSON Lines nor CSV nor NEM12 by its content or name; say which with --format"
        raise FileError(message)
    return found


def _by_content(head: bytes) -> Format | None:
    """Return the format that the first bytes show."""
    if head[:1] in {b"{", b"["}:
        return "jsonl"
    if head.startswith((b"100,NEM", b"200,", b"PK\x03\x04")):
        return "nem12"
    first_line = head.split(b"\n", 1)[0].lower()
    return "csv" if b"metering_point" in first_line else None
