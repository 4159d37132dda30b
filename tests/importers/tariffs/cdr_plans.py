"""Small plans of the Consumer Data Right, put together in tests: a whole plan around the part that a test is about."""

from copy import deepcopy
from typing import Any

from app.importers.tariffs.cdr import import_cdr
from app.importers.tariffs.common import Imported, ImportOptions
from app.wire.tariff import parse_tariff

ALL = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]
WEEK = ALL[:5]
WEEKEND = ALL[5:]
PERIOD = "electricityContract.tariffPeriod[0]"
OPTIONS = ImportOptions()


def window(days: list[str], start: str, end: str) -> dict[str, Any]:
    return {"days": days, "startTime": start, "endTime": end}


def rate(kind: str, price: str, *windows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, "displayName": kind, "rates": [{"unitPrice": price}], "timeOfUse": [*windows]} | more


def time_of_use(*rates: dict[str, Any], **more: Any) -> dict[str, Any]:
    period = {"displayName": "Period", "startDate": "01-01", "endDate": "12-31", "rateBlockUType": "timeOfUseRates"}
    return period | {"timeOfUseRates": [*rates]} | more


def single(*rates: dict[str, Any], **more: Any) -> dict[str, Any]:
    of_rate = {name: more.pop(name) for name in ("period", "generalUnitPrice") if name in more}
    period = {"displayName": "Period", "startDate": "01-01", "endDate": "12-31", "rateBlockUType": "singleRate"}
    return period | {"singleRate": {"displayName": "Usage", "rates": [*rates]} | of_rate} | more


FLAT = single({"unitPrice": "0.30"})


def demand(**more: Any) -> dict[str, Any]:
    return {
        "displayName": "Demand",
        "amount": "0.40",
        "days": WEEK,
        "startTime": "15:00",
        "endTime": "21:00",
        "measurementPeriod": "DAY",
        "chargePeriod": "DAY",
    } | more


def feed_in(*rates: dict[str, Any], **more: Any) -> dict[str, Any]:
    of_rate = {name: more.pop(name) for name in ("period",) if name in more}
    return {
        "displayName": "Feed-in",
        "scheme": "CURRENT",
        "payerType": "RETAILER",
        "tariffUType": "singleTariff",
        "singleTariff": {"rates": [*rates]} | of_rate,
    } | more


def varying(*rates: dict[str, Any], **more: Any) -> dict[str, Any]:
    element = feed_in(**more) | {"tariffUType": "timeVaryingTariffs", "timeVaryingTariffs": [*rates]}
    del element["singleTariff"]
    return element


def earning(kind: str, price: str, *windows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, "displayName": kind, "rates": [{"unitPrice": price}], "timeVariations": [*windows]} | more


def plan(*periods: dict[str, Any], model: str = "SINGLE_RATE", **contract: Any) -> dict[str, Any]:
    of_plan = {name: contract.pop(name) for name in ("geography", "meteringCharges") if name in contract}
    of_contract = {"pricingModel": model, "timeZone": "AEST", "tariffPeriod": deepcopy([*periods])} | contract
    return {"data": {"planId": "P1", "fuelType": "ELECTRICITY", "electricityContract": of_contract} | of_plan}


def run(*periods: dict[str, Any], options: ImportOptions = OPTIONS, **contract: Any) -> Imported:
    result = import_cdr(plan(*periods, **contract), options)
    for document in result.tariffs:
        parse_tariff(document)
    return result


def refused(*periods: dict[str, Any], **contract: Any) -> dict[str, str]:
    return {part.path: part.reason for part in run(*periods, **contract).refused}


def charges(result: Imported, number: int = 0) -> dict[str, dict[str, Any]]:
    return {charge["charge_id"]: charge for charge in result.tariffs[number]["charges"]}


def bands(result: Imported, number: int = 0) -> dict[str, dict[str, Any]]:
    energy = next(charge for charge in result.tariffs[number]["charges"] if charge["kind"] == "energy")
    return {band["name"]: band for band in energy["bands"]}
