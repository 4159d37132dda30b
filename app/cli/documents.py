"""What ``load`` and ``price`` share: files of locations, tariffs and series, checked whole before anything is done."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from app.domain.locations import Location
from app.domain.tariffs import SeriesDay, Tariff
from app.wire.documents import DocumentError, document_key, iter_documents, version_key
from app.wire.reference import ReferenceDocument, parse_document

KIND_NAMES = {Location: "location", Tariff: "tariff", SeriesDay: "series"}


class Loaded(NamedTuple):
    """The documents of some files, each kind in the order of the files."""

    locations: list[Location]
    tariffs: list[Tariff]
    series: list[SeriesDay]


def read_documents(paths: Iterable[Path], expected: type[ReferenceDocument] | None = None) -> Loaded:
    """Read all documents of all files; only of the ``expected`` kind if one is given.

    Raises `DocumentError` with every problem of every file, each with the file and the place in it. The same document
    twice is fine; two different ones under one name are not, because only one of them would hold. Versions of a tariff are
    different names.
    """
    problems: list[str] = []
    found: dict[tuple[type, str], tuple[ReferenceDocument, str]] = {}
    for path in paths:
        try:
            for position, raw in iter_documents(path):
                where = f"{path}: {position}"
                try:
                    document = parse_document(raw)
                except DocumentError as error:
                    problems += [f"{where}: {problem}" for problem in error.problems]
                    continue
                kind = type(document)
                key = version_key(document) if isinstance(document, Tariff) else document_key(document)
                other, other_where = found.setdefault((kind, key), (document, where))
                if other != document:
                    problems.append(f"{where}: {KIND_NAMES[kind]} {key!r} is another one than at {other_where}")
                if expected is not None and kind is not expected:
                    problems.append(f"{where}: a {KIND_NAMES[kind]}; expected a {KIND_NAMES[expected]}")
        except DocumentError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
    if problems:
        raise DocumentError(problems)
    documents = [document for document, _ in found.values()]
    return Loaded(
        [one for one in documents if isinstance(one, Location)],
        [one for one in documents if isinstance(one, Tariff)],
        [one for one in documents if isinstance(one, SeriesDay)],
    )
