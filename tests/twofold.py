"""Stories that are told twice, by compiled code and by Python: what each transaction leaves behind is compared."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import count, product
from typing import Any, Final, NamedTuple

from app.domain.instants import format_instant, parse_instant_us
from app.domain.locations import Location
from app.domain.partitioning import partition_for
from app.domain.records import BATCH_LIMIT
from app.domain.reference import Affected, ReferenceBook
from app.domain.tariffs import SeriesDay, Tariff
from app.streams.held import HeldMarks
from app.streams.pipeline import Context, Pipeline, Stage
from app.streams.retention import NO_LIMITS, AgeLimits
from app.streams.sources import ORIGIN_HEADER, Log, OfflineMessage, Origin
from app.streams.tables import MemoryStore, Tables, changelog_entries, store_entries
from app.streams.validate import reading_of
from app.streams.walks import Walk
from app.wire import compiled
from app.wire.location import parse_location
from app.wire.rejected import Position, RejectedRecord, decode_rejected
from app.wire.series import parse_series
from app.wire.tariff import parse_tariff
from tests.making import Json
from tests.simulation import INTERVALS, flat_tariff, message

NONE: Final[Json] = {}
HERE: Final = Context(2, 4, "meter.records")
RECORDS, BY_LOCATION = Log("meter.records", 2), Log("meter.records-by-location", 2)
MINUTE_US, TEN_US, HOUR_US, DAY_US = 60_000_000, 600_000_000, 3_600_000_000, 86_400_000_000
z: Final = format_instant
BASES_US: Final = [parse_instant_us(f"{text}:00Z") for text in (
    "2025-03-29T22:00",  # clocks in London go forward three hours later, and in October back
    "2025-10-25T22:00",
    "2025-02-28T22:00",  # a month ends
    "2025-04-05T13:00",  # clocks on Lord Howe go back by half an hour
)]  # fmt: skip


# Documents


def located(name: str, partition: int = HERE.partition) -> str:
    """Return a location of a partition."""
    return next(text for n in count() if partition_for(text := f"{name}-{n}", HERE.partitions) == partition)


def link(tariff_id: str, direction: str = "IMPORT", **more: Any) -> Json:
    return {"direction": direction, "tariff_id": tariff_id, **more}


def energy(charge_id: str, rate: str, *tiers: Json, bands: Sequence[Json] = (), **more: Any) -> Json:
    """Return an energy charge of one rate, after other bands, or after tiers up to their bounds."""
    rest = {"name": "rest", "when": [], "tiers": [*tiers, {"rate": rate}]}
    return {"charge_id": charge_id, "kind": "energy", "bands": [*bands, rest], **more}


def flat(rate: str, tariff_id: str = "taxed", **more: Any) -> Tariff:
    return parse_tariff(flat_tariff(tariff_id, rate, **more))


VAT, MWST = [{"name": "VAT", "rate": "0.05"}], [{"name": "MwSt", "rate": "0.07"}]
LEVY: Final = [{"name": "levy", "rate": "0.19", "charges": ["net"]}]
STANDING: Final = {"charge_id": "standing", "kind": "fixed", "per": "day", "amount": "0.5"}
SPOT: Final = {"charge_id": "spot", "kind": "energy", "series": {"series_id": "spot", "multiplier": "1.1"}}
BANDS: Final = [
    {"name": "late", "when": [{"start": "22:20", "end": "24:00"}], "tiers": [{"rate": "0.31"}]},
    {"name": "night", "when": [{"start": "00:30", "end": "01:45"}], "tiers": [{"rate": "0.0825"}]},
]
TIERS: Final = [{"up_to_kwh": "2", "rate": "0.1"}, {"up_to_kwh": "5.5", "rate": "0.2"}]
DAILY: Final = [{"up_to_kwh_per_day": "3", "rate": "0.1"}]
TARIFFS: Final = [
    flat("0.2450", taxes=VAT),
    flat("0", "bands", charges=[energy("energy", "0.2345678", bands=BANDS)]),
    flat("0", "charges", taxes=LEVY, charges=[energy("energy", "0.21"), energy("net", "0.05", bands=BANDS[1:]), STANDING]),
    flat("0.333333333333333333", "inclusive", prices_include_tax=True, taxes=MWST),
    flat("0", "tiers", charges=[energy("energy", "0.4", *TIERS)]),
    flat("0", "daily", taxes=VAT, charges=[energy("energy", "0.4", *DAILY, tier_scope="band")]),
    flat("0", "market", taxes=VAT, charges=[SPOT]),
    flat("-0.05", "below", taxes=VAT),
    flat("0.28", "euro", currency="EUR"),
    flat("0.15", "out", direction="EXPORT"),
    flat("0.07", "roof", direction="LOCAL", taxes=MWST),
]  # fmt: skip
CHANGING_AT: Final = ("2025-03-29T22:45:00Z", "2025-03-30T01:10:00Z")
LINKED: Final[dict[str, Json]] = {
    **{name: {} for name in ("taxed", "bands", "charges", "inclusive", "tiers", "daily", "market", "below")},
    "none": {"tariffs": []},
    "changing": {"tariffs": [link("taxed", valid_to=CHANGING_AT[0]), link("euro", valid_from=CHANGING_AT[1]),
                             link("bands", valid_from=CHANGING_AT[0], valid_to=CHANGING_AT[1])]},
    "both": {"carbon_series_id": "wind", "tariffs": [link("taxed"), link("out", "EXPORT"), link("roof", "LOCAL")]},
    "quarter": {"interval_minutes": 15, "max_power_kw": "10", "tariffs": [link("bands")]},
    "howe": {"interval_minutes": 60, "timezone": "Australia/Lord_Howe", "tariffs": [link("tiers")]},
    "größe": {"max_power_kw": "0.5", "tariffs": [link("taxed")]},
}  # fmt: skip
LOCATIONS: Final = {name: located(name) for name in LINKED}


def location(name: str, **changed: Any) -> Location:
    given = {"location_id": LOCATIONS[name], "timezone": "Europe/London", "tariffs": [link(name)]}
    return parse_location(given | LINKED[name] | changed)


@cache
def points(series_id: str, base_us: int, missing: int) -> SeriesDay:
    """Return half-hourly points of a UTC date, but for every so many."""
    day_us, step_us = (base_us + 2 * HOUR_US) // DAY_US * DAY_US, HOUR_US // 2
    starts = [day_us + at * step_us for at in range(48) if (at + 1) % missing]
    found = [{"start_time": z(at), "end_time": z(at + step_us), "value": f"0.{at // HOUR_US % 24}"} for at in starts]
    kind, unit = ("carbon", "gCO2e/kWh") if series_id == "wind" else ("price", "GBP/kWh")
    return parse_series({"series_id": series_id, "kind": kind, "unit": unit, "points": found})


PLACES: Final = [location(name) for name in LINKED]


def book_at(base_us: int) -> ReferenceBook:
    """Return a new book: what it remembers of amounts must not go from one telling to the other."""
    book = ReferenceBook()
    for tariff in TARIFFS:
        book.put_tariff(tariff)
    for one in PLACES:
        book.put_location(one)
    for series_id in ("spot", "wind"):
        book.put_series(points(series_id, base_us, 3))
    return book


CHANGES: Final[dict[str, Callable[[ReferenceBook, int], Affected]]] = {
    "another rate": lambda book, _: book.put_tariff(flat("0.26", taxes=VAT)),
    "another version": lambda book, _: book.put_tariff(flat("0.29", version=2, valid_from=CHANGING_AT[0]), "taxed/2"),
    "no tiers any more": lambda book, _: book.put_tariff(flat("0.3", "tiers")),
    "a tariff goes": lambda book, _: book.remove_tariff("bands"),
    "a tariff comes": lambda book, _: book.put_tariff(TARIFFS[1]),
    "another length": lambda book, _: book.put_location(location("taxed", interval_minutes=15)),
    "the first length": lambda book, _: book.put_location(location("taxed")),
    "another limit": lambda book, _: book.put_location(location("bands", max_power_kw="1")),
    "another zone": lambda book, _: book.put_location(location("charges", timezone="Asia/Kathmandu")),
    "a link comes": lambda book, _: book.put_location(location("none", tariffs=[link("inclusive")])),
    "a location goes": lambda book, _: book.remove_location(LOCATIONS["taxed"]),
    "all points come": lambda book, base_us: book.put_series(points("spot", base_us, 1000)),
    "points go": lambda book, base_us: book.remove_series_day(points("spot", base_us, 3).key),
}


# Messages

Periods = Callable[[int, int], tuple[str, str]]
Written = Callable[[Json], bytes | None]


def plus_one(at_us: int) -> str:
    return z(at_us + HOUR_US)[:-1] + "+01:00"


def plainly(record: Json) -> bytes:
    return json.dumps(record).encode()


def more(record: Json, text: bytes) -> bytes:
    return plainly(record)[:-1] + b", " + text + b"}"


TIMES: Final[list[Periods]] = [
    lambda a, b: (z(b), z(a)), lambda a, _: (z(a), z(a)), lambda a, b: (z(a + 1), z(b - 1)),
    lambda a, b: (z(a + TEN_US), z(b + TEN_US)), lambda a, b: (z(a - TEN_US), z(b)), lambda a, _: (z(a), z(a + TEN_US)),
    lambda a, _: (z(a + TEN_US // 2), z(a + TEN_US)), lambda a, b: (z(a - HOUR_US), z(b + HOUR_US)),
    lambda a, _: (z(a), z(a + 25 * HOUR_US)), lambda a, _: (z(a), z(a + 25 * HOUR_US + 1)),
    lambda a, b: (plus_one(a), plus_one(b)), lambda a, b: (z(a), plus_one(b)),
    lambda a, b: (z(a)[:-1] + ".000Z", z(b)[:-1] + ".500Z"), lambda a, b: (z(a)[:-1] + ".0000000001Z", z(b)),
    lambda a, b: (z(a).lower(), z(b).replace("T", " ")), lambda a, _: (z(a)[:11] + "24:00:00Z", z(a)[:11] + "23:59:60Z"),
    lambda a, b: (z(a)[:-1], z(b)), lambda a, b: (z(a), z(b)[:-1]), lambda a, _: (z(a), "soon"),
    lambda *_: ("1969-12-31T23:30:00Z", "1970-01-01T00:00:00Z"), lambda *_: ("2199-12-31T23:30:00Z", "2200-01-01T00:00:00Z"),
    lambda *_: ("2200-01-01T00:00:00Z", "2200-01-01T00:30:00Z"),
    lambda *_: ("2025-02-01T00:00:00Z", "2025-03-01T00:00:00Z"),  # a month, in London
    lambda *_: ("2025-03-01T00:00:00Z", "2025-03-31T23:00:00Z"),
]  # fmt: skip
REFERENCES: Final = (
    "r-1", "", "é", "😀", '"', "\\", "\x07", "\x7f", "\u2028", "\xa0", "x" * 200, "x" * 201, "ü" * 201, 7,
)  # fmt: skip
FAR: Final = (located("far", 0), located("far", 3), located("ferne-ö", 1))
FIELDS: Final[list[Json]] = [*({name: value} for name, values in {
    "value": (-1, -0.0, -5e-324, 5e-324, 1e6, 1000000.0000000001, 1e9, 1e12, 1e15, 1e16, 2**63, 1e300, 10**310, "1", None, True),
    "units": ("J", "wh", None, 1),
    "confidence": (1, 1.0, 0.5, 1e-5, 0, -1, 1.5, "1", None),
    "location_id": ("nowhere", "", "a|b", "a\nb", "x" * 201, 7, None, located("nobody"), located("niemand-ö"), *FAR),
    "device_id": ("", "charger", "ü", "d|x", "x" * 201, "\n", 1),
    "energy_flow_direction": ("INBOUND", "OUTBOUND", "SIDEWAYS", None),
    "tariff_direction": ("IMPORT", "EXPORT", "LOCAL", "import", None),
    "record_reference_id": REFERENCES,
    "session_reference_id": REFERENCES,
    "more": ({"deep": [[1]]},),
}.items() for value in values),
    *({"tariff_direction": direction, "energy_flow_direction": "OUTBOUND"} for direction in ("LOCAL", "IMPORT")),
]  # fmt: skip
WRITTEN: Final[list[Written]] = [
    lambda one: json.dumps(one, indent=1, ensure_ascii=False).encode(),
    lambda one: json.dumps(dict(reversed(one.items())), separators=(",", ":")).encode(),
    lambda one: b" \n" + plainly(one) + b"\n", lambda one: b"\xef\xbb\xbf" + plainly(one),
    lambda one: plainly(one).replace(b"units", b"unit\\u0073"), lambda one: plainly(one).replace(b"Z", b"\\u005a"),
    lambda one: more(one, b'"value": 2, "value": 3.5'), lambda one: more(one, b'"text": "\xff"'),
    lambda one: more(one, b'"deep": ' + b"[" * 600 + b"]" * 600), lambda one: more(one, b'"value": NaN'),
    lambda one: more(one, b'"value": 25E-1'), lambda one: more(one, b'"value": -0'), lambda one: more(one, b'"value": 05'),
    lambda one: plainly(one)[:-1], lambda one: plainly(one) + b"}", lambda one: b"[" + plainly(one),
    lambda one: plainly({name: value for name, value in one.items() if name != "end_time"}),
    lambda one: b"[" + plainly(one) + b"]", lambda one: b" [" + plainly(one) + b", " + plainly(one | {"value": 3}) + b"]",
    lambda one: b"[" + plainly(one) + b', {"value": 1}, 7, ' + plainly(one | {"device_id": "d"}) + b"]",
    lambda _: b"[" + b",".join([b"1"] * (BATCH_LIMIT + 1)) + b"]",
    *(lambda _, text=text: text for text in (None, b"", b"null", b"7", b"[]", b"[[]]", b"{}", b"\xff\xfe", b'"\xed\xa0\x80"')),
]  # fmt: skip
HEADERS: Final[Sequence[list[tuple[str, bytes | None]]]] = (
    [], [(ORIGIN_HEADER, None)], [("trace", b"x")], [(ORIGIN_HEADER, b"nonsense")], [(ORIGIN_HEADER, b"\xff")],
    [(ORIGIN_HEADER, b"meter.records/1/7/0/-")], [(ORIGIN_HEADER, b"meter.records/1/-7/2/xzz/1")],
    [(ORIGIN_HEADER, b"elsewhere/3/9/1/x6b/-5"), (ORIGIN_HEADER, b"nonsense")],
    [("trace", b"x"), (ORIGIN_HEADER, b"meter.records/0/5/0/x6b/1743292800000")],
)  # fmt: skip
MORE: Final[list[Json]] = [{name: value} for name, values in {
    "timestamp": (-1, 0, 1, 2**40, 2**62), "key": (None, b"", b"\xff", b"k" * 1100), "headers": HEADERS,
}.items() for value in values]  # fmt: skip
"""What may be odd about a message itself."""


class Run(NamedTuple):
    """Usual records of one meter or several, one period after the other."""

    name: str
    minute: int
    minutes: int
    values: tuple[float, ...]
    units: str = "KWH"
    fields: Json = NONE
    times: int = 1
    meters: tuple[str | None, ...] = (None,)
    backwards: bool = False

    def records(self, base_us: int) -> Iterator[tuple[Json, int, int]]:
        """Yield records, and when their periods start and end."""
        count = self.times * len(self.values)
        for number, meter in product(range(count), self.meters):
            at = count - 1 - number if self.backwards else number
            start_us = base_us + (self.minute + at * self.minutes) * MINUTE_US
            end_us = start_us + self.minutes * MINUTE_US
            given = {
                "location_id": LOCATIONS[self.name],
                "units": self.units,
                "value": self.values[at % len(self.values)],
            }
            times = {"start_time": z(start_us), "end_time": z(end_us), **({"device_id": meter} if meter else {})}
            yield given | times | self.fields, start_us, end_us


class Odd(NamedTuple):
    """A run with something about the last record of each meter, or about its message."""

    run: Run
    fields: Json = NONE
    times: Periods = lambda a, b: (z(a), z(b))
    written: Written = plainly
    more: Json = NONE


class Again(NamedTuple):
    """Messages that were there before: with places of their own, or as they were."""

    back: int
    many: int
    as_they_were: bool


Line = Run | Odd | Again


class Transaction(NamedTuple):
    """What happens in one: each slice of messages is from one of the two topics."""

    slices: tuple[tuple[bool, tuple[Line, ...]], ...] = ()
    wait_s: float = 1.0
    changes: tuple[str, ...] = ()
    also: frozenset[str] = frozenset()


class Story(NamedTuple):
    """What is told. Many things are usual only where their like has been met before: with `met`, that is so."""

    transactions: tuple[Transaction, ...]
    base_us: int = BASES_US[0]
    emit_every_s: float = 0.0
    limits: AgeLimits = NO_LIMITS
    live_limit: int = 1000
    met: bool = False


def messages_of(line: Line, base_us: int, sent: list[OfflineMessage], *, forwarded: bool) -> Iterator[OfflineMessage]:
    """Yield the messages of a line; they are submitted when their periods end, or soon after."""
    if isinstance(line, Again):
        for one in sent[len(sent) - line.back :][: line.many]:
            yield one if line.as_they_were else one._replace(offset=len(sent))
        return
    run = line.run if isinstance(line, Odd) else line
    left = run.times * len(run.values) * len(run.meters)
    for record, start_us, end_us in run.records(base_us):
        value: bytes | None = plainly(record)
        left -= 1
        if isinstance(line, Odd) and left < len(run.meters):
            texts = dict(zip(("start_time", "end_time"), line.times(start_us, end_us), strict=True))
            value = line.written(record | texts | line.fields)
        key, at_ms, offset = record["location_id"].encode(), end_us // 1000 + len(sent) % 3, len(sent)
        origin = Origin(
            Position("meter.records", offset % 4, offset // 2, at_ms - 500 * (offset % 3 > 0)), offset % 2, key
        )
        made = message(value, offset, timestamp_ms=at_ms, key=key, headers=[origin.header()] if forwarded else ())
        yield made._replace(**line.more) if isinstance(line, Odd) and left < len(run.meters) else made


def log_of(story: Story) -> list[list[tuple[Log, list[OfflineMessage]]]]:
    """Return the slices of each transaction."""
    sent: dict[bool, list[OfflineMessage]] = {False: [], True: []}
    found = []
    for transaction in story.transactions:
        slices = []
        for forwarded, lines in transaction.slices:
            before = len(sent[forwarded])
            for line in lines:
                for one in messages_of(line, story.base_us, sent[forwarded], forwarded=forwarded):
                    sent[forwarded].append(one)
            slices.append((BY_LOCATION if forwarded else RECORDS, sent[forwarded][before:]))
        found.append(slices)
    return found


# Telling


class Outputs:
    """What was put out, by its topic: what stands between what of two topics says nothing."""

    def __init__(self) -> None:
        self.sent: defaultdict[str, list[Any]] = defaultdict(list)

    def emit(
        self, output: str, key: bytes | None, value: bytes | None, *, partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:  # fmt: skip
        self.sent[output].append((key, value, partition, list(headers)))

    def emit_all(self, output: str, entries: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        for key, value in entries:
            self.emit(output, key, value)


class Partition:
    """A pipeline and its store."""

    def __init__(self, story: Story, book: ReferenceBook, validate: Stage) -> None:
        self.story, self.book, self.validate = story, book, validate
        self.store, self.now_s, self.logged = MemoryStore(), 0.0, 0
        self.waiting: list[tuple[bytes, bytes]] = []
        self.closed = (0, 0)
        self.open()

    def open(self) -> None:
        """Begin with what is in the store."""
        story, self.sink, self.tables = self.story, Outputs(), Tables(self.store, self.story.live_limit)
        self.pipeline = Pipeline(
            HERE, self.tables, self.book, self.sink, emit_every_s=story.emit_every_s, limits=story.limits,
            validate=self.validate,
        )  # fmt: skip
        self.pipeline.restore(*self.closed)
        held = self.tables.held_ids()
        self.held = HeldMarks(held, limit=1000)
        self.pipeline.wait_for(held, self.now_s)
        self.pipeline.walks.restore(self.tables.walks())
        self.pipeline.expect(key.decode() for key, _ in self.waiting)

    def work(self, transaction: Transaction, slices: Iterable[tuple[Log, list[OfflineMessage]]]) -> dict[str, Any]:
        """Do a transaction, and return what it leaves behind."""
        pipeline = self.pipeline
        for name in transaction.changes:
            affected = CHANGES[name](self.book, self.story.base_us)
            pipeline.forget_locations(affected.location_ids)
            if "price again" in transaction.also:
                self.price_again(affected)
        if transaction.also & {"read back", "price later"} != {"price later"}:
            messages = [message(value, at, key=key) for at, (key, value) in enumerate(self.waiting)]
            pipeline.take_intervals(INTERVALS, messages)
            self.waiting = []
        pipeline.prices_at_once = "price later" not in transaction.also and not pipeline.awaits_intervals
        for log, messages in slices:
            pipeline.take_records(log, messages)
        if "look after" in transaction.also:
            pipeline.walk(50)
            pipeline.sweep(20)
        self.now_s += transaction.wait_s
        pipeline.settle(self.now_s)
        found = self.facts()
        self.commit()
        found["store"] = dict(self.store._entries)
        if "restart" in transaction.also:
            self.store.write(self.held.set_all())
            self.open()
        return found

    def price_again(self, affected: Affected) -> None:
        for location_id in sorted(affected.location_ids):
            for walk in self.pipeline.walks_over(location_id, affected.start_us, affected.end_us):
                rest: Walk | None = walk
                while rest is not None:
                    _, rest = self.pipeline.reprice(rest, 3)

    def facts(self) -> dict[str, Any]:
        pipeline, tables, changes = self.pipeline, self.tables, self.tables.changes
        return {
            **{f"sent to {output}": list(sent) for output, sent in sorted(self.sink.sent.items()) if sent},
            "metrics": {name: number for name, number in pipeline.metrics.items() if number},
            "intervals": [(name, state, meter.meter_id) for name, (state, meter) in changes.intervals.items()],
            "priced": list(changes.priced.items()),
            "unsorted": (list(changes.unsorted), list(changes._unsorted_priced)),
            "others": (sorted(changes.deleted), changes.grids, changes.walks),
            "live": [(name, tables.interval(name)) for name in tables._intervals],
            "fresh": set(tables._fresh),
            "held": list(pipeline._held_since_s.items()),
            "in flight": dict(pipeline._in_flight),
            "closed": (pipeline.retention.closed_us, pipeline.retention.next_us, pipeline.bucketer.closed_us),
            "meters": {of: (it.newest_start_us, it.has_months) for of, it in pipeline.bucketer._meters.items()},
            "logged": changelog_entries(changes),
        }

    def commit(self) -> None:
        pipeline, tables = self.pipeline, self.tables
        published = [(key, value) for key, value, *_ in self.sink.sent["intervals"] if value is not None]
        self.waiting += [one for one in published if one[0].decode() in pipeline._in_flight]
        logged = changelog_entries(tables.changes)
        self.store.write([*store_entries(logged, tables.changes), *self.held.take(logged, self.logged)])
        self.logged += len(logged)
        self.closed = (pipeline.retention.closed_us, pipeline.retention.sure_us())
        pipeline.metrics.clear()
        tables.committed()
        self.sink.sent.clear()


FIRST: Final = (
    Run("", 0, 30, (0.25,), times=20, meters=("first",)),
    Run("", 0, 15, (0.25,), times=40, meters=("second",)),
)
THE_END: Final = (Transaction((), 20.0, (), frozenset({"read back", "look after"})), Transaction((), 20.0))


def told(
    story: Story, turns: Sequence[bool], book: ReferenceBook, validate: Stage = reading_of
) -> list[dict[str, Any]]:
    """Tell a story; `turns` says whether compiled functions are used in its transactions, again and again."""
    runs = [getattr(line, "run", line) for one in story.transactions for _, lines in one.slices for line in lines]
    names = dict.fromkeys(run.name for run in runs if story.met and isinstance(run, Run))
    met = Transaction(((False, tuple(one._replace(name=name) for name in names for one in FIRST)),))
    story = story._replace(transactions=(met, *story.transactions, *THE_END))
    try:
        partition = Partition(story, book, validate)
        found = []
        for number, (transaction, slices) in enumerate(zip(story.transactions, log_of(story), strict=True)):
            compiled.use(wanted=turns[number % len(turns)])
            found.append(partition.work(transaction, slices))
        return found
    finally:
        compiled.use(wanted=True)


def alike(story: Story, turns: Sequence[bool] = (True,), **more: Any) -> list[dict[str, Any]]:
    """Tell a story with compiled functions in its turns, and without: compare what is left behind, and return it."""
    books = more.pop("books", lambda: book_at(story.base_us))
    one, other = told(story, turns, books(), **more), told(story, (False,), books(), **more)
    for number, (left, right) in enumerate(zip(one, other, strict=True)):
        assert list(left) == list(right), f"transaction {number}"
        for name, found in left.items():
            assert found == right[name], f"{name} after transaction {number}"
    return one


def refusals(found: list[dict[str, Any]]) -> list[RejectedRecord]:
    return [decode_rejected(value) for each in found for _, value, *_ in each.get("sent to rejected", ())]
