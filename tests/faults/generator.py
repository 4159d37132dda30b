"""Small stories from a seed: documents, what changes in them, and records with everything in them that can happen.

In order, late, sent twice, corrected, overlapping wholly and in part, of another granularity, in batches, in the wrong
partition, of several locations, devices and directions, around changes of the clock, and invalid in every way.

Left out is what the slow reference cannot say exactly: records that are `too_old` (what is closed depends on how far each
partition had come, and the reference deletes nothing: `test_retention.py` is about that), and locations whose zone changes
(whether a record was a month, or too long, depends on when the change was heard of).
"""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from tests.making import Json, encoded, flat_tariff, key_of

_SCENES: Final = (
    ("Europe/London", "2025-03-30T00:00:00Z", ("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z")),
    ("Europe/London", "2025-02-28T22:30:00Z", ("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z")),
    ("Australia/Lord_Howe", "2025-04-05T13:00:00Z", ("2025-03-31T13:00:00Z", "2025-04-30T13:30:00Z")),
    ("Asia/Kolkata", "2025-01-31T17:30:00Z", ("2025-01-31T18:30:00Z", "2025-02-28T18:30:00Z")),
    ("Europe/Berlin", "2025-10-26T00:00:00Z", ("2025-09-30T22:00:00Z", "2025-10-31T23:00:00Z")),
    ("America/New_York", "2025-11-02T04:00:00Z", ("2025-11-01T04:00:00Z", "2025-12-01T05:00:00Z")),
)
"""A zone, an instant near a change of its clocks or the end of a month, and a whole month."""

_LENGTHS: Final = (5, 10, 15, 30, 30, 60)
PARTITIONS: Final = 2


class Published(NamedTuple):
    """A message as its publisher sent it, and to which partition; None: that of its key."""

    value: bytes | None
    key: str | None
    partition: int | None


class Correction(NamedTuple):
    """A document that takes another's place when so many messages have been published."""

    after: int
    document: Json


@dataclass
class Story:
    """What happens, whatever workers do. `tangled`: records that contradict each other may be in several partitions."""

    seed: int
    documents: list[Json] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    messages: list[Published] = field(default_factory=list)
    tangled: bool = False

    def final_documents(self) -> list[Json]:
        """Return the documents that are in force in the end."""
        newest = {name_of(one): one for one in self.documents}
        return list((newest | {name_of(one.document): one.document for one in self.corrections}).values())

    def recut_locations(self) -> set[str]:
        """Return the locations whose intervals are cut anew on the way: their length is changed."""
        lengths = {(name_of(one), one.get("interval_minutes")) for one in self.documents}
        changed = [one.document for one in self.corrections if "interval_minutes" in one.document]
        return {one["location_id"] for one in changed if (name_of(one), one["interval_minutes"]) not in lengths}


def name_of(document: Json) -> str:
    """Return what a document replaces, where it is published again."""
    if "points" in document:
        return f"series/{document['series_id']}/{document['points'][0]['start_time'][:10]}"
    kind = "tariff_id" if "charges" in document else "location_id"
    return f"{kind}/{document[kind]}"


def story(seed: int, most: int = 20) -> Story:
    """Return the story of a seed: the same one each time."""
    return _Maker(seed, most).story


