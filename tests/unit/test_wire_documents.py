"""Location, tariff and series documents: what is read, and that every problem is named."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.instants import parse_instant_us
from app.domain.locations import Location, TariffLink
from app.wire.documents import DocumentError, document_key, document_kind, iter_documents
from app.wire.location import parse_location
from app.wire.reference import parse_document, to_document
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff

LOCATION: dict[str, Any] = {
    "location_id": "loc_1",
    "timezone": "Europe/London",
    "interval_minutes": 30,
    "customer_id": "cus_1",
    "max_power_kw": "100",
    "tariffs": [{"direction": "IMPORT", "tariff_id": "tou", "valid_from": "2025-01-01T00:00:00Z", "valid_to": None}],
    "carbon_series_id": None,
}
TARIFF: dict[str, Any] = {
    "tariff_id": "tou",
    "version": 1,
    "direction": "IMPORT",
    "currency": "GBP",
    "timezone": "Europe/London",
    "valid_from": None,
    "valid_to": None,
    "prices_include_tax": False,
    "taxes": [{"name": "VAT", "rate": "0.05", "charges": ["energy", "standing"]}],
    "holidays": ["2025-12-25"],
    "tier_period": "BILLING",
    "billing_period": {"months": 3, "anchor_day": 15, "anchor_month": 2},
    "charges": [
        {
            "charge_id": "energy",
            "kind": "energy",
            "tier_scope": "charge",
            "bands": [
                {
                    "name": "peak",
                    "when": [
                        {
                            "from": "06-01",
                            "to": "09-30",
                            "days": ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN", "HOL"],
                            "start": "16:00",
                            "end": "21:00",
                        }
                    ],
                    "tiers": [{"up_to_kwh": None, "rate": "0.30"}],
                },
                {"name": "off-peak", "when": [], "tiers": [{"up_to_kwh": None, "rate": "0.12"}]},
            ],
        },
        {
            "charge_id": "market",
            "kind": "energy",
            "tier_scope": "charge",
            "series": {"series_id": "AGILE-C", "multiplier": "1", "adder": "0", "cap": "1.00", "floor": None},
        },
        {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.5501", "from": "01-01", "to": "12-31"},
        {"charge_id": "least", "kind": "minimum", "per": "month", "amount": "12.00"},
        {
            "charge_id": "capacity",
            "kind": "demand",
            "measurement_minutes": 15,
            "measured_over": "month",
            "per": "day",
            "minimum_kw": "1.5",
            "bands": [
                {
                    "name": "evening",
                    "when": [
                        {"from": "11-01", "to": "03-31", "days": ["MON", "TUE"], "start": "15:00", "end": "21:00"}
                    ],
                    "tiers": [{"up_to_kw": "10", "rate": "0.30"}, {"up_to_kw": None, "rate": "0.40"}],
                }
            ],
        },
    ],
    "rounding": {"line": {"quantum": "0.01", "mode": "HALF_UP"}},
}
SERIES: dict[str, Any] = {
    "series_id": "AGILE-C",
    "kind": "price",
    "unit": "GBP/kWh",
    "points": [
        {"start_time": "2025-03-01T00:00:00Z", "end_time": "2025-03-01T00:30:00Z", "value": "0.1234"},
        {"start_time": "2025-03-01T00:30:00Z", "end_time": "2025-03-01T01:00:00Z", "value": "-0.02"},
    ],
}
WINDOW = ("charges", 0, "bands", 0, "when", 0)


def changed(document: dict[str, Any], *changes: tuple[tuple[Any, ...], Any]) -> dict[str, Any]:
    """Return a copy of a document with values put at paths; an Ellipsis takes a field away."""
    found = copy.deepcopy(document)
    for path, value in changes:
        inner: Any = found
        for step in path[:-1]:
            inner = inner[step]
        if value is ...:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
    return found


def problems(document: Any) -> list[str]:
    with pytest.raises(DocumentError) as refused:
        parse_document(document)
    assert str(refused.value) == "; ".join(refused.value.problems)
    return refused.value.problems


@pytest.mark.parametrize("document", [LOCATION, TARIFF, SERIES])
def test_a_complete_document_is_written_as_it_was_read(document: dict[str, Any]) -> None:
    assert to_document(parse_document(json.dumps(document))) == document


def test_a_location_may_be_short() -> None:
    assert parse_location(b'{"location_id":"l","timezone":"UTC"}') == Location("l", "UTC", 30)


def test_a_locations_power_and_links_are_read_in_the_domains_units() -> None:
    found = parse_location(LOCATION | {"max_power_kw": "7.4"})
    assert found.max_power_uw == 7_400_000_000
    assert found.links == (TariffLink("IMPORT", "tou", parse_instant_us("2025-01-01T00:00:00Z"), None),)


def test_the_keys_are_those_of_the_topics() -> None:
    assert [document_key(parse_document(d)) for d in (LOCATION, TARIFF, SERIES)] == [
        "loc_1",
        "tou",
        "AGILE-C/2025-03-01",
    ]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ((*WINDOW, "start"), "25:00", "'25:00' is not a time (HH:MM, 00:00 to 24:00)"),
        ((*WINDOW, "end"), "24:01", "'24:01' is not a time (HH:MM, 00:00 to 24:00)"),
        ((*WINDOW, "from"), "02-30", "'02-30' is not a day of the year (MM-DD)"),
        ((*WINDOW, "days"), [], "empty (expected at least one)"),
        (("charges", 0, "bands", 1, "tiers"), [], "empty (expected one tier with its rate)"),
        (("charges", 2, "per"), "week", "'week' is not one of 'day' or 'month'"),
        (("charges", 2, "amount"), ..., "missing (a fixed charge has per and amount)"),
        (("charges", 2, "bands"), [], "belongs to energy, demand and session charges, not to a fixed charge"),
        (("charges", 0, "amount"), "1", "belongs to fixed and minimum charges, not to an energy charge"),
        (("charges", 1, "series", "floor"), "2", ""),
        (("charges", 1, "charge_id"), "energy", ""),
        (("currency",), "pounds", "'pounds' is not a currency (expected three capital letters, such as 'GBP')"),
        (("timezone",), "Mars/Base", "'Mars/Base' is not a time zone (expected a name such as 'Europe/London')"),
        (("direction",), "BOTH", "'BOTH' is not one of 'IMPORT', 'EXPORT' or 'LOCAL'"),
        (("version",), "1", "'1' is not an integer (expected a whole number, such as 1)"),
        (("version",), True, "true is not an integer (expected a whole number, such as 1)"),
        (("version",), 0, "0 is not a version (expected 1 or more)"),
        (("prices_include_tax",), "no", "'no' is not what belongs here (expected true or false)"),
        (("holidays",), "2025-12-25", "'2025-12-25' is not what belongs here (expected a list)"),
        (("holidays", 0), "2025-02-30", "'2025-02-30' is not a date (YYYY-MM-DD)"),
        (("taxes", 0), 0.2, "0.2 is not what belongs here (expected an object)"),
        (("taxes", 0, "rate"), "-0.05", "'-0.05' is negative (expected 0 or more)"),
        (("rounding", "line", "quantum"), "0", "'0' is not positive (expected more than 0)"),
        (("charges",), [], "empty (expected at least one)"),
        (("tariff_id",), " t", ""),
    ],
)
def test_a_tariffs_problem_is_named_with_its_path(path: tuple[Any, ...], value: Any, problem: str) -> None:
    (found,) = problems(changed(TARIFF, (path, value)))
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    identifier = "1 to 200 printable characters, no space around them"
    expected = {
        "charges[1].series.floor": "charges[1].series.cap: '1.00' is below the floor ('2')",
        "charges[1].charge_id": "charges[1].charge_id: 'energy' stands more than once (expected each once)",
        "tariff_id": f"tariff_id: ' t' is not an identifier (expected {identifier})",
    }.get(text, f"{text}: {problem}")
    assert found == expected


def test_every_problem_of_a_document_is_listed_at_once() -> None:
    bad = changed(
        TARIFF,
        (("currency",), ...),
        ((*WINDOW, "start"), "25:00"),
        ((*WINDOW, "dayz"), ["MON"]),
        (("charges", 1, "series", "adder"), 0.5),
        (("valid_to",), "2025-01-01T00:00:00"),
    )
    assert problems(bad) == [
        "currency: missing (this field is required)",
        "valid_to: '2025-01-01T00:00:00' has no UTC offset (expected one, such as 2025-03-01T00:00:00Z or …+01:00)",
        "charges[0].bands[0].when[0].start: '25:00' is not a time (HH:MM, 00:00 to 24:00)",
        "charges[0].bands[0].when[0].dayz: unknown field, with the value ['MON'] (did you mean 'days'?)",
        "charges[1].series.adder: 0.5 is a JSON number; rates are decimal strings (expected such as '0.2450')",
    ]


@pytest.mark.parametrize(
    "rate", [0.3, 1, float("nan"), None, True, "NaN", "Infinity", "1e-3", "0,3", "", " 0.3", ["0.3"]]
)
def test_a_rate_is_a_decimal_string_and_nothing_else(rate: object) -> None:
    (found,) = problems(changed(TARIFF, (("charges", 0, "bands", 1, "tiers", 0, "rate"), rate)))
    assert found.startswith("charges[0].bands[1].tiers[0].rate: ")


@pytest.mark.parametrize("written", ["NaN", "-Infinity", "1e999", "0.10", "9" * 70])
def test_a_number_is_quoted_with_its_path_as_it_is_written(written: str) -> None:
    raw = json.dumps(TARIFF).replace('"0.12"', written)
    assert raw != json.dumps(TARIFF)
    (found,) = problems(raw)
    assert found.startswith(f"charges[0].bands[1].tiers[0].rate: {written} is a JSON number; rates are decimal strings")


@pytest.mark.parametrize("value", ["9" * 5000, "0." + "1" * 5000, "x" * 5000])
@pytest.mark.parametrize(
    "path",
    [("charges", 0, "bands", 1, "tiers", 0, "rate"), ("charges", 0, "bands", 0, "when", 0, "start"), ("holidays", 0)],
)
def test_a_long_value_is_quoted_in_part(path: tuple[Any, ...], value: str) -> None:
    (found,) = problems(changed(TARIFF, (path, value)))
    assert "…" in found
    assert len(found) < 300


def test_a_field_name_that_is_no_plain_one_is_quoted() -> None:
    (found,) = problems(TARIFF | {"two\nlines\x1b[31m": 1})
    assert found.startswith(r"['two\nlines\x1b[31m']: unknown field, with the value 1")


@pytest.mark.parametrize(
    ("path", "value", "hidden"),
    [
        (("taxes", 0, "charges"), ["nothing"], "taxes[0].charges[0]"),
        (("charges", 0, "bands", 1, "name"), "peak", "charges[0].bands[1].name"),
        (("billing_period",), None, "billing_period"),
    ],
)
def test_an_unknown_field_hides_nothing_that_is_wrong_beside_it(path: tuple[Any, ...], value: Any, hidden: str) -> None:
    bad = changed(TARIFF, (("charges", 0, "bands", 0, "when", 0, "dayz"), ["MON"]), (("colour",), "red"), (path, value))
    found = [problem.split(": ")[0] for problem in problems(bad)]
    assert found == ["charges[0].bands[0].when[0].dayz", "colour", hidden]


def test_a_misspelt_field_is_refused_in_every_document() -> None:
    for document in (LOCATION, TARIFF, SERIES):
        (found,) = problems(document | {"time_zone": "UTC"})
        assert found.startswith("time_zone: unknown field, with the value 'UTC'")


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        (
            [{"up_to_kwh": "200", "rate": "1"}, {"up_to_kwh": "200", "rate": "2"}, {"rate": "3"}],
            "tiers[1].up_to_kwh: '200' is not above the tier before it ('200')",
        ),
        (
            [{"rate": "1"}, {"rate": "2"}],
            "tiers[0].up_to_kwh: null before the last tier (expected a bound)",
        ),
        (
            [{"up_to_kwh": "0.0000000001", "rate": "1"}, {"rate": "2"}],
            "tiers[0].up_to_kwh: '1E-10' has more than 9 decimals (expected whole µWh)",
        ),
        (
            [{"up_to_kwh": "1", "rate": "1"}, {"up_to_kwh_per_day": "2", "rate": "2"}, {"rate": "3"}],
            "tiers[1].up_to_kwh_per_day: the tier before has up_to_kwh (expected the same for all of a band)",
        ),
        (
            [{"up_to_kwh": "1", "up_to_kwh_per_day": "2", "rate": "1"}, {"rate": "2"}],
            "tiers[0].up_to_kwh_per_day: a tier has one bound (expected up_to_kwh or up_to_kwh_per_day, not both)",
        ),
        (
            [{"up_to_kw": "1", "rate": "1"}, {"rate": "2"}],
            "tiers[0].up_to_kw: belongs to demand charges (expected up_to_kwh)",
        ),
    ],
)
def test_tiers_that_are_no_ladder_are_refused(tiers: list[dict[str, Any]], expected: str) -> None:
    assert f"charges[0].bands[0].{expected}" in problems(changed(TARIFF, (("charges", 0, "bands", 0, "tiers"), tiers)))


@pytest.mark.parametrize(
    ("charge", "expected"),
    [
        ({"kind": "demand"}, "charges[2].bands: missing (a demand charge has bands)"),
        (
            {"kind": "demand", "measured_over": "day", "bands": [{"name": "all", "tiers": [{"rate": "1"}]}]},
            "charges[2].per: 'month' with demand measured over the day (expected 'day')",
        ),
        (
            {"kind": "demand", "measurement_minutes": 7, "bands": [{"name": "all", "tiers": [{"rate": "1"}]}]},
            "charges[2].measurement_minutes: 7 is not a measurement window (expected one of (5, 10, 15, 30, 60) minutes)",
        ),
        (
            {"kind": "demand", "bands": [{"name": "all", "tiers": [{"up_to_kwh": "5", "rate": "1"}, {"rate": "2"}]}]},
            "charges[2].bands[0].tiers[0].up_to_kwh: belongs to energy charges (expected up_to_kw)",
        ),
        ({"kind": "minimum", "per": "day", "amount": "-1"}, "charges[2].amount: '-1' is negative (expected 0 or more)"),
        ({"kind": "fixed", "per": "day"}, "charges[2].amount: missing (a fixed charge has per and amount)"),
        ({"kind": "session", "per": "hour"}, "charges[2].bands: missing (a session charge has per and bands)"),
    ],
)
def test_a_charge_that_lacks_what_its_kind_needs_is_refused(charge: dict[str, Any], expected: str) -> None:
    assert expected in problems(changed(TARIFF, (("charges", 2), {"charge_id": "standing"} | charge)))


def test_a_tax_on_a_charge_that_is_not_there_is_refused() -> None:
    (found,) = problems(changed(TARIFF, (("taxes", 0, "charges"), ["enrgy"])))
    assert found.startswith("taxes[0].charges[0]: 'enrgy' is no charge of this tariff (expected one of ['energy', ")


def test_a_billing_period_is_asked_for_where_tiers_run_by_it() -> None:
    (found,) = problems(changed(TARIFF, (("billing_period",), None)))
    assert found == "billing_period: missing (tier_period BILLING needs it, such as {'anchor_day': 15})"


def test_a_bounded_last_tier_is_refused() -> None:
    (found,) = problems(changed(TARIFF, (("charges", 0, "bands", 0, "tiers", 0, "up_to_kwh"), "200")))
    assert found == "charges[0].bands[0].tiers[0].up_to_kwh: '200' bounds the last tier (expected null)"


def test_a_hole_in_an_import_tariff_is_named_and_an_export_tariff_may_have_it() -> None:
    holed = changed(TARIFF, (("charges", 0, "bands", 1), ...))
    assert problems(holed) == ["charges[0].bands: no band covers MON 00:00 in season 01-01"]
    assert parse_tariff(holed | {"direction": "EXPORT"}).direction == "EXPORT"


def test_a_charge_with_both_bands_and_a_series_is_refused() -> None:
    both = changed(TARIFF, (("charges", 0, "series"), {"series_id": "S"}))
    assert problems(both) == [
        "charges[0]: an energy charge has either bands or a series (expected exactly one of them)"
    ]


def test_a_validity_that_ends_before_it_begins_is_refused() -> None:
    backwards = TARIFF | {"valid_from": "2025-03-01T00:00:00Z", "valid_to": "2025-03-01T01:00:00+01:00"}
    assert problems(backwards) == ["valid_to: '2025-03-01T00:00:00Z' is not after valid_from ('2025-03-01T00:00:00Z')"]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("interval_minutes", 7, "7 is not an interval length (expected one of 5, 10, 15, 30, 60)"),
        ("interval_minutes", 30.0, "30.0 is not an integer (expected a whole number, such as 1)"),
        ("interval_minutes", True, "true is not an integer (expected a whole number, such as 1)"),
        ("max_power_kw", "0", "'0' is not a power (expected kW above 0, with at most 9 decimals)"),
        ("max_power_kw", 100, "100 is a JSON number; rates are decimal strings (expected such as '0.2450')"),
        ("location_id", "a|b", "'a|b' contains '|', which separates the parts of an interval_id (expected none)"),
        ("timezone", "GMT+1", "'GMT+1' is not a time zone (expected a name such as 'Europe/London')"),
    ],
)
def test_a_locations_problem_is_named_with_its_field(field: str, value: object, problem: str) -> None:
    assert problems(LOCATION | {field: value}) == [f"{field}: {problem}"]


def test_overlapping_links_are_refused_at_the_later_one() -> None:
    (found,) = problems(LOCATION | {"tariffs": [*LOCATION["tariffs"], {"direction": "IMPORT", "tariff_id": "new"}]})
    assert found.startswith("tariffs[1]: IMPORT link to 'new' (always) overlaps the one at [0] to 'tou'")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([(("points",), [])], "points: empty (expected at least one point)"),
        ([(("unit",), "p/kWh")], "unit: 'p/kWh' is not the unit of a price series"),
        ([(("kind",), "carbon")], "unit: 'GBP/kWh' is not the unit of a carbon series (expected 'gCO2e/kWh')"),
        (
            [(("points", 1, "start_time"), "2025-03-01T00:29:00Z")],
            "points[1].start_time: '2025-03-01T00:29:00Z' overlaps the point before it",
        ),
        (
            [
                (("points", 0, "start_time"), "2025-03-01T00:40:00Z"),
                (("points", 0, "end_time"), "2025-03-01T00:45:00Z"),
            ],
            "points[1].start_time: '2025-03-01T00:30:00Z' is before the point before it (expected points in order)",
        ),
        (
            [(("points", 1, "end_time"), "2025-03-02T00:00:01Z")],
            "points[1].end_time: '2025-03-02T00:00:01Z' is past the end of the UTC date",
        ),
        (
            [
                (("points", 1, "start_time"), "2025-03-02T00:00:00Z"),
                (("points", 1, "end_time"), "2025-03-02T01:00:00Z"),
            ],
            "points[1].start_time: '2025-03-02T00:00:00Z' is on another UTC date than points[0]",
        ),
        (
            [(("points", 0, "end_time"), "2025-03-01T00:00:00Z")],
            "points[0].end_time: '2025-03-01T00:00:00Z' is not after start_time ('2025-03-01T00:00:00Z')",
        ),
        ([(("points", 0, "start_time"), "2025-03-01T00:00:00")], "points[0].start_time: '2025-03-01T00:00:00' has no"),
        ([(("points", 0, "value"), 0.12)], "points[0].value: 0.12 is a JSON number"),
    ],
)
def test_a_series_problem_is_named_with_its_path(changes: list[tuple[tuple[Any, ...], Any]], problem: str) -> None:
    (found,) = problems(changed(SERIES, *changes))
    assert found.startswith(problem)


def test_a_series_may_have_gaps_and_end_with_its_date() -> None:
    whole = changed(
        SERIES,
        (("points", 1, "start_time"), "2025-03-01T23:30:00Z"),
        (("points", 1, "end_time"), "2025-03-02T01:00:00+01:00"),
    )
    assert parse_series(whole).key == "AGILE-C/2025-03-01"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"[]", "[] is not a document (expected a JSON object)"),
        (b'{"location_id":', "not JSON: Expecting value at line 1, column 16"),
        (b"\xff", "byte 0 is not UTF-8 (expected JSON in UTF-8)"),
        (b'{"location_id":"l","location_id":"m"}', "location_id: stands more than once in one object (expected once)"),
        (b'{"series_id":"s","a":[{"b":1,"b":2}]}', "a[0].b: stands more than once in one object (expected once)"),
        (b"[" * 100_000, "not a document: nested too deeply"),
        (b'{"x":1}', "not a document: expected one of location_id, tariff_id and series_id, found x"),
    ],
)
def test_what_is_no_document_is_told_in_a_sentence(raw: bytes, problem: str) -> None:
    assert problems(raw) == [problem]


def test_a_kind_is_told_by_the_identifier() -> None:
    assert [document_kind(d) for d in (LOCATION, TARIFF, SERIES)] == ["location", "tariff", "series"]
    with pytest.raises(DocumentError, match="expected one of"):
        document_kind({"location_id": "l", "tariff_id": "t"})


@pytest.mark.parametrize(
    ("content", "positions"),
    [
        (json.dumps(LOCATION), ["document"]),
        (json.dumps(LOCATION, indent=2), ["document"]),
        (json.dumps([LOCATION, TARIFF]), ["[0]", "[1]"]),
        (json.dumps([LOCATION, TARIFF], indent=1), ["[0]", "[1]"]),
        (json.dumps({"tariffs": [TARIFF], "locations": [LOCATION]}), ["tariffs[0]", "locations[0]"]),
        (f"{json.dumps(LOCATION)}\n\n{json.dumps(TARIFF)}\r\n", ["line 1", "line 3"]),
        (f"\ufeff{json.dumps(LOCATION)}\n", ["document"]),
    ],
)
def test_a_file_may_be_one_object_an_array_groups_or_lines(content: str, positions: list[str], tmp_path: Path) -> None:
    path = tmp_path / "documents"
    path.write_text(content, encoding="utf-8", newline="")
    assert [position for position, _ in iter_documents(path)] == positions
    assert list(iter_documents(content.encode())) == list(iter_documents(path))
    assert [parse_document(document) for _, document in iter_documents(path)]


def test_lines_after_a_first_line_at_fault_are_still_read() -> None:
    with pytest.raises(DocumentError) as refused:
        list(iter_documents(b'{"a":\n{"b":1}\n{"c":\n'))
    assert [problem.partition(":")[0] for problem in refused.value.problems] == ["line 1", "line 3"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ["empty (expected a JSON document, an array of them, or one a line)"]),
        (b'{"a":1}\n{"a":\n[1]\n{"b":1,"b":1}', None),
        (
            b'[{"a":1},3,null]',
            [
                "[1]: 3 is not a document (expected a JSON object)",
                "[2]: null is not a document (expected a JSON object)",
            ],
        ),
        (b'{"tariffs":{}}', ["tariffs: {} is not a list of documents"]),
        (b'{"a":1', ["not JSON: Expecting ',' delimiter at line 1, column 7"]),
    ],
)
def test_everything_at_fault_in_a_file_is_named(content: bytes, expected: list[str] | None) -> None:
    with pytest.raises(DocumentError) as refused:
        list(iter_documents(content))
    if expected is None:
        expected = [
            "line 2: not JSON: Expecting value at column 6",
            "line 3: [1] is not a document (expected a JSON object)",
            "line 4: b: stands more than once in one object (expected once)",
        ]
    assert refused.value.problems == expected
