"""How much stands in a topic."""

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app.settings import Settings


def message_count(settings: Settings, topic: str) -> int:
    """Return how many messages have ever been published to a topic that no transaction writes to."""
    return asyncio.run(_message_count(settings, topic))


async def _message_count(settings: Settings, topic: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, number) for number in range(settings.partitions)])
        return sum(ends.values())
    finally:
        await consumer.stop()
