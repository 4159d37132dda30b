"""Corrections, late records and late prices: what they concern is published again, and nothing else."""

import json
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Final

import pytest
from aiokafka.structs import ConsumerRecord

from tests.harness import Stream
from tests.making import Json, encoded, flat_tariff, instant, location, series_day, series_tariff
from tests.sites import Site

pytestmark = pytest.mark.broker

MARCH: Final = 31 * 48 - 2
"""Half hours of March 2025 in London, in which the clocks go forward."""

BOUNDS_WH: Final = (100_000, 200_000)
DAY: Final = 24 * 60
QUIET_DAYS: Final = 40
LATER: Final = 41 * 48


def tiered_tariff(tariff_id: str, **fields: object) -> Json:
    """Return a tariff with a lower rate up to 100 kWh and up to 200 kWh of a local month."""
    tiers = [
        {"up_to_kwh": "100", "rate": "0.10"},
        {"up_to_kwh": "200", "rate": "0.20"},
        {"up_to_kwh": None, "rate": "0.30"},
    ]
    charges = [{"charge_id": "energy", "kind": "energy", "bands": [{"name": "all", "when": [], "tiers": tiers}]}]
    return flat_tariff(tariff_id, version=2, charges=charges, taxes=[], **fields)


def usage_wh(number: int) -> int:
    """Return what is used in a half hour: about 200 Wh, so that a month ends in its third tier."""
    return 100 + number * 37 % 211


def half_hours(site: Site, wh: dict[int, int]) -> list[Json]:
    """Return records of half hours by their number in March."""
    return [site.record(30 * number, 30, energy / 1000) for number, energy in wh.items()]


def splits(wh: dict[int, int]) -> dict[int, list[tuple[int, int]]]:
    """Return (tier, Wh) of every half hour: each Wh by itself lies in the tier of those before it."""
    found = {}
    ends = accumulate(energy for _, energy in sorted(wh.items()))
    for (number, energy), end in zip(sorted(wh.items()), ends, strict=True):
        tiers = Counter(1 + sum(bound <= at for bound in BOUNDS_WH) for at in range(end - energy, end))
        found[number] = sorted(tiers.items())
    return found


def published_splits(site: Site) -> dict[int, list[tuple[int, int]]]:
    """Return what the newest priced records of March say of their tiers."""
    found = {}
    for each in site.stream.priced(site.location_id):
        number = number_of(each)
        if number < MARCH:
            tiers = ((component["tier"], component["energy_wh"]) for component in each["components"])
            found[number] = [tier for tier in tiers if tier[1]]
    return found


def number_of(priced: Json) -> int:
    """Return the number of a priced half hour, counted from the beginning of March."""
    return NUMBERS[priced["start_time"]]


NUMBERS: Final = {instant(30 * number): number for number in range(20_000)}


def times_published(site: Site) -> Counter[int]:
    """Return how often each half hour has been published."""
    return Counter(map(number_of, site.stream.priced(site.location_id)))


def await_published(site: Site, count: int) -> None:
    """Wait until a site has so many priced records, and until nothing more can come of what was published before."""
    site.stream.wait(lambda: sum(times_published(site).values()) >= count, f"{count} priced records")
    site.settle()


def on_tariff(stream: Stream, *sites: Site, documents: Iterable[Json], tariff_id: str) -> None:
    """Load documents and link sites to one of their tariffs; wait until the worker prices by it."""
    stream.load(*documents)
    for site in sites:
        stream.load(location(site.location_id, tariff_id))
        minute = QUIET_DAYS * DAY
        site.publish(site.record(minute, 30, 0.001))
        stream.wait(
            lambda site=site, minute=minute: any(each["tariff_id"] == tariff_id for each in site.priced(minute)),
            f"{site.location_id} on {tariff_id}",
        )


@pytest.fixture
def month(stream: Stream, site: Site) -> tuple[Site, dict[int, int]]:
    """A site on monthly tiers with a March in which one half hour is missing, priced in order."""
    on_tariff(
        stream, site, documents=[tiered_tariff(f"tiers_{site.location_id}")], tariff_id=f"tiers_{site.location_id}"
    )
    before = sum(times_published(site).values())
    wh = {number: usage_wh(number) for number in range(MARCH) if number != MISSING}
    site.publish(*half_hours(site, wh))
    await_published(site, before + len(wh))
    assert {number: count for number, count in times_published(site).items() if number < MARCH} == dict.fromkeys(wh, 1)
    assert published_splits(site) == splits(wh)
    return site, wh


MISSING: Final = 100


