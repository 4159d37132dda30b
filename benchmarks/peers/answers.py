"""What a side has published, held against what it should have."""

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.peers.job import Answer


class _Priced(msgspec.Struct, gc=False):
    interval_id: str
    start_time: str
    energy_wh: Decimal
    cost: str | None
    sequence: int


class _Rejected(msgspec.Struct, gc=False):
    error: str


_decode_priced: Final = msgspec.json.Decoder(_Priced).decode
_decode_rejected: Final = msgspec.json.Decoder(_Rejected).decode


class Difference(NamedTuple):
    """How published messages differ from the answer: all zero when they do not.

    `missing`, `wrong` and `unexpected` count intervals by their newest record; `repeated` counts further records of
    intervals, of which each should have one; `refusals` counts refused records too many or too few, by code.
    """

    missing: int
    wrong: int
    unexpected: int
    repeated: int
    refusals: int

    def __str__(self) -> str:
        """Name what differs."""
        found = ", ".join(f"{count} {name}" for name, count in self._asdict().items() if count)
        return found or "none"


def compare(
    priced: Iterable[Any], rejected: Iterable[Any], expected: Mapping[str, Answer], refused: Counter[str]
) -> Difference:
    """Hold messages against the answer. Texts are compared, so nothing that was rounded on the way is equal."""
    newest: dict[str, _Priced] = {}
    count = 0
    for message in priced:
        one = _decode_priced(message.value)
        count += 1
        known = newest.get(one.interval_id)
        if known is None or known.sequence <= one.sequence:
            newest[one.interval_id] = one
    wrong = unexpected = 0
    for interval_id, one in newest.items():
        answer = expected.get(interval_id)
        if answer is None:
            unexpected += 1
        elif (one.start_time, f"{one.energy_wh.normalize():f}", one.cost) != tuple(answer):
            wrong += 1
    found = Counter(_decode_rejected(message.value).error for message in rejected)
    return Difference(
        missing=len(expected.keys() - newest.keys()),
        wrong=wrong,
        unexpected=unexpected,
        repeated=count - len(newest),
        refusals=sum(abs(found[code] - refused[code]) for code in found | refused),
    )
