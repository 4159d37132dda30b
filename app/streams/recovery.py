"""Recovery in Faust's place: when partitions are assigned, their shards are opened, and then the flow goes on.

Faust's own recovery reads changelogs message by message, and takes a changelog that ends with a transaction marker for one
that never ends. Its part in a rebalance is kept: this runs where it would run, and finishes as it would.
"""

import logging
from typing import Any

import structlog
from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from mode import Service

from app.streams.membership import guard_instance

log = structlog.get_logger(__name__)


class ShardRecovery(Recovery):
    """Opens shards instead of replaying events into tables."""

    logger = logging.getLogger("faust.tables")

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            signal: Any = self.signal_recovery_start
            if await self.wait_for_stopped(signal):
                return
            self.signal_recovery_start.clear()
            generation_id = self._generation_id
            try:
                await self._wait(self._open_shards())
                await self.on_recovery_completed(generation_id)
            except (RebalanceAgain, IllegalStateError):
                log.info("rebalance_again")
            except ServiceStopped:
                return

    async def _open_shards(self) -> None:
        app: Any = self.app
        consumer = app.consumer
        guard_instance(consumer.thread._consumer._coordinator, app.settings.instance_id)  # noqa: SLF001 - no public way
        assigned = consumer.assignment()
        changelogs = [tp for tp in assigned if self._is_changelog_tp(tp)]
        if changelogs:
            await consumer.thread.stop_reading(changelogs)
        records = app.topic_names.records
        partitions = [tp.partition for tp in assigned if tp.topic == records]
        await app.shards.open(partitions, consumer.thread)

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Do nothing: no event of a changelog ever comes this way."""


class ShardTableManager(TableManager):
    """Faust's manager of tables, with the recovery of shards."""

    logger = logging.getLogger("faust.tables")

    @property
    def recovery(self) -> Recovery:
        """Return the one recovery service."""
        if self._recovery is None:
            self._recovery = ShardRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