def publish_and_check(site: Site, wh: dict[int, int], change: dict[int, int]) -> set[int]:
    """Publish a change of a month's energies; require that just the half hours it concerns are published, once.

    Return those others than the changed ones.
    """
    before, splits_before = times_published(site), splits(wh)
    wh |= change
    splits_now = splits(wh)
    concerned = {number for number in wh if splits_now[number] != splits_before.get(number)} | change.keys()
    site.publish(*half_hours(site, change))
    await_published(site, sum(before.values()) + len(concerned))
    again = times_published(site) - before
    assert {number: count for number, count in again.items() if number < MARCH} == dict.fromkeys(concerned, 1)
    assert published_splits(site) == splits_now
    return concerned - change.keys()


def test_a_correction_or_a_late_record_prices_again_what_comes_into_another_tier(
    month: tuple[Site, dict[int, int]],
) -> None:
    site, wh = month
    moved = publish_and_check(site, wh, {10: usage_wh(10) + 5000})
    assert len(moved) > 40  # around both bounds
    moved = publish_and_check(site, wh, {MISSING: 700})  # late
    assert 2 < len(moved) < 20
    moved = publish_and_check(site, wh, {10: 0})
    assert len(moved) > 40
    # What lies in the last tier moves nothing, nor do two corrections that make up for each other.
    assert publish_and_check(site, wh, {MARCH - 5: 9000}) == set()
    assert publish_and_check(site, wh, {20: wh[20] + 50, 21: wh[21] - 50}) == set()
    # In one transaction or in several: only the end counts, and nothing is published that is not so in the end.
    count = sum(times_published(site).values())
    site.publish(*half_hours(site, {number: wh[number] for number in range(0, MARCH, 7) if number in wh}))
    site.settle()
    assert sum(times_published(site).values()) == count + 1  # the same again: only what settled it


def test_a_late_price_is_published_as_soon_as_it_is_there(stream: Stream, site: Site, another_site: Site) -> None:
    series_id, tariff_id = f"day_ahead_{site.location_id}", f"market_{site.location_id}"
    today = [f"0.{number + 10}" for number in range(48)]
    documents = [series_tariff(tariff_id, series_id), series_day(series_id, 0, today)]
    on_tariff(stream, site, another_site, documents=documents, tariff_id=tariff_id)
    before = {each: sum(times_published(each).values()) for each in (site, another_site)}
    for each in (site, another_site):
        each.publish(*half_hours(each, dict.fromkeys(range(96), 1000)))
        await_published(each, before[each] + 96)
        last = newest(each)
        assert [last[number]["cost"] for number in (0, 47)] == ["0.1", "0.57"]
        assert {last[number]["reason"] for number in range(48, 96)} == {"no_price"}

    # Tomorrow's prices are there: just what waited for them is published.
    counts = {each: times_published(each) for each in (site, another_site)}
    tomorrow = [f"-0.{number + 10}" for number in range(48)]
    stream.load(series_day(series_id, DAY, tomorrow))
    for each in (site, another_site):
        await_published(each, sum(counts[each].values()) + 48)
        again = times_published(each) - counts[each]
        assert {number: count for number, count in again.items() if number < 96} == dict.fromkeys(range(48, 96), 1)
        assert [newest(each)[number]["cost"] for number in (47, 48, 95)] == ["0.57", "-0.1", "-0.57"]
        assert all(newest(each)[number]["sequence"] == 2 for number in range(48, 96))

    # One point is another one: one half hour of every location that is priced by it.
    counts = {each: times_published(each) for each in (site, another_site)}
    tomorrow[7] = "9.99"
    stream.load(series_day(series_id, DAY, tomorrow))
    for each in (site, another_site):
        await_published(each, sum(counts[each].values()) + 1)
        again = times_published(each) - counts[each]
        assert {number: count for number, count in again.items() if number < 96} == {55: 1}
        assert newest(each)[55]["cost"] == "9.99"


def newest(site: Site) -> dict[int, Json]:
    """Return the newest priced record of each half hour."""
    return {number_of(each): each for each in site.stream.priced(site.location_id)}


