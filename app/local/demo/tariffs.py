"""The demo's tariffs: flat, time of use with seasons and weekends, following a series, export, local.

The rates are made up, in the size of what is usual in each country.
"""

from collections.abc import Sequence
from typing import Any, Final

Document = dict[str, Any]

PRICE_SERIES: Final = "GB-HALF-HOURLY"
_WEEKDAYS: Final = ["MON", "TUE", "WED", "THU", "FRI"]
_WEEKEND: Final = ["SAT", "SUN", "HOL"]


def demo_tariffs() -> list[Document]:
    """Return every tariff of the demo."""
    return [*_british(), *_australian(), *_californian(), *_indian()]


def _british() -> list[Document]:
    """VAT is added to the prices; nights are cheap, and weekday evenings dear."""
    vat = [{"name": "VAT", "rate": "0.05"}]
    night = _band("night", "0.0850", [{"start": "23:30", "end": "05:30"}])
    evening = _band("evening", "0.4120", [{"days": _WEEKDAYS, "start": "16:00", "end": "19:00"}])
    half_hourly = {"series_id": PRICE_SERIES, "multiplier": "1", "adder": "0.1100", "cap": "1.00", "floor": None}
    return [
        _tariff("gb-flat", "IMPORT", "GBP", [_band("all day", "0.2703")], taxes=vat, standing="0.5501"),
        _tariff("gb-tou", "IMPORT", "GBP", [evening, night, _band("day", "0.2790")], taxes=vat, standing="0.5010"),
        {
            **_tariff("gb-half-hourly", "IMPORT", "GBP", [], taxes=vat, standing="0.4840"),
            "charges": [
                {"charge_id": "market", "kind": "energy", "series": half_hourly},
                {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.4840"},
            ],
        },
        _tariff("gb-export", "EXPORT", "GBP", [_band("all day", "0.1500")]),
        _tariff("gb-local", "LOCAL", "GBP", [_band("all day", "0.0900")]),
    ]


def _australian() -> list[Document]:
    """Prices include GST; midday sun is almost free, and export earns most in the evening."""
    gst = [{"name": "GST", "rate": "0.10"}]
    bands = [
        _band("solar soak", "0.1100", [{"start": "10:00", "end": "15:00"}]),
        _band("peak", "0.5720", [{"days": _WEEKDAYS, "start": "15:00", "end": "21:00"}]),
        _band("weekend evening", "0.4180", [{"days": _WEEKEND, "start": "15:00", "end": "21:00"}]),
        _band("shoulder", "0.3025"),
    ]
    export = [_band("evening", "0.1500", [{"start": "16:00", "end": "21:00"}]), _band("rest", "0.0450")]
    holidays = ["2026-12-25", "2026-12-26", "2027-01-01", "2027-01-26"]
    return [
        {
            **_tariff("au-tou", "IMPORT", "AUD", bands, taxes=gst, standing="1.2100", zone="Australia/Sydney"),
            "prices_include_tax": True,
            "holidays": holidays,
        },
        {
            **_tariff("au-flat", "IMPORT", "AUD", [_band("all day", "0.3432")], taxes=gst, zone="Australia/Sydney"),
            "prices_include_tax": True,
        },
        _tariff("au-export", "EXPORT", "AUD", export, zone="Australia/Sydney"),
    ]


def _californian() -> list[Document]:
    """Two seasons; the peak is every day from four to nine."""
    peak = {"start": "16:00", "end": "21:00"}
    summer, winter = {"from": "06-01", "to": "09-30"}, {"from": "10-01", "to": "05-31"}
    bands = [
        _band("summer peak", "0.6100", [summer | peak]),
        _band("summer off-peak", "0.3600", [summer]),
        _band("winter peak", "0.4700", [winter | peak]),
        _band("winter off-peak", "0.3300", [winter]),
    ]
    zone = "America/Los_Angeles"
    return [
        _tariff("us-tou", "IMPORT", "USD", bands, taxes=[{"name": "Utility tax", "rate": "0.075"}], zone=zone),
        _tariff("us-export", "EXPORT", "USD", [_band("all day", "0.0800")], zone=zone),
    ]


def _indian() -> list[Document]:
    """One price, and one for what a community shares."""
    zone = "Asia/Kolkata"
    duty = [{"name": "Electricity duty", "rate": "0.09"}]
    return [
        _tariff("in-flat", "IMPORT", "INR", [_band("all day", "7.3400")], taxes=duty, zone=zone),
        _tariff("in-local", "LOCAL", "INR", [_band("all day", "4.1000")], zone=zone),
    ]


def _band(name: str, rate: str, when: Sequence[Document] = ()) -> Document:
    """Return a band with one price; no window at all means what the bands before it left."""
    return {"name": name, "when": list(when), "tiers": [{"up_to_kwh": None, "rate": rate}]}


def _tariff(
    tariff_id: str,
    direction: str,
    currency: str,
    bands: list[Document],
    *,
    taxes: Sequence[Document] = (),
    standing: str | None = None,
    zone: str = "Europe/London",
) -> Document:
    """Return a tariff with one energy charge and, if asked for, a daily standing charge."""
    charges: list[Document] = [{"charge_id": "energy", "kind": "energy", "bands": bands}]
    if standing is not None:
        charges.append({"charge_id": "standing", "kind": "fixed", "per": "day", "amount": standing})
    return {
        "tariff_id": tariff_id,
        "version": 1,
        "direction": direction,
        "currency": currency,
        "timezone": zone,
        "taxes": list(taxes),
        "charges": charges,
    }
