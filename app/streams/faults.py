"""Faults of the surroundings that no record is to blame for: they are never turned into a refusal."""


class StoreError(Exception):
    """The local store cannot be used: the disk is full or broken, or another process has it."""


class StoreCorruptError(StoreError):
    """The local store holds bytes that are not what was written: it has to be built anew from the changelog."""
