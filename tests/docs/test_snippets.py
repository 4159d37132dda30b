"""The Python of the README, run as it stands: only the names of topics, group and broker are a test's own."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from app.wire.documents import iter_documents
from tests.harness import Stream

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "docs" / "example"
WAIT_S: Final = 40


@pytest.fixture
def script(documents: Any, kafka: str, tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Write a snippet to a file, and return the command that runs it."""

    def write(name: str, prefix: str) -> list[str]:
        (code,) = documents.blocks(name)
        assert '"localhost:9092"' in code
        assert '"meter.' in code
        code = code.replace("localhost:9092", kafka).replace('"meter.', f'"{prefix}meter.').replace("billing", prefix)
        path = tmp_path / f"{name}.py"
        path.write_text(code, encoding="utf-8")
        return [sys.executable, str(path)]

    return write


@pytest.mark.broker
def test_what_one_snippet_publishes_the_other_sees_priced(
    kafka: str, tmp_path: Path, script: Callable[[str, str], list[str]]
) -> None:
    with Stream(kafka, tmp_path / "stream") as stream:
        for name in ("series.json", "tariffs.json", "locations.json"):
            stream.load(*(raw for _, raw in iter_documents(EXAMPLE / name)))
        prefix = stream.settings.topic_prefix
        published = subprocess.run(
            script("publish", prefix), capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        assert published.returncode == 0, published.stderr
        stream.worker()
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        reader = subprocess.Popen(script("consume", prefix), stdout=subprocess.PIPE, text=True, env=environ)
        at_last = threading.Timer(WAIT_S, reader.kill)  # the line is then empty
        at_last.start()
        try:
            assert reader.stdout is not None
            line = reader.stdout.readline()
        finally:
            at_last.cancel()
            reader.kill()
            reader.communicate()
        assert line == "loc_1||INBOUND|IMPORT|2025-03-03T15:30:00Z 512 0.064512 GBP\n"
        stream.wait(lambda: stream.totals()["accepted"] == 1, "the record to be counted")
        assert stream.totals()["forwarded"] == 0  # the snippet's partitioner is the right one
