"""What a pipeline puts out and counts, and where that goes."""

from collections.abc import Sequence
from typing import Literal, Protocol

from app.streams.held import Entry

Output = Literal["intervals", "priced", "rejected", "records_by_location"]

Metric = Literal[
    "input",  # records that were decided here; the sum of the next four, so that none is lost unseen
    "accepted",
    "rejected",
    "superseded",
    "duplicate",
    "forwarded",  # records that belong to another partition: they are input there, not here
    "intervals",  # published on meter.intervals
    "priced",  # published on meter.priced with a price
    "pending",  # published on meter.priced while a tariff or a price is missing
    "deleted",  # intervals that were older than what is kept
]


class Sink(Protocol):
    """Where outputs go; all of them, the tables' changes and the position in the input are one transaction."""

    def emit(
        self,
        output: Output,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Add a message to the outputs, None to delete; without a partition it goes to the pipeline's own."""

    def emit_all(self, output: Output, entries: list[Entry]) -> None:
        """Add messages, keys and values, to the outputs of the pipeline's own partition."""
