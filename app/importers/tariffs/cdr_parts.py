"""What else a Consumer Data Right plan holds: discounts, fees, green power, texts. Ours has none of it; all is named.

Refused is what every customer of the plan pays or is let off: guaranteed discounts, membership and other recurring fees,
recurring charges for metering. They cannot be taken over: a discount's base (usage, the bill with or without demand and
feed-in) and a fee's GST are said in free text only. Left out is what a customer chooses, causes or must ask for.
"""

from collections.abc import Mapping
from typing import Any, Final

from app.importers.tariffs.cdr_fields import objects, read_number, refuse_unknown
from app.importers.tariffs.common import Imported
from app.wire.documents import shown

_CONTRACT: Final = "electricityContract."
_READ: Final = frozenset({
    "controlledLoad", "discounts", "fees", "greenPowerCharges", "incentives", "pricingModel", "solarFeedInTariff",
    "tariffPeriod", "timeZone",
})  # fmt: skip
_INFORMATION: Final = {
    "additionalFeeInformation": "a text on fees",
    "benefitPeriod": "a text on how long benefits last",
    "billFrequency": "when bills are issued",
    "coolingOffDays": "a right of the customer",
    "eligibility": "who can have the plan",
    "intrinsicGreenPower": "where energy comes from; its price is in the rates",
    "isFixed": "whether prices may change",
    "meterTypes": "which meters the plan is for",
    "onExpiryDescription": "a text on what comes after the contract",
    "paymentOption": "how bills are paid",
    "termType": "the length of the contract",
    "terms": "a text of the contract",
    "variation": "a text on how prices change",
}
_PLAN_FIELDS: Final = frozenset({
    "additionalInformation", "applicationUri", "brand", "brandName", "customerType", "description", "displayName",
    "effectiveFrom", "effectiveTo", "electricityContract", "fuelType", "gasContract", "geography", "lastUpdated",
    "meteringCharges", "planId", "type",
})  # fmt: skip
_PLAN_INFORMATION: Final = {
    "effectiveFrom": "from when the plan can be taken up, not from when its prices hold",
    "effectiveTo": "until when the plan can be taken up, not until when its prices hold",
    "gasContract": "the prices of gas",
}
_ASKED_FOR: Final = frozenset({"PAY_ON_TIME", "DIRECT_DEBIT"})
_RECURRING_TERMS: Final = frozenset({"ANNUAL", "BIANNUAL", "DAILY", "MONTHLY", "PERCENT_OF_BILL", "WEEKLY"})
_GENERAL_FEES: Final = frozenset({"OTHER"})
_FOR_EVERYONE: Final = frozenset({"MEMBERSHIP", "CONTRIBUTION"})


def name_other_parts(
    plan: Mapping[str, Any], contract: Mapping[str, Any], result: Imported, *, of_import: bool
) -> None:
    """Name all of a plan that the documents do not hold, other than its rates.

    Discounts, fees and options belong to what is paid for usage: they are named where `of_import`.
    """
    refuse_unknown(plan, _PLAN_FIELDS, "", result.refused)
    refuse_unknown(contract, _READ | _INFORMATION.keys(), _CONTRACT, result.refused)
    if of_import:
        _discounts(contract, result)
        _fees(contract, result)
        _metering(plan, result)
        for at, charge in objects(contract, "greenPowerCharges", _CONTRACT, result.refused):
            result.leave_out(at, f"{_title(charge)}: green power is an option of the customer")
        for at, incentive in objects(contract, "incentives", _CONTRACT, result.refused):
            result.leave_out(at, f"{_title(incentive)}: not a price of energy")
    for name, reason in _INFORMATION.items():
        if contract.get(name) is not None:
            result.leave_out(f"{_CONTRACT}{name}", reason)
    for name, reason in _PLAN_INFORMATION.items():
        if plan.get(name) is not None:
            result.leave_out(name, reason)


def _discounts(contract: Mapping[str, Any], result: Imported) -> None:
    for at, discount in objects(contract, "discounts", _CONTRACT, result.refused):
        kind, category = discount.get("type"), discount.get("category")
        if kind == "CONDITIONAL" or (kind == "OTHER" and category in _ASKED_FOR):
            result.leave_out(at, f"{_title(discount)}: depends on what the customer does")
            continue
        method = str(discount.get("methodUType"))
        detail = discount.get(method)
        rate = detail.get("rate", detail.get("amount")) if isinstance(detail, Mapping) else None
        reason = "prices are those without it: what it is a share of is said in words only"
        result.refuse(at, f"{_title(discount)}: {kind} {method} of {shown(rate)}; {reason}")


def _fees(contract: Mapping[str, Any], result: Imported) -> None:
    for at, fee in objects(contract, "fees", _CONTRACT, result.refused):
        kind, term = str(fee.get("type")), str(fee.get("term"))
        value = fee.get("amount", fee.get("rate"))
        recurs = kind in _FOR_EVERYONE or (kind in _GENERAL_FEES and term in _RECURRING_TERMS)
        if recurs and not _is_zero(value):
            result.refuse(at, f"{kind} {term} {shown(value)}: a fee that every customer pays; its GST is not said")
        else:
            result.leave_out(at, f"{kind} {term} {shown(value)}: a fee for what a customer asks for or causes")


def _metering(plan: Mapping[str, Any], result: Imported) -> None:
    for at, charge in objects(plan, "meteringCharges", "", result.refused):
        amount, period = charge.get("minimumValue"), charge.get("period")
        if period is not None and not _is_zero(amount):
            result.refuse(at, f"{_title(charge)}: {shown(amount)} every {period}; its GST is not said")
        else:
            result.leave_out(at, f"{_title(charge)}: {shown(amount)}, once")


def _is_zero(value: Any) -> bool:
    return read_number(value, "", []) == 0


def _title(item: Mapping[str, Any]) -> str:
    return shown(item.get("displayName"))
