"""Fuzz the loading of tariffs, guided by coverage: `python -m tests.faults.fuzz_tariffs -max_total_time=60`.

Whatever the bytes are: a tariff is loaded or refused with problems, nothing else. One that is loaded is written out and read
again as the same, and prices an interval of every kind of day without an exception, in bounded time.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["app"]):
    from app.compose import price_offline
    from app.domain.tariffs import Tariff
    from app.wire.documents import DocumentError
    from app.wire.location import parse_location
    from app.wire.tariff import parse_tariff, to_document

from tests.faults.fuzzing import fuzz

MOST_S: Final = 20.0
"""Far more than any accepted tariff needs, even instrumented, on a slow machine: beyond it something is not bounded."""

DAYS: Final = ("2025-01-01", "2025-03-30", "2025-06-14", "2025-10-26", "2024-02-29")
"""A holiday, both clock changes, a Saturday, a leap day."""


def check(value: bytes) -> None:
    """Require what has to be true of any document."""
    try:
        tariff = parse_tariff(value)
    except DocumentError as error:
        if not error.problems or not all(error.problems):
            raise AssertionError("a refusal without a reason") from error
        return
    assert parse_tariff(to_document(tariff)) == tariff, "a tariff written out is another one"
    began_s = time.monotonic()
    _price(tariff)
    assert time.monotonic() - began_s < MOST_S, "pricing is not bounded"


def _price(tariff: Tariff) -> None:
    """Price a day of an hour's records here and there."""
    links = [{"direction": tariff.direction, "tariff_id": tariff.tariff_id}]
    home = parse_location({"location_id": "loc_1", "timezone": "Europe/London", "tariffs": links})
    flow = "OUTBOUND" if tariff.direction == "EXPORT" else "INBOUND"
    records = [
        (
            f'{{"location_id":"loc_1","units":"KWH","value":1.25,"start_time":"{day}T{hour:02d}:30:00Z",'
            f'"end_time":"{day}T{hour:02d}:59:00Z","energy_flow_direction":"{flow}","tariff_direction":"{tariff.direction}"}}'
        ).encode()
        for day in DAYS
        for hour in range(0, 24, 3)
    ]
    result = price_offline(records, [home], [tariff])
    assert result.counts["accepted"] == len(records)
    assert len(result.priced) == len(records)


WORDS: Final = (
    *('"charges":[', '"bands":[', '"when":[', '"tiers":[', '"up_to_kwh":', '"rate":', '"series":{', '"kind":"demand"'),
    *('"kind":"fixed"', '"kind":"minimum"', '"kind":"session"', '"per":"month"', '"per":"day"', '"tier_scope":"band"'),
    *('"from":', '"to":', '"start":', '"end":', '"days":[', '"HOL"', '"24:00"', '"02-29"', '"tier_period":"P1D"'),
    *('"tier_period":"BILLING"', '"billing_period":{', '"valid_from":', '"valid_to":', '"taxes":[', '"holidays":['),
    *('"direction":"EXPORT"', '"direction":"LOCAL"', '"Australia/Lord_Howe"', "null", "1E400", "-0", '"NaN"', "},{"),
)
_GOLDEN: Final = Path(__file__).resolve().parent.parent


def seeds() -> Iterator[bytes]:
    """Yield the tariffs of the golden stories."""
    for path in sorted(_GOLDEN.glob("golden*/*/tariffs.json")):
        found = json.loads(path.read_bytes())
        for document in found if isinstance(found, list) else [found]:
            yield json.dumps(document, separators=(",", ":")).encode()


if __name__ == "__main__":
    fuzz(check, seeds(), WORDS)
