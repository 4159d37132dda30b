"""The book of locations, tariffs and series: what a change affects, and that prices follow it."""

from datetime import date
from decimal import Decimal

import pytest

from app.domain.calendar import US_PER_DAY
from app.domain.instants import US_PER_HOUR, parse_instant_us
from app.domain.locations import Location, TariffLink
from app.domain.reference import NOTHING, Affected, ReferenceBook
from app.domain.tariffs import Band, Direction, EnergyCharge, SeriesDay, SeriesPoint, SeriesRate, Tariff, Tier

JANUARY, FEBRUARY, MARCH = (parse_instant_us(f"2025-0{month}-01T00:00:00Z") for month in (1, 2, 3))
KWH = 10**9


def flat(
    tariff_id: str, rate: str = "0.3", start_us: int | None = None, end_us: int | None = None, version: int = 1
) -> Tariff:
    charge = EnergyCharge("energy", (Band("flat", (), (Tier(None, Decimal(rate)),)),))
    return Tariff(tariff_id, version, "IMPORT", "GBP", "UTC", (charge,), start_us, end_us)


def market(tariff_id: str, series_id: str, start_us: int | None = None) -> Tariff:
    return Tariff(tariff_id, 1, "IMPORT", "GBP", "UTC", (EnergyCharge("m", series=SeriesRate(series_id)),), start_us)


def day(series_id: str, start_us: int, *values: str) -> SeriesDay:
    points = tuple(
        SeriesPoint(start_us + n * US_PER_HOUR, start_us + (n + 1) * US_PER_HOUR, Decimal(value))
        for n, value in enumerate(values)
    )
    return SeriesDay(series_id, "price", "GBP/kWh", points)


def at(location_id: str, *links: TariffLink, carbon_series_id: str | None = None) -> Location:
    return Location(location_id, "UTC", links=links, carbon_series_id=carbon_series_id)


