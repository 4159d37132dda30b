"""The partition of a location is the one that every Kafka client's default would choose."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from app.domain.partitioning import murmur2, partition_for


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_gives_the_values_of_the_java_client(text: str, signed: int) -> None:
    """Vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    assert murmur2(text.encode()) == signed & 0xFFFFFFFF


@given(st.binary(max_size=40))
def test_murmur2_equals_the_producers(data: bytes) -> None:
    assert murmur2(data) == murmur2_of_aiokafka(data)


@given(st.text(max_size=20), st.integers(1, 64))
def test_partition_for_equals_the_producers_default(location_id: str, partitions: int) -> None:
    everywhere = list(range(partitions))
    assert partition_for(location_id, partitions) == DefaultPartitioner()(location_id.encode(), everywhere, everywhere)
