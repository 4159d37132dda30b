"""What ``load`` and ``price`` share: files of locations, tariffs and series, checked whole before anything is done."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from app.domain.locations import Location
from app.domain.tariffs import SeriesDay, Tariff
from app.wire.documents import DocumentError, document_key, version_key
from app.wire.documents import read_documents as read_entries
from app.wire.reference import ReferenceDocument, parse_document

KIND_NAMES = {Location: "location", Tariff: "tariff", SeriesDay: "series"}


class Loaded(NamedTuple):
    """The documents of some files, each kind in the order of the files."""

    locations: list[Location]
    tariffs: list[Tariff]
    series: list[SeriesDay]


class Found(NamedTuple):
    """A document with the place where it stands."""

    where: str
    document: ReferenceDocument


def read_content(name: str, raw: bytes) -> tuple[list[Found], list[str]]:
    """Return the documents in a file's content that are in order, and every problem of the others, with its place."""
    found: list[Found] = []
    try:
        entries, problems = read_entries(raw)
    except DocumentError as error:
        return [], [f"{name}: {problem}" for problem in error.problems]
    problems = [f"{name}: {problem}" for problem in problems]
    for position, entry in entries:
        where = f"{name}: {position}"
        try:
            found.append(Found(where, parse_document(entry)))
        except DocumentError as error:
            problems += [f"{where}: {problem}" for problem in error.problems]
    return found, problems


def clashes(found: Iterable[Found]) -> Iterator[str]:
    """Yield a problem for each document under whose name another one stands before it: only one of them would hold.

    The same document twice is fine. Versions of a tariff are different names.
    """
    known: dict[tuple[type, str], Found] = {}
    for one in found:
        kind = type(one.document)
        key = _name(one.document)
        other = known.setdefault((kind, key), one)
        if other.document != one.document:
            yield f"{one.where}: {KIND_NAMES[kind]} {key!r} is another one than at {other.where}"


def read_documents(paths: Iterable[Path], expected: type[ReferenceDocument] | None = None) -> Loaded:
    """Read all documents of all files; only of the ``expected`` kind if one is given.

    Raises `DocumentError` with every problem of every file, each with the file and the place in it. The same document
    twice is fine; two different ones under one name are not. Versions of a tariff are different names.
    """
    problems: list[str] = []
    found: list[Found] = []
    for path in paths:
        try:
            raw = path.read_bytes()
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}")
            continue
        of_file, of_others = read_content(str(path), raw)
        found += of_file
        problems += of_others
    problems += clashes(found)
    for where, document in found:
        if expected is not None and not isinstance(document, expected):
            problems.append(f"{where}: a {KIND_NAMES[type(document)]}; expected a {KIND_NAMES[expected]}")
    if problems:
        raise DocumentError(problems)
    documents = list({(type(document), _name(document)): document for _, document in found}.values())
    return Loaded(
        [one for one in documents if isinstance(one, Location)],
        [one for one in documents if isinstance(one, Tariff)],
        [one for one in documents if isinstance(one, SeriesDay)],
    )


def _name(document: ReferenceDocument) -> str:
    return version_key(document) if isinstance(document, Tariff) else document_key(document)
