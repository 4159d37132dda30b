"""Charges for charging sessions in tariff documents: what is refused."""

import json
from typing import Any

import pytest

from app.wire.reference import parse_document, to_document
from tests.unit.test_wire_documents import TARIFF, changed, problems

SESSION_BAND = {"name": "all", "amount": "1"}
SESSIONS: list[dict[str, Any]] = [
    {
        "charge_id": "start",
        "kind": "session",
        "per": "session",
        "bands": [{"name": "any", "when": [], "amount": "0.50"}],
    },
    {
        "charge_id": "time",
        "kind": "session",
        "per": "hour",
        "counted": "charging",
        "bands": [
            {
                "name": "busy",
                "when": [{"from": "01-01", "to": "12-31", "days": ["SAT"], "start": "08:00", "end": "20:00"}],
                "amount": "1.20",
                "step_seconds": 900,
            }
        ],
    },
]


def test_session_charges_are_written_as_they_were_read() -> None:
    document = TARIFF | {"charges": [*TARIFF["charges"], *SESSIONS]}
    assert to_document(parse_document(json.dumps(document))) == document


def test_a_step_is_a_second_and_all_time_counts_if_nothing_is_said() -> None:
    short = {"charge_id": "time", "kind": "session", "per": "hour", "bands": [SESSION_BAND]}
    (found,) = to_document(parse_document(TARIFF | {"charges": [short], "taxes": []}))["charges"]
    assert (found["counted"], found["bands"][0]["step_seconds"]) == ("connected", 1)


@pytest.mark.parametrize(
    ("fields", "band", "expected"),
    [
        ({"per": "day"}, {}, "per: 'day' is not one of 'session' or 'hour'"),
        ({"per": "session", "counted": "charging"}, {}, "counted: belongs to session charges per hour"),
        ({"counted": "parking"}, {}, "counted: 'parking' is not one of 'connected' or 'charging'"),
        ({"amount": "1"}, {}, "amount: belongs to fixed and minimum charges, not to a session charge"),
        ({"bands": []}, {}, "bands: missing (a session charge has per and bands)"),
        ({}, {"amount": None}, "bands[0].amount: missing (this field is required)"),
        ({}, {"amount": 1}, "bands[0].amount: 1 is a JSON number; rates are decimal strings"),
        ({}, {"tiers": [{"rate": "1"}]}, "bands[0].tiers: belongs to energy and demand charges (expected amount)"),
        ({}, {"step_seconds": 0}, "bands[0].step_seconds: 0 is not a step (expected 1 to 86400 seconds)"),
        ({}, {"step_seconds": 86401}, "bands[0].step_seconds: 86401 is not a step (expected 1 to 86400 seconds)"),
        ({"per": "session"}, {"step_seconds": 60}, "bands[0].step_seconds: belongs to session charges per hour"),
    ],
)
def test_a_session_charge_that_means_nothing_is_refused(
    fields: dict[str, Any], band: dict[str, Any], expected: str
) -> None:
    charge = {"charge_id": "time", "kind": "session", "per": "hour", "bands": [SESSION_BAND | band]} | fields
    (found,) = problems(changed(TARIFF, (("charges", 2), charge)))
    assert found.startswith(f"charges[2].{expected}")


def test_bands_of_energy_and_demand_have_tiers_and_no_amounts() -> None:
    for number, band in ((0, 1), (4, 0)):
        path = ("charges", number, "bands", band)
        assert problems(changed(TARIFF, ((*path, "tiers"), ...), ((*path, "amount"), "1"))) == [
            f"charges[{number}].bands[{band}].tiers: missing (this field is required)",
            f"charges[{number}].bands[{band}].amount: belongs to session charges (expected tiers)",
        ]
