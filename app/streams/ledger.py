"""What the intervals of each meter have counted towards graduated tiers, as they were last priced.

The priced records are the truth: a record's components say how much energy each charge priced in it. From them a page is
gathered for each meter, tariff and tier period, in bins of a day, when it is first asked for; afterwards it follows every
record that is published. A page is thus never ahead of the priced records nor behind them, and is lost without harm.

When an interval counts differently than before, the later ones of its tier period may lie in other tiers. Only in the bins
where a bound may have been crossed, before or now, can one of them cost something else: those are named as walks.
"""

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from app.domain.calendar import US_PER_DAY
from app.domain.rates import IntervalPrice
from app.domain.reference import ReferenceBook
from app.domain.tiers import Counter, TierPeriod
from app.streams.validate import instants
from app.wire.priced import Counted, read_counted

_MAX_BYTES: Final = 16 << 20
"""About how much memory the pages of a partition may take."""

_PAGE_BYTES: Final = 1_200
_MAX_PAGES: Final = 6
"""Most pages of one meter: the running tier periods of its tariffs, and a few that corrections reach back to."""


class PricedScan(Protocol):
    """Where the priced records of one partition are kept, in order of time within a meter."""

    def scan(self, prefix: str, start_us: int, end_us: int) -> Iterable[tuple[int, bytes]]:
        """Yield (start_us, value) of a meter's priced records that start in [start_us, end_us), in order."""

    def last_before(self, prefix: str, before_us: int) -> tuple[int, bytes] | None:
        """Return (start_us, value) of a meter's last priced record that starts before an instant, or None."""


def prefix_of(interval_id: str) -> str:
    """Return the beginning that the ids of one meter's intervals share."""
    return interval_id[: interval_id.rindex("|") + 1]


class Walk(NamedTuple):
    """The intervals of one meter, by the beginning of their ids, that start in [start_us, end_us) and may cost otherwise."""

    prefix: str
    start_us: int
    end_us: int


_END_US: Final = 1 << 62

Tally = dict[tuple[str, TierPeriod], dict[Counter, int]]
"""What one interval counts: energy in µWh by tariff and tier period, and by counter."""


class _HotBin(NamedTuple):
    """One bin of a page in detail: what was counted before it, and what each of its intervals counts, in order."""

    number: int
    before: dict[Counter, int]
    starts: list[int]
    counted: list[dict[Counter, int]]


class _Count:
    """What one counter has counted in a page, in all and by bin."""

    __slots__ = ("bins", "sum_uwh")

    def __init__(self, length: int) -> None:
        self.sum_uwh = 0
        self.bins = array("q", bytes(8 * length))


