"""Pages of the tier ledger: what one meter has counted in one tier period of one tariff, in bins of a day."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from app.domain.calendar import US_PER_DAY
from app.domain.tiers import Counter, TierPeriod
from app.wire.priced import PricedCounts

_PAGE_BYTES: Final = 1_200

Tally = dict[Counter, int]
"""Energy in µWh by counter."""


class Count:
    """What one counter has counted in a page, in all and by bin."""

    __slots__ = ("bins", "sum_uwh")

    def __init__(self, length: int) -> None:
        """Begin with nothing, in so many bins."""
        self.sum_uwh = 0
        self.bins = array("q", bytes(8 * length))


class Extract:
    """What the priced records of a meter say, and count in one page, in order of time."""

    __slots__ = ("counted", "records", "starts")

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.starts: list[int] = []
        self.records: list[PricedCounts] = []
        self.counted: list[Tally] = []

    def append(self, start_us: int, record: PricedCounts, counted: Tally) -> None:
        """Add what an interval's record says; it is later than those before it."""
        self.starts.append(start_us)
        self.records.append(record)
        self.counted.append(counted)

    def between(self, start_us: int, end_us: int) -> "Extract":
        """Return the part that starts in [start_us, end_us)."""
        found = Extract()
        part = slice(bisect_left(self.starts, start_us), bisect_left(self.starts, end_us))
        found.starts, found.records, found.counted = self.starts[part], self.records[part], self.counted[part]
        return found


class HotBin:
    """One bin of a page in detail: what was counted before it; what its intervals' records say, and count, in order.

    It remembers how far it was last summed up: those who ask in order of time have little to add.
    """

    __slots__ = ("_counted", "_records", "_starts", "_sum_to", "_sums", "before", "number")

    def __init__(self, number: int, before: Tally, extract: Extract) -> None:
        """Begin with the intervals that were read, and follow them from now on."""
        self.number = number
        self.before = before
        self._starts = extract.starts
        self._records = extract.records
        self._counted = extract.counted
        self._sum_to = 0
        self._sums = dict(before)

    def put(self, start_us: int, record: PricedCounts, counted: Tally) -> None:
        """Take what an interval's record says now."""
        index = bisect_left(self._starts, start_us)
        if index < self._sum_to:
            self._sum_to, self._sums = 0, dict(self.before)
        if index < len(self._starts) and self._starts[index] == start_us:
            self._records[index] = record
            self._counted[index] = counted
        else:
            self._starts.insert(index, start_us)
            self._records.insert(index, record)
            self._counted.insert(index, counted)

    def record(self, start_us: int) -> PricedCounts | None:
        """Return what an interval's record says, where it is known."""
        index = bisect_left(self._starts, start_us)
        return self._records[index] if index < len(self._starts) and self._starts[index] == start_us else None

    def before_uwh(self, counter: Counter, start_us: int) -> int:
        """Return what was counted before an interval."""
        index = bisect_left(self._starts, start_us)
        if index < self._sum_to:
            self._sum_to, self._sums = 0, dict(self.before)
        sums = self._sums
        for counted in self._counted[self._sum_to : index]:
            for one, energy_uwh in counted.items():
                sums[one] += energy_uwh
        self._sum_to = index
        return sums[counter]


class Page:
    """What a meter has counted in one tier period of one tariff."""

    __slots__ = (
        "_counters_of", "_counts_of", "counts", "end_us", "hot", "is_alone", "newest_us", "period", "start_us", "tariff_id",
    )  # fmt: skip

    def __init__(self, tariff_id: str, period: TierPeriod, counters: Iterable[Counter], *, is_alone: bool) -> None:
        """Begin with nothing counted."""
        self.tariff_id = tariff_id
        self.is_alone = is_alone
        """Whether the tariff has a single version, so that its energy counts in one tier period at a time."""
        self.period = period
        self.start_us = period.start_us
        self.end_us = period.end_us
        self.newest_us = -1
        length = -(-(period.end_us - period.start_us) // US_PER_DAY)
        self.counts = {counter: Count(length) for counter in counters}
        self.hot: HotBin | None = None
        self._counters_of: dict[tuple[str, str | None], tuple[Counter, ...]] = {}
        self._counts_of: dict[tuple[str, str | None], tuple[Count, ...]] = {}

    def bytes(self) -> int:
        """Return about how much memory the page takes."""
        return _PAGE_BYTES + sum(8 * len(count.bins) for count in self.counts.values())

    def bin_of(self, start_us: int) -> int:
        """Return the bin of an interval; one that began before the period counts at its beginning."""
        return max(start_us - self.start_us, 0) // US_PER_DAY

    def is_hot(self, start_us: int) -> bool:
        """Tell whether the bin of an interval is there in detail."""
        return self.hot is not None and self.hot.number == self.bin_of(start_us)

    def counters_of(self, charge_id: str, band: str | None) -> tuple[Counter, ...]:
        """Return what energy of a charge in a band counts for: the charge, the band, or nothing."""
        known = self._counters_of.get((charge_id, band))
        if known is None:
            asked = {Counter(charge_id, None), Counter(charge_id, band)}
            known = self._counters_of[charge_id, band] = tuple(asked & self.counts.keys())
        return known

    def counts_of(self, charge_id: str, band: str | None) -> tuple[Count, ...]:
        """Return where energy of a charge in a band counts. Hot."""
        known = self._counts_of.get((charge_id, band))
        if known is None:
            known = tuple(self.counts[counter] for counter in self.counters_of(charge_id, band))
            self._counts_of[charge_id, band] = known
        return known

    def tally(self, record: PricedCounts) -> Tally:
        """Return what an interval's record counts here."""
        found: Tally = {}
        for one in record.counted:
            if (one.tariff_id or record.tariff_id) == self.tariff_id and self.start_us <= one.start_us < self.end_us:
                for counter in self.counters_of(one.charge_id, one.band):
                    found[counter] = found.get(counter, 0) + one.energy_uwh
        return found

    def add(self, start_us: int, counted: Tally) -> None:
        """Count an interval, or what it counts more than before."""
        number = self.bin_of(start_us)
        for counter, energy_uwh in counted.items():
            count = self.counts[counter]
            count.sum_uwh += energy_uwh
            count.bins[number] += energy_uwh
        self.newest_us = max(self.newest_us, start_us)
