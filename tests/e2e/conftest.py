"""One stream with a worker, and commands with its settings, for all stories."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import Commands
from tests.e2e.months import Month, location, months, tariffs
from tests.harness import Stream

EMIT_EVERY_S = 0.5
MONTHS = months()


@pytest.fixture(scope="session")
def product(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stream]:
    """A stream with a worker at work."""
    with Stream(kafka, tmp_path_factory.mktemp("product"), emit_every_s=EMIT_EVERY_S) as stream:
        worker = stream.worker()
        yield stream
        assert worker.terminate() == 0
        assert "Traceback" not in worker.log_path.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def commands(product: Stream) -> Commands:
    """The commands with the stream's settings."""
    return Commands(product.environ)


@pytest.fixture(scope="session", params=MONTHS, ids=lambda month: month.name)
def month(request: pytest.FixtureRequest) -> Month:
    """A month of readings every five minutes: one made up, and a real one where it is at hand."""
    given: Month = request.param
    return given


@pytest.fixture(scope="session")
def solar_documents(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the solar households' locations and tariffs, which are loaded."""
    folder = tmp_path_factory.mktemp("solar")
    homes = [*(location(f"home-{each.name}") for each in MONTHS), location("corrected")]
    (folder / "locations.json").write_text(json.dumps(homes))
    (folder / "tariffs.jsonl").write_text("\n".join(map(json.dumps, tariffs())))
    said = commands.succeed("load", folder / "locations.json", folder / "tariffs.jsonl")
    assert said.splitlines() == [f"loaded {len(homes)} locations", "loaded 2 tariffs", "loaded 0 series"]
    return folder
