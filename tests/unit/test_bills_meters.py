"""Which meters of a location are billed, and on which side of the bill their energy is."""

from decimal import Decimal
from fractions import Fraction
from itertools import permutations

import pytest

from app.domain.bill_records import choose_meters, credited
from app.domain.bills import Bill
from app.domain.records import EnergyFlow, MeterId, TariffDirection
from tests.golden_bills.making import Json, bill_of, energy, location, record, tariff

DAY = ("2025-03-03", "2025-03-04")
STANDING: Json = {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.50"}


def meter(device_id: str = "", direction: TariffDirection = "IMPORT", flow: EnergyFlow | None = None) -> MeterId:
    return MeterId("loc_1", device_id, flow or ("OUTBOUND" if direction == "EXPORT" else "INBOUND"), direction)


def day(kwh: float, **fields: object) -> Json:
    return record("2025-03-03T00:00:00Z", "2025-03-04T00:00:00Z", kwh, **fields)


def lines(made: Bill) -> list[tuple[str, str | None, Fraction, Decimal]]:
    """Return direction, device, quantity and net amount of the energy lines."""
    return [
        (line.key.direction, line.key.meter.device_id or None, line.quantity, line.net)
        for line in made.lines
        if line.key.meter is not None
    ]


def test_the_own_meter_has_what_its_devices_use() -> None:
    choice = choose_meters([meter("car"), meter(), meter("heat pump")], None)
    assert choice.billed == (meter(),)
    assert choice.not_billed == ((meter("car"), "own_meter"), (meter("heat pump"), "own_meter"))


def test_devices_are_billed_in_directions_without_an_own_meter() -> None:
    choice = choose_meters([meter(), meter("roof", "EXPORT"), meter("car")], None)
    assert choice.billed == (meter(), meter("roof", "EXPORT"))
    assert choice.not_billed == ((meter("car"), "own_meter"),)


def test_a_device_that_is_asked_for_is_billed_in_all_its_directions_alone() -> None:
    meters = [meter(), meter("car"), meter("car", "EXPORT"), meter("roof", "EXPORT")]
    choice = choose_meters(meters, "car")
    assert choice.billed == (meter("car"), meter("car", "EXPORT"))
    assert set(choice.not_billed) == {(meter(), "other_device"), (meter("roof", "EXPORT"), "other_device")}


def test_the_choice_does_not_depend_on_the_order_of_the_meters() -> None:
    meters = [meter(), meter("car"), meter("", "LOCAL"), meter("", "LOCAL", "OUTBOUND"), meter("roof", "EXPORT")]
    assert len({choose_meters(order, None) for order in permutations(meters)}) == 1


@pytest.mark.parametrize(
    ("direction", "flow", "earns"),
    [
        ("IMPORT", "INBOUND", False),
        ("IMPORT", "OUTBOUND", False),
        ("EXPORT", "OUTBOUND", True),
        ("EXPORT", "INBOUND", True),
        ("LOCAL", "INBOUND", False),
        ("LOCAL", "OUTBOUND", True),
    ],
)
def test_exported_energy_and_local_energy_that_flows_out_are_credited(
    direction: TariffDirection, flow: EnergyFlow, *, earns: bool
) -> None:
    assert credited(direction, flow) is earns


def test_local_energy_is_charged_where_it_comes_in_and_credited_where_it_goes_out() -> None:
    place = location() | {"tariffs": [{"direction": "LOCAL", "tariff_id": "shared"}]}
    shared = tariff(energy("0.20"), STANDING, tariff_id="shared", direction="LOCAL")
    records = [
        day(10, tariff_direction="LOCAL"),
        day(4, tariff_direction="LOCAL", energy_flow_direction="OUTBOUND"),
    ]
    made = bill_of(records, place, [shared], DAY)
    assert lines(made) == [("LOCAL", None, 10, Decimal(2)), ("LOCAL", None, 4, Decimal("-0.8"))]
    assert [line.net for line in made.lines if line.key.meter is None] == [Decimal("0.5")]
    assert made.totals[0].total == Decimal("1.7")
    assert made.complete


def test_at_a_negative_price_import_earns_and_export_costs() -> None:
    tariffs = [tariff(energy("-0.05")), tariff(energy("-0.02"), tariff_id="out", direction="EXPORT")]
    records = [day(10), day(5, energy_flow_direction="OUTBOUND")]
    made = bill_of(records, location("tou", "out"), tariffs, DAY)
    assert lines(made) == [("IMPORT", None, 10, Decimal("-0.5")), ("EXPORT", None, 5, Decimal("0.1"))]


def test_devices_without_an_own_meter_each_have_their_lines_and_the_location_pays_the_rest_once() -> None:
    records = [day(10, device_id="car"), day(6, device_id="heat pump")]
    made = bill_of(records, location("tou"), [tariff(energy(), STANDING)], DAY)
    assert lines(made) == [("IMPORT", "car", 10, Decimal(3)), ("IMPORT", "heat pump", 6, Decimal("1.8"))]
    assert [line.net for line in made.lines if line.key.meter is None] == [Decimal("0.5")]


def test_a_device_by_itself_bears_no_charge_of_the_location() -> None:
    records = [day(10), day(6, device_id="car")]
    made = bill_of(records, location("tou"), [tariff(energy(), STANDING)], DAY, device_id="car")
    assert lines(made) == [("IMPORT", "car", 6, Decimal("1.8"))]
    assert made.totals[0].total == Decimal("1.8")
    assert [(one.meter.device_id, one.not_billed) for one in made.meters] == [("car", None), ("", "other_device")]
