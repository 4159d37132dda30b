"""Files that are far too large, or made to be a burden: each is refused with a reason, before it costs anything."""

import json
from itertools import pairwise
from typing import Any

import pytest

from app.importers.tariffs.common import ImportOptions, read_json
from app.importers.tariffs.registry import FORMATS
from app.wire.documents import DocumentError
from tests.importers.tariffs.cdr_plans import ALL, demand, feed_in, plan, rate, time_of_use, window

OPTIONS = ImportOptions(currency="GBP", timezone="Europe/London")
SCHEDULE = [[0] * 24] * 12


def problems(name: str, document: Any) -> list[str]:
    """Return why a file is refused, as a whole or in part."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    options = OPTIONS._replace(currency="AUD") if name == "cdr" else OPTIONS
    try:
        return [str(part) for part in FORMATS[name](read_json(raw), options).refused]
    except DocumentError as error:
        return error.problems


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":[{"b":1,"b":2}]}', "a[0].b: stands more than once in one object (expected once)"),
        (b'{"a":1e999999999}', "'1e999999999' is no number of a tariff (expected at most 100 digits)"),
        (b'{"a":0.' + b"1" * 10_000 + b"}", "is no number of a tariff"),
        (b'{"a":' + b"9" * 10_000 + b"}", "is no number of a tariff"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_json_should_not_hold_is_named_in_every_format(name: str, raw: bytes, problem: str) -> None:
    (found,) = problems(name, raw)
    assert problem in found


def test_more_bytes_than_any_tariff_has_are_refused() -> None:
    with pytest.raises(DocumentError, match="67108865 bytes are more than any tariff has"):
        read_json(b" " * ((64 << 20) + 1))


def test_a_value_is_quoted_as_the_file_has_it() -> None:
    (found,) = problems("ocpi", b'{"elements":[{"price_components":[{"type":"ENERGY","price":NaN}]}]}')
    assert found == "elements[0].price_components[0].price: NaN is not a number"


@pytest.mark.parametrize(
    ("rates", "problem"),
    [
        ([[{"rate": 0.1, "max": bound + 1} for bound in range(10_000)] + [{"rate": 0.1}]], "tiers: 10001 of them"),
        ([[{"rate": 0.1}]] * 288, "bands: 288 of them (expected at most 100)"),
    ],
)
def test_a_urdb_rate_of_thousands_of_tiers_or_bands_is_refused(rates: Any, problem: str) -> None:
    hours = SCHEDULE if len(rates) == 1 else [[24 * month + hour for hour in range(24)] for month in range(12)]
    document = {"energyratestructure": rates, "energyweekdayschedule": hours, "energyweekendschedule": hours}
    (found,) = problems("urdb", document)
    assert problem in found


MINUTES = [
    window([day], f"{minute // 60:02d}:{minute % 60:02d}", f"{(minute + 1) // 60 % 24:02d}:{(minute + 1) % 60:02d}")
    for day in ALL
    for minute in range(1440)
]
FLAT = rate("PEAK", "0.30", window(ALL, "00:00", "00:00"))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (plan(time_of_use(rate("PEAK", "0.30", *MINUTES))), " objects in it (expected at most 5000)"),
        (
            plan(time_of_use(FLAT, demandCharges=[demand()] * 3000)),
            "demandCharges: 3000 elements (expected at most 200)",
        ),
        (
            plan(time_of_use(FLAT), solarFeedInTariff=[feed_in({"unitPrice": "0.05"})] * 600),
            "solarFeedInTariff: 600 elements (expected at most 200)",
        ),
        (
            plan(time_of_use(rate("PEAK", "0.30", *MINUTES[:150]))),
            "timeOfUseRates: no reading of the windows tiles the week",
        ),
        (plan(*[time_of_use(FLAT)] * 150), "150 tariff periods hold 01-01: 01-01 to 12-31"),
    ],
)
def test_a_plan_of_thousands_of_parts_is_refused_by_the_list_that_is_too_long(document: Any, problem: str) -> None:
    found = problems("cdr", document)
    assert [one for one in found if problem in one]
    assert max(map(len, found)) < 700


def test_half_hours_beside_a_rate_of_millennia_are_no_series() -> None:
    times = ["2025-01-01T00:00:00Z", "2025-01-01T00:30:00Z", "2025-01-01T01:00:00Z", "9999-01-01T00:00:00Z"]
    values = {"value_exc_vat": 10, "value_inc_vat": 10.5}
    rates = [values | {"valid_from": start, "valid_to": end} for start, end in pairwise(times)]
    (found,) = problems("octopus", {"tariff_code": "E-1R-X-A", "standard_unit_rates": rates})
    assert found.startswith("standard_unit_rates: 2912")
    assert found.endswith("days of prices (expected at most 20000)")
