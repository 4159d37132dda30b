"""What the tariff importers share: how a foreign document is read, and how that is named which ours cannot say.

An importer turns one foreign file into tariff documents that `parse_tariff` accepts. It never guesses: what it cannot
express is a `Part`. A part that is `refused` would change what energy costs, so that the documents without it bill
something else than the foreign tariff; a part that is `left_out` (fees on payment, eligibility, marketing) would not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from json import JSONDecodeError
from typing import Any, Final, NamedTuple

from app.wire.document_json import decode
from app.wire.documents import DocumentError, path_text, shown

_MAX_BYTES: Final = 64 << 20
_MAX_DIGITS: Final = 100
"""Of a number and of its exponent: bounds that mean "none" have exponents of 38."""


class Part(NamedTuple):
    """A part of a foreign document that the result does not hold: where it stands, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"{self.path}: {self.reason}"


@dataclass
class Imported:
    """The result of one import: tariff and series documents in our form, and the parts that they do not hold."""

    tariffs: list[dict[str, Any]] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Part] = field(default_factory=list)
    left_out: list[Part] = field(default_factory=list)

    def refuse(self, path: str, reason: str) -> None:
        """Name a part that changes the price and cannot be expressed."""
        self.refused.append(Part(path, reason))

    def leave_out(self, path: str, reason: str) -> None:
        """Name a part that does not change the price of energy, and is not taken over."""
        self.left_out.append(Part(path, reason))


class ImportOptions(NamedTuple):
    """What a foreign document may not say by itself; an importer names those it needs and did not get.

    `currency` and `timezone` are those of the tariff; `tariff_id` is the id of the first document (others append a
    suffix to it); `direction` is IMPORT, EXPORT or LOCAL.
    """

    tariff_id: str | None = None
    currency: str | None = None
    timezone: str | None = None
    direction: str | None = None
    holidays: tuple[str, ...] = ()


Importer = Callable[[Any, ImportOptions], Imported]
"""Takes the decoded JSON, whose numbers with a point are `Decimal`; raises `DocumentError` for what is no such format."""


def read_json(raw: bytes) -> Any:
    """Decode a foreign JSON document; numbers with a point become `Decimal`, so that no digit of a rate is lost.

    Raises:
        DocumentError: the bytes are no JSON, or more of it than any tariff; a number is out of reach of all prices; a
        field stands more than once in one object, so that its value is not said.

    """
    if len(raw) > _MAX_BYTES:
        raise DocumentError([f"{len(raw)} bytes are more than any tariff has (expected at most {_MAX_BYTES})"])
    try:
        found, repeated = decode(raw.decode("utf-8-sig"), _read_number)
    except (UnicodeDecodeError, JSONDecodeError) as error:
        raise DocumentError([f"not JSON: {error}"]) from None
    except RecursionError:
        raise DocumentError(["not JSON of a tariff: nested too deeply"]) from None
    if repeated:
        raise DocumentError(
            [f"{path_text(place)}: stands more than once in one object (expected once)" for place in repeated]
        )
    return found


def _read_number(text: str) -> Decimal:
    """Return a number with a point, an exponent, or many digits; NaN and infinities, which the importers name."""
    number = Decimal(text) if len(text) <= _MAX_DIGITS and abs(_exponent(text)) <= _MAX_DIGITS else None
    if number is None:
        raise DocumentError([f"{shown(text)} is no number of a tariff (expected at most {_MAX_DIGITS} digits)"])
    return number


def _exponent(text: str) -> int:
    _, _, exponent = text.lower().partition("e")
    return int(exponent) if exponent.lstrip("+-").isdecimal() and len(exponent) < _MAX_DIGITS else 0


def rate_text(value: Decimal) -> str:
    """Return a rate as a document holds it: a plain decimal text, without an exponent or trailing zeros."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def expect_object(value: Any, path: str) -> Mapping[str, Any]:
    """Return a JSON object.

    Raises:
        DocumentError: it is something else.

    """
    if not isinstance(value, Mapping):
        raise DocumentError([f"{path}: {shown(value)} is not an object"])
    return value
