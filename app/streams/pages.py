"""Pages of the tier ledger: what one meter has counted in one tier period of one tariff, in bins of a day."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from app.domain.calendar import US_PER_DAY
from app.domain.tiers import Counter, TierPeriod
from app.wire.priced import PricedCounts

_PAGE_BYTES: Final = 1_200

Bounds = tuple[int, int]
"""[start_us, end_us)."""

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

    def extend(self, found: Iterable[tuple[int, PricedCounts]], page: "Page") -> None:
        """Add what intervals' records say, in order and later than those before them, and count in a page. Hot."""
        starts, records, counted, tally = self.starts, self.records, self.counted, page.tally
        for start_us, record in found:
            starts.append(start_us)
            records.append(record)
            counted.append(tally(record))

    def put(self, start_us: int, record: PricedCounts, counted: Tally) -> None:
        """Take what an interval's record says now."""
        index = bisect_left(self.starts, start_us)
        if index < len(self.starts) and self.starts[index] == start_us:
            self.records[index] = record
            self.counted[index] = counted
        else:
            self.starts.insert(index, start_us)
            self.records.insert(index, record)
            self.counted.insert(index, counted)

    def between(self, start_us: int, end_us: int) -> "Extract":
        """Return the part that starts in [start_us, end_us)."""
        found = Extract()
        part = slice(bisect_left(self.starts, start_us), bisect_left(self.starts, end_us))
        found.starts, found.records, found.counted = self.starts[part], self.records[part], self.counted[part]
        return found


class HotBin:
    """One bin of a page in detail: what was counted before it; what its intervals' records say, and count, in order.

    It remembers which interval was last asked for, and what was counted before that one: those who ask in order of time
    have little to look for, and little to add.
    """

    __slots__ = (
        "_asked",
        "_extract",
        "_sum_to",
        "_sums",
        "before",
        "end_us",
        "number",
        "start_us",
    )

    def __init__(self, number: int, bounds: Bounds, before: Tally, extract: Extract) -> None:
        """Begin with the intervals that were read, and follow them from now on."""
        self.number = number
        self.start_us, self.end_us = bounds
        self.before = before
        self._extract = extract
        self._asked = -1
        self._sum_to = 0
        self._sums = dict(before)

    def put(self, start_us: int, record: PricedCounts, counted: Tally) -> None:
        """Take what an interval's record says now."""
        if bisect_left(self._extract.starts, start_us) < self._sum_to:
            self._sum_to, self._sums = 0, dict(self.before)
        self._extract.put(start_us, record, counted)

    def record(self, start_us: int) -> PricedCounts | None:
        """Return what an interval's record says, where it is known."""
        starts, index = self._extract.starts, self._asked
        if not 0 <= index < len(starts) or starts[index] != start_us:
            index = bisect_left(starts, start_us)
        return self._extract.records[index] if index < len(starts) and starts[index] == start_us else None

    def before_uwh(self, counter: Counter, start_us: int) -> int:
        """Return what was counted before an interval. Hot."""
        starts, index = self._extract.starts, self._asked + 1
        if index >= len(starts) or starts[index] != start_us:
            index = bisect_left(starts, start_us)
        self._asked = index
        if index < self._sum_to:
            self._sum_to, self._sums = 0, dict(self.before)
        sums, counted = self._sums, self._extract.counted
        for at in range(self._sum_to, index):
            for one, energy_uwh in counted[at].items():
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
        """Return what an interval's record counts here. Hot."""
        found: Tally = {}
        for one in record.counted:
            if (one.tariff_id or record.tariff_id) == self.tariff_id and self.start_us <= one.start_us < self.end_us:
                for counter in self.counters_of(one.charge_id, one.band):
                    found[counter] = found.get(counter, 0) + one.energy_uwh
        return found

    def add(self, start_us: int, counted: Tally) -> None:
        """Count an interval, or what it counts more than before."""
        self._add_to(self.bin_of(start_us), counted)
        self.newest_us = max(self.newest_us, start_us)

    def add_all(self, extract: Extract) -> None:
        """Count all intervals that were read, bin by bin."""
        number, next_us, sums = 0, self.start_us + US_PER_DAY, dict.fromkeys(self.counts, 0)
        for start_us, counted in zip(extract.starts, extract.counted, strict=True):
            if start_us >= next_us:
                self._add_to(number, sums)
                number, sums = self.bin_of(start_us), dict.fromkeys(self.counts, 0)
                next_us = self.start_us + (number + 1) * US_PER_DAY
            for counter, energy_uwh in counted.items():
                sums[counter] += energy_uwh
        self._add_to(number, sums)
        if extract.starts:
            self.newest_us = max(self.newest_us, extract.starts[-1])

    def _add_to(self, number: int, counted: Tally) -> None:
        for counter, energy_uwh in counted.items():
            count = self.counts[counter]
            count.sum_uwh += energy_uwh
            count.bins[number] += energy_uwh