def cost(book: ReferenceBook, location_id: str, at_us: int = FEBRUARY, direction: Direction = "IMPORT") -> str | None:
    return book.plan(location_id, direction).price(at_us, at_us + US_PER_HOUR // 2, KWH, (), "INBOUND").cost


def on(tariff_id: str, start_us: int | None = None, end_us: int | None = None) -> TariffLink:
    return TariffLink("IMPORT", tariff_id, start_us, end_us)


def only(*location_ids: str, start_us: int | None = None, end_us: int | None = None) -> Affected:
    return Affected(frozenset(location_ids), start_us, end_us)


@pytest.mark.parametrize(
    "links",
    [
        (),
        (on("t"),),
        (on("t", FEBRUARY),),
        (on("t", None, FEBRUARY), on("u", MARCH)),
        (on("t", FEBRUARY, MARCH), TariffLink("EXPORT", "e", JANUARY, FEBRUARY)),
        (on("t", FEBRUARY, FEBRUARY), TariffLink("LOCAL", "l", MARCH)),
    ],
)
@pytest.mark.parametrize("carbon", [None, "S"])
def test_a_location_that_comes_or_goes_affects_what_its_links_do(
    links: tuple[TariffLink, ...], carbon: str | None
) -> None:
    book, whole = ReferenceBook(), at("l", *links, carbon_series_id=carbon)
    book.put_location(at("l"))
    linked, unlinked = book.put_location(whole), book.put_location(at("l"))
    book.remove_location("l")
    assert (book.put_location(whole), book.remove_location("l")) == (linked, unlinked)


def test_an_unchanged_document_affects_nothing() -> None:
    book = ReferenceBook()
    for _ in range(2):
        affected = (
            book.put_tariff(flat("t")),
            book.put_location(at("l", on("t"))),
            book.put_series(day("S", JANUARY, "1")),
        )
    assert affected == (NOTHING, NOTHING, NOTHING)


def test_a_tariff_affects_the_locations_on_it_while_they_are_on_it_and_it_is_valid() -> None:
    book = ReferenceBook()
    book.put_location(at("early", on("t", None, FEBRUARY)))
    book.put_location(at("late", on("t", FEBRUARY)))
    book.put_location(at("other", on("u")))
    assert book.put_tariff(flat("t")) == only("early", "late")
    assert book.put_tariff(flat("t", "0.4", FEBRUARY, MARCH)) == only("early", "late")
    assert book.put_tariff(flat("t", "0.5", FEBRUARY, MARCH)) == only("late", start_us=FEBRUARY, end_us=MARCH)
    assert book.remove_tariff("t") == only("late", start_us=FEBRUARY, end_us=MARCH)
    assert book.remove_tariff("t") == NOTHING


def test_prices_follow_a_tariff_as_it_changes() -> None:
    book = ReferenceBook()
    book.put_location(at("l", on("t")))
    assert cost(book, "l") is None
    book.put_tariff(flat("t"))
    assert cost(book, "l") == "0.3"
    book.put_tariff(flat("t", "0.5", version=2))
    assert cost(book, "l") == "0.5"
    book.remove_tariff("t")
    assert cost(book, "l") is None


def test_a_tariff_that_cannot_be_priced_is_refused_and_the_one_before_it_stays() -> None:
    book = ReferenceBook()
    book.put_location(at("l", on("t")))
    book.put_tariff(flat("t"))
    endless = (Tier(None, Decimal(1)), Tier(None, Decimal(2)))
    broken = Tariff("t", 2, "IMPORT", "GBP", "UTC", (EnergyCharge("e", (Band("b", (), endless),)),))
    with pytest.raises(ValueError, match="null before the last tier"):
        book.put_tariff(broken)
    assert cost(book, "l") == "0.3"


def test_a_new_link_affects_its_location_from_where_the_links_differ() -> None:
    book = ReferenceBook()
    book.put_tariff(flat("t"))
    book.put_tariff(flat("u", "0.9"))
    assert book.put_location(at("l", on("t"))) == only("l")
    assert cost(book, "l", MARCH) == "0.3"
    assert book.put_location(at("l", on("t", None, MARCH), on("u", MARCH))) == only("l", start_us=MARCH)
    assert (cost(book, "l", FEBRUARY), cost(book, "l", MARCH)) == ("0.3", "0.9")


def test_the_same_links_cut_otherwise_affect_nothing() -> None:
    book = ReferenceBook()
    book.put_location(at("l", on("t")))
    assert book.put_location(at("l", on("t", FEBRUARY), on("t", None, FEBRUARY))) == NOTHING


def test_what_no_price_depends_on_affects_nothing() -> None:
    book = ReferenceBook()
    book.put_location(at("l", on("t")))
    assert book.put_location(Location("l", "UTC", customer_id="c", max_power_uw=1, links=(on("t"),))) == NOTHING
    assert book.location("l") == Location("l", "UTC", customer_id="c", max_power_uw=1, links=(on("t"),))


def test_a_location_without_links_affects_nothing_when_it_comes() -> None:
    assert ReferenceBook().put_location(at("l")) == NOTHING


def test_another_zone_or_interval_length_is_another_grid() -> None:
    book = ReferenceBook()
    assert not book.put_location(at("l", on("t"))).grid_changed
    moved = book.put_location(Location("l", "Europe/London", links=(on("t"),)))
    assert moved == Affected(frozenset({"l"}), grid_changed=True)
    assert book.put_location(Location("l", "Europe/London", 15, links=(on("t"),))).grid_changed


def test_overlapping_links_are_refused_with_their_path_and_the_location_before_stays() -> None:
    book = ReferenceBook()
    book.put_location(at("l", on("t")))
    with pytest.raises(ValueError, match=r"tariffs\[1\]: IMPORT link to 'u'"):
        book.put_location(at("l", on("t"), on("u")))
    assert book.location("l") == at("l", on("t"))


def test_a_removed_location_has_no_tariffs() -> None:
    book = ReferenceBook()
    book.put_tariff(flat("t"))
    book.put_location(at("l", on("t", FEBRUARY)))
    assert cost(book, "l") == "0.3"
    assert book.remove_location("l") == only("l", start_us=FEBRUARY)
    assert (book.location("l"), cost(book, "l")) == (None, None)
    assert book.remove_location("l") == NOTHING
    assert book.put_tariff(flat("t", "0.4")) == NOTHING


def test_points_affect_the_locations_whose_tariffs_follow_them_over_the_points_that_changed() -> None:
    book = ReferenceBook()
    book.put_tariff(market("m", "S"))
    book.put_tariff(market("later", "S", MARCH))
    book.put_tariff(flat("t"))
    book.put_location(at("on-it", on("m")))
    book.put_location(at("not-yet", on("later")))
    book.put_location(at("left", on("m", None, JANUARY)))
    book.put_location(at("flat", on("t")))
    first = book.put_series(day("S", FEBRUARY, "0.1", "0.2", "0.3"))
    assert first == only("on-it", start_us=FEBRUARY, end_us=FEBRUARY + 3 * US_PER_HOUR)
    second = book.put_series(day("S", FEBRUARY, "0.1", "0.9", "0.3"))
    assert second == only("on-it", start_us=FEBRUARY + US_PER_HOUR, end_us=FEBRUARY + 2 * US_PER_HOUR)
    assert cost(book, "on-it", FEBRUARY + US_PER_HOUR) == "0.9"
    assert book.put_series(day("other", FEBRUARY, "1")) == NOTHING


def test_a_removed_day_of_points_leaves_prices_pending() -> None:
    book = ReferenceBook()
    book.put_tariff(market("m", "S"))
    book.put_location(at("l", on("m")))
    book.put_series(day("S", FEBRUARY, "0.1"))
    assert cost(book, "l") == "0.1"
    key = f"S/{date(2025, 2, 1)}"
    assert book.remove_series_day(key) == only("l", start_us=FEBRUARY, end_us=FEBRUARY + US_PER_HOUR)
    assert cost(book, "l") is None
    assert book.remove_series_day(key) == NOTHING


def test_carbon_points_affect_the_locations_that_name_their_series() -> None:
    book = ReferenceBook()
    book.put_location(at("green", carbon_series_id="C"))
    book.put_location(at("grey"))
    points = SeriesDay("C", "carbon", "gCO2e/kWh", (SeriesPoint(FEBRUARY, FEBRUARY + US_PER_HOUR, Decimal(100)),))
    assert book.put_series(points) == only("green", start_us=FEBRUARY, end_us=FEBRUARY + US_PER_HOUR)


def test_another_carbon_series_affects_all_of_a_locations_time() -> None:
    book = ReferenceBook()
    book.put_location(at("l", carbon_series_id="C"))
    assert book.put_location(at("l", carbon_series_id="D")) == only("l")


def test_locations_with_the_same_links_share_one_plan() -> None:
    book = ReferenceBook()
    book.put_tariff(flat("t"))
    for name in ("a", "b"):
        book.put_location(at(name, on("t")))
    book.put_location(at("c", on("t", FEBRUARY)))
    assert book.plan("a", "IMPORT") is book.plan("b", "IMPORT")
    assert book.plan("a", "IMPORT") is not book.plan("c", "IMPORT")


def test_a_plan_asked_for_after_a_change_is_a_new_one_for_all_that_share_it() -> None:
    book = ReferenceBook()
    book.put_tariff(flat("t"))
    for name in ("a", "b"):
        book.put_location(at(name, on("t")))
    kept = book.plan("a", "IMPORT")
    book.put_tariff(flat("t", "0.7"))
    assert book.plan("b", "IMPORT") is not kept
    assert (cost(book, "a"), cost(book, "b")) == ("0.7", "0.7")


def test_a_series_may_come_before_the_tariff_that_follows_it_and_the_location() -> None:
    book = ReferenceBook()
    book.put_series(day("S", FEBRUARY, "0.1"))
    book.put_location(at("l", on("m")))
    assert book.put_tariff(market("m", "S")) == only("l")
    assert cost(book, "l") == "0.1"


def test_a_change_that_nobody_saw_affects_all_that_its_document_reaches() -> None:
    book = ReferenceBook()
    book.put_tariff(market("m", "S"))
    book.put_location(at("l", on("m", FEBRUARY)))
    book.put_location(at("green", carbon_series_id="S"))
    book.put_series(day("S", FEBRUARY, "0.1"))
    assert book.affected_by("location", "l") == only("l")
    assert book.affected_by("tariff", "m") == only("l", start_us=FEBRUARY)
    whole_day = only("l", "green", start_us=FEBRUARY, end_us=FEBRUARY + US_PER_DAY)
    assert book.affected_by("series", "S/2025-02-01") == whole_day
    book.remove_series_day("S/2025-02-01")
    assert book.affected_by("series", "S/2025-02-01") == whole_day
    assert book.affected_by("series", "other/2025-02-01") == NOTHING
    assert book.affected_by("series", "no date") == NOTHING
