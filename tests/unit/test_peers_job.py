"""The job of the side-by-side benchmark: its input has the shares it names, and its answer is what the product says."""

import json
from collections import Counter
from decimal import Decimal

import pytest

from app.compose import price_offline
from app.wire.location import parse_location
from app.wire.rejected import decode_rejected
from app.wire.tariff import parse_tariff
from benchmarks.peers.job import QUARTERS, Job, answers, documents, good_record, messages, refusals, whole_interval

JOBS = [Job(records=6_000, locations=70), Job(records=3_001, locations=2_000, seed=3)]


@pytest.mark.parametrize("job", JOBS)
def test_the_answer_is_what_the_product_prices_offline(job: Job) -> None:
    documented = documents(job)
    result = price_offline(
        (message.value for message in messages(job)),
        [parse_location(one) for one in documented["locations"]],
        [parse_tariff(documented["tariff"])],
    )
    priced = [json.loads(value, parse_float=Decimal) for value in result.priced]
    assert all(one["complete"] for one in priced)
    assert {one["interval_id"]: (one["start_time"], str(one["energy_wh"]), one["cost"]) for one in priced} == {
        interval_id: tuple(answer) for interval_id, answer in answers(job).items()
    }
    assert Counter(decode_rejected(value).error for value in result.rejected) == refusals(job)
    assert result.counts["duplicate"] == job.copies


@pytest.mark.parametrize("job", JOBS)
def test_one_percent_each_is_refused_copied_and_late(job: Job) -> None:
    sent = list(messages(job))
    good = {good_record(job, number).value: number for number in range(job.good)}
    numbers = [good[message.value] for message in sent if message.value in good]
    assert len(sent) == job.records
    assert len(sent) - len(numbers) == job.refused == pytest.approx(job.records / 100, abs=1)
    assert sorted(set(numbers)) == list(range(job.good))
    assert len(numbers) - job.good == job.copies == job.records // 100

    newest: dict[bytes, str] = {}
    seen: set[bytes] = set()
    late = 0
    for message in sent:
        if message.value in good and message.value not in seen:
            seen.add(message.value)
            start = json.loads(message.value)["start_time"]
            late += start < newest.get(message.key, "")
            newest[message.key] = max(start, newest.get(message.key, ""))
    if job.intervals > 3 * job.locations:  # else there is nothing later to come before them
        assert late == pytest.approx(job.late, rel=0.1)


def test_records_have_about_300_bytes_and_a_half_hour_has_two() -> None:
    job = JOBS[0]
    sizes = [len(message.value) for message in messages(job)]
    assert 270 < sum(sizes) / len(sizes) < 330
    starts = {json.loads(good_record(job, number).value)["start_time"] for number in range(job.locations * QUARTERS)}
    assert starts == {"2025-06-02T14:30:00Z", "2025-06-02T14:45:00Z"}


def test_all_three_bands_and_every_reason_of_refusal_occur() -> None:
    job = JOBS[0]
    per_kwh = {Decimal(a.cost) * 1000 / Decimal(a.energy_wh) / Decimal("1.05") for a in answers(job).values()}
    assert per_kwh == {Decimal("0.38"), Decimal("0.24"), Decimal("0.09")}
    assert len(refusals(job)) == 8


def test_the_same_numbers_give_the_same_bytes_and_another_seed_gives_others() -> None:
    job = JOBS[1]
    assert list(messages(job)) == list(messages(job))
    assert list(messages(job)) != list(messages(Job(job.records, job.locations, seed=4)))


def test_a_whole_interval_is_complete_by_itself() -> None:
    job = JOBS[0]
    sent = [whole_interval(number, job.locations) for number in range(2 * job.locations + 1)]
    documented = documents(job)
    result = price_offline(
        (message.value for _, message in sent),
        [parse_location(one) for one in documented["locations"]],
        [parse_tariff(documented["tariff"])],
    )
    priced = [json.loads(value) for value in result.priced]
    assert all(one["complete"] for one in priced)
    assert [one["interval_id"] for one in priced] == sorted(interval_id for interval_id, _ in sent)