class _Maker:
    def __init__(self, seed: int, most: int) -> None:
        self.choose: Final = random.Random(seed)  # noqa: S311 - chance, not secrets
        self.story: Final = Story(seed, tangled=self.choose.random() < 0.3)
        self.zone, begin, self.month = self.choose.choice(_SCENES)
        self.begin: Final = datetime.fromisoformat(begin)
        self.locations: Final = [f"loc_{number}" for number in range(self.choose.randint(1, 3))]
        self.lengths: Final = {name: self.choose.choice(_LENGTHS) for name in self.locations}
        self._documents()
        self._messages(self.choose.randint(4, most))

    # Documents

    def _documents(self) -> None:
        tariffs = [self._tariff(name) for name in ("one", "two")]
        out = self._tariff("out") | {"direction": "EXPORT"}
        near = self._tariff("near") | {"direction": "LOCAL"}
        linked = [*tariffs, out, near, self._series("0.11")]
        late = self.choose.random() < 0.3  # a tariff is missing until later
        first = [one for one in linked if not (late and one.get("tariff_id") == "two")]
        self.story.documents += [*first, *map(self._location, self.locations)]
        for _ in range(self.choose.choice([0, 0, 1, 2])):
            changed = self.choose.choice([
                lambda: self._tariff(self.choose.choice(["one", "two"])),
                lambda: self._series(f"0.{self.choose.randint(10, 99)}"),
                lambda: self._location(self.choose.choice(self.locations)),
                lambda: self._location(self.choose.choice(self.locations)) | {"interval_minutes": self.choose.choice(_LENGTHS)},
            ])()  # fmt: skip
            self.story.corrections.append(Correction(self.choose.randint(0, 20), changed))
        self.story.corrections.sort(key=lambda one: one.after)

    def _location(self, name: str) -> Json:
        """Return a location on one of the tariffs, or first on one and then on the other, or on none."""
        change = self._at(60 * self.choose.randint(0, 3) + self.choose.choice([0, 15]))
        links = self.choose.choice([
            [{"direction": "IMPORT", "tariff_id": "one"}],
            [{"direction": "IMPORT", "tariff_id": "two"}],
            [
                {"direction": "IMPORT", "tariff_id": "one", "valid_to": change},
                {"direction": "IMPORT", "tariff_id": "two", "valid_from": change},
            ],
            [],
        ])  # fmt: skip
        others = [{"direction": "EXPORT", "tariff_id": "out"}]
        if self.choose.random() < 0.6:  # without one, local energy has no price of its own
            others.append({"direction": "LOCAL", "tariff_id": "near"})
        place = {"timezone": self.zone, "interval_minutes": self.lengths[name], "max_power_kw": "100"}
        return {"location_id": name, **place, "tariffs": links + others}

    def _tariff(self, tariff_id: str) -> Json:
        """Return a tariff that is flat, by the time of day, graduated, or by a series; with tax, or with it included."""
        tiers = [{"up_to_kwh": "1.5", "rate": "0.10"}, {"up_to_kwh": "6", "rate": "0.2571"}, {"rate": "0.31"}]
        flat = [{"up_to_kwh": None, "rate": f"0.{self.choose.randint(100, 999)}"}]
        times = [{"start": "00:40", "end": "02:10"}, {"start": "23:00", "end": "00:20"}]
        night = {"name": "night", "when": times, "tiers": self.choose.choice([flat, tiers])}
        rest = {"name": "rest", "when": [], "tiers": self.choose.choice([flat, tiers])}
        energy: Json = {"charge_id": "energy", "kind": "energy"}
        market: Json = {"charge_id": "market", "kind": "energy", "series": {"series_id": "S", "adder": "0.01"}}
        charges = self.choose.choice([
            [energy | {"bands": [rest | {"tiers": flat}]}],
            [energy | {"bands": [night, rest], "tier_scope": self.choose.choice(["charge", "band"])}],
            [energy | {"bands": [rest | {"tiers": tiers}]}],
            [market],
            [energy | {"bands": [rest]}, market],
        ])  # fmt: skip
        return flat_tariff(
            tariff_id,
            charges=charges,
            version=self.choose.randint(1, 9),
            timezone=self.zone,
            tier_period=self.choose.choice(["P1D", "P1M", "P1M"]),
            prices_include_tax=self.choose.random() < 0.3,
        )

    def _series(self, price: str) -> Json:
        """Return the prices of some hours; what comes after them has none."""
        start = self.begin.replace(hour=0, minute=0)
        hours = [start + timedelta(hours=n) for n in range(24 if self.choose.random() < 0.8 else self.begin.hour + 2)]
        points = [
            {"start_time": _text(at), "end_time": _text(at + timedelta(hours=1)), "value": f"{price}{at.hour:02d}"}
            for at in hours
        ]
        return {"series_id": "S", "kind": "price", "unit": "GBP/kWh", "points": points}

    # Records

    def _at(self, minute: float) -> str:
        return _text(self.begin + timedelta(minutes=minute))

    def _messages(self, count: int) -> None:
        timed: list[tuple[float, Published]] = []
        for number in range(count):
            record = self._record(number)
            own = record["location_id"]
            later = number + self.choose.uniform(0.5, 12)
            fate = self.choose.random()
            if fate < 0.12:  # sent again, now or later
                timed += [(number, self._sent(record)), (later, self._sent(record))]
            elif fate < 0.24:  # corrected
                timed += [(number, self._sent(record)), (later, self._sent(record | self._other(record)))]
            elif fate < 0.34:  # late
                timed.append((later, self._sent(record)))
            elif fate < 0.50:
                timed.append((number, self._invalid(record)))
            elif fate < 0.60:
                batch = [record, *(self._record(number, own if not self.story.tangled else None) for _ in range(2))]
                at = self.choose.randrange(PARTITIONS) if self.story.tangled else None
                timed.append((later, Published(encoded(batch), own, at)))
            elif fate < 0.68:  # by itself in time, so that it does not matter when it is forwarded
                alone = record if self.story.tangled else record | self._alone(number)
                timed.append((number, Published(encoded(alone), None, self.choose.randrange(PARTITIONS))))
            else:
                timed.append((number, self._sent(record)))
        self.story.messages += [one for _, one in sorted(timed, key=lambda each: each[0])]

    def _sent(self, record: Json) -> Published:
        misplaced = self.story.tangled and self.choose.random() < 0.2
        partition = self.choose.randrange(PARTITIONS) if misplaced else None
        return Published(encoded(record), key_of(record), partition)

    def _record(self, number: int, location_id: str | None = None) -> Json:
        choose = self.choose
        length = 24 * 60 if choose.random() < 0.01 else choose.choice([0, 5, 15, 15, 30, 30, 30, 30, 30, 60, 90])
        start = choose.choice([5, 15, 30, 30, 30, 30]) * choose.randint(0, 8)
        record: Json = {
            "location_id": location_id or choose.choice(self.locations),
            "units": choose.choice(["KWH", "KWH", "WH", "W", "KW"]),
            "value": choose.choice([0, 1, 0.7, 0.75, 1.5, 0.333333, 2.000001]),
            "start_time": self._at(start),
            "end_time": self._at(start + length),
            "record_reference_id": choose.choice([None, f"MET{number}"]),
        }
        if choose.random() < 0.006:
            record |= {"start_time": self.month[0], "end_time": self.month[1]}
        if record["start_time"] == record["end_time"]:
            record |= {"units": "W"}
        for name, value in (("device_id", "dev"), ("energy_flow_direction", "OUTBOUND"), ("confidence", 0.5)):
            if choose.random() < 0.12:
                record[name] = value
        if choose.random() < 0.1:
            record["tariff_direction"] = choose.choice(["LOCAL", "LOCAL", "IMPORT", "EXPORT"])
        return record

    def _alone(self, number: int) -> Json:
        """Return a period in which there is nothing else."""
        start = 45 * 24 * 60 + 120 * number
        return {"start_time": self._at(start), "end_time": self._at(start + 30)}

    def _other(self, record: Json) -> Json:
        """Return what a correction says: another value, or the same of another stretch of time around it."""
        if self.choose.random() < 0.3 and record["start_time"] != record["end_time"]:
            end = datetime.fromisoformat(record["end_time"]) + timedelta(minutes=self.choose.choice([15, 30]))
            return {"end_time": _text(end)}
        return {"value": self.choose.choice([0, 0.5, 1.25]), "units": "W"}

    def _invalid(self, record: Json) -> Published:
        """Return what is refused, for one reason each."""
        choose, end = self.choose, datetime.fromisoformat(record["end_time"])
        broken: dict[str, Any] = choose.choice([
            {"value": -1},
            {"value": "1"},
            {"value": 101, "units": "KW"},
            {"units": "FURLONG"},
            {"units": None},
            {"confidence": 1.5},
            {"start_time": "yesterday"},
            {"start_time": record["start_time"].removesuffix("Z")},
            {"start_time": _text(end + timedelta(minutes=5)), "end_time": _text(end)},
            {"end_time": record["start_time"], "value": 1, "units": "WH"},
            {"end_time": _text(end + timedelta(days=3))},
            {"location_id": "nobody"},
            {"device_id": "a|b"},
            {"record_reference_id": "x" * 201},
        ])  # fmt: skip
        spoilt = record | broken
        key = spoilt["location_id"]
        raw = choose.choice([b"{", b"\xff", b"7", b"[1]", b"[]", None])
        if choose.random() < 0.02:
            return Published(encoded([{}] * 10_001), key, None)  # more than a batch may have
        if choose.random() < 0.15:
            return Published(raw, key, None)
        both = choose.random() < 0.2
        return Published(encoded([record, spoilt] if both else spoilt), record["location_id"] if both else key, None)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
