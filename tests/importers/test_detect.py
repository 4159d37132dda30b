"""The format of a file shows in its content, or in its name."""

from pathlib import Path

import pytest

from app.importers.detect import detect_format
from app.importers.rows import FileError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x", b'\n {"location_id":1}', "jsonl"),
        ("x.csv", b"[1]", "jsonl"),
        ("x.csv", b"\xef\xbb\xbfMetering_Point,period_start,quantity\n", "csv"),
        ("x.csv", b"100,NEM12,2023,a,b\n", "nem12"),
        ("x.csv", b"quantity,metering_point,period_start\n", "csv"),
        ("x.csv", b"something else\n", "csv"),
        ("x.jsonl", b"nonsense\n", "jsonl"),
    ],
)
def test_the_content_tells_before_the_name(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert detect_format(path) == expected


def test_a_file_that_tells_nothing_asks_for_the_format(tmp_path: Path) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(b"hello")
    with pytest.raises(FileError, match="say which with --format"):
        detect_format(path)


def test_a_file_that_is_not_there_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        detect_format(tmp_path / "none")