class _Page:
    """What a meter has counted in one tier period of one tariff."""

    __slots__ = (
        "_counts_of", "counts", "end_us", "hot", "is_alone", "newest_us", "period", "start_us", "tariff_id",
    )  # fmt: skip

    def __init__(self, tariff_id: str, period: TierPeriod, counters: frozenset[Counter], *, is_alone: bool) -> None:
        self.tariff_id = tariff_id
        self.is_alone = is_alone
        """Whether the tariff has a single version, so that its energy counts in one tier period at a time."""
        self.period = period
        self.start_us = period.start_us
        self.end_us = period.end_us
        self.newest_us = -1
        length = -(-(period.end_us - period.start_us) // US_PER_DAY)
        self.counts = {counter: _Count(length) for counter in counters}
        self.hot: _HotBin | None = None
        self._counts_of: dict[tuple[str, str | None], tuple[_Count, ...]] = {}

    def bytes(self) -> int:
        """Return about how much memory the page takes."""
        return _PAGE_BYTES + sum(8 * len(count.bins) for count in self.counts.values())

    def bin_of(self, start_us: int) -> int:
        """Return the bin of an interval; one that began before the period counts at its beginning."""
        return max(start_us - self.start_us, 0) // US_PER_DAY

    def counts_of(self, charge_id: str, band: str | None) -> tuple[_Count, ...]:
        """Return where energy of a charge in a band counts: for the charge, for the band, or nowhere."""
        known = self._counts_of.get((charge_id, band))
        if known is None:
            asked = {Counter(charge_id, None), Counter(charge_id, band)}
            known = tuple(self.counts[counter] for counter in asked & self.counts.keys())
            self._counts_of[charge_id, band] = known
        return known

    def add(self, start_us: int, counted: dict[Counter, int]) -> None:
        """Count an interval, or what it counts more than before."""
        number = self.bin_of(start_us)
        for counter, energy_uwh in counted.items():
            count = self.counts[counter]
            count.sum_uwh += energy_uwh
            count.bins[number] += energy_uwh
        self.newest_us = max(self.newest_us, start_us)


class MeterCounts:
    """What one meter's intervals have counted: its pages, and how far its priced records reach.

    Good until the next interval is priced.
    """

    __slots__ = ("current", "ledger", "newest_end_us", "pages", "prefix")

    def __init__(self, ledger: "TierLedger", prefix: str, newest_end_us: int) -> None:
        """Begin without pages."""
        self.ledger = ledger
        self.prefix = prefix
        self.newest_end_us = newest_end_us
        self.pages: dict[tuple[str, int, int], _Page] = {}
        self.current: _Page | None = None

    def bytes(self) -> int:
        """Return about how much memory the pages take."""
        return sum(page.bytes() for page in self.pages.values())

    def before_uwh(self, tariff_id: str, period: TierPeriod, counter: Counter, start_us: int) -> int:
        """Return what intervals before the one that starts at `start_us` counted in a tier period. Hot."""
        page = self.current
        if page is None or page.period is not period or page.tariff_id != tariff_id:
            page = self.current = self.ledger.page(self, tariff_id, period)
        if start_us > page.newest_us:
            return page.counts[counter].sum_uwh
        return self.ledger.before_in_bin_uwh(self.prefix, page, counter, start_us)

    def append(self, start_us: int, end_us: int, price: IntervalPrice) -> bool:
        """Count an interval that is the first of its id and the last of its page; False where it is not as simple. Hot."""
        page = self.current
        if (
            page is None
            or start_us <= page.newest_us
            or start_us < page.start_us
            or end_us > page.end_us
            or page.hot is not None
            or page.tariff_id != price.tariff_id
            or not page.is_alone
        ):
            return False
        number = (start_us - page.start_us) // US_PER_DAY
        components = price.components
        if len(components) > 1 and components[-1].tariff_id is not None:
            return False
        for component in components:
            energy_uwh = component.energy_uwh
            for count in page.counts_of(component.charge_id, component.band):
                count.sum_uwh += energy_uwh
                count.bins[number] += energy_uwh
        page.newest_us = start_us
        self.newest_end_us = max(self.newest_end_us, end_us)
        return True


class TierLedger:
    """The pages of all meters of one partition that are on graduated tariffs."""

    def __init__(self, priced: PricedScan, book: ReferenceBook, max_bytes: int = _MAX_BYTES) -> None:
        """Read priced records from a table, and tariffs from a book."""
        self._priced = priced
        self._book = book
        self._max_bytes = max_bytes
        self._meters: OrderedDict[str, MeterCounts] = OrderedDict()
        self._bytes = 0
        self.walks: dict[Walk, None] = {}

    def forget(self) -> None:
        """Gather everything anew: a tariff has changed, and may count otherwise."""
        self._meters.clear()
        self._bytes = 0

    def meter(self, prefix: str) -> MeterCounts:
        """Return what the intervals of a meter have counted, by the beginning of their ids. Hot."""
        found = self._meters.get(prefix)
        if found is None:
            last = self._priced.last_before(prefix, _END_US)
            newest_end_us = -1 if last is None else read_counted(last[1], instants.__getitem__).end_us
            found = self._meters[prefix] = MeterCounts(self, prefix, newest_end_us)
        return found

    def before_in_bin_uwh(self, prefix: str, page: _Page, counter: Counter, start_us: int) -> int:
        """Return what was counted in a page before an instant, when there are intervals after it too."""
        hot = self._hot(prefix, page, page.bin_of(start_us))
        found = hot.before[counter]
        for counted in hot.counted[: bisect_left(hot.starts, start_us)]:
            found += counted.get(counter, 0)
        return found

    def put(self, prefix: str, start_us: int, end_us: int, before: bytes | None, price: IntervalPrice) -> None:
        """Follow an interval's priced record from what it said before (None: it is the first) to what it says now.

        Called before the record is in the table. Later intervals that may cost otherwise are added to `walks`.
        """
        meter = self.meter(prefix)
        if before is None and meter.append(start_us, end_us, price):
            return
        now_counted = (Counted(c.charge_id, c.band, c.start_us, c.energy_uwh, c.tariff_id) for c in price.components)
        counts_now = self._tally(price.tariff_id, now_counted)
        counts_before: Tally = {}
        if before is not None:
            record = read_counted(before, instants.__getitem__)
            counts_before = self._tally(record.tariff_id, record.counted)
        for at in counts_before.keys() | counts_now.keys():
            page = self.page(meter, *at)
            now, then = counts_now.get(at, {}), counts_before.get(at, {})
            more = {c: now.get(c, 0) - then.get(c, 0) for c in page.counts if c in now or c in then}
            is_last = start_us > page.newest_us
            page.add(start_us, more)
            if page.hot is not None and any(more.values()) and page.bin_of(start_us) < page.hot.number:
                page.hot = None
            elif page.hot is not None and page.bin_of(start_us) == page.hot.number:
                _put_hot(page.hot, start_us, now)
            if not is_last:
                self._note_walks(prefix, page, start_us, more)
        meter.newest_end_us = max(meter.newest_end_us, end_us)

    # Pages

    def page(self, meter: MeterCounts, tariff_id: str, period: TierPeriod) -> _Page:
        """Return the page of a meter for a tariff's tier period, gathered where it is not there."""
        key = (tariff_id, period.start_us, period.end_us)
        page = meter.pages.get(key)
        if page is None:
            page = self._gather(meter, tariff_id, period)
            if len(meter.pages) >= _MAX_PAGES:
                self._bytes -= meter.pages.pop(next(iter(meter.pages))).bytes()
            meter.pages[key] = page
            self._bytes += page.bytes()
            self._meters[meter.prefix] = meter
            self._meters.move_to_end(meter.prefix)
            while self._bytes > self._max_bytes and len(self._meters) > 1:
                # The meter whose pages were first asked for longest ago.
                self._bytes -= self._meters.popitem(last=False)[1].bytes()
        return page

    def _gather(self, meter: MeterCounts, tariff_id: str, period: TierPeriod) -> _Page:
        """Read a page from the priced records."""
        is_alone = self._book.has_one_version(tariff_id)
        page = _Page(tariff_id, period, self._book.counters(tariff_id), is_alone=is_alone)
        if meter.newest_end_us <= period.start_us:
            return page
        for start_us, counts in self._read(meter.prefix, page, period.start_us, period.end_us):
            page.add(start_us, counts)
        return page

    def _read(self, prefix: str, page: _Page, start_us: int, end_us: int) -> Iterator[tuple[int, dict[Counter, int]]]:
        """Yield what each interval that starts in a stretch counts, and one that reaches into the period from before it."""
        if start_us == page.start_us:
            eve = self._priced.last_before(prefix, start_us)
            if eve is not None:
                counts = self._counts_in(eve[1], page)
                if counts:
                    yield eve[0], counts
        for at_us, value in self._priced.scan(prefix, start_us, end_us):
            yield at_us, self._counts_in(value, page)

    @staticmethod
    def _counts_in(value: bytes, page: _Page) -> dict[Counter, int]:
        record = read_counted(value, instants.__getitem__)
        found: dict[Counter, int] = {}
        for one in record.counted:
            is_ours = (one.tariff_id or record.tariff_id) == page.tariff_id
            if is_ours and page.start_us <= one.start_us < page.period.end_us:
                _add_to(found, one, page.counts.keys())
        return found

    def _hot(self, prefix: str, page: _Page, number: int) -> _HotBin:
        """Return one bin in detail."""
        if page.hot is None or page.hot.number != number:
            start_us = page.start_us + number * US_PER_DAY
            end_us = min(start_us + US_PER_DAY, page.period.end_us)
            starts, counted = [], []
            for at_us, counts in self._read(prefix, page, start_us, end_us):
                starts.append(at_us)
                counted.append(counts)
            before = {counter: sum(count.bins[:number]) for counter, count in page.counts.items()}
            page.hot = _HotBin(number, before, starts, counted)
        return page.hot

    def _tally(self, head_tariff_id: str | None, counted: Iterable[Counted]) -> Tally:
        """Sum up what an interval counts, for the charges that are graduated now."""
        found: Tally = {}
        for one in counted:
            tariff_id = one.tariff_id or head_tariff_id
            if tariff_id is None:
                continue
            counters = self._book.counters(tariff_id)
            for period in self._book.tier_periods(tariff_id, one.start_us) if counters else ():
                _add_to(found.setdefault((tariff_id, period), {}), one, counters)
        return found

    # Walks

    def _note_walks(self, prefix: str, page: _Page, start_us: int, more: dict[Counter, int]) -> None:
        """Name the stretches in which a later interval may have come into another tier."""
        first = page.bin_of(start_us)
        for counter, shift_uwh in more.items():
            if shift_uwh == 0:
                continue
            bounds = self._book.bounds_uwh(page.tariff_id, counter, page.period)
            bins = page.counts[counter].bins
            count_uwh = sum(bins[:first])
            for number in range(first, len(bins)):
                low_uwh = count_uwh - max(shift_uwh, 0)
                count_uwh += bins[number]
                high_uwh = count_uwh + max(-shift_uwh, 0)
                index = bisect_left(bounds, low_uwh)
                if index < len(bounds) and bounds[index] <= high_uwh:
                    from_us = page.start_us + number * US_PER_DAY
                    self.walks[
                        Walk(prefix, max(from_us, start_us + 1), min(from_us + US_PER_DAY, page.period.end_us))
                    ] = None


def _add_to(found: dict[Counter, int], one: Counted, counters: Container[Counter]) -> None:
    for counter in (Counter(one.charge_id, None), Counter(one.charge_id, one.band)):
        if counter in counters:
            found[counter] = found.get(counter, 0) + one.energy_uwh


def _put_hot(hot: _HotBin, start_us: int, counted: dict[Counter, int]) -> None:
    index = bisect_left(hot.starts, start_us)
    if index < len(hot.starts) and hot.starts[index] == start_us:
        hot.counted[index] = counted
    else:
        hot.starts.insert(index, start_us)
        hot.counted.insert(index, counted)
