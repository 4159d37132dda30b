"""What the intervals of each meter have counted towards graduated tiers, as they were last priced.

The priced records are the truth: a record's components say how much energy each charge priced in it. From them a page is
gathered for each meter, tariff and tier period, in bins of a day, when it is first asked for; afterwards it follows every
record that is published. A page is thus never ahead of the priced records nor behind them, and is lost without harm.

When an interval counts differently than before, the later ones of its tier period may lie in other tiers. Only in the bins
where a bound may have been crossed, before or now, can one of them cost something else: those are named as walks.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Container, Iterable
from typing import Final, Protocol

from app.domain.calendar import US_PER_DAY
from app.domain.instants import US_PER_HOUR
from app.domain.rates import IntervalPrice
from app.domain.reference import ReferenceBook
from app.domain.tiers import Counter, TierPeriod
from app.streams.pages import Extract, HotBin, Page, Tally
from app.streams.validate import instants
from app.streams.walks import Walks
from app.wire.priced import NOTHING_SAID, Counted, PricedCounts, is_empty, read_counted

_MAX_BYTES: Final = 16 << 20
"""About how much memory the pages of a partition may take."""

_METER_BYTES: Final = 400
_MAX_KEPT: Final = 20_000
"""Most records that are kept as they were read: a year of half hours, about 10 MB."""

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


_END_US: Final = 1 << 62
_LONGEST_US: Final = (31 * 24 + 1) * US_PER_HOUR
"""A month of 31 days in which clocks go back."""


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
        self.pages: OrderedDict[tuple[str, int, int], Page] = OrderedDict()
        self.current: Page | None = None

    def bytes(self) -> int:
        """Return about how much memory the pages take."""
        return _METER_BYTES + sum(page.bytes() for page in self.pages.values())

    def before_uwh(self, tariff_id: str, period: TierPeriod, counter: Counter, start_us: int) -> int:
        """Return what intervals before the one that starts at `start_us` counted in a tier period. Hot."""
        page = self.current
        if page is None or page.period is not period or page.tariff_id != tariff_id:
            page = self.current = self.ledger.page(self, tariff_id, period)
        if start_us > page.newest_us:
            return page.counts[counter].sum_uwh
        hot = page.hot
        if hot is not None and hot.start_us <= start_us < hot.end_us:
            return hot.before_uwh(counter, start_us)
        return self.ledger.hot_bin(self.prefix, page, page.bin_of(start_us)).before_uwh(counter, start_us)

    def record(self, start_us: int) -> PricedCounts | None:
        """Return what an interval's priced record counts, where that is known without reading it."""
        page = self.current
        return page.hot.record(start_us) if page is not None and page.hot is not None else None

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
        if len(components) > 1 and any(component.tariff_id is not None for component in components):
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
        self._kept: tuple[Page, Extract] | None = None
        """What the last page was gathered from, as it is now: who walks reads it bin by bin next."""
        self.walks: Final = Walks()

    def forget(self) -> None:
        """Gather everything anew: a tariff has changed, and may count otherwise."""
        self._meters.clear()
        self._bytes = 0
        self._kept = None

    @property
    def followed(self) -> Container[str]:
        """Return the meters that are followed, by the beginning of their intervals' ids."""
        return self._meters

    def settle(self) -> None:
        """Let go of what only those need who walk."""
        if not self.walks:
            self._kept = None

    def forget_meter(self, prefix: str) -> None:
        """Gather what a meter has counted anew when it is on graduated tariffs again: it is not followed meanwhile. Hot."""
        found = self._meters.pop(prefix, None)
        if found is not None:
            self._bytes -= found.bytes()
            self._kept = None

    def meter(self, prefix: str) -> MeterCounts:
        """Return what the intervals of a meter have counted, by the beginning of their ids. Hot."""
        found = self._meters.get(prefix)
        if found is None:
            found = self._meters[prefix] = MeterCounts(self, prefix, self._newest_end_us(prefix))
            self._grow(found.bytes())
        return found

    def put(self, meter: MeterCounts, start_us: int, end_us: int, before: bytes | None, price: IntervalPrice) -> None:
        """Follow an interval's priced record from what it said before (None: it is the first) to what it says now.

        Called before the record is in the table. Later intervals that may cost otherwise are added to `walks`.
        """
        if before is None and meter.append(start_us, end_us, price):
            if self._kept is not None and self._kept[0] is meter.current:
                self._kept = None
            return
        then = NOTHING_SAID
        if before is not None:
            then = meter.record(start_us) or read_counted(before, instants.__getitem__)
            if then.end_us == end_us and _counts_alike(then, price):
                return
        counted = [Counted(c.charge_id, c.band, c.start_us, c.energy_uwh, c.tariff_id) for c in price.components]
        now = PricedCounts(price.tariff_id, end_us, counted)
        for at in {**self._periods(then), **self._periods(now)}:
            page = self.page(meter, *at)
            counts_now, counts_then = page.tally(now), page.tally(then)
            more = {c: counts_now.get(c, 0) - counts_then.get(c, 0) for c in {**counts_now, **counts_then}}
            is_last = start_us > page.newest_us
            page.add(start_us, more)
            if page.hot is not None and any(more.values()) and page.bin_of(start_us) < page.hot.number:
                page.hot = None
            if not is_last:
                self._note_walks(meter.prefix, page, start_us, more)
        self._note_record(meter, start_us, now)
        meter.newest_end_us = max(meter.newest_end_us, end_us)

    def _note_record(self, meter: MeterCounts, start_us: int, now: PricedCounts) -> None:
        """Keep what an interval's record says in detail, also where it neither counts nor counted: it is another one now."""
        for page in meter.pages.values():
            if page.hot is not None and page.is_hot(start_us):
                page.hot.put(start_us, now, page.tally(now))
            if self._kept is not None and self._kept[0] is page and start_us < page.end_us:
                self._kept[1].put(start_us, now, page.tally(now))

    def _periods(self, record: PricedCounts) -> dict[tuple[str, TierPeriod], None]:
        """Return the tariffs and tier periods in which a record counts, by the charges that are graduated now."""
        found: dict[tuple[str, TierPeriod], None] = {}
        for one in record.counted:
            tariff_id = one.tariff_id or record.tariff_id
            if tariff_id is not None and self._book.counters(tariff_id):
                for period in self._book.tier_periods(tariff_id, one.start_us):
                    found[tariff_id, period] = None
        return found

    # Pages

    def page(self, meter: MeterCounts, tariff_id: str, period: TierPeriod) -> Page:
        """Return the page of a meter for a tariff's tier period, gathered where it is not there."""
        key = (tariff_id, period.start_us, period.end_us)
        page = meter.pages.get(key)
        if page is not None:
            meter.pages.move_to_end(key)
            return page
        page = self._gather(meter, tariff_id, period)
        if len(meter.pages) >= _MAX_PAGES:
            _, oldest = meter.pages.popitem(last=False)
            self._bytes -= oldest.bytes()
            if meter.current is oldest:
                meter.current = None  # it is not followed any more
        meter.pages[key] = page
        self._meters.move_to_end(meter.prefix)
        self._grow(page.bytes())
        return page

    def _grow(self, more_bytes: int) -> None:
        """Count memory, and forget the meters that were first asked for longest ago."""
        self._bytes += more_bytes
        while self._bytes > self._max_bytes and len(self._meters) > 1:
            self._bytes -= self._meters.popitem(last=False)[1].bytes()

    def _gather(self, meter: MeterCounts, tariff_id: str, period: TierPeriod) -> Page:
        """Read a page from the priced records."""
        is_alone = self._book.has_one_version(tariff_id)
        page = Page(tariff_id, period, self._book.counters(tariff_id), is_alone=is_alone)
        if meter.newest_end_us <= period.start_us:
            return page
        extract = self._read(meter.prefix, page, period.start_us, period.end_us)
        page.add_all(extract)
        self._kept = (page, extract) if len(extract.starts) <= _MAX_KEPT else None
        return page

    def hot_bin(self, prefix: str, page: Page, number: int) -> HotBin:
        """Return one bin in detail."""
        hot = page.hot
        if hot is None or hot.number != number:
            start_us = page.start_us + number * US_PER_DAY
            end_us = min(start_us + US_PER_DAY, page.end_us)
            if self._kept is not None and self._kept[0] is page:
                extract = self._kept[1].between(start_us if number else 0, end_us)
            else:
                extract = self._read(prefix, page, start_us, end_us)
            before = {counter: sum(count.bins[:number]) for counter, count in page.counts.items()}
            hot = page.hot = HotBin(number, (start_us, end_us), before, extract)
        return hot

    def _read(self, prefix: str, page: Page, start_us: int, end_us: int) -> Extract:
        """Read each interval's record that starts in a stretch, and one that reaches into the period from before it."""
        found = Extract()
        if start_us == page.start_us:
            eve = self._last_covered(prefix, start_us)
            if eve is not None:
                record = read_counted(eve[1], instants.__getitem__)
                if page.tally(record):
                    found.extend([(eve[0], record)], page)
        parse_us = instants.__getitem__
        scanned = self._priced.scan(prefix, start_us, end_us)
        found.extend(((at_us, read_counted(value, parse_us)) for at_us, value in scanned), page)
        return found

    def _newest_end_us(self, prefix: str) -> int:
        """Return how far a meter's priced records reach; -1 where there are none."""
        found = (self._priced.last_before(prefix, _END_US), self._last_covered(prefix, _END_US))
        return max(
            (read_counted(last[1], instants.__getitem__).end_us for last in found if last is not None), default=-1
        )

    def _last_covered(self, prefix: str, before_us: int) -> tuple[int, bytes] | None:
        """Return (start_us, value) of the last record before an instant whose interval has anything in it.

        Intervals that lost all their records stay; a month that replaced them began before them, and reaches beyond.
        """
        last = self._priced.last_before(prefix, before_us)
        oldest_us = -1 if last is None else last[0] - _LONGEST_US
        while last is not None and is_empty(last[1]) and last[0] > oldest_us:
            last = self._priced.last_before(prefix, last[0])
        return last

    # Walks

    def _note_walks(self, prefix: str, page: Page, start_us: int, more: Tally) -> None:
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
                    self.walks.add(prefix, max(from_us, start_us + 1), min(from_us + US_PER_DAY, page.end_us))


def _counts_alike(record: PricedCounts, price: IntervalPrice) -> bool:
    """Tell whether a price counts just as a record does, charge by charge. Hot: most walks change only tiers and rates."""
    counted, components = record.counted, price.components
    if record.tariff_id != price.tariff_id or len(counted) != len(components):
        return False
    for one, other in zip(counted, components, strict=True):
        if (
            one.energy_uwh != other.energy_uwh
            or one.start_us != other.start_us
            or one.charge_id != other.charge_id
            or one.band != other.band
            or one.tariff_id != other.tariff_id
        ):
            return False
    return True
