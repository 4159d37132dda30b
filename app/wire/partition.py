"""Which partition a location's records belong to, by compiled code where that was built."""

from app.domain.partitioning import partition_for
from app.wire import compiled


def owner_of(location_id: str, partitions: int) -> int:
    """Return the partition in which everything about a location is, of so many. Hot: asked once for each meter."""
    parts = compiled.parts
    return partition_for(location_id, partitions) if parts is None else parts.partition_for(location_id, partitions)
