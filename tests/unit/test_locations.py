"""Links of locations to tariffs."""

import pytest

from app.domain.locations import TariffLink, overlapping_links


def test_links_that_follow_each_other_do_not_overlap() -> None:
    links = [TariffLink("IMPORT", "a", None, 10), TariffLink("IMPORT", "b", 10, 20), TariffLink("IMPORT", "c", 20)]
    assert overlapping_links(links) == []


def test_links_of_different_directions_may_hold_at_the_same_time() -> None:
    assert overlapping_links([TariffLink("IMPORT", "a"), TariffLink("EXPORT", "b"), TariffLink("LOCAL", "c")]) == []


@pytest.mark.parametrize(
    "later",
    [
        TariffLink("IMPORT", "b"),
        TariffLink("IMPORT", "b", 9),
        TariffLink("IMPORT", "b", None, 1),
        TariffLink("IMPORT", "b", 3, 4),
    ],
)
def test_an_overlap_is_told_at_the_later_link_and_names_both(later: TariffLink) -> None:
    ((position, sentence),) = overlapping_links([TariffLink("IMPORT", "a", 0, 10), later])
    assert position == 1
    assert "'a'" in sentence
    assert "'b'" in sentence
