"""Any reference document, by what it is: a location, a tariff or a series."""

from collections.abc import Mapping
from typing import Any

from app.domain.locations import Location
from app.domain.tariffs import SeriesDay, Tariff
from app.wire import location, series, tariff
from app.wire.documents import document_kind, load_object

ReferenceDocument = Location | Tariff | SeriesDay


def parse_document(raw: bytes | str | Mapping[str, Any]) -> ReferenceDocument:
    """Return what a document describes, whichever of the three it is.

    Raises:
        DocumentError: with every problem of the document.

    """
    loaded = load_object(raw)
    match document_kind(loaded):
        case "location":
            return location.parse_location(loaded)
        case "tariff":
            return tariff.parse_tariff(loaded)
        case "series":
            return series.parse_series(loaded)


def to_document(document: ReferenceDocument) -> dict[str, Any]:
    """Return a location, tariff or series as its JSON object."""
    match document:
        case Location():
            return location.to_document(document)
        case Tariff():
            return tariff.to_document(document)
        case SeriesDay():
            return series.to_document(document)