def test_another_link_from_a_date_on_prices_again_what_comes_after_it(stream: Stream, site: Site) -> None:
    old, new = f"old_{site.location_id}", f"new_{site.location_id}"
    on_tariff(stream, site, documents=[flat_tariff(old, "0.10", taxes=[]), tiered_tariff(new)], tariff_id=old)
    before = sum(times_published(site).values())
    wh = dict.fromkeys(range(4 * 48), 5000)
    site.publish(*half_hours(site, wh))
    await_published(site, before + len(wh))
    counts = times_published(site)
    links = [
        {"direction": "IMPORT", "tariff_id": old, "valid_to": instant(2 * DAY)},
        {"direction": "IMPORT", "tariff_id": new, "valid_from": instant(2 * DAY)},
    ]
    stream.load(location(site.location_id, tariffs=links))
    await_published(site, sum(counts.values()) + 96)
    again = times_published(site) - counts
    assert {number: count for number, count in again.items() if number < 192} == dict.fromkeys(range(96, 192), 1)
    last = newest(site)
    assert {last[number]["tariff_id"] for number in range(96)} == {old}
    # What was used before the link does not count towards the new tariff's tiers.
    tiers = {number: [c["tier"] for c in last[number]["components"]] for number in range(96, 192)}
    assert tiers == {number: [1 if number < 116 else 2 if number < 136 else 3] for number in range(96, 192)}


def test_a_changed_tier_prices_again_only_what_costs_something_else(stream: Stream, site: Site) -> None:
    tariff_id = f"tiers_{site.location_id}"
    tariff = tiered_tariff(tariff_id)
    on_tariff(stream, site, documents=[tariff], tariff_id=tariff_id)
    before = sum(times_published(site).values())
    wh = dict.fromkeys(range(96), 5000)
    site.publish(*half_hours(site, wh))
    await_published(site, before + len(wh))
    counts = times_published(site)
    changed = json.loads(json.dumps(tariff))
    changed["charges"][0]["bands"][0]["tiers"][1]["rate"] = "0.25"
    stream.load(changed)
    await_published(site, sum(counts.values()) + 20)
    again = times_published(site) - counts
    # From 100 to 200 kWh at 5 kWh a half hour. The version's number is the same, or all would say another one.
    assert {number: count for number, count in again.items() if number < 96} == dict.fromkeys(range(20, 40), 1)
    assert [newest(site)[number]["cost"] for number in (19, 20, 39, 40)] == ["0.5", "1.25", "1.25", "1.5"]


def test_a_new_version_beside_the_old_one_prices_again_only_its_own_time(stream: Stream, site: Site) -> None:
    tariff_id = f"versions_{site.location_id}"
    on_tariff(stream, site, documents=[flat_tariff(tariff_id, "0.10", taxes=[])], tariff_id=tariff_id)
    before = sum(times_published(site).values())
    site.publish(*half_hours(site, dict.fromkeys(range(96), 1000)))
    await_published(site, before + 96)
    counts = times_published(site)
    second = flat_tariff(tariff_id, "0.25", version=2, taxes=[], valid_from=instant(60 * 10), valid_to=instant(60 * 12))
    stream.load_raw(stream.names.tariffs, f"{tariff_id}/2", encoded(second))
    await_published(site, sum(counts.values()) + 4)
    again = times_published(site) - counts
    assert {number: count for number, count in again.items() if number < 96} == dict.fromkeys(range(20, 24), 1)
    last = newest(site)
    assert [(last[number]["cost"], last[number]["tariff_version"]) for number in (19, 20, 23, 24)] == [
        ("0.1", 1),
        ("0.25", 2),
        ("0.25", 2),
        ("0.1", 1),
    ]


def test_others_are_priced_while_months_of_one_location_are_priced_again(
    stream: Stream, site: Site, site_beside: Site
) -> None:
    tariff_id = f"long_{site.location_id}"
    on_tariff(stream, site, documents=[flat_tariff(tariff_id, "0.10")], tariff_id=tariff_id)
    before = sum(times_published(site).values())
    count = 8000
    site.publish(*half_hours(site, {LATER + number: 500 for number in range(count)}))
    await_published(site, before + count)
    known = sum(times_published(site).values())
    published = threading.Event()

    def publish_beside() -> None:
        """Publish for as long as it takes, however slowly this process gets on."""
        for number in range(15_000):
            if published.wait(0.01):
                return
            site_beside.publish(site_beside.record(30 * number, 30, 0.5))

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(publish_beside)
        site_beside.await_priced(30 * 10)
        stream.load(flat_tariff(tariff_id, "0.20", version=2))
        await_published(site, known + count)
        published.set()
        beside.result()
    site_beside.settle()
    partition = stream.partition_of(site.location_id)
    of = [each.key.partition(b"|")[0].decode() for each in sorted_by_offset(stream, partition)]
    own = [index for index, location_id in enumerate(of) if location_id == site.location_id]
    assert site_beside.location_id in of[own[known] : own[known + count - 1]]


def sorted_by_offset(stream: Stream, partition: int) -> list[ConsumerRecord]:
    """Return the priced records of a partition in order."""
    found = [each for each in stream.seen(stream.names.priced) if each.partition == partition]
    return sorted(found, key=lambda each: each.offset)
