"""A worker composed with other parts: some records make its validation raise, and its tables can be looked into.

Run as a process of its own. `PROBE_DIR` is a folder: the interval ids in its file `wanted` are looked up in the Faust tables
again and again, and what is found is written to `found.json`.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from app.compose import create_app
from app.domain.records import MeterRecord, Reading, Rejected
from app.settings import load_settings
from app.streams.validate import Meter, Place, reading_of
from app.worker import configure_logging, serve

_raised: Counter[str] = Counter()


def validate_or_raise(record: MeterRecord, meter: Meter, place: Place, oldest_us: int | None) -> Reading | Rejected:
    """Validate as the product does, but raise for records whose reference says so: always, or only the first time."""
    reference = record.record_reference_id or ""
    if reference.startswith("always-") or (reference.startswith("once-") and not _raised[reference]):
        _raised[reference] += 1
        message = f"a fault forced by {reference}"
        raise RuntimeError(message)
    return reading_of(record, meter, place, oldest_us)


def look_up(tables: Any, folder: Path) -> None:
    """Write what the tables say about the wanted interval ids."""
    wanted = folder / "wanted"
    if not wanted.exists():
        return
    found: dict[str, Any] = {"length": len(tables["priced"]), "refused": None}
    for interval_id in wanted.read_text(encoding="utf-8").splitlines():
        found[interval_id] = {name: tables[name].get(interval_id) for name in ("priced", "intervals")}
        found[interval_id]["is_in"] = interval_id in tables["priced"]
        found[interval_id]["is_listed"] = interval_id in set(tables["priced"])
    try:
        tables["priced"]["made up"] = {"cost": "0"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is refused
        found["refused"] = str(error)
    unfinished = folder / "found.tmp"
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    unfinished.replace(folder / "found.json")


def main() -> int:
    """Serve the composed application."""
    settings = load_settings()
    configure_logging(settings)
    app = create_app(settings, validate=validate_or_raise)
    folder = os.environ.get("PROBE_DIR")
    if folder is not None:

        @app.timer(0.2)
        async def probe() -> None:
            look_up(app.tables, Path(folder))

    return serve(app)


if __name__ == "__main__":
    sys.exit(main())
